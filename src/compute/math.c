// math.c - see math.h; and the scalar functions of ops.h.
#include "compute/math.h"

#include <math.h>
#include <string.h>

#include "compute/ops.h"

// a > b ? a : b and a < b ? a : b, exactly so: the second operand when one is NaN.
static float max2(float a, float b) {
    return a > b ? a : b;
}
static float min2(float a, float b) {
    return a < b ? a : b;
}

// 2^n for an integral n in [-127, 127]: the low bits of n + MATH_ROUND are n.
static float pow2(float n) {
    float t = n + MATH_ROUND;
    uint32_t u;
    memcpy(&u, &t, sizeof u);
    u = (u + 127) << 23;
    memcpy(&t, &u, sizeof t);
    return t;
}

static float round_even(float x) {
    return (x + MATH_ROUND) - MATH_ROUND;
}

// exp(r) - 1 with x = n ln 2 + r.
static float reduced_expm1(float x, float *n) {
    *n = fmaf(x, MATH_LOG2E, MATH_ROUND) - MATH_ROUND;
    float r = fmaf(*n, -MATH_LN2_HI, x);
    r = fmaf(*n, -MATH_LN2_LO, r);
    float q = fmaf(MATH_Q4, r, MATH_Q3);
    q = fmaf(q, r, MATH_Q2);
    q = fmaf(q, r, MATH_Q1);
    q = fmaf(q, r, MATH_Q0);
    return fmaf(r * r, q, r);
}

float kern_exp(float x) {
    float n, m = reduced_expm1(min2(MATH_EXP_HI, max2(MATH_EXP_LO, x)), &n);
    float half = round_even(n * 0.5f); // in two steps: 2^n alone may overflow or underflow
    return (m + 1.0f) * pow2(half) * pow2(n - half);
}

float kern_expm1(float x) {
    float n, m = reduced_expm1(min2(MATH_EXPM1_HI, max2(MATH_EXPM1_LO, x)), &n);
    float s = pow2(n);
    return fmaf(s, m, s - 1.0f);
}

float kern_tanh(float x) {
    float t = kern_expm1(2.0f * min2(10.0f, fabsf(x)));
    return copysignf(t / (t + 2.0f), x);
}

float kern_sigmoid(float x) {
    return 1.0f / (1.0f + kern_exp(-x));
}

static float erf_small(float a) {
    float u = a * a;
    float p = fmaf(MATH_P6, u, MATH_P5);
    p = fmaf(p, u, MATH_P4);
    p = fmaf(p, u, MATH_P3);
    p = fmaf(p, u, MATH_P2);
    p = fmaf(p, u, MATH_P1);
    p = fmaf(p, u, MATH_P0);
    return fmaf(a, p, a);
}

static float erf_large(float a) {
    a = min2(MATH_ERF_HI, a);
    float t = fmaf(MATH_T7, a, MATH_T6);
    t = fmaf(t, a, MATH_T5);
    t = fmaf(t, a, MATH_T4);
    t = fmaf(t, a, MATH_T3);
    t = fmaf(t, a, MATH_T2);
    t = fmaf(t, a, MATH_T1);
    t = fmaf(t, a, MATH_T0);
    return 1.0f - kern_exp(t);
}

float kern_erf(float x) {
    float a = fabsf(x);
    return copysignf(a < MATH_ERF_SPLIT ? erf_small(a) : erf_large(a), x);
}

float kern_elu(float x) {
    return 0.0f < x ? x : kern_expm1(x);
}

float kern_gelu(float x) {
    return (0.5f * x) * (1.0f + kern_erf(x * 0x1.6a09e6p-1f));
}

float math_exp(float x) {
    return kern_exp(x);
}
float math_tanh(float x) {
    return kern_tanh(x);
}
float math_erf(float x) {
    return kern_erf(x);
}

// log(x) = e ln 2 + log(m), m in [sqrt(1/2), sqrt 2): log(m) = 2 atanh((m-1) / (m+1)) by its
// series, in double, so that the one rounding to float is all the error there is.
float math_log(float x) {
    if (!(x > 0.0f)) return x == 0.0f ? -INFINITY : NAN;
    if (x > 0x1.fffffep127f) return x;
    double v = (double)x;
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    int64_t e = (int64_t)((u - 0x3fe6a09e667f3bcdu) >> 52); // below sqrt(1/2): one less
    if (e >= 2048) e -= 4096;
    u -= (uint64_t)e << 52;
    memcpy(&v, &u, sizeof v);
    double s = (v - 1.0) / (v + 1.0), s2 = s * s, p = 0;
    for (int i = 21; i >= 1; i -= 2) p = fma(p, s2, 1.0 / i);
    return (float)fma((double)e, 0x1.62e42fefa39efp-1, 2.0 * s * p);
}

// x = n pi/2 + r with |r| <= pi/4; pi/2 in three parts of 33 bits and what is left, so n * part is
// exact for |n| < 2^20.
static double reduce_quarter(double x, int64_t *n) {
    double k = (x * 0x1.45f306dc9c883p-1 + 0x1.8p52) - 0x1.8p52;
    *n = (int64_t)k;
    double r = fma(-k, 0x1.921fb54400000p+0, x);
    r = fma(-k, 0x1.0b4611a600000p-34, r);
    r = fma(-k, 0x1.3198a2e000000p-69, r);
    return fma(-k, 0x1.b839a252049c1p-104, r);
}

// Taylor to the 19th and 18th power: what is left out is below 2^-60 for |r| <= pi/4.
static double sin_poly(double r) {
    double u = r * r, p = -1.0 / 121645100408832000.0;
    static const double c[] = {
        1.0 / 355687428096000.0, -1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0,
        1.0 / 362880.0,          -1.0 / 5040.0,          1.0 / 120.0,        -1.0 / 6.0};
    for (size_t i = 0; i < ARRAY_LEN(c); i++) p = fma(p, u, c[i]);
    return fma(r * u, p, r);
}

static double cos_poly(double r) {
    double u = r * r, p = -1.0 / 6402373705728000.0;
    static const double c[] = {
        1.0 / 20922789888000.0, -1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0,
        1.0 / 40320.0,          -1.0 / 720.0,         1.0 / 24.0,        -0.5};
    for (size_t i = 0; i < ARRAY_LEN(c); i++) p = fma(p, u, c[i]);
    return fma(u, p, 1.0);
}

// sin of x plus quarter turns.
static double sin_turned(double x, int64_t quarters) {
    int64_t n;
    double r = reduce_quarter(x, &n);
    int64_t q = (n + quarters) & 3;
    double s = q & 1 ? cos_poly(r) : sin_poly(r);
    return q & 2 ? -s : s;
}

double math_cos(double x) {
    return sin_turned(x, 1);
}
double math_sin(double x) {
    return sin_turned(x, 0);
}
