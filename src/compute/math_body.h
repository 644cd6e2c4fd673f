// math_body.h - the functions of math.h, written once for plain C and for the GPU's kernels.
//
// Two files include it: compute/math.c and gpu/kern_math.cuh. Before that they define MATH_FN, the
// words with which a function begins, and fma32, div32, abs32, bits_of and float_of, each of which
// is one rounded operation or moves bits. The vector kernels have the same expressions in
// cpu/math_tmpl.h, which tests/kern holds equal to these.
#pragma once
#include "compute/math.h"

// Unlike fminf and fmaxf, these give the second operand when one is NaN, as the vector kernels do.
MATH_FN float min2(float a, float b) {
    return a < b ? a : b;
}
MATH_FN float max2(float a, float b) {
    return a > b ? a : b;
}

// 2^n for an integral n in [-127, 127]: the low bits of n + MATH_ROUND are n.
MATH_FN float pow2_of(float n) {
    return float_of((bits_of(n + MATH_ROUND) + 127u) << 23);
}

// exp(r) - 1 with x = n ln 2 + r.
MATH_FN float reduced_expm1(float x, float *n) {
    *n = fma32(x, MATH_LOG2E, MATH_ROUND) - MATH_ROUND;
    float r = fma32(*n, -MATH_LN2_HI, x);
    r = fma32(*n, -MATH_LN2_LO, r);
    float q = fma32(MATH_Q4, r, MATH_Q3);
    q = fma32(q, r, MATH_Q2);
    q = fma32(q, r, MATH_Q1);
    q = fma32(q, r, MATH_Q0);
    return fma32(r * r, q, r);
}

MATH_FN float exp32(float x) {
    float n, m = reduced_expm1(min2(MATH_EXP_HI, max2(MATH_EXP_LO, x)), &n);
    // Two factors: 2^n alone may overflow or underflow.
    float half = (n * 0.5f + MATH_ROUND) - MATH_ROUND;
    return (m + 1.0f) * pow2_of(half) * pow2_of(n - half);
}

MATH_FN float expm1_32(float x) {
    float n, m = reduced_expm1(min2(MATH_EXPM1_HI, max2(MATH_EXPM1_LO, x)), &n);
    float s = pow2_of(n);
    return fma32(s, m, s - 1.0f);
}

// The magnitude of a with the sign of b.
MATH_FN float with_sign(float a, float b) {
    return float_of((bits_of(a) & 0x7fffffffu) | (bits_of(b) & 0x80000000u));
}

MATH_FN float tanh32(float x) {
    float t = expm1_32(2.0f * min2(10.0f, abs32(x)));
    return with_sign(div32(t, t + 2.0f), x);
}

MATH_FN float sigmoid32(float x) {
    return div32(1.0f, 1.0f + exp32(-x));
}

MATH_FN float erf_small(float a) {
    float u = a * a;
    float p = fma32(MATH_P6, u, MATH_P5);
    p = fma32(p, u, MATH_P4);
    p = fma32(p, u, MATH_P3);
    p = fma32(p, u, MATH_P2);
    p = fma32(p, u, MATH_P1);
    p = fma32(p, u, MATH_P0);
    return fma32(a, p, a);
}

MATH_FN float erf_large(float a) {
    a = min2(MATH_ERF_HI, a);
    float t = fma32(MATH_T7, a, MATH_T6);
    t = fma32(t, a, MATH_T5);
    t = fma32(t, a, MATH_T4);
    t = fma32(t, a, MATH_T3);
    t = fma32(t, a, MATH_T2);
    t = fma32(t, a, MATH_T1);
    t = fma32(t, a, MATH_T0);
    return 1.0f - exp32(t);
}

MATH_FN float erf32(float x) {
    float a = abs32(x);
    return with_sign(a < MATH_ERF_SPLIT ? erf_small(a) : erf_large(a), x);
}

MATH_FN float elu32(float x) {
    return 0.0f < x ? x : expm1_32(x);
}

MATH_FN float gelu32(float x) {
    return (0.5f * x) * (1.0f + erf32(x * 0x1.6a09e6p-1f));
}
