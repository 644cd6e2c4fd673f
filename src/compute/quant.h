// quant.h - weights of 8 and 4 bits: their layout, packing and unpacking.
//
// A row is cut into blocks of 256 columns that share a scale d (f32):
//   DT_Q8  value = d * q, with q in [-127, 127]
//   DT_Q4  value = d * (s * n), with n in [-8, 7] and a sub-scale s in [0, 15] for 32 columns
// s * n fits 8 bits, so weights of 4 bits expand exactly to weights of 8 bits.
//
// Sixteen rows make a panel, and a panel holds, block after block,
//   scales      64 bytes: sixteen f32, one a row
//   Q4 only     64 bytes: sixteen sub-scales of 4 bytes, one a row: bits 4j..4j+3 are s of columns
//               32j..32j+31
//   slices of 64 columns, four a block; the last block has as many as it needs
//   Q8: a slice has 16 groups of 64 bytes; group g holds columns 4g..4g+3 of row 0, of row 1, ...
//       as q + 128
//   Q4: a slice has two times 4 groups of 64 bytes, for 32 columns each; group g of these holds in
//       its low halves columns 4g..4g+3 of row 0, of row 1, ... as n + 8, and in its high halves
//       columns 16+4g..16+4g+3
// So a kernel has sixteen rows in the lanes of one register and never adds across lanes. Rows and
// columns are filled up with zeros. The bytes of a panel lie together: a product reads one stream,
// and every group is a cache line where the first one is. A slice of Q8 is a tile of AMX as it lies
// (16 rows of 64 bytes: B of TDPBSUD), and four bytes of a row are an operand of VNNI, of Arm's dot
// product and of the integer mma of a GPU.
//
// Products: x is rounded to 8 bits by blocks of 256 too (qblock in types.h). The sum over a block
// is an exact integer. Blocks are added in order: acc = fma((float)sum, d * scale of x, acc), from
// +0.
#pragma once
#include "compute/types.h"

#define QUANT_ROWS 16  // rows of a panel
#define QUANT_SLICE 64 // columns of a slice

static inline bool quant_is(dtype t) {
    return t == DT_Q8 || t == DT_Q4;
}
int64_t quant_blocks(int64_t cols);                        // blocks of a row
int64_t quant_slices(int64_t cols);                        // slices of a row
int64_t quant_panels(int64_t rows);                        // panels of a matrix
size_t quant_head_size(dtype type);                        // bytes of a block before its slices
size_t quant_panel_size(dtype type, int64_t cols);         // bytes
size_t quant_size(dtype type, int64_t rows, int64_t cols); // bytes of the whole; 0 on overflow

// Packs src (f32, bf16 or f16) as type into out, quant_size bytes. Q8: d is max |w| / 127. Q4: d
// and the sub-scales are searched for a small sum of squared errors (quant_search.c). NaN becomes
// 0; infinities become the largest value of their block.
void quant_pack(void *out, dtype type, const weight *src);
// Packs panels from..to-1 only, at their place in out.
void quant_pack_panels(void *out, dtype type, const weight *src, int64_t from, int64_t to);

// Writes row r of a packed matrix, cols values, as f32.
void quant_row(float *out, const weight *w, int64_t r);

// A block of one row in 4 bits.
typedef struct {
    float d;
    uint8_t s[QUANT_BLOCK / QUANT_SUB];
    int8_t n[QUANT_BLOCK];
} quant4;
// Rounds the finite values v to 4 bits.
void quant_search(quant4 *out, const float v[QUANT_BLOCK]);
