// kvpack.h - cached keys and values of 8 bits (DT_I8): their layout.
//
// A row of a head is unit * q, with q in [-127, 127] and one f32 unit a row. Sixteen rows of a head
// make a panel; the panels of all heads for the same rows lie side by side, and then those of the
// next rows: what a step reads is one stream, however much room there is behind it. A panel is
//   16 units, one a row
//   keys: groups of 64 bytes; group g holds columns 4g..4g+3 of row 0, of row 1, ... as q + 128
//   values: four runs of groups of 64 bytes; group g of run r holds column 16g of rows 4r..4r+3,
//   column 16g+1 of them, ... as q + 128
// so that both are weight panels of quant.h's kind: what is multiplied lies four bytes at a time
// beside its fellows of the same sum, and sixteen sums lie in the lanes of one register. Columns
// are filled up to a multiple of 16; what lies there, and in rows not yet put, is multiplied by 0.
#pragma once
#include <string.h>

#include "base/base.h"

#define KVPACK_ROWS 16
#define KVPACK_WIDTH 1024 // columns, of all heads together, that kernels take at once
#define KVPACK_HEADS 16   // heads
#define KVPACK_RUN 256    // rows whose values are summed exactly

static inline int64_t kvpack_width(int64_t dh) {
    return (dh + 15) / 16 * 16;
}
static inline int64_t kvpack_heads(int64_t dh) { // that kernels take at once
    return MAX(1, MIN(KVPACK_HEADS, KVPACK_WIDTH / kvpack_width(dh)));
}
static inline int64_t kvpack_panel_size(int64_t dh) { // bytes
    return KVPACK_ROWS * (4 + kvpack_width(dh));
}
static inline int64_t kvpack_size(int64_t rows, int64_t dh) { // bytes that a head makes
    return (rows + KVPACK_ROWS - 1) / KVPACK_ROWS * kvpack_panel_size(dh);
}

// Row pos of one of so many heads.
typedef struct {
    int64_t heads, head, dh, pos;
} kvpack_place;

// Puts a row into keys or values: dh integers and what one of them stands for.
void kvpack_put_key(uint8_t *keys, const kvpack_place *at, const int8_t *q, float unit);
void kvpack_put_value(uint8_t *values, const kvpack_place *at, const int8_t *q, float unit);
