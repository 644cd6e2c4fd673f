// gemm.h - matrix products over the kernel table: cache blocks and the division among threads.
#pragma once
#include "compute/cpu/compute.h"

// The number of parts of a product for this many threads.
int gemm_parts(const linear_args *a, int threads);
// Does one part of y = act(x W^T + bias) (+ y). All parts together are the product.
void gemm_part(const compute *c, const linear_args *a, int part, int parts, int thread);

// The same for packed weights and n rows x of a; q: the first of these rows in 8 bits.
int gemm_packed_parts(const linear_args *a, int64_t n, int threads);
void gemm_packed_part(const compute *c, const linear_args *a, span x, const qblock *q, int part,
                      int parts, int thread);

#define GEMM_BLOCK_ROWS 64 // weight rows whose results lie in the cache before they go to y
#define GEMM_BLOCK_X 64    // the most rows of x that count as few

// Multiplies weight rows w of a, at most GEMM_BLOCK_ROWS, with all rows of x, at most GEMM_BLOCK_X.
// q: these in 8 bits, for packed weights; then w begins at a multiple of QUANT_ROWS. For weights
// that are read again soon and so lie in a cache.
void gemm_block(const compute *c, const linear_args *a, span w, const qblock *q);

// Address of the first weight row of share `share` of `shares`.
const void *gemm_first(const weight *w, int share, int shares);
