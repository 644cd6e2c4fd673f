// upload.c - see upload.h.
#include "gpu/upload.h"

#include <string.h>

#include "base/mem.h"
#include "compute/bf16x8.h"
#include "compute/quant.h"
#include "compute/tensor.h"

static bool same_shape(const weight *const *w, int count) {
    for (int i = 1; i < count; i++)
        if (w[i]->rows != w[0]->rows || w[i]->cols != w[0]->cols) return false;
    return true;
}

static bool is_bf16(const weight *w) {
    return w->type == DT_BF16 || w->type == DT_BF16X8;
}

// The type that holds the values of all: packed only if all are packed alike, bf16 only if all are.
static bool common_type(const weight *const *w, int count, int32_t *out) {
    bool packed = false, alike = true, bf16 = true;
    for (int i = 0; i < count; i++) {
        packed |= quant_is(w[i]->type);
        alike &= w[i]->type == w[0]->type;
        bf16 &= is_bf16(w[i]);
    }
    *out = packed ? (w[0]->type == DT_Q8 ? GPU_Q8 : GPU_Q4) : bf16 ? GPU_BF16 : GPU_F32;
    return !packed || alike;
}

// Row r of w as f32.
static void read_row(float *out, const weight *w, int64_t r) {
    if (w->type != DT_BF16X8) {
        tensor t = {.type = w->type, .dims = 2, .shape = {w->rows, w->cols}, .data = w->data};
        tensor_read_f32(out, &t, r * w->cols, w->cols);
        return;
    }
    const uint8_t *strip = w->data;
    strip += (size_t)(r / BF16X8_ROWS * bf16x8_values(w->cols)) * sizeof(uint16_t);
    for (int64_t c = 0; c < w->cols; c++) {
        int64_t chunk = c / BF16X8_COLS * BF16X8_ROWS + r % BF16X8_ROWS;
        uint16_t h;
        memcpy(&h, strip + (size_t)(chunk * BF16X8_COLS + c % BF16X8_COLS) * sizeof h, sizeof h);
        out[c] = bf16_to_f32(h);
    }
}

static void put_value(uint8_t *to, int32_t type, int64_t at, float v) {
    uint16_t h = f32_to_bf16(v);
    if (type == GPU_F32)
        memcpy(to + 4 * at, &v, sizeof v);
    else
        memcpy(to + 2 * at, &h, sizeof h);
}

// Writes w in strips of eight rows, or row by row; row: room for one.
static void lay_out(uint8_t *to, const weight *w, int32_t type, bool strips, float *row) {
    for (int64_t r = 0; r < w->rows; r++) {
        read_row(row, w, r);
        for (int64_t c = 0; c < w->cols; c++) {
            int64_t at = r * w->cols + c;
            if (strips) at = r / 8 * bf16x8_values(w->cols) + (c / 16 * 8 + r % 8) * 16 + c % 16;
            put_value(to, type, at, row[c]);
        }
    }
}

// Bytes of one of the matrices on the device.
static size_t size_of(const gpu_matrix *m, bool strips) {
    size_t one = m->type == GPU_F32 ? 4 : 2;
    if (m->type == GPU_Q8 || m->type == GPU_Q4)
        return quant_size(m->type == GPU_Q8 ? DT_Q8 : DT_Q4, m->rows, m->cols);
    int64_t rows = (m->rows + 7) / 8;
    return one * (size_t)(strips ? rows * bf16x8_values(m->cols) : (int64_t)m->rows * m->cols);
}

static status upload_one(device *d, const gpu_matrix *m, const weight *w, void *to, bool strips,
                         err *e) {
    size_t size = size_of(m, strips);
    if (quant_is(w->type) || (strips && w->type == DT_BF16X8 && m->type == GPU_BF16))
        return device_upload(d, to, w->data, size, e);
    uint8_t *made = mem_calloc(1, size);
    float *row = mem_calloc((size_t)w->cols, sizeof *row);
    status rc = made && row ? OK : err_set(e, ERR_OOM, "no memory to prepare weights for the GPU");
    if (!rc) lay_out(made, w, m->type, strips, row);
    if (!rc) rc = device_upload(d, to, made, size, e);
    mem_free(made);
    mem_free(row);
    return rc;
}

static status upload(device *d, gpu_matrix *out, const weight *const *w, int count, bool strips,
                     err *e) {
    int32_t type;
    *out = (gpu_matrix){0};
    if (!same_shape(w, count) || !common_type(w, count, &type)) {
        return err_set(e, ERR_FORMAT,
                       "GPU: expected matrices of one shape and packing side by side, found [%lld, "
                       "%lld] and others",
                       (long long)w[0]->rows, (long long)w[0]->cols);
    }
    *out =
        (gpu_matrix){.type = type, .count = count, .rows = (int32_t)w[0]->rows, .cols = w[0]->cols};
    size_t size = size_of(out, strips);
    status rc = device_alloc(d, &out->data, (size_t)count * size, e);
    for (int i = 0; i < count && !rc; i++)
        rc = upload_one(d, out, w[i], (uint8_t *)out->data + (size_t)i * size, strips, e);
    return rc;
}

status upload_matrices(device *d, gpu_matrix *out, const weight *const *w, int count, err *e) {
    return upload(d, out, w, count, true, e);
}

status upload_tables(device *d, gpu_matrix *out, const weight *const *w, int count, err *e) {
    return upload(d, out, w, count, false, e);
}

status upload_floats(device *d, float **out, const float *x, int64_t n, err *e) {
    void *p;
    status rc = device_alloc(d, &p, (size_t)n * sizeof *x, e);
    *out = p;
    return rc ? rc : device_upload(d, p, x, (size_t)n * sizeof *x, e);
}
