// kern_neon.c - the sixteen lanes in four q registers. AArch64 only.
#include "compute/kern.h"

#if defined(__aarch64__)
#include <arm_neon.h>

typedef struct {
    float32x4_t q[4]; // lanes 0-3, 4-7, 8-11, 12-15
} v16;

#define EACH(expr)                                                                                 \
    v16 out;                                                                                       \
    for (int i = 0; i < 4; i++) out.q[i] = (expr);                                                 \
    return out

static inline v16 v_set(float x) {
    EACH(vdupq_n_f32(x));
}
static inline v16 v_load(const float *p) {
    EACH(vld1q_f32(p + 4 * i));
}
static inline void v_store(float *p, v16 a) {
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.q[i]);
}
static inline v16 v_bf16(const void *p) {
    const uint8_t *b = p;
    EACH(vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(b + 8 * i)), 16)));
}
static inline v16 v_f16(const void *p) {
    const uint8_t *b = p;
    EACH(vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(b + 8 * i))));
}
static inline v16 v_add(v16 a, v16 b) {
    EACH(vaddq_f32(a.q[i], b.q[i]));
}
static inline v16 v_sub(v16 a, v16 b) {
    EACH(vsubq_f32(a.q[i], b.q[i]));
}
static inline v16 v_mul(v16 a, v16 b) {
    EACH(vmulq_f32(a.q[i], b.q[i]));
}
static inline v16 v_div(v16 a, v16 b) {
    EACH(vdivq_f32(a.q[i], b.q[i]));
}
static inline v16 v_fma(v16 a, v16 b, v16 c) {
    EACH(vfmaq_f32(c.q[i], a.q[i], b.q[i]));
}
// Not vmaxq and vminq: those differ for NaN and signed zero.
static inline float32x4_t max4(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline v16 v_max(v16 a, v16 b) {
    EACH(max4(a.q[i], b.q[i]));
}
static inline v16 v_min(v16 a, v16 b) {
    EACH(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}
static inline v16 v_pick(v16 a, v16 b, v16 x, v16 y) {
    EACH(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), x.q[i], y.q[i]));
}
static inline v16 v_abs(v16 a) {
    EACH(vabsq_f32(a.q[i]));
}
static inline v16 v_with_sign(v16 x, v16 of) {
    uint32x4_t sign = vdupq_n_u32(0x80000000u);
    EACH(vbslq_f32(sign, of.q[i], x.q[i]));
}
static inline float32x4_t pow2x4(float32x4_t n) {
    uint32x4_t u = vreinterpretq_u32_f32(vaddq_f32(n, vdupq_n_f32(0x1.8p23f)));
    return vreinterpretq_f32_u32(vshlq_n_u32(vaddq_u32(u, vdupq_n_u32(127)), 23));
}
static inline v16 v_pow2(v16 n) {
    EACH(pow2x4(n.q[i]));
}

// Lane j with j+8, then j+4.
static inline float32x4_t sums4(v16 a) {
    return vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
}
static inline float v_sum(v16 a) {
    float32x4_t s = sums4(a);
    float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}
static inline float v_top(v16 a) {
    float32x4_t s = max4(max4(a.q[0], a.q[2]), max4(a.q[1], a.q[3]));
    float t[4];
    vst1q_f32(t, s);
    float even = t[0] > t[2] ? t[0] : t[2], odd = t[1] > t[3] ? t[1] : t[3];
    return even > odd ? even : odd;
}
// {two sums of a, two of b}
static inline float32x4_t sums2(v16 a, v16 b) {
    float32x4_t p = sums4(a), q = sums4(b);
    return vaddq_f32(vcombine_f32(vget_low_f32(p), vget_low_f32(q)),
                     vcombine_f32(vget_high_f32(p), vget_high_f32(q)));
}
static inline v16 v_sums(const v16 a[16]) {
    EACH(vpaddq_f32(sums2(a[4 * i], a[4 * i + 1]), sums2(a[4 * i + 2], a[4 * i + 3])));
}

// 6 sums in 24 of the 32 registers.
#define TILE_ROWS 2
#define TILE_X 3
#define NARROW_ROWS 4
#define NARROW_X 1
#define TILE_SHAPES                                                                                \
    TILE_FNS(2, 1)                                                                                 \
    TILE_FNS(2, 2)                                                                                 \
    TILE_FNS(2, 3)                                                                                 \
    TILE_FNS(4, 1)                                                                                 \
    TILE_FNS(1, 1)                                                                                 \
    TILE_FNS(1, 2)                                                                                 \
    TILE_FNS(1, 3)
#define TILE_WIDE TILE_NAMES(2, 1), TILE_NAMES(2, 2), TILE_NAMES(2, 3)
#define TILE_NARROW TILE_NAMES(4, 1)
#define TILE_SINGLE TILE_NAMES(1, 1), TILE_NAMES(1, 2), TILE_NAMES(1, 3)

#include "compute/kern_body.h"

void kern_init_neon(kern_table *k) {
    fill_table(k);
}
#endif
