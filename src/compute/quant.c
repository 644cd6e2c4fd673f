// quant.c - see quant.h.
#include "compute/quant.h"

#include <assert.h>
#include <float.h>

#include "compute/tensor.h"

#define SCALES (QUANT_ROWS * 4) // bytes of the scales of a block, and of its sub-scales
#define BLOCK_SLICES (QUANT_BLOCK / QUANT_SLICE)

int64_t quant_blocks(int64_t cols) {
    return (cols + QUANT_BLOCK - 1) / QUANT_BLOCK;
}
int64_t quant_slices(int64_t cols) {
    return (cols + QUANT_SLICE - 1) / QUANT_SLICE;
}
int64_t quant_panels(int64_t rows) {
    return (rows + QUANT_ROWS - 1) / QUANT_ROWS;
}

size_t quant_head_size(dtype type) {
    assert(quant_is(type));
    return type == DT_Q8 ? SCALES : 2 * SCALES;
}

// Bytes of a slice.
static size_t slice_size(dtype type) {
    return QUANT_ROWS * QUANT_SLICE / (type == DT_Q8 ? 1 : 2);
}

size_t quant_panel_size(dtype type, int64_t cols) {
    return (size_t)quant_blocks(cols) * quant_head_size(type) +
           (size_t)quant_slices(cols) * slice_size(type);
}

size_t quant_size(dtype type, int64_t rows, int64_t cols) {
    size_t n;
    if (rows < 0 || cols < 0 || rows > INT32_MAX || cols > INT32_MAX) return 0;
    return size_mul(&n, (size_t)quant_panels(rows), quant_panel_size(type, cols)) ? n : 0;
}

// Where the byte of row `lane` and column i of a block lies, after the block's head.
static size_t byte_of(dtype type, int lane, int i) {
    if (type == DT_Q8) return (size_t)(i / 4 * 64 + 4 * lane + i % 4);
    return (size_t)(i / QUANT_SUB * 256 + i % 16 / 4 * 64 + 4 * lane + i % 4);
}

// Makes all values of a block finite, and returns the largest magnitude.
static float clean(float v[QUANT_BLOCK]) {
    float most = 0;
    for (int i = 0; i < QUANT_BLOCK; i++) {
        float a = v[i] < 0 ? -v[i] : v[i];
        if (a <= FLT_MAX && a > most) most = a;
    }
    for (int i = 0; i < QUANT_BLOCK; i++) {
        if (v[i] != v[i]) v[i] = 0;
        v[i] = v[i] > most ? most : v[i] < -most ? -most : v[i];
    }
    return most;
}

// v / d rounded to the nearest integer, halves away from 0, within +-127.
static int quantum(float v, float d) {
    float q = d == 0.0f ? 0.0f : v / d;
    if (q <= -127.0f) return -127;
    if (q >= 127.0f) return 127;
    return (int)(q < 0 ? q - 0.5f : q + 0.5f);
}

static void pack8(uint8_t *block, int lane, int cols, const float *v, float most) {
    float d = most / 127.0f;
    memcpy(block + 4 * lane, &d, sizeof d);
    block += quant_head_size(DT_Q8);
    for (int i = 0; i < cols; i++)
        block[byte_of(DT_Q8, lane, i)] = (uint8_t)(quantum(v[i], d) + 128);
}

static void pack4(uint8_t *block, int lane, int cols, const float *v) {
    quant4 q;
    quant_search(&q, v);
    uint32_t subs = 0;
    for (int j = 0; j < QUANT_BLOCK / QUANT_SUB; j++) subs |= (uint32_t)q.s[j] << 4 * j;
    memcpy(block + 4 * lane, &q.d, sizeof q.d);
    memcpy(block + SCALES + 4 * lane, &subs, sizeof subs);
    block += quant_head_size(DT_Q4);
    for (int i = 0; i < cols; i++) {
        uint8_t *at = &block[byte_of(DT_Q4, lane, i)];
        int n = q.n[i] + 8;
        *at = (uint8_t)(i % 32 < 16 ? n : *at | n << 4); // the low half comes first and sets all
    }
}

void quant_pack_panels(void *out, dtype type, const weight *src, int64_t from, int64_t to) {
    tensor t = {.type = src->type, .dims = 2, .shape = {src->rows, src->cols}, .data = src->data};
    size_t panel = quant_panel_size(type, src->cols);
    size_t block = quant_head_size(type) + BLOCK_SLICES * slice_size(type);
    for (int64_t r = from * QUANT_ROWS; r < to * QUANT_ROWS; r++) {
        uint8_t *at = (uint8_t *)out + (size_t)(r / QUANT_ROWS) * panel;
        for (int64_t c = 0; c < src->cols; c += QUANT_BLOCK, at += block) {
            float v[QUANT_BLOCK] = {0};
            int64_t n = MIN(QUANT_BLOCK, src->cols - c);
            if (r < src->rows) tensor_read_f32(v, &t, r * src->cols + c, n);
            int lane = (int)(r % QUANT_ROWS), cols = (int)quant_slices(n) * QUANT_SLICE;
            float most = clean(v);
            if (type == DT_Q8)
                pack8(at, lane, cols, v, most);
            else
                pack4(at, lane, cols, v);
        }
    }
}

void quant_pack(void *out, dtype type, const weight *src) {
    quant_pack_panels(out, type, src, 0, quant_panels(src->rows));
}

void quant_row(float *out, const weight *w, int64_t r) {
    size_t block = quant_head_size(w->type) + BLOCK_SLICES * slice_size(w->type);
    const uint8_t *panel = w->data;
    panel += (size_t)(r / QUANT_ROWS) * quant_panel_size(w->type, w->cols);
    int lane = (int)(r % QUANT_ROWS);
    for (int64_t c = 0; c < w->cols; c++) {
        const uint8_t *at = panel + (size_t)(c / QUANT_BLOCK) * block;
        int i = (int)(c % QUANT_BLOCK);
        float d;
        uint32_t subs;
        memcpy(&d, at + 4 * lane, sizeof d);
        memcpy(&subs, at + SCALES + 4 * lane, sizeof subs);
        int byte = at[quant_head_size(w->type) + byte_of(w->type, lane, i)];
        int s = (int)(subs >> i / QUANT_SUB * 4 & 15), n = (byte >> (i % 32 < 16 ? 0 : 4) & 15) - 8;
        out[c] = d * (float)(w->type == DT_Q8 ? byte - 128 : s * n);
    }
}
