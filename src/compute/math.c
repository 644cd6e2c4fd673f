// math.c - see math.h.
#include "compute/math.h"

#include <math.h>
#include <string.h>

static inline float fma32(float a, float b, float c) {
    return fmaf(a, b, c);
}
static inline float div32(float a, float b) {
    return a / b;
}
static inline float abs32(float a) {
    return fabsf(a);
}
static inline uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static inline float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

#define MATH_FN static inline
#include "compute/math_body.h"

float math_exp(float x) {
    return exp32(x);
}

float math_expm1(float x) {
    return expm1_32(x);
}

float math_tanh(float x) {
    return tanh32(x);
}

float math_sigmoid(float x) {
    return sigmoid32(x);
}

float math_erf(float x) {
    return erf32(x);
}

float math_elu(float x) {
    return elu32(x);
}

float math_gelu(float x) {
    return gelu32(x);
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
