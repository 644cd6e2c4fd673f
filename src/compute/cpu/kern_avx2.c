// kern_avx2.c - the kernels over AVX2, FMA and F16C; only called after isa.c has found them. x86-64
// only.
#include "compute/cpu/kern.h"

#if defined(__x86_64__)
#include "compute/cpu/vec_avx2.h"

// 6 sums in 12 of the 16 registers.
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

#define V_PAIR_HALVES
#define CHAIN_PANELS 1
#define CHAIN_X 4
#define CHAIN_SHAPES CHAIN_FN(1, 1) CHAIN_FN(1, 2) CHAIN_FN(1, 3) CHAIN_FN(1, 4)
#define CHAIN_ALL                                                                                  \
    { CHAIN_NAME(1, 1), CHAIN_NAME(1, 2), CHAIN_NAME(1, 3), CHAIN_NAME(1, 4) }

#include "compute/cpu/kern_body.h"

static inline w64 w_minus(w64 w, int less) {
    __m256i l = _mm256_set1_epi8((char)less);
    return (w64){_mm256_sub_epi8(w.lo, l), _mm256_sub_epi8(w.hi, l)};
}
static inline w64 w_q8(w64 w) {
    return w_minus(w, 128);
}
static inline w64 w_q4_low(w64 w) {
    __m256i mask = _mm256_set1_epi8(15);
    return w_minus((w64){_mm256_and_si256(w.lo, mask), _mm256_and_si256(w.hi, mask)}, 8);
}
static inline w64 w_q4_high(w64 w) {
    return w_q4_low((w64){_mm256_srli_epi16(w.lo, 4), _mm256_srli_epi16(w.hi, 4)});
}
static inline i16 i_start(int32_t less8, unsigned shift) {
    (void)less8, (void)shift; // the weights have their signs
    return (i16){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
// The instruction wants one unsigned side: |x| and w with x's sign. Two products of at most 127 *
// 127 fit 16 bits.
static inline __m256i dot8(__m256i acc, __m256i w, __m256i x, __m256i size) {
    __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(w, x));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
static inline i16 i_dot(i16 acc, w64 w, int32_t x4) {
    __m256i x = _mm256_set1_epi32(x4), size = _mm256_abs_epi8(x);
    return (i16){dot8(acc.lo, w.lo, x, size), dot8(acc.hi, w.hi, x, size)};
}

#define QTILE_PANELS 1
#define QTILE_X 2
#define QTILE_SHAPES QTILE_FNS(1, 1) QTILE_FNS(1, 2)
#define QTILE_ALL                                                                                  \
    { QTILE_NAMES(1, 1), QTILE_NAMES(1, 2) }
#include "compute/cpu/kern_qbody.h"

void kern_init_avx2(kern_table *k) {
    fill_table(k);
    fill_packed(k);
}
#endif
