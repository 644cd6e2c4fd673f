// quant.c - see quant.h.
#include "compute/quant.h"

#include <assert.h>

#include "compute/tensor.h"

int64_t quant_blocks(int64_t cols) {
    return (cols + QUANT_BLOCK - 1) / QUANT_BLOCK;
}
int64_t quant_panels(int64_t rows) {
    return (rows + QUANT_ROWS - 1) / QUANT_ROWS;
}

// Bytes of one block in a panel: sixteen scales and sixteen rows of 32 values.
static size_t block_size(dtype type) {
    assert(quant_is(type));
    return QUANT_ROWS * 2 + QUANT_ROWS * QUANT_BLOCK / (type == DT_Q8 ? 1 : 2);
}

size_t quant_panel_size(dtype type, int64_t cols) {
    return (size_t)quant_blocks(cols) * block_size(type);
}

size_t quant_size(dtype type, int64_t rows, int64_t cols) {
    size_t n;
    if (rows < 0 || cols < 0 || rows > INT32_MAX || cols > INT32_MAX) return 0;
    return size_mul(&n, (size_t)quant_panels(rows), quant_panel_size(type, cols)) ? n : 0;
}

// The scale of a block of 32 values, as the f16 that is stored.
static uint16_t scale_of(dtype type, const float *v) {
    float most = 0; // the value of largest magnitude; the first if several are equal
    for (int i = 0; i < QUANT_BLOCK; i++) {
        float a = v[i] < 0 ? -v[i] : v[i], m = most < 0 ? -most : most;
        if (a > m && a <= 65504.0f * 8) most = v[i];
    }
    if (type == DT_Q4) return f32_to_f16(most / -8.0f);
    return f32_to_f16((most < 0 ? -most : most) / 127.0f);
}

// v / d rounded to the nearest integer, halves away from 0, and limited to [lo, hi]. NaN gives 0.
static int quantum(float v, float d, int lo, int hi) {
    if (d == 0.0f || v != v) return 0;
    float q = v / d;
    if (q <= (float)lo) return lo;
    if (q >= (float)hi) return hi;
    return (int)(q < 0 ? q - 0.5f : q + 0.5f);
}

// Writes the 32 values v as row `lane` of a block.
static void pack_block(uint8_t *block, dtype type, int lane, const float *v) {
    uint16_t h = scale_of(type, v);
    float d = f16_to_f32(h);
    memcpy(block + 2 * lane, &h, 2);
    uint8_t *q = block + 2 * QUANT_ROWS + 4 * lane;
    for (int i = 0; i < QUANT_BLOCK; i++) {
        if (type == DT_Q8) {
            q[i / 4 * 64 + i % 4] = (uint8_t)(quantum(v[i], d, -127, 127) + 128);
        } else {
            uint8_t *at = &q[i % 16 / 4 * 64 + i % 4];
            int n = quantum(v[i], d, -8, 7) + 8;
            *at = (uint8_t)(i < 16 ? n : *at | n << 4); // columns 0-15 come first and set all bits
        }
    }
}

void quant_pack_panels(void *out, dtype type, const weight *src, int64_t from, int64_t to) {
    tensor t = {.type = src->type, .dims = 2, .shape = {src->rows, src->cols}, .data = src->data};
    size_t panel = quant_panel_size(type, src->cols), block = block_size(type);
    for (int64_t r = from * QUANT_ROWS; r < to * QUANT_ROWS; r++) {
        uint8_t *at = (uint8_t *)out + (size_t)(r / QUANT_ROWS) * panel;
        for (int64_t c = 0; c < src->cols; c += QUANT_BLOCK, at += block) {
            float v[QUANT_BLOCK] = {0};
            if (r < src->rows) {
                tensor_read_f32(v, &t, r * src->cols + c, MIN(QUANT_BLOCK, src->cols - c));
            }
            pack_block(at, type, (int)(r % QUANT_ROWS), v);
        }
    }
}

void quant_pack(void *out, dtype type, const weight *src) {
    quant_pack_panels(out, type, src, 0, quant_panels(src->rows));
}

void quant_row(float *out, const weight *w, int64_t r) {
    size_t panel = quant_panel_size(w->type, w->cols), block = block_size(w->type);
    const uint8_t *at = (const uint8_t *)w->data + (size_t)(r / QUANT_ROWS) * panel;
    int lane = (int)(r % QUANT_ROWS);
    for (int64_t c = 0; c < w->cols; c++) {
        int i = (int)(c % QUANT_BLOCK);
        if (c && !i) at += block;
        uint16_t h;
        memcpy(&h, at + 2 * lane, 2);
        const uint8_t *q = at + 2 * QUANT_ROWS + 4 * lane;
        int n = w->type == DT_Q8 ? q[i / 4 * 64 + i % 4] - 128
                                 : (q[i % 16 / 4 * 64 + i % 4] >> (i < 16 ? 0 : 4) & 15) - 8;
        out[c] = f16_to_f32(h) * (float)n;
    }
}
