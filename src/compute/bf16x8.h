// bf16x8.h - bf16 weights with eight rows side by side, so that a product reads one stream of
// memory.
//
// DT_BF16X8: eight rows make a strip, and a strip holds, for every sixteen columns, those of row 0,
// of row 1, ... of row 7: 256 bytes, four lines. Rows and columns are filled up with zeros.
// Products are dot16's of the same values, so they have the bits that row-major bf16 gives.
#pragma once
#include "compute/types.h"

#define BF16X8_ROWS 8
#define BF16X8_COLS 16

// Values of a strip of weights with that many columns.
static inline int64_t bf16x8_values(int64_t cols) {
    return (cols + BF16X8_COLS - 1) / BF16X8_COLS * BF16X8_COLS * BF16X8_ROWS;
}

size_t bf16x8_size(int64_t rows, int64_t cols); // bytes of the whole; 0 on overflow

// Lays src (f32, bf16 or f16) out in strips, rounded to bf16: bf16x8_size bytes at out.
void bf16x8_pack(void *out, const weight *src);
// Rows from..to-1 of it alone, at their place in out; from is a multiple of BF16X8_ROWS.
void bf16x8_pack_rows(void *out, const weight *src, int64_t from, int64_t to);
