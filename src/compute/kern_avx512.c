// kern_avx512.c - the kernels over AVX-512; only called after cpu.c has found it. x86-64 only.
#include "compute/kern.h"

#if defined(__x86_64__)
#include "compute/vec_avx512.h"

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

#include "compute/kern_body.h"

void kern_init_avx512(kern_table *k) {
    fill_table(k);
}
#endif
