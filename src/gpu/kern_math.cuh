// kern_math.cuh - the functions of compute/math_body.h in the words of dev.h; and sums, largest
// values and rounding as compute/cpu/kern.h states them.
#pragma once
#include "gpu/dev.h"

#define MATH_FN DEVICE
#include "compute/math_body.h"

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
