// bf16x8.h - bf16 weights with eight rows side by side, so that a product reads one stream of
// memory.
//
// DT_BF16X8: eight rows make a strip, and a strip holds, for every sixteen columns, those of row 0,
// of row 1, ... of row 7: 256 bytes, four lines. Rows and columns are filled up with zeros.
// Products are dot16's of the same values, so they have the bits that row-major bf16 gives.
#pragma once
#include "compute/ops.h"

#define STRIP_ROWS 8
#define STRIP_COLS 16

// Values of a strip of weights with that many columns.
static inline int64_t strip_values(int64_t cols) {
    return (cols + STRIP_COLS - 1) / STRIP_COLS * STRIP_COLS * STRIP_ROWS;
}

size_t strip_size(int64_t rows, int64_t cols); // bytes of the whole; 0 on overflow

// Lays src (f32, bf16 or f16) out in strips, rounded to bf16: strip_size bytes at out.
void strip_pack(void *out, const weight *src);
// Rows from..to-1 of it alone, at their place in out; from is a multiple of STRIP_ROWS.
void strip_pack_rows(void *out, const weight *src, int64_t from, int64_t to);
