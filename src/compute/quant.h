// quant.h - weights of 8 and 4 bits: their layout, packing and unpacking.
//
// A row is cut into blocks of 32 values that share a scale d (f16): value = d * q, with q in [-127,
// 127] (DT_Q8) or [-8, 7] (DT_Q4). These are the values of GGUF's Q8_0 and Q4_0. Only the order
// differs: sixteen rows make a panel, and a panel holds, block after block,
//   16 scales, one a row: f16, little endian
//   Q8: 8 groups of 64 bytes; group g holds columns 4g..4g+3 of row 0, of row 1, ... as q + 128
//   Q4: 4 groups of 64 bytes; group g holds in its low halves columns 4g..4g+3 of row 0, of row 1,
//       ... as q + 8, and in its high halves columns 16+4g..16+4g+3
// So a kernel has sixteen rows in the lanes of one register and never adds across lanes. Rows and
// columns are filled up with zeros. The bytes of a panel lie together: a product reads one stream.
//
// Products: x is rounded to 8 bits by blocks of 32 too (qblock in types.h). The sum over a block is
// exact. Blocks are added in order: acc = fma((float)sum, d * scale of x, acc), from +0.
#pragma once
#include "compute/types.h"

#define QUANT_ROWS 16 // rows of a panel

static inline bool quant_is(dtype t) {
    return t == DT_Q8 || t == DT_Q4;
}
int64_t quant_blocks(int64_t cols);                        // blocks of a row
int64_t quant_panels(int64_t rows);                        // panels of a matrix
size_t quant_panel_size(dtype type, int64_t cols);         // bytes
size_t quant_size(dtype type, int64_t rows, int64_t cols); // bytes of the whole; 0 on overflow

// Packs src (f32, bf16 or f16) as type into out, quant_size bytes. Scales: Q8: max |w| / 127. Q4:
// the value of largest magnitude / -8, as Q4_0 does. NaN becomes 0; infinities become the largest
// value of their block.
void quant_pack(void *out, dtype type, const weight *src);
// Packs panels from..to-1 only, at their place in out.
void quant_pack_panels(void *out, dtype type, const weight *src, int64_t from, int64_t to);

// Writes row r of a packed matrix, cols values, as f32.
void quant_row(float *out, const weight *w, int64_t r);
