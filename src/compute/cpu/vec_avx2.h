// vec_avx2.h - the vectors of level_tmpl.h in two ymm registers each: AVX2, FMA and F16C.
//
// With AVX-VNNI it has another product of 8-bit integers.
#pragma once
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "vec_avx2.h is compiled without AVX2, FMA and F16C: see ISA_FLAGS in the Makefile"
#endif
#include <immintrin.h>
#include <stdint.h>

typedef struct {
    __m256 lo, hi; // lanes 0-7, 8-15
} f32x16;

static inline f32x16 v_set(float x) {
    return (f32x16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
static inline f32x16 v_load(const float *p) {
    return (f32x16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void v_store(float *p, f32x16 a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
static inline __m256 bf16x8(const void *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline f32x16 v_bf16(const void *p) {
    return (f32x16){bf16x8(p), bf16x8((const uint8_t *)p + 16)};
}
static inline f32x16 v_f16(const void *p) {
    const uint8_t *q = p;
    return (f32x16){_mm256_cvtph_ps(_mm_loadu_si128((const void *)q)),
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
static inline f32x16 v_odd(const uint16_t *p) {
    return (f32x16){odd8(p), odd8(p + 16)};
}
static inline f32x16 v_even(const uint16_t *p) {
    return (f32x16){even8(p), even8(p + 16)};
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
static inline void v_put_bf16(uint16_t *p, f32x16 a) {
    __m256i h = _mm256_packus_epi32(bf16_bits(a.lo), bf16_bits(a.hi)); // quarters 0 2 1 3
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(h, 0xd8));
}
static inline f32x16 v_add(f32x16 a, f32x16 b) {
    return (f32x16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
static inline f32x16 v_sub(f32x16 a, f32x16 b) {
    return (f32x16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
static inline f32x16 v_mul(f32x16 a, f32x16 b) {
    return (f32x16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
static inline f32x16 v_div(f32x16 a, f32x16 b) {
    return (f32x16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
static inline f32x16 v_fma(f32x16 a, f32x16 b, f32x16 c) {
    return (f32x16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
static inline f32x16 v_max(f32x16 a, f32x16 b) {
    return (f32x16){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
static inline f32x16 v_min(f32x16 a, f32x16 b) {
    return (f32x16){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
static inline f32x16 v_pick(f32x16 a, f32x16 b, f32x16 x, f32x16 y) {
    return (f32x16){_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                    _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
static inline f32x16 v_abs(f32x16 a) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (f32x16){_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
static inline __m256 with_sign(__m256 x, __m256 of) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(sign, x), _mm256_and_ps(sign, of));
}
static inline f32x16 v_with_sign(f32x16 x, f32x16 of) {
    return (f32x16){with_sign(x.lo, of.lo), with_sign(x.hi, of.hi)};
}
static inline __m256 pow2x8(__m256 n) {
    __m256i u = _mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(0x1.8p23f)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(127)), 23));
}
static inline f32x16 v_pow2(f32x16 n) {
    return (f32x16){pow2x8(n.lo), pow2x8(n.hi)};
}

static inline void v_bytes(int8_t *p, f32x16 a, f32x16 b) {
    // Packing works within halves of a register. The last step puts the quarters in order.
    __m256i x = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
    __m256i y = _mm256_packs_epi32(_mm256_cvtps_epi32(b.lo), _mm256_cvtps_epi32(b.hi));
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(x, y), order);
    _mm256_storeu_si256((void *)p, q);
}

// Combines lane j with lane j+8, then j+4, j+2 and j+1.
#define FOLD(wide, narrow, a)                                                                      \
    __m256 h = wide(a.lo, a.hi);                                                                   \
    __m128 q = narrow(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));                     \
    q = narrow(q, _mm_movehl_ps(q, q));                                                            \
    q = narrow(q, _mm_movehdup_ps(q))

static inline float v_sum(f32x16 a) {
    FOLD(_mm256_add_ps, _mm_add_ps, a);
    return _mm_cvtss_f32(q);
}
static inline float v_top(f32x16 a) {
    FOLD(_mm256_max_ps, _mm_max_ps, a);
    return _mm_cvtss_f32(q);
}

// Partial sums: four of a, then four of b.
static inline __m256 sums4(f32x16 a, f32x16 b) {
    __m256 p = _mm256_add_ps(a.lo, a.hi), q = _mm256_add_ps(b.lo, b.hi);
    return _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
}
static inline __m256 sums2(__m256 p, __m256 q) {
    return _mm256_add_ps(_mm256_shuffle_ps(p, q, 0x44), _mm256_shuffle_ps(p, q, 0xee));
}
// Transposes eight vectors and adds as it goes. The last two steps work within halves of a
// register, so a[i] and a[i+4] enter together.
static inline __m256 sums_of_8(const f32x16 *a) {
    __m256 p = sums2(sums4(a[0], a[4]), sums4(a[1], a[5]));
    __m256 q = sums2(sums4(a[2], a[6]), sums4(a[3], a[7]));
    return _mm256_add_ps(_mm256_shuffle_ps(p, q, 0x88), _mm256_shuffle_ps(p, q, 0xdd));
}
static inline f32x16 v_sums(const f32x16 a[16]) {
    return (f32x16){sums_of_8(a), sums_of_8(a + 8)};
}

// ---- integers of 8 bits ----

// Group of 64 bytes in a panel: rows 0-7 and rows 8-15, four columns each.
typedef struct {
    __m256i lo, hi;
} u8x64;
typedef struct {
    __m256i lo, hi; // lanes 0-7, 8-15
} i32x16;

static inline u8x64 w_load(const uint8_t *p) {
    return (u8x64){_mm256_loadu_si256((const void *)p), _mm256_loadu_si256((const void *)(p + 32))};
}
static inline u8x64 w_low(u8x64 w) {
    __m256i mask = _mm256_set1_epi8(15);
    return (u8x64){_mm256_and_si256(w.lo, mask), _mm256_and_si256(w.hi, mask)};
}
static inline u8x64 w_high(u8x64 w) {
    return w_low((u8x64){_mm256_srli_epi16(w.lo, 4), _mm256_srli_epi16(w.hi, 4)});
}
static inline u8x64 w_next(u8x64 sub) {
    return (u8x64){_mm256_srli_epi32(sub.lo, 4), _mm256_srli_epi32(sub.hi, 4)};
}
// The first sub-scales of eight rows, in both halves of their lanes.
static inline __m256i sub8(__m256i sub) {
    __m256i s = _mm256_and_si256(sub, _mm256_set1_epi32(15));
    return _mm256_or_si256(s, _mm256_slli_epi32(s, 16));
}
static inline i32x16 i_add(i32x16 a, i32x16 b) {
    return (i32x16){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
static inline f32x16 i_float(i32x16 a) {
    return (f32x16){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}

#ifdef __AVXVNNI__
// Weights stay unsigned, q + offset. The sum of a block begins with what the offset adds too much.
static inline u8x64 w_q8(u8x64 w) {
    return w;
}
// A byte of at most 15 times a sub-scale of at most 15 stays in its byte, so that products of 16
// bits are products of bytes.
typedef u8x64 w_scales;
static inline w_scales w_sub(u8x64 sub) {
    return (w_scales){sub8(sub.lo), sub8(sub.hi)};
}
static inline u8x64 w_q4(u8x64 halves, w_scales s) {
    return (u8x64){_mm256_mullo_epi16(halves.lo, s.lo), _mm256_mullo_epi16(halves.hi, s.hi)};
}
static inline i32x16 i_start(int32_t less8, unsigned shift) {
    __m256i start = _mm256_set1_epi32((int32_t)((uint32_t)less8 << shift));
    return (i32x16){start, start};
}
// Weights of 4 bits are s * (n + 8): the sum begins with the products of s and less8, in pairs.
static inline i32x16 i_start4(u8x64 sub, const int16_t less8[][2]) {
    i32x16 acc = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    const __m256i mask = _mm256_set1_epi32(0x000f000f);
#pragma GCC unroll 4 // so that x rows share what is made of sub
    for (int j = 0; j < 4; j++, sub = w_next(sub)) {
        int32_t both;
        memcpy(&both, less8[j], sizeof both);
        __m256i pair = _mm256_set1_epi32(both);
        acc.lo = _mm256_dpwssd_avx_epi32(acc.lo, _mm256_and_si256(sub.lo, mask), pair);
        acc.hi = _mm256_dpwssd_avx_epi32(acc.hi, _mm256_and_si256(sub.hi, mask), pair);
    }
    return acc;
}
static inline i32x16 i_dot(i32x16 acc, u8x64 w, int32_t x4) {
    __m256i x = _mm256_set1_epi32(x4);
    return (i32x16){_mm256_dpbusd_avx_epi32(acc.lo, w.lo, x),
                    _mm256_dpbusd_avx_epi32(acc.hi, w.hi, x)};
}
#else
// Weights get their signs, so a block's sum begins with zero.
static inline u8x64 w_minus(u8x64 w, int less) {
    __m256i l = _mm256_set1_epi8((char)less);
    return (u8x64){_mm256_sub_epi8(w.lo, l), _mm256_sub_epi8(w.hi, l)};
}
static inline u8x64 w_q8(u8x64 w) {
    return w_minus(w, 128);
}
// s * (n + 8) minus s * 8. A byte of at most 15 times a sub-scale of at most 15 stays in its byte,
// so that products of 16 bits are products of bytes.
typedef struct {
    __m256i lo, hi, lo8, hi8;
} w_scales;
static inline __m256i eight_times(__m256i s) {
    return _mm256_slli_epi16(_mm256_or_si256(s, _mm256_slli_epi16(s, 8)), 3);
}
static inline w_scales w_sub(u8x64 sub) {
    __m256i lo = sub8(sub.lo), hi = sub8(sub.hi);
    return (w_scales){lo, hi, eight_times(lo), eight_times(hi)};
}
static inline u8x64 w_q4(u8x64 halves, w_scales s) {
    return (u8x64){_mm256_sub_epi8(_mm256_mullo_epi16(halves.lo, s.lo), s.lo8),
                   _mm256_sub_epi8(_mm256_mullo_epi16(halves.hi, s.hi), s.hi8)};
}
static inline i32x16 i_start(int32_t less8, unsigned shift) {
    (void)less8, (void)shift;
    return (i32x16){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
static inline i32x16 i_start4(u8x64 sub, const int16_t less8[][2]) {
    (void)sub, (void)less8;
    return i_start(0, 0);
}
// maddubs takes one unsigned side: it gets |x|, and w with the sign of x. Two products of at most
// 127 * 127 fit 16 bits.
static inline __m256i dot8(__m256i acc, __m256i w, __m256i x, __m256i size) {
    __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(w, x));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
static inline i32x16 i_dot(i32x16 acc, u8x64 w, int32_t x4) {
    __m256i x = _mm256_set1_epi32(x4), size = _mm256_abs_epi8(x);
    return (i32x16){dot8(acc.lo, w.lo, x, size), dot8(acc.hi, w.hi, x, size)};
}
#endif
