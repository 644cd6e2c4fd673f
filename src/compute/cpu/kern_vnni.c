// kern_vnni.c - the kernels of packed weights for AVX-512 VNNI (x86-64).
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/math.h"

#if defined(__x86_64__)
#ifndef __AVX512VNNI__
#error "kern_vnni.c is compiled without AVX-512 VNNI: see ISA_FLAGS in the Makefile"
#endif
#define LEVEL vnni
// Register tiles. Two panels by eight rows take 16 integer sums, two groups of weights and one
// activation of the 32 registers. Their 16 results lie in memory between blocks.
#define PACKED_ONE(F) F(1, 1) F(1, 2) F(1, 3) F(1, 4) F(1, 5) F(1, 6) F(1, 7) F(1, 8)
#define PACKED_TWO(F) F(2, 1) F(2, 2) F(2, 3) F(2, 4) F(2, 5) F(2, 6) F(2, 7) F(2, 8)
#define PACKED_TILES(F) PACKED_ONE(F) PACKED_TWO(F)

#include "compute/cpu/vec_avx512.h"

#include "compute/cpu/level_tmpl.h"

#include "compute/cpu/packed_attend_tmpl.h"
#include "compute/cpu/packed_dots_tmpl.h"

void kern_init_vnni(kern_table *k) {
    k->packed = packed_vnni;
    k->packed_attention = packed_attention_vnni;
}
#endif
