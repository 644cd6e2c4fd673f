// kern_avx512.c - the kernels for AVX-512 F, BW, DQ and VL (x86-64), without packed weights.
//
// Packed weights need AVX-512 VNNI (kern_vnni.c). A processor without it keeps AVX2's kernels for
// them.
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/math.h"

#if defined(__x86_64__)
#define LEVEL avx512
// Register tiles. 24 sums, 4 weights and one activation take 29 of the 32 registers.
#define TILES_WIDE(F) F(4, 1) F(4, 2) F(4, 3) F(4, 4) F(4, 5) F(4, 6)
#define TILES_NARROW(F) F(8, 1) F(8, 2)
#define TILES_SINGLE(F) F(1, 1) F(1, 2) F(1, 3) F(1, 4) F(1, 5) F(1, 6)
#define SCORE_ROWS 4
#define SCORE_PANELS 2
#define CHAIN_PANELS_OF(F, n) F(n, 1) F(n, 2) F(n, 3) F(n, 4) F(n, 5) F(n, 6)
#define CHAIN_BLOCKS(F) CHAIN_PANELS_OF(F, 4) CHAIN_PANELS_OF(F, 2) CHAIN_PANELS_OF(F, 1)

#include "compute/cpu/vec_avx512.h"

#include "compute/cpu/level_tmpl.h"
#include "compute/cpu/math_tmpl.h"

#include "compute/cpu/attend_tmpl.h"
#include "compute/cpu/conv_tmpl.h"
#include "compute/cpu/dots_tmpl.h"
#include "compute/cpu/rows_tmpl.h"

void kern_init_avx512(kern_table *k) {
    k->products = products_avx512;
    k->attention = attention_avx512;
    k->norms = norms_avx512;
    k->rows = rows_avx512;
    k->codec = codec_avx512;
}
#endif
