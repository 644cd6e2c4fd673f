// vec_avx2.h - v16 of kern_body.h: the sixteen lanes in two ymm registers.
//
// Only for files compiled with AVX2, FMA and F16C.
#pragma once
#include <immintrin.h>
#include <stdint.h>

typedef struct {
    __m256 lo, hi; // lanes 0-7, 8-15
} v16;

static inline v16 v_set(float x) {
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
static inline v16 v_load(const float *p) {
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void v_store(float *p, v16 a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
static inline __m256 bf16x8(const void *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline v16 v_bf16(const void *p) {
    return (v16){bf16x8(p), bf16x8((const uint8_t *)p + 16)};
}
static inline __m256 i8x8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}
static inline v16 v_f16(const void *p) {
    const uint8_t *q = p;
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128((const void *)q)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const void *)(q + 16)))};
}
static inline __m256 odd8(const uint16_t *p) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000)));
}
static inline __m256 even8(const uint16_t *p) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}
static inline v16 v_odd(const uint16_t *p) {
    return (v16){odd8(p), odd8(p + 16)};
}
static inline v16 v_even(const uint16_t *p) {
    return (v16){even8(p), even8(p + 16)};
}
static inline __m256i bf16_bits(__m256 a) {
    __m256i u = _mm256_castps_si256(a), top = _mm256_srli_epi32(u, 16);
    __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    __m256i add = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    __m256i h = _mm256_srli_epi32(_mm256_add_epi32(u, add), 16);
    __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(h, quiet, nan);
}
static inline void v_put_bf16(uint16_t *p, v16 a) {
    __m256i h = _mm256_packus_epi32(bf16_bits(a.lo), bf16_bits(a.hi)); // quarters 0 2 1 3
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(h, 0xd8));
}
static inline v16 v_add(v16 a, v16 b) {
    return (v16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
static inline v16 v_sub(v16 a, v16 b) {
    return (v16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
static inline v16 v_mul(v16 a, v16 b) {
    return (v16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
static inline v16 v_div(v16 a, v16 b) {
    return (v16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
static inline v16 v_fma(v16 a, v16 b, v16 c) {
    return (v16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
static inline v16 v_max(v16 a, v16 b) {
    return (v16){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
static inline v16 v_min(v16 a, v16 b) {
    return (v16){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
static inline v16 v_pick(v16 a, v16 b, v16 x, v16 y) {
    return (v16){_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                 _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
static inline v16 v_abs(v16 a) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
static inline __m256 with_sign(__m256 x, __m256 of) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(sign, x), _mm256_and_ps(sign, of));
}
static inline v16 v_with_sign(v16 x, v16 of) {
    return (v16){with_sign(x.lo, of.lo), with_sign(x.hi, of.hi)};
}
static inline __m256 pow2x8(__m256 n) {
    __m256i u = _mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(0x1.8p23f)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(127)), 23));
}
static inline v16 v_pow2(v16 n) {
    return (v16){pow2x8(n.lo), pow2x8(n.hi)};
}

static inline void v_bytes(int8_t *p, v16 a, v16 b) {
    // Packing works within halves of a register: the last step puts the quarters in order.
    __m256i x = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
    __m256i y = _mm256_packs_epi32(_mm256_cvtps_epi32(b.lo), _mm256_cvtps_epi32(b.hi));
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(x, y), order);
    _mm256_storeu_si256((void *)p, q);
}

// Lane j with j+8, then j+4, j+2, j+1.
#define FOLD(wide, narrow, a)                                                                      \
    __m256 h = wide(a.lo, a.hi);                                                                   \
    __m128 q = narrow(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));                     \
    q = narrow(q, _mm_movehl_ps(q, q));                                                            \
    q = narrow(q, _mm_movehdup_ps(q))

static inline float v_sum(v16 a) {
    FOLD(_mm256_add_ps, _mm_add_ps, a);
    return _mm_cvtss_f32(q);
}
static inline float v_top(v16 a) {
    FOLD(_mm256_max_ps, _mm_max_ps, a);
    return _mm_cvtss_f32(q);
}

// {four sums of a, four of b}
static inline __m256 sums4(v16 a, v16 b) {
    __m256 p = _mm256_add_ps(a.lo, a.hi), q = _mm256_add_ps(b.lo, b.hi);
    return _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
}
static inline __m256 sums2(__m256 p, __m256 q) {
    return _mm256_add_ps(_mm256_shuffle_ps(p, q, 0x44), _mm256_shuffle_ps(p, q, 0xee));
}
// A transposition that adds as it goes. The last two steps work within halves of a register, so
// a[i] and a[i+4] go in together.
static inline __m256 sums_of_8(const v16 *a) {
    __m256 p = sums2(sums4(a[0], a[4]), sums4(a[1], a[5]));
    __m256 q = sums2(sums4(a[2], a[6]), sums4(a[3], a[7]));
    return _mm256_add_ps(_mm256_shuffle_ps(p, q, 0x88), _mm256_shuffle_ps(p, q, 0xdd));
}
static inline v16 v_sums(const v16 a[16]) {
    return (v16){sums_of_8(a), sums_of_8(a + 8)};
}

// For kern_qbody.h. 64 weights: rows 0-7 and 8-15 of a group of four columns.
typedef struct {
    __m256i lo, hi;
} w64;
typedef struct {
    __m256i lo, hi;
} i16;

static inline w64 w_load(const uint8_t *p) {
    return (w64){_mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + 32))};
}
static inline v16 i_float(i16 a) {
    return (v16){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}
