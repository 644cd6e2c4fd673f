// vec_neon.h - the vectors of level_tmpl.h in four q registers each: NEON (AArch64).
//
// With Armv8.2's dot product it has another product of 8-bit integers.
#pragma once
#include <arm_neon.h>
#include <stdint.h>

typedef struct {
    float32x4_t q[4]; // lanes 0-3, 4-7, 8-11, 12-15
} f32x16;

#define EACH(expr)                                                                                 \
    f32x16 out;                                                                                    \
    for (int i = 0; i < 4; i++) out.q[i] = (expr);                                                 \
    return out

static inline f32x16 v_set(float x) {
    EACH(vdupq_n_f32(x));
}
static inline f32x16 v_load(const float *p) {
    EACH(vld1q_f32(p + 4 * i));
}
static inline void v_store(float *p, f32x16 a) {
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.q[i]);
}
static inline f32x16 v_bf16(const void *p) {
    const uint8_t *b = p;
    EACH(vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(b + 8 * i)), 16)));
}
static inline f32x16 v_f16(const void *p) {
    const uint8_t *b = p;
    EACH(vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(b + 8 * i))));
}
static inline uint32x4_t four_pairs(const uint16_t *p) {
    return vreinterpretq_u32_u16(vld1q_u16(p));
}
static inline f32x16 v_odd(const uint16_t *p) {
    EACH(vreinterpretq_f32_u32(vandq_u32(four_pairs(p + 8 * i), vdupq_n_u32(0xffff0000u))));
}
static inline f32x16 v_even(const uint16_t *p) {
    EACH(vreinterpretq_f32_u32(vshlq_n_u32(four_pairs(p + 8 * i), 16)));
}
static inline uint16x4_t bf16x4(float32x4_t a) {
    uint32x4_t u = vreinterpretq_u32_f32(a), top = vshrq_n_u32(u, 16);
    uint32x4_t add = vaddq_u32(vandq_u32(top, vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
    uint32x4_t quiet = vorrq_u32(top, vdupq_n_u32(0x40)), number = vceqq_f32(a, a);
    return vmovn_u32(vbslq_u32(number, vshrq_n_u32(vaddq_u32(u, add), 16), quiet));
}
static inline void v_put_bf16(uint16_t *p, f32x16 a) {
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, bf16x4(a.q[i]));
}
static inline f32x16 v_add(f32x16 a, f32x16 b) {
    EACH(vaddq_f32(a.q[i], b.q[i]));
}
static inline f32x16 v_sub(f32x16 a, f32x16 b) {
    EACH(vsubq_f32(a.q[i], b.q[i]));
}
static inline f32x16 v_mul(f32x16 a, f32x16 b) {
    EACH(vmulq_f32(a.q[i], b.q[i]));
}
static inline f32x16 v_div(f32x16 a, f32x16 b) {
    EACH(vdivq_f32(a.q[i], b.q[i]));
}
static inline f32x16 v_fma(f32x16 a, f32x16 b, f32x16 c) {
    EACH(vfmaq_f32(c.q[i], a.q[i], b.q[i]));
}
// vmaxq and vminq would differ for NaN and for signed zeros.
static inline float32x4_t max4(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline f32x16 v_max(f32x16 a, f32x16 b) {
    EACH(max4(a.q[i], b.q[i]));
}
static inline f32x16 v_min(f32x16 a, f32x16 b) {
    EACH(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}
static inline f32x16 v_pick(f32x16 a, f32x16 b, f32x16 x, f32x16 y) {
    EACH(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), x.q[i], y.q[i]));
}
static inline f32x16 v_abs(f32x16 a) {
    EACH(vabsq_f32(a.q[i]));
}
static inline f32x16 v_with_sign(f32x16 x, f32x16 of) {
    uint32x4_t sign = vdupq_n_u32(0x80000000u);
    EACH(vbslq_f32(sign, of.q[i], x.q[i]));
}
static inline float32x4_t pow2x4(float32x4_t n) {
    uint32x4_t u = vreinterpretq_u32_f32(vaddq_f32(n, vdupq_n_f32(0x1.8p23f)));
    return vreinterpretq_f32_u32(vshlq_n_u32(vaddq_u32(u, vdupq_n_u32(127)), 23));
}
static inline f32x16 v_pow2(f32x16 n) {
    EACH(pow2x4(n.q[i]));
}

static inline int8x8_t bytes8(float32x4_t a, float32x4_t b) {
    int16x4_t p = vmovn_s32(vcvtq_s32_f32(a)), q = vmovn_s32(vcvtq_s32_f32(b));
    return vmovn_s16(vcombine_s16(p, q));
}
static inline void v_bytes(int8_t *p, f32x16 a, f32x16 b) {
    vst1_s8(p, bytes8(a.q[0], a.q[1])), vst1_s8(p + 8, bytes8(a.q[2], a.q[3]));
    vst1_s8(p + 16, bytes8(b.q[0], b.q[1])), vst1_s8(p + 24, bytes8(b.q[2], b.q[3]));
}

// Adds lane j and lane j+8, then j+4.
static inline float32x4_t sums4(f32x16 a) {
    return vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
}
static inline float v_sum(f32x16 a) {
    float32x4_t s = sums4(a);
    float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}
static inline float v_top(f32x16 a) {
    float32x4_t s = max4(max4(a.q[0], a.q[2]), max4(a.q[1], a.q[3]));
    float t[4];
    vst1q_f32(t, s);
    float even = t[0] > t[2] ? t[0] : t[2], odd = t[1] > t[3] ? t[1] : t[3];
    return even > odd ? even : odd;
}
// Partial sums: two of a, then two of b.
static inline float32x4_t sums2(f32x16 a, f32x16 b) {
    float32x4_t p = sums4(a), q = sums4(b);
    return vaddq_f32(vcombine_f32(vget_low_f32(p), vget_low_f32(q)),
                     vcombine_f32(vget_high_f32(p), vget_high_f32(q)));
}
static inline f32x16 v_sums(const f32x16 a[16]) {
    EACH(vpaddq_f32(sums2(a[4 * i], a[4 * i + 1]), sums2(a[4 * i + 2], a[4 * i + 3])));
}

// ---- integers of 8 bits ----

// Group of 64 bytes in a panel: rows 0-3, 4-7, 8-11 and 12-15, four columns each.
typedef struct {
    int8x16_t q[4];
} u8x64;
typedef struct {
    int32x4_t q[4]; // lanes 0-3, 4-7, 8-11, 12-15
} i32x16;

// Weights get their signs, so a block's sum begins with zero.

static inline u8x64 w_load(const uint8_t *p) {
    u8x64 w;
    for (int i = 0; i < 4; i++) w.q[i] = vreinterpretq_s8_u8(vld1q_u8(p + 16 * i));
    return w;
}
static inline u8x64 w_q8(u8x64 w) {
    for (int i = 0; i < 4; i++) w.q[i] = veorq_s8(w.q[i], vdupq_n_s8(-128));
    return w;
}
static inline u8x64 w_low(u8x64 w) {
    for (int i = 0; i < 4; i++) w.q[i] = vandq_s8(w.q[i], vdupq_n_s8(15));
    return w;
}
static inline u8x64 w_high(u8x64 w) {
    for (int i = 0; i < 4; i++)
        w.q[i] = vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(w.q[i]), 4));
    return w;
}
// A sub-scale in each byte of its lane.
typedef u8x64 w_scales;
static inline w_scales w_sub(u8x64 sub) {
    for (int i = 0; i < 4; i++) {
        uint32x4_t s = vandq_u32(vreinterpretq_u32_s8(sub.q[i]), vdupq_n_u32(15));
        sub.q[i] = vreinterpretq_s8_u32(vmulq_n_u32(s, 0x01010101));
    }
    return sub;
}
static inline u8x64 w_next(u8x64 sub) {
    for (int i = 0; i < 4; i++)
        sub.q[i] = vreinterpretq_s8_u32(vshrq_n_u32(vreinterpretq_u32_s8(sub.q[i]), 4));
    return sub;
}
static inline u8x64 w_q4(u8x64 halves, w_scales s) {
    for (int i = 0; i < 4; i++)
        halves.q[i] = vmulq_s8(vsubq_s8(halves.q[i], vdupq_n_s8(8)), s.q[i]);
    return halves;
}
static inline i32x16 i_start(int32_t less8, unsigned shift) {
    (void)less8, (void)shift;
    i32x16 a;
    for (int i = 0; i < 4; i++) a.q[i] = vdupq_n_s32(0);
    return a;
}
static inline i32x16 i_start4(u8x64 sub, const int16_t less8[][2]) {
    (void)sub, (void)less8;
    return i_start(0, 0);
}
static inline i32x16 i_add(i32x16 a, i32x16 b) {
    for (int i = 0; i < 4; i++) a.q[i] = vaddq_s32(a.q[i], b.q[i]);
    return a;
}
static inline f32x16 i_float(i32x16 a) {
    EACH(vcvtq_f32_s32(a.q[i]));
}

#ifdef __ARM_FEATURE_DOTPROD
static inline i32x16 i_dot(i32x16 acc, u8x64 w, int32_t x4) {
    int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(x4));
    for (int i = 0; i < 4; i++) acc.q[i] = vdotq_s32(acc.q[i], w.q[i], x);
    return acc;
}
#else
// Two products of at most 127 * 127 fit 16 bits. Pairs of pairs are added as 32 bits.
static inline i32x16 i_dot(i32x16 acc, u8x64 w, int32_t x4) {
    int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(x4));
    for (int i = 0; i < 4; i++) {
        int16x8_t lo = vmull_s8(vget_low_s8(w.q[i]), vget_low_s8(x));
        acc.q[i] = vpadalq_s16(acc.q[i], vpaddq_s16(lo, vmull_high_s8(w.q[i], x)));
    }
    return acc;
}
#endif
