// gemm.h - matrix products over the kernel table: cache blocks and the division among threads.
#pragma once
#include "compute/cpu/compute.h"

// Into how many parts a product falls for this many threads.
int gemm_parts(const linear_args *a, int threads);
// One part of y = act(x W^T + bias) (+ y), done by the given thread. All parts together are the
// whole.
void gemm_part(const compute *c, const linear_args *a, int part, int parts, int thread);

// The same for packed weights and x rows x of a, n of them; q: the first of them in 8 bits.
int gemm_packed_parts(const linear_args *a, int64_t n, int threads);
void gemm_packed_part(const compute *c, const linear_args *a, span x, const qblock *q, int part,
                      int parts);

#define GEMM_BLOCK_ROWS 64 // weight rows between two visits to y
#define GEMM_BLOCK_X 64    // x rows that may be few

// Weight rows w of a, a block of them at most, against all its x rows, GEMM_BLOCK_X at most. q:
// those quantised, for packed weights; their rows begin at multiples of QUANT_ROWS. For weights
// that are soon read again, and so lie in a cache.
void gemm_block(const compute *c, const linear_args *a, span w, const qblock *q);

// Where one of so many equal shares of w's rows begins.
const void *gemm_first(const weight *w, int share, int shares);
