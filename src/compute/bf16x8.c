// bf16x8.c - see bf16x8.h.
#include "compute/bf16x8.h"

size_t strip_size(int64_t rows, int64_t cols) {
    size_t n;
    if (rows < 0 || cols < 0 || rows > INT32_MAX || cols > INT32_MAX) return 0;
    size_t strips = ((size_t)rows + STRIP_ROWS - 1) / STRIP_ROWS;
    return size_mul(&n, strips, (size_t)strip_values(cols) * sizeof(uint16_t)) ? n : 0;
}

// Sixteen columns of one row, or the last n of them.
static void put_piece(uint8_t *to, const tensor *t, int64_t from, int64_t n) {
    float v[STRIP_COLS] = {0};
    uint16_t h[STRIP_COLS];
    tensor_read_f32(v, t, from, n);
    for (int i = 0; i < STRIP_COLS; i++) h[i] = f32_to_bf16(v[i]);
    memcpy(to, h, sizeof h);
}

void strip_pack_rows(void *out, const weight *src, int64_t from, int64_t to) {
    tensor t = {.type = src->type, .dims = 2, .shape = {src->rows, src->cols}, .data = src->data};
    const size_t piece = STRIP_COLS * sizeof(uint16_t);
    uint8_t *strip = out;
    strip += (size_t)(from / STRIP_ROWS * strip_values(src->cols)) * sizeof(uint16_t);
    for (int64_t r = from; r < to; r += STRIP_ROWS) {
        for (int64_t c = 0; c < src->cols; c += STRIP_COLS, strip += STRIP_ROWS * piece) {
            int64_t rows = MIN(STRIP_ROWS, src->rows - r), n = MIN(STRIP_COLS, src->cols - c);
            memset(strip, 0, STRIP_ROWS * piece);
            for (int64_t i = 0; i < rows; i++)
                put_piece(strip + (size_t)i * piece, &t, (r + i) * src->cols + c, n);
        }
    }
}

void strip_pack(void *out, const weight *src) {
    strip_pack_rows(out, src, 0, src->rows);
}
