// kern_avxvnni.c - packed weights over AVX-VNNI, 256 bits wide: processors without AVX-512 since
// 2021; only called after isa.c has found it. x86-64 only.
#include "compute/cpu/kern.h"

#if defined(__x86_64__)
#include "compute/cpu/vec_avx2.h"

// The weights stay unsigned, q + offset; what that adds to a block's sum is taken off at its start.
static inline w64 w_q8(w64 w) {
    return w;
}
static inline w64 w_q4_low(w64 w) {
    __m256i mask = _mm256_set1_epi8(15);
    return (w64){_mm256_and_si256(w.lo, mask), _mm256_and_si256(w.hi, mask)};
}
static inline w64 w_q4_high(w64 w) {
    return w_q4_low((w64){_mm256_srli_epi16(w.lo, 4), _mm256_srli_epi16(w.hi, 4)});
}
static inline i16 i_start(int32_t less8, unsigned shift) {
    __m256i start = _mm256_set1_epi32((int32_t)((uint32_t)less8 << shift));
    return (i16){start, start};
}
static inline i16 i_dot(i16 acc, w64 w, int32_t x4) {
    __m256i x = _mm256_set1_epi32(x4);
    return (i16){_mm256_dpbusd_avx_epi32(acc.lo, w.lo, x),
                 _mm256_dpbusd_avx_epi32(acc.hi, w.hi, x)};
}

#define QTILE_PANELS 1
#define QTILE_X 4
#define QTILE_SHAPES QTILE_FNS(1, 1) QTILE_FNS(1, 2) QTILE_FNS(1, 3) QTILE_FNS(1, 4)
#define QTILE_ALL                                                                                  \
    { QTILE_NAMES(1, 1), QTILE_NAMES(1, 2), QTILE_NAMES(1, 3), QTILE_NAMES(1, 4) }
#include "compute/cpu/kern_qbody.h"

void kern_init_avxvnni(kern_table *k) {
    fill_packed(k);
}
#endif
