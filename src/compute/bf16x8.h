// bf16x8.h - bf16 weights with eight rows interleaved, so that a product reads one stream of
// memory.
//
// DT_BF16X8: eight rows make a strip. For every sixteen columns, a strip holds those of row 0, then
// those of row 1, ... of row 7: 256 bytes, four cache lines. Rows and columns are filled up with
// zeros. Products have the bits of row-major bf16: they are dot16 of the same values.
#pragma once
#include "compute/types.h"

#define BF16X8_ROWS 8
#define BF16X8_COLS 16

// Values of one strip of weights with `cols` columns.
static inline int64_t bf16x8_values(int64_t cols) {
    return (cols + BF16X8_COLS - 1) / BF16X8_COLS * BF16X8_COLS * BF16X8_ROWS;
}

size_t bf16x8_size(int64_t rows, int64_t cols); // bytes of the whole; 0 on overflow

// Writes src (f32, bf16 or f16), rounded to bf16, in strips to out: bf16x8_size bytes.
void bf16x8_pack(void *out, const weight *src);
// Writes rows from..to-1 only, at their place in out; from is a multiple of BF16X8_ROWS.
void bf16x8_pack_rows(void *out, const weight *src, int64_t from, int64_t to);
