// kern_avx512bf16.c - the codec's kernels with AVX-512 BF16's product of bf16 pairs (x86-64).
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/math.h"

#if defined(__x86_64__)
#ifndef __AVX512BF16__
#error "kern_avx512bf16.c is compiled without AVX-512 BF16: see ISA_FLAGS in the Makefile"
#endif
#define LEVEL avx512bf16
#define CHAIN_PANELS_OF(F, n) F(n, 1) F(n, 2) F(n, 3) F(n, 4) F(n, 5) F(n, 6)
#define CHAIN_BLOCKS(F) CHAIN_PANELS_OF(F, 4) CHAIN_PANELS_OF(F, 2) CHAIN_PANELS_OF(F, 1)

#include "compute/cpu/vec_avx512.h"

#include "compute/cpu/level_tmpl.h"
#include "compute/cpu/math_tmpl.h"

#include "compute/cpu/conv_tmpl.h"

void kern_init_avx512bf16(kern_table *k) {
    k->codec = codec_avx512bf16;
}
#endif
