// kvpack.h - cached keys and values of 8 bits (DT_I8): their layout in panels of sixteen rows.
//
// A row of a head is unit * q, with q in [-127, 127] and one f32 unit a row. Sixteen rows of a head
// make a panel. The panels of all heads for the same rows lie side by side; the panels of the next
// rows follow. So a step reads one stream, however much room the cache has. A panel holds
//   16 units, one a row
//   keys: groups of 64 bytes; group g holds columns 4g..4g+3 of row 0, of row 1, ... as q + 128
//   values: four runs of groups of 64 bytes; group g of run r holds column 16g of rows 4r..4r+3,
//   column 16g+1 of them, ... as q + 128
// A panel is thus a weight panel as quant.h has it: four bytes that belong to one sum lie together,
// and the sixteen sums lie in the lanes of one register. Columns are filled up to a multiple of 16.
// Kernels multiply what lies there, and in rows that do not exist yet, by 0.
#pragma once
#include <string.h>

#include "base/base.h"

#define KVPACK_ROWS 16    // rows of a panel
#define KVPACK_HEADS 16   // the most heads that one kernel call takes
#define KVPACK_WIDTH 1024 // the most columns of all these heads together
#define KVPACK_RUN 256    // rows whose weighted values are summed exactly

static inline int64_t kvpack_width(int64_t dh) { // columns of a head, filled up
    return (dh + 15) / 16 * 16;
}
static inline int64_t kvpack_heads(int64_t dh) { // the heads that one kernel call takes
    return MAX(1, MIN(KVPACK_HEADS, KVPACK_WIDTH / kvpack_width(dh)));
}
static inline int64_t kvpack_panel_size(int64_t dh) { // bytes
    return KVPACK_ROWS * (4 + kvpack_width(dh));
}
static inline int64_t kvpack_size(int64_t rows, int64_t dh) { // bytes of a head
    return (rows + KVPACK_ROWS - 1) / KVPACK_ROWS * kvpack_panel_size(dh);
}

// Row pos of head `head`, one of `heads`.
typedef struct {
    int64_t heads, head, dh, pos;
} kvpack_place;

// Write a row, q [dh] and its unit, into the panels of keys or of values.
void kvpack_put_key(uint8_t *keys, const kvpack_place *at, const int8_t *q, float unit);
void kvpack_put_value(uint8_t *values, const kvpack_place *at, const int8_t *q, float unit);
