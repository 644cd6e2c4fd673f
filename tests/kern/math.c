// math.c - the transcendental functions against libm in double, in units of the last place; and the
// generator against its published vectors.
//
// `run_kern math` sweeps every float of each range (minutes); the ordinary run takes each 1009th.
#include <math.h>
#include <stdio.h>

#include "check.h"
#include "compute/math.h"
#include "compute/rng.h"

static double ulp_error(float got, double want) {
    int e;
    if (got == want) return 0;
    frexp(want, &e);
    if (e < -125) e = -125; // denormals are as far apart as the smallest normals
    return fabs((double)got - want) / ldexp(1, e - 24);
}

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

typedef struct {
    const char *name;
    float (*f)(float);
    double (*want)(double);
    float lo, hi; // magnitudes, both signs unless positive
    bool positive;
    double ulps;
} sweep;

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static const sweep sweeps[] = {
    {"exp", math_exp, exp, 0x1p-30f, 104.0f, false, 1.05},
    {"expm1", math_expm1, expm1, 0x1p-30f, 88.0f, false, 1.62},
    {"tanh", math_tanh, tanh, 0x1p-30f, 20.0f, false, 2.54},
    {"sigmoid", math_sigmoid, sigmoid, 0x1p-30f, 87.0f, false, 2.49},
    {"erf", math_erf, erf, 0x1p-30f, 6.0f, false, 1.27},
    {"log", math_log, log, 0x1p-149f, 0x1.fffffep127f, true, 0.51},
};

static uint32_t sweep_step = 1009;

static void sweep_one(const sweep *s) {
    double worst = 0, where = 0;
    for (uint32_t u = to_bits(s->lo); u <= to_bits(s->hi); u += sweep_step) {
        for (int sign = 0; sign < (s->positive ? 1 : 2); sign++) {
            float v = sign ? -from_bits(u) : from_bits(u);
            if (s->f == math_exp && v > 88.7f) continue; // overflows
            double off = ulp_error(s->f(v), s->want((double)v));
            if (off > worst) worst = off, where = (double)v;
        }
    }
    expect(worst <= s->ulps, "%s is %.3f ulp off at %a, at most %.2f", s->name, worst, where,
           s->ulps);
    printf("  %-8s %.3f ulp at %a\n", s->name, worst, where);
}

// The absolute error: near multiples of pi the square has no relative accuracy to speak of.
static void test_sin2(void) {
    double worst = 0;
    for (uint32_t u = to_bits(0x1p-30f); u <= to_bits(0x1p16f); u += sweep_step) {
        for (int sign = 0; sign < 2; sign++) {
            float v = sign ? -from_bits(u) : from_bits(u);
            double s = sin((double)v);
            worst = fmax(worst, fabs((double)math_sin2(v) - s * s));
        }
    }
    expect(worst < 3e-7, "sin2 is off by %g", worst);
    expect(math_sin2(0) == 0 && isnan(math_sin2(NAN)) && isnan(math_sin2(INFINITY)), "sin2");
    expect(math_sin2(0x1p40f) >= 0 && math_sin2(0x1p40f) <= 1, "sin2 of a large number");
}

static void test_edges(void) {
    expect(math_exp(-INFINITY) == 0 && math_exp(INFINITY) == INFINITY && isnan(math_exp(NAN)),
           "exp");
    expect(math_exp(0) == 1 && math_exp(-0.0f) == 1, "exp of 0");
    expect(math_tanh(INFINITY) == 1 && math_tanh(-INFINITY) == -1 && isnan(math_tanh(NAN)), "tanh");
    expect(math_erf(INFINITY) == 1 && math_erf(-INFINITY) == -1 && isnan(math_erf(NAN)), "erf");
    expect(math_erf(-0.0f) == 0 && signbit(math_erf(-0.0f)), "erf of -0");
    expect(math_log(0) == -INFINITY && isnan(math_log(-1)) && math_log(INFINITY) == INFINITY,
           "log");
    expect(math_log(1) == 0 && isnan(math_log(NAN)), "log of 1");
    expect(math_elu(3) == 3 && math_elu(-INFINITY) == -1 && math_elu(INFINITY) == INFINITY, "elu");
}

void test_math(void) {
    for (size_t i = 0; i < ARRAY_LEN(sweeps); i++) sweep_one(&sweeps[i]);
    test_edges();
    test_sin2();
}

void test_math_whole(void) {
    sweep_step = 1;
    for (size_t i = 0; i < ARRAY_LEN(sweeps); i++) sweep_one(&sweeps[i]);
}

// kat_vectors of Random123, the authors' library: philox4x32, 10 rounds.
void test_rng(void) {
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        uint64_t key = (uint64_t)known[i].key[1] << 32 | known[i].key[0];
        uint64_t lo = (uint64_t)known[i].counter[1] << 32 | known[i].counter[0];
        uint64_t hi = (uint64_t)known[i].counter[3] << 32 | known[i].counter[2];
        rng_u32x4 r = rng_draw(key, hi, lo);
        expect(!memcmp(r.v, known[i].out, sizeof r.v), "philox vector %d", (int)i);
    }
    expect(rng_f32(0) == 0 && rng_f32(0xffffffffu) == 1 - 0x1p-24f, "rng_f32 range");
    const rng_u32x4 four = {{1, 2, 3, 4}};
    expect(rng_u64(&four) == 0x100000002u, "rng_u64: the first number is the high half");
}
