// bf16x8.c - see bf16x8.h.
#include "compute/bf16x8.h"

#include "compute/tensor.h"

size_t bf16x8_size(int64_t rows, int64_t cols) {
    size_t n;
    if (rows < 0 || cols < 0 || rows > INT32_MAX || cols > INT32_MAX) return 0;
    size_t strips = ((size_t)rows + BF16X8_ROWS - 1) / BF16X8_ROWS;
    return size_mul(&n, strips, (size_t)bf16x8_values(cols) * sizeof(uint16_t)) ? n : 0;
}

// Writes n values, at most sixteen columns of one row, and zeros after them.
static void put_piece(uint8_t *to, const tensor *t, int64_t from, int64_t n) {
    float v[BF16X8_COLS] = {0};
    uint16_t h[BF16X8_COLS];
    tensor_read_f32(v, t, from, n);
    for (int i = 0; i < BF16X8_COLS; i++) h[i] = f32_to_bf16(v[i]);
    memcpy(to, h, sizeof h);
}

void bf16x8_pack_rows(void *out, const weight *src, int64_t from, int64_t to) {
    tensor t = {.type = src->type, .dims = 2, .shape = {src->rows, src->cols}, .data = src->data};
    const size_t piece = BF16X8_COLS * sizeof(uint16_t);
    uint8_t *strip = out;
    strip += (size_t)(from / BF16X8_ROWS * bf16x8_values(src->cols)) * sizeof(uint16_t);
    for (int64_t r = from; r < to; r += BF16X8_ROWS) {
        for (int64_t c = 0; c < src->cols; c += BF16X8_COLS, strip += BF16X8_ROWS * piece) {
            int64_t rows = MIN(BF16X8_ROWS, src->rows - r), n = MIN(BF16X8_COLS, src->cols - c);
            memset(strip, 0, BF16X8_ROWS * piece);
            for (int64_t i = 0; i < rows; i++)
                put_piece(strip + (size_t)i * piece, &t, (r + i) * src->cols + c, n);
        }
    }
}

void bf16x8_pack(void *out, const weight *src) {
    bf16x8_pack_rows(out, src, 0, src->rows);
}
