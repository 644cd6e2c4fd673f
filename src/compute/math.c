// math.c - see math.h.
#include "compute/math.h"

#include <math.h>
#include <string.h>

// Unlike fmaxf and fminf, these give the second operand when one is NaN, as the vector kernels do.
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

float math_exp(float x) {
    float n, m = reduced_expm1(min2(MATH_EXP_HI, max2(MATH_EXP_LO, x)), &n);
    float half = round_even(n * 0.5f); // two factors: 2^n alone may overflow or underflow
    return (m + 1.0f) * pow2(half) * pow2(n - half);
}

float math_expm1(float x) {
    float n, m = reduced_expm1(min2(MATH_EXPM1_HI, max2(MATH_EXPM1_LO, x)), &n);
    float s = pow2(n);
    return fmaf(s, m, s - 1.0f);
}

float math_tanh(float x) {
    float t = math_expm1(2.0f * min2(10.0f, fabsf(x)));
    return copysignf(t / (t + 2.0f), x);
}

float math_sigmoid(float x) {
    return 1.0f / (1.0f + math_exp(-x));
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
    return 1.0f - math_exp(t);
}

float math_erf(float x) {
    float a = fabsf(x);
    return copysignf(a < MATH_ERF_SPLIT ? erf_small(a) : erf_large(a), x);
}

float math_elu(float x) {
    return 0.0f < x ? x : math_expm1(x);
}

float math_gelu(float x) {
    return (0.5f * x) * (1.0f + math_erf(x * 0x1.6a09e6p-1f));
}

// log(x) = e ln 2 + log(m) with m in [sqrt(1/2), sqrt 2), and log(m) = 2 atanh((m-1) / (m+1)) by
// its series. It is computed in double, so the only error is one rounding to float.
float math_log(float x) {
    if (!(x > 0.0f)) return x == 0.0f ? -INFINITY : NAN;
    if (x > 0x1.fffffep127f) return x;
    double v = (double)x;
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    int64_t e = (int64_t)((u - 0x3fe6a09e667f3bcdu) >> 52); // one less if m is below sqrt(1/2)
    if (e >= 2048) e -= 4096;
    u -= (uint64_t)e << 52;
    memcpy(&v, &u, sizeof v);
    double s = (v - 1.0) / (v + 1.0), s2 = s * s, p = 0;
    for (int i = 21; i >= 1; i -= 2) p = fma(p, s2, 1.0 / i);
    return (float)fma((double)e, 0x1.62e42fefa39efp-1, 2.0 * s * p);
}

// x = n pi + r, |r| <= pi/2: the sign of the sine does not matter.
float math_sin2(float x) {
    float n = fmaf(x, MATH_INV_PI, MATH_ROUND) - MATH_ROUND;
    float r = fmaf(n, -MATH_PI_HI, x);
    r = fmaf(n, -MATH_PI_LO, r);
    r = min2(MATH_SIN_MAX, max2(-MATH_SIN_MAX, r));
    float u = r * r;
    float p = fmaf(MATH_S3, u, MATH_S2);
    p = fmaf(p, u, MATH_S1);
    p = fmaf(p, u, MATH_S0);
    float s = fmaf(r * u, p, r);
    return s * s;
}
