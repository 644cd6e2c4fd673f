// vec_avx512.h - the vectors of level_tmpl.h in one zmm register each: AVX-512 F, BW, DQ and VL.
//
// With AVX-512 BF16 it has the product of bf16 pairs, with AVX-512 VNNI integers of 8 bits.
#pragma once
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) ||                   \
    !defined(__AVX512VL__)
#error "vec_avx512.h is compiled without AVX-512: see ISA_FLAGS in the Makefile"
#endif
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m512 f32x16;

static inline f32x16 v_set(float x) {
    return _mm512_set1_ps(x);
}
static inline f32x16 v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, f32x16 a) {
    _mm512_storeu_ps(p, a);
}
static inline f32x16 v_bf16(const void *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline f32x16 v_f16(const void *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
static inline f32x16 v_odd(const uint16_t *p) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int)0xffff0000)));
}
static inline f32x16 v_even(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
#ifdef __AVX512BF16__
// The instruction takes denormals for zero. No caller passes one.
static inline void v_put_bf16(uint16_t *p, f32x16 a) {
    _mm256_storeu_si256((__m256i *)(void *)p, (__m256i)_mm512_cvtneps_pbh(a));
}

#define HAVE_BF16_PAIRS
typedef __m512bh bf16x32;
static inline bf16x32 p_load(const uint16_t *p) {
    return (__m512bh)_mm512_loadu_si512(p);
}
static inline bf16x32 p_all(const uint16_t *p) {
    int32_t both;
    memcpy(&both, p, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}
static inline f32x16 p_dot(f32x16 acc, bf16x32 a, bf16x32 b) {
    return _mm512_dpbf16_ps(acc, a, b);
}
#else
static inline void v_put_bf16(uint16_t *p, f32x16 a) {
    __m512i u = _mm512_castps_si512(a), top = _mm512_srli_epi32(u, 16), one = _mm512_set1_epi32(1);
    __m512i add = _mm512_add_epi32(_mm512_and_si512(top, one), _mm512_set1_epi32(0x7fff));
    __m512i h = _mm512_srli_epi32(_mm512_add_epi32(u, add), 16);
    __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    h = _mm512_mask_or_epi32(h, nan, top, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(h));
}
#endif
static inline f32x16 v_add(f32x16 a, f32x16 b) {
    return _mm512_add_ps(a, b);
}
static inline f32x16 v_sub(f32x16 a, f32x16 b) {
    return _mm512_sub_ps(a, b);
}
static inline f32x16 v_mul(f32x16 a, f32x16 b) {
    return _mm512_mul_ps(a, b);
}
static inline f32x16 v_div(f32x16 a, f32x16 b) {
    return _mm512_div_ps(a, b);
}
static inline f32x16 v_fma(f32x16 a, f32x16 b, f32x16 c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline f32x16 v_max(f32x16 a, f32x16 b) {
    return _mm512_max_ps(a, b);
}
static inline f32x16 v_min(f32x16 a, f32x16 b) {
    return _mm512_min_ps(a, b);
}
static inline f32x16 v_pick(f32x16 a, f32x16 b, f32x16 x, f32x16 y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
static inline f32x16 v_abs(f32x16 a) {
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}
static inline f32x16 v_with_sign(f32x16 x, f32x16 of) {
    f32x16 sign = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(sign, x), _mm512_and_ps(sign, of));
}
static inline f32x16 v_pow2(f32x16 n) {
    __m512i u = _mm512_castps_si512(_mm512_add_ps(n, _mm512_set1_ps(0x1.8p23f)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(127)), 23));
}
#define HAVE_SCALE
static inline f32x16 v_scale(f32x16 a, f32x16 n) {
    return _mm512_scalef_ps(a, n);
}

static inline void v_bytes(int8_t *p, f32x16 a, f32x16 b) {
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
    _mm_storeu_si128((void *)(p + 16), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(b)));
}

// Combines lane j with lane j+8, then j+4, j+2 and j+1.
#define FOLD(op, a)                                                                                \
    a = op(a, _mm512_shuffle_f32x4(a, a, 0x4e));                                                   \
    a = op(a, _mm512_shuffle_f32x4(a, a, 0xb1));                                                   \
    a = op(a, _mm512_permute_ps(a, 0x4e));                                                         \
    a = op(a, _mm512_permute_ps(a, 0xb1))

static inline float v_sum(f32x16 a) {
    FOLD(_mm512_add_ps, a);
    return _mm512_cvtss_f32(a);
}
static inline float v_top(f32x16 a) {
    FOLD(_mm512_max_ps, a);
    return _mm512_cvtss_f32(a);
}

// Partial sums: eight of a, then eight of b.
static inline f32x16 sums8(f32x16 a, f32x16 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
// Partial sums: four of each.
static inline f32x16 sums4(f32x16 a, f32x16 b, f32x16 c, f32x16 d) {
    f32x16 p = sums8(a, b), q = sums8(c, d);
    return _mm512_add_ps(_mm512_shuffle_f32x4(p, q, 0x88), _mm512_shuffle_f32x4(p, q, 0xdd));
}
static inline f32x16 sums2(f32x16 p, f32x16 q) {
    return _mm512_add_ps(_mm512_shuffle_ps(p, q, 0x44), _mm512_shuffle_ps(p, q, 0xee));
}
// Transposes sixteen vectors and adds as it goes: 30 shuffles and 15 additions. The last two steps
// work within quarters of a register, so the vectors enter by quarters: 0 4 8 12, then 1 5 9 13,
// ...
static inline f32x16 v_sums(const f32x16 a[16]) {
    f32x16 p = sums2(sums4(a[0], a[4], a[8], a[12]), sums4(a[1], a[5], a[9], a[13]));
    f32x16 q = sums2(sums4(a[2], a[6], a[10], a[14]), sums4(a[3], a[7], a[11], a[15]));
    return _mm512_add_ps(_mm512_shuffle_ps(p, q, 0x88), _mm512_shuffle_ps(p, q, 0xdd));
}

#ifdef __AVX512VNNI__
// ---- integers of 8 bits ----

typedef __m512i u8x64; // group of 64 bytes in a panel: sixteen rows, four columns each
typedef __m512i i32x16;

// Weights stay unsigned, q + offset. The sum of a block begins with what the offset adds too much.
static inline u8x64 w_load(const uint8_t *p) {
    return _mm512_loadu_si512(p);
}
static inline u8x64 w_q8(u8x64 w) {
    return w;
}
static inline u8x64 w_low(u8x64 w) {
    return _mm512_and_si512(w, _mm512_set1_epi8(15));
}
static inline u8x64 w_high(u8x64 w) {
    return w_low(_mm512_srli_epi16(w, 4));
}
// A sub-scale in both halves of its lane: a byte of at most 15 times one of at most 15 stays in its
// byte, so that products of 16 bits are products of bytes.
typedef __m512i w_scales;
static inline w_scales w_sub(u8x64 sub) {
    __m512i s = _mm512_and_si512(sub, _mm512_set1_epi32(15));
    return _mm512_or_si512(s, _mm512_slli_epi32(s, 16));
}
static inline u8x64 w_next(u8x64 sub) {
    return _mm512_srli_epi32(sub, 4);
}
static inline u8x64 w_q4(u8x64 halves, w_scales s) {
    return _mm512_mullo_epi16(halves, s);
}
static inline i32x16 i_start(int32_t less8, unsigned shift) {
    return _mm512_slli_epi32(_mm512_set1_epi32(less8), shift);
}
// Weights of 4 bits are s * (n + 8): the sum begins with the products of s and less8, in pairs.
static inline i32x16 i_start4(u8x64 sub, const int16_t less8[][2]) {
    i32x16 acc = _mm512_setzero_si512();
#pragma GCC unroll 4 // so that x rows share what is made of sub
    for (int j = 0; j < 4; j++, sub = w_next(sub)) {
        int32_t pair;
        memcpy(&pair, less8[j], sizeof pair);
        __m512i s = _mm512_and_si512(sub, _mm512_set1_epi32(0x000f000f));
        acc = _mm512_dpwssd_epi32(acc, s, _mm512_set1_epi32(pair));
    }
    return acc;
}
static inline i32x16 i_add(i32x16 a, i32x16 b) {
    return _mm512_add_epi32(a, b);
}
static inline i32x16 i_dot(i32x16 acc, u8x64 w, int32_t x4) {
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x4));
}
static inline f32x16 i_float(i32x16 a) {
    return _mm512_cvtepi32_ps(a);
}
#endif
