// chain.c - see chain.h: where the weights of convolutions lie.
#include "compute/chain.h"

#include <assert.h>
#include <math.h>

#include "compute/tensor.h"

#define PUT_BLOCK 64 // values that are combined at once

size_t chain_panel_size(dtype type, int64_t cols) {
    return (size_t)(type == DT_F32 ? cols : (cols + 1) / 2) * 64;
}

bool chain_size(size_t *out, dtype type, int64_t rows, int64_t cols) {
    return size_mul(out, ((size_t)rows + 15) / 16, chain_panel_size(type, cols));
}

void chain_put(const chain_weight *w, int64_t row, int64_t col, const float *x, int64_t n) {
    uint8_t *panel = (uint8_t *)w->data + (size_t)(row / 16) * chain_panel_size(w->type, w->cols);
    int64_t lane = row % 16;
    assert(col >= 0 && col + n <= w->cols && row < w->rows);
    if (w->type == DT_F32) {
        float *to = (float *)(void *)panel + lane;
        for (int64_t i = 0; i < n; i++) to[(col + i) * 16] = x[i];
        return;
    }
    uint16_t *to = (uint16_t *)(void *)panel + 2 * lane;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = col + i;
        to[k / 2 * 32 + k % 2] = f32_to_bf16(fabsf(x[i]) < CHAIN_TINY ? 0.0f : x[i]);
    }
}

void chain_round(const chain_weight *to, const void *panels) {
    float x[PUT_BLOCK];
    for (int64_t r = 0; r < to->rows; r++) {
        const float *from =
            (const float *)panels + (size_t)(r / 16) * (size_t)to->cols * 16 + r % 16;
        for (int64_t at = 0; at < to->cols; at += PUT_BLOCK) {
            int64_t n = MIN(PUT_BLOCK, to->cols - at);
            for (int64_t i = 0; i < n; i++) x[i] = from[(at + i) * 16];
            chain_put(to, r, at, x, n);
        }
    }
}

chain_weight chain_conv_weight(dtype type, int64_t rows, int64_t in, int64_t taps, int64_t step) {
    bool tiled = step == 1 && (taps == 2 || taps == 3) && in % 16 == 0 && rows > 1;
    return (chain_weight){.type = type,
                          .rows = rows,
                          .cols = in * (tiled ? CHAIN_TILE : taps),
                          .taps = tiled ? (int)taps : 0};
}

int64_t chain_tile_rows(const chain_weight *w) {
    return w->taps ? CHAIN_TILE + 1 - w->taps : 1;
}

// Writes P1 and P2 of n inputs, at most PUT_BLOCK, from input `at` of each tap on.
static void put_sums(const chain_weight *w, int64_t row, int64_t col, const float *const *tap,
                     int64_t at, int64_t n) {
    float one[PUT_BLOCK], minus_one[PUT_BLOCK];
    for (int64_t i = 0; i < n; i++) {
        float even = tap[0][at + i] + (w->taps > 2 ? tap[2][at + i] : 0.0f), odd = tap[1][at + i];
        one[i] = (even + odd) / 2;
        minus_one[i] = (even - odd) / 2;
    }
    chain_put(w, row, w->cols / CHAIN_TILE + col, one, n);
    chain_put(w, row, w->cols / CHAIN_TILE * 2 + col, minus_one, n);
}

void chain_put_taps(const chain_weight *w, int64_t row, int64_t col, const float *const *tap,
                    int64_t taps, int64_t n) {
    int64_t in = w->cols / (w->taps ? CHAIN_TILE : taps);
    if (!w->taps) {
        for (int64_t j = 0; j < taps; j++) chain_put(w, row, j * in + col, tap[j], n);
        return;
    }
    chain_put(w, row, col, tap[0], n);
    for (int64_t i = 0; i < n; i += PUT_BLOCK)
        put_sums(w, row, col + i, tap, i, MIN(PUT_BLOCK, n - i));
    chain_put(w, row, 3 * in + col, tap[taps - 1], n);
}
