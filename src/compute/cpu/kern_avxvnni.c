// kern_avxvnni.c - the kernels of packed weights for AVX-VNNI, 256 bits wide (x86-64).
//
// Processors without AVX-512 have it since 2021.
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/math.h"

#if defined(__x86_64__)
#ifndef __AVXVNNI__
#error "kern_avxvnni.c is compiled without AVX-VNNI: see ISA_FLAGS in the Makefile"
#endif
#define LEVEL avxvnni
#define PACKED_TILES(F) F(1, 1) F(1, 2) F(1, 3) F(1, 4)

#include "compute/cpu/vec_avx2.h"

#include "compute/cpu/level_tmpl.h"

#include "compute/cpu/packed_attend_tmpl.h"
#include "compute/cpu/packed_dots_tmpl.h"

void kern_init_avxvnni(kern_table *k) {
    k->packed = packed_avxvnni;
    k->packed_attention = packed_attention_avxvnni;
}
#endif
