// kern_neon.c - the kernels for NEON (AArch64).
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/math.h"

#if defined(__aarch64__)
#define LEVEL neon
// Register tiles. 6 sums take 24 of the 32 registers.
#define TILES_WIDE(F) F(2, 1) F(2, 2) F(2, 3)
#define TILES_NARROW(F) F(4, 1)
#define TILES_SINGLE(F) F(1, 1) F(1, 2) F(1, 3)
#define SCORE_ROWS 2
#define SCORE_PANELS 1
#define CHAIN_BLOCKS(F) F(1, 1) F(1, 2) F(1, 3) F(1, 4)
#define PACKED_TILES(F) F(1, 1) F(1, 2)

#include "compute/cpu/vec_neon.h"

#include "compute/cpu/level_tmpl.h"
#include "compute/cpu/math_tmpl.h"

#include "compute/cpu/attend_tmpl.h"
#include "compute/cpu/conv_tmpl.h"
#include "compute/cpu/dots_tmpl.h"
#include "compute/cpu/packed_attend_tmpl.h"
#include "compute/cpu/packed_dots_tmpl.h"
#include "compute/cpu/rows_tmpl.h"

void kern_init_neon(kern_table *k) {
    *k = (kern_table){
        .products = products_neon,
        .packed = packed_neon,
        .attention = attention_neon,
        .packed_attention = packed_attention_neon,
        .norms = norms_neon,
        .rows = rows_neon,
        .codec = codec_neon,
    };
}
#endif
