// kern_vnni.c - packed weights over AVX-512 VNNI; only called after cpu.c has found it. x86-64
// only.
#include "compute/kern.h"

#if defined(__x86_64__)
#include "compute/vec_avx512.h"

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

#define QTILE_X 8
#define QTILE_SHAPES                                                                               \
    QTILE_FNS(1)                                                                                   \
    QTILE_FNS(2)                                                                                   \
    QTILE_FNS(3)                                                                                   \
    QTILE_FNS(4)                                                                                   \
    QTILE_FNS(5)                                                                                   \
    QTILE_FNS(6)                                                                                   \
    QTILE_FNS(7)                                                                                   \
    QTILE_FNS(8)
#define QTILE_ALL                                                                                  \
    QTILE_NAMES(1), QTILE_NAMES(2), QTILE_NAMES(3), QTILE_NAMES(4), QTILE_NAMES(5),                \
        QTILE_NAMES(6), QTILE_NAMES(7), QTILE_NAMES(8)
#include "compute/kern_qbody.h"

void kern_init_vnni(kern_table *k) {
    fill_packed(k);
}
#endif
