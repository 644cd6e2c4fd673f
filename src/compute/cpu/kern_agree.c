// kern_agree.c - do two tables of kernels give the same bits for packed weights? A look at start.
#include <string.h>

#include "compute/cpu/kern.h"

// Three panels, three groups of tile rows, a block and a half.
enum { PANELS = 3, COLS = 352, BLOCKS = 2, X_ROWS = 35, CELLS = X_ROWS * PANELS * QUANT_ROWS };
#define WEIGHT_BYTES (PANELS * (128 * BLOCKS + QUANT_ROWS * QUANT_BLOCK * BLOCKS))

// Bytes other than 0 are packed weights of either type (quant.h); scales have to be numbers.
static void fill_weights(uint8_t *w, dtype type) {
    const size_t panel = quant_panel_size(type, COLS), block = quant_panel_size(type, QUANT_BLOCK);
    for (size_t i = 0; i < WEIGHT_BYTES; i++) w[i] = (uint8_t)(1 + (i * 167 + (i >> 7) * 29) % 255);
    for (int p = 0; p < PANELS; p++) {
        for (int b = 0; b < BLOCKS; b++) {
            for (int r = 0; r < QUANT_ROWS; r++) {
                const float d = 0.001f * (float)(1 + r + 16 * b + 3 * p);
                memcpy(w + (size_t)p * panel + (size_t)b * block + 4 * (size_t)r, &d, sizeof d);
            }
        }
    }
}

static void fill_x(const kern_table *k, qblock x[X_ROWS * BLOCKS]) {
    float row[COLS];
    for (int j = 0; j < X_ROWS; j++) {
        for (int i = 0; i < COLS; i++) row[i] = (float)((i * 37 + j * 101) % 255 - 127) * 0.01f;
        k->rows.quantise(x + (ptrdiff_t)j * BLOCKS, row, COLS);
    }
}

bool kern_packed_agree(const kern_table *a, const kern_table *b) {
    uint8_t w[WEIGHT_BYTES];
    qblock x[X_ROWS * BLOCKS];
    float out[2][CELLS];
    fill_x(a, x);
    for (int t = DT_Q8; t <= DT_Q4; t++) {
        fill_weights(w, (dtype)t);
        qdots_args q = {.out = out[0], .w = w, .type = (dtype)t, .panels = PANELS, .x = x};
        q.ldo = PANELS * QUANT_ROWS, q.n = X_ROWS, q.cols = COLS, q.cached = true;
        a->packed.dots(&q);
        q.out = out[1];
        b->packed.dots(&q);
        if (memcmp(out[0], out[1], sizeof out[0]) != 0) return false;
    }
    return true;
}
