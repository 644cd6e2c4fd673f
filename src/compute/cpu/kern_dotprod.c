// kern_dotprod.c - the kernels of packed weights for NEON's integer dot product (Armv8.2).
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/math.h"

#if defined(__aarch64__)
#ifndef __ARM_FEATURE_DOTPROD
#error "kern_dotprod.c is compiled without the dot product: see NEON_FLAGS in the Makefile"
#endif
#define LEVEL dotprod
#define PACKED_TILES(F) F(1, 1) F(1, 2)

#include "compute/cpu/vec_neon.h"

#include "compute/cpu/level_tmpl.h"

#include "compute/cpu/packed_attend_tmpl.h"
#include "compute/cpu/packed_dots_tmpl.h"

void kern_init_dotprod(kern_table *k) {
    k->packed = packed_dotprod;
    k->packed_attention = packed_attention_dotprod;
}
#endif
