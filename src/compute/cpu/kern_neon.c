// kern_neon.c - the kernels over NEON. AArch64 only.
#include "compute/cpu/kern.h"

#if defined(__aarch64__)
#include "compute/cpu/vec_neon.h"

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

#define V_PAIR_HALVES
#define CHAIN_PANELS 1
#define CHAIN_X 4
#define CHAIN_SHAPES CHAIN_FN(1, 1) CHAIN_FN(1, 2) CHAIN_FN(1, 3) CHAIN_FN(1, 4)
#define CHAIN_ALL                                                                                  \
    { CHAIN_NAME(1, 1), CHAIN_NAME(1, 2), CHAIN_NAME(1, 3), CHAIN_NAME(1, 4) }

#include "compute/cpu/kern_body.h"

// Two products of at most 127 * 127 fit 16 bits; pairs of pairs are added to 32.
static inline i16 i_dot(i16 acc, w64 w, int32_t x4) {
    int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(x4));
    for (int i = 0; i < 4; i++) {
        int16x8_t lo = vmull_s8(vget_low_s8(w.q[i]), vget_low_s8(x));
        acc.q[i] = vpadalq_s16(acc.q[i], vpaddq_s16(lo, vmull_high_s8(w.q[i], x)));
    }
    return acc;
}

#define QTILE_PANELS 1
#define QTILE_X 2
#define QTILE_SHAPES QTILE_FNS(1, 1) QTILE_FNS(1, 2)
#define QTILE_ALL                                                                                  \
    { QTILE_NAMES(1, 1), QTILE_NAMES(1, 2) }
#include "compute/cpu/kern_qbody.h"

void kern_init_neon(kern_table *k) {
    fill_table(k);
    fill_packed(k);
}
#endif
