// kern_avx512.c - the kernels over AVX-512; only called after isa.c has found it. x86-64 only.
#include "compute/cpu/kern.h"

#if defined(__x86_64__)
#include "compute/cpu/vec_avx512.h"

// 24 sums, 4 weights and an x of the 32 registers.
#define TILE_ROWS 4
#define TILE_X 6
#define NARROW_ROWS 8
#define NARROW_X 2
#define TILE_SHAPES                                                                                \
    TILE_FNS(4, 1)                                                                                 \
    TILE_FNS(4, 2)                                                                                 \
    TILE_FNS(4, 3)                                                                                 \
    TILE_FNS(4, 4)                                                                                 \
    TILE_FNS(4, 5)                                                                                 \
    TILE_FNS(4, 6)                                                                                 \
    TILE_FNS(8, 1)                                                                                 \
    TILE_FNS(8, 2)                                                                                 \
    TILE_FNS(1, 1)                                                                                 \
    TILE_FNS(1, 2)                                                                                 \
    TILE_FNS(1, 3)                                                                                 \
    TILE_FNS(1, 4)                                                                                 \
    TILE_FNS(1, 5)                                                                                 \
    TILE_FNS(1, 6)
#define TILE_WIDE                                                                                  \
    TILE_NAMES(4, 1), TILE_NAMES(4, 2), TILE_NAMES(4, 3), TILE_NAMES(4, 4), TILE_NAMES(4, 5),      \
        TILE_NAMES(4, 6)
#define TILE_NARROW TILE_NAMES(8, 1), TILE_NAMES(8, 2)
#define TILE_SINGLE                                                                                \
    TILE_NAMES(1, 1), TILE_NAMES(1, 2), TILE_NAMES(1, 3), TILE_NAMES(1, 4), TILE_NAMES(1, 5),      \
        TILE_NAMES(1, 6)

#ifdef KERN_BF16
typedef __m512bh vpair;
static inline vpair vp_load(const uint16_t *p) {
    return (__m512bh)_mm512_loadu_si512(p);
}
static inline vpair vp_all(const uint16_t *p) {
    int32_t both;
    memcpy(&both, p, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}
static inline v16 vp_dot(v16 acc, vpair a, vpair b) {
    return _mm512_dpbf16_ps(acc, a, b);
}
#else
#define V_PAIR_HALVES
#endif
#define CHAIN_PANELS 4
#define CHAIN_X 6
#define CHAIN_FNS(panels)                                                                          \
    CHAIN_FN(panels, 1)                                                                            \
    CHAIN_FN(panels, 2)                                                                            \
    CHAIN_FN(panels, 3)                                                                            \
    CHAIN_FN(panels, 4)                                                                            \
    CHAIN_FN(panels, 5)                                                                            \
    CHAIN_FN(panels, 6)
#define CHAIN_NAMES(panels)                                                                        \
    {                                                                                              \
        CHAIN_NAME(panels, 1), CHAIN_NAME(panels, 2), CHAIN_NAME(panels, 3),                       \
            CHAIN_NAME(panels, 4), CHAIN_NAME(panels, 5), CHAIN_NAME(panels, 6)                    \
    }
#define CHAIN_SHAPES CHAIN_FNS(4) CHAIN_FNS(2) CHAIN_FNS(1)
#define CHAIN_ALL CHAIN_NAMES(4), CHAIN_NAMES(2), CHAIN_NAMES(1)

#include "compute/cpu/kern_body.h"

#ifdef KERN_BF16
void kern_init_avx512bf16(kern_table *k) {
    fill_table(k);
}
#else
void kern_init_avx512(kern_table *k) {
    fill_table(k);
}
#endif
#endif
