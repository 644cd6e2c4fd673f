// kern_vnni.c - packed weights over AVX-512 VNNI; only called after isa.c has found it. x86-64
// only.
#include "compute/cpu/kern.h"

#if defined(__x86_64__)
#include "compute/cpu/vec_avx512.h"

typedef __m512i w64;
typedef __m512i i16;

// The weights stay unsigned, q + offset; what that adds to a block's sum is taken off at its start.
static inline w64 w_load(const uint8_t *p) {
    return _mm512_loadu_si512(p);
}
static inline w64 w_q8(w64 w) {
    return w;
}
static inline w64 w_q4_low(w64 w) {
    return _mm512_and_si512(w, _mm512_set1_epi8(15));
}
static inline w64 w_q4_high(w64 w) {
    return w_q4_low(_mm512_srli_epi16(w, 4));
}
static inline i16 i_start(int32_t less8, unsigned shift) {
    return _mm512_slli_epi32(_mm512_set1_epi32(less8), shift);
}
static inline i16 i_dot(i16 acc, w64 w, int32_t x4) {
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x4));
}
static inline v16 i_float(i16 a) {
    return _mm512_cvtepi32_ps(a);
}

// Of the 32 registers a tile of two panels takes 12 sums, 12 results, weights and an x.
#define QTILE_PANELS 2
#define QPAIR_X 6
#define QTILE_X 8
#define QTILE_SHAPES                                                                               \
    QTILE_FNS(1, 1)                                                                                \
    QTILE_FNS(1, 2)                                                                                \
    QTILE_FNS(1, 3)                                                                                \
    QTILE_FNS(1, 4)                                                                                \
    QTILE_FNS(1, 5)                                                                                \
    QTILE_FNS(1, 6)                                                                                \
    QTILE_FNS(1, 7)                                                                                \
    QTILE_FNS(1, 8)                                                                                \
    QTILE_FNS(2, 1) QTILE_FNS(2, 2) QTILE_FNS(2, 3) QTILE_FNS(2, 4) QTILE_FNS(2, 5) QTILE_FNS(2, 6)
#define QTILE_ALL                                                                                  \
    {QTILE_NAMES(1, 1), QTILE_NAMES(1, 2), QTILE_NAMES(1, 3), QTILE_NAMES(1, 4),                   \
     QTILE_NAMES(1, 5), QTILE_NAMES(1, 6), QTILE_NAMES(1, 7), QTILE_NAMES(1, 8)},                  \
    {                                                                                              \
        QTILE_NAMES(2, 1), QTILE_NAMES(2, 2), QTILE_NAMES(2, 3), QTILE_NAMES(2, 4),                \
            QTILE_NAMES(2, 5), QTILE_NAMES(2, 6)                                                   \
    }
#include "compute/cpu/kern_qbody.h"

void kern_init_vnni(kern_table *k) {
    fill_packed(k);
}
#endif
