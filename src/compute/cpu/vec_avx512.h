// vec_avx512.h - v16 of kern_body.h: the sixteen lanes in one zmm register.
//
// Only for files compiled with AVX-512 F, BW, DQ and VL, FMA and F16C.
#pragma once
#include <immintrin.h>
#include <stdint.h>

typedef __m512 v16;

static inline v16 v_set(float x) {
    return _mm512_set1_ps(x);
}
static inline v16 v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, v16 a) {
    _mm512_storeu_ps(p, a);
}
static inline v16 v_bf16(const void *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline v16 v_f16(const void *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
static inline v16 v_odd(const uint16_t *p) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int)0xffff0000)));
}
static inline v16 v_even(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
#ifdef __AVX512BF16__ // takes denormals for zero: no a is one
static inline void v_put_bf16(uint16_t *p, v16 a) {
    _mm256_storeu_si256((__m256i *)(void *)p, (__m256i)_mm512_cvtneps_pbh(a));
}
#else
static inline void v_put_bf16(uint16_t *p, v16 a) {
    __m512i u = _mm512_castps_si512(a), top = _mm512_srli_epi32(u, 16), one = _mm512_set1_epi32(1);
    __m512i add = _mm512_add_epi32(_mm512_and_si512(top, one), _mm512_set1_epi32(0x7fff));
    __m512i h = _mm512_srli_epi32(_mm512_add_epi32(u, add), 16);
    __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    h = _mm512_mask_or_epi32(h, nan, top, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(h));
}
#endif
static inline v16 v_add(v16 a, v16 b) {
    return _mm512_add_ps(a, b);
}
static inline v16 v_sub(v16 a, v16 b) {
    return _mm512_sub_ps(a, b);
}
static inline v16 v_mul(v16 a, v16 b) {
    return _mm512_mul_ps(a, b);
}
static inline v16 v_div(v16 a, v16 b) {
    return _mm512_div_ps(a, b);
}
static inline v16 v_fma(v16 a, v16 b, v16 c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline v16 v_max(v16 a, v16 b) {
    return _mm512_max_ps(a, b);
}
static inline v16 v_min(v16 a, v16 b) {
    return _mm512_min_ps(a, b);
}
static inline v16 v_pick(v16 a, v16 b, v16 x, v16 y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
static inline v16 v_abs(v16 a) {
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}
static inline v16 v_with_sign(v16 x, v16 of) {
    v16 sign = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(sign, x), _mm512_and_ps(sign, of));
}
static inline v16 v_pow2(v16 n) {
    __m512i u = _mm512_castps_si512(_mm512_add_ps(n, _mm512_set1_ps(0x1.8p23f)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(127)), 23));
}

static inline void v_bytes(int8_t *p, v16 a, v16 b) {
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
    _mm_storeu_si128((void *)(p + 16), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(b)));
}

// Lane j with j+8, then j+4, j+2, j+1.
#define FOLD(op, a)                                                                                \
    a = op(a, _mm512_shuffle_f32x4(a, a, 0x4e));                                                   \
    a = op(a, _mm512_shuffle_f32x4(a, a, 0xb1));                                                   \
    a = op(a, _mm512_permute_ps(a, 0x4e));                                                         \
    a = op(a, _mm512_permute_ps(a, 0xb1))

static inline float v_sum(v16 a) {
    FOLD(_mm512_add_ps, a);
    return _mm512_cvtss_f32(a);
}
static inline float v_top(v16 a) {
    FOLD(_mm512_max_ps, a);
    return _mm512_cvtss_f32(a);
}

// {a's eight sums, b's eight sums}
static inline v16 sums8(v16 a, v16 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
// {four sums of each}
static inline v16 sums4(v16 a, v16 b, v16 c, v16 d) {
    v16 p = sums8(a, b), q = sums8(c, d);
    return _mm512_add_ps(_mm512_shuffle_f32x4(p, q, 0x88), _mm512_shuffle_f32x4(p, q, 0xdd));
}
static inline v16 sums2(v16 p, v16 q) {
    return _mm512_add_ps(_mm512_shuffle_ps(p, q, 0x44), _mm512_shuffle_ps(p, q, 0xee));
}
// A transposition that adds as it goes: 30 shuffles and 15 additions for sixteen sums. The last two
// steps work within quarters of a register, so the vectors go in by quarters: 0 4 8 12, 1 5 9 13,
// ...
static inline v16 v_sums(const v16 a[16]) {
    v16 p = sums2(sums4(a[0], a[4], a[8], a[12]), sums4(a[1], a[5], a[9], a[13]));
    v16 q = sums2(sums4(a[2], a[6], a[10], a[14]), sums4(a[3], a[7], a[11], a[15]));
    return _mm512_add_ps(_mm512_shuffle_ps(p, q, 0x88), _mm512_shuffle_ps(p, q, 0xdd));
}
