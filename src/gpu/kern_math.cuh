// kern_math.cuh - compute/math.c in the words of dev.h: the same operations in the same order; and
// sums, largest values and rounding as compute/cpu/kern.h states them.
#pragma once
#include "compute/math.h"
#include "gpu/dev.h"

DEVICE float min2(float a, float b) {
    return a < b ? a : b;
}
DEVICE float max2(float a, float b) {
    return a > b ? a : b;
}

// 2^n for an integral n in [-127, 127].
DEVICE float pow2_of(float n) {
    return float_of((bits_of(n + MATH_ROUND) + 127u) << 23);
}

DEVICE float reduced_expm1(float x, float *n) {
    *n = fma32(x, MATH_LOG2E, MATH_ROUND) - MATH_ROUND;
    float r = fma32(*n, -MATH_LN2_HI, x);
    r = fma32(*n, -MATH_LN2_LO, r);
    float q = fma32(MATH_Q4, r, MATH_Q3);
    q = fma32(q, r, MATH_Q2);
    q = fma32(q, r, MATH_Q1);
    q = fma32(q, r, MATH_Q0);
    return fma32(r * r, q, r);
}

DEVICE float exp32(float x) {
    float n, m = reduced_expm1(min2(MATH_EXP_HI, max2(MATH_EXP_LO, x)), &n);
    float half = (n * 0.5f + MATH_ROUND) - MATH_ROUND;
    return (m + 1.0f) * pow2_of(half) * pow2_of(n - half);
}

DEVICE float expm1_32(float x) {
    float n, m = reduced_expm1(min2(MATH_EXPM1_HI, max2(MATH_EXPM1_LO, x)), &n);
    float s = pow2_of(n);
    return fma32(s, m, s - 1.0f);
}

// The magnitude of a with the sign of b.
DEVICE float with_sign(float a, float b) {
    return float_of((bits_of(a) & 0x7fffffffu) | (bits_of(b) & 0x80000000u));
}

DEVICE float tanh32(float x) {
    float t = expm1_32(2.0f * min2(10.0f, abs32(x)));
    return with_sign(div32(t, t + 2.0f), x);
}

DEVICE float sigmoid32(float x) {
    return div32(1.0f, 1.0f + exp32(-x));
}

DEVICE float erf32(float x) {
    float a = abs32(x);
    if (a < MATH_ERF_SPLIT) {
        float u = a * a;
        float p = fma32(MATH_P6, u, MATH_P5);
        p = fma32(p, u, MATH_P4);
        p = fma32(p, u, MATH_P3);
        p = fma32(p, u, MATH_P2);
        p = fma32(p, u, MATH_P1);
        p = fma32(p, u, MATH_P0);
        return with_sign(fma32(a, p, a), x);
    }
    a = min2(MATH_ERF_HI, a);
    float t = fma32(MATH_T7, a, MATH_T6);
    t = fma32(t, a, MATH_T5);
    t = fma32(t, a, MATH_T4);
    t = fma32(t, a, MATH_T3);
    t = fma32(t, a, MATH_T2);
    t = fma32(t, a, MATH_T1);
    t = fma32(t, a, MATH_T0);
    return with_sign(1.0f - exp32(t), x);
}

DEVICE float elu32(float x) {
    return 0.0f < x ? x : expm1_32(x);
}

DEVICE float gelu32(float x) {
    return (0.5f * x) * (1.0f + erf32(x * 0x1.6a09e6p-1f));
}

DEVICE float activate(float v, int act) {
    switch (act) {
    case GPU_ACT_RELU: return 0.0f < v ? v : 0.0f;
    case GPU_ACT_GELU: return gelu32(v);
    case GPU_ACT_ELU: return elu32(v);
    default: return v;
    }
}

// The end of a product: `finish` of kern.h.
DEVICE void finish(float *y, float s, const float *bias, int act, int add) {
    float v = activate(bias ? s + *bias : s, act);
    *y = add ? *y + v : v;
}

// bf16 as caches keep it: f32_to_bf16, and 0 below CHAIN_TINY.
DEVICE uint16_t bf16_kept(float f) {
    uint32_t u = bits_of(abs32(f) < 0x1p-48f ? 0.0f : f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

// ---- sixteen lanes: half a warp, whose halves work side by side

DEVICE int half_lane() {
    return thread_id() % 16;
}
DEVICE int half_warp() { // of the block
    return thread_id() / 16;
}
DEVICE int half_warps() {
    return thread_count() / 16;
}

// sum16 of the half warp's values, in all of its lanes: addition commutes.
DEVICE float sum16(float v LINE_HERE) {
    for (int half = 8; half; half /= 2) v = v + lane_xor(v, half LINE_PASS);
    return v;
}

// max16 of the half warp's values: lane 0's choices count, since NaN makes the order matter.
DEVICE float max16(float v LINE_HERE) {
    for (int half = 8; half; half /= 2) v = max2(v, lane_xor(v, half LINE_PASS));
    return lane_of(v, thread_id() % 32 / 16 * 16 LINE_PASS);
}

// v * by, rounded to even, within +-127; NaN gives -127.
DEVICE int32_t quantum(float v, float by) {
    float t = (v * by + MATH_ROUND) - MATH_ROUND;
    t = t > -127.0f ? t : -127.0f;
    return (int32_t)(t < 127.0f ? t : 127.0f);
}
