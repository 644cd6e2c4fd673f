// product.c - see product.h.
#include "gpu/product.h"

product_args product_of(const gpu_matrix *w, gpu_input in, float *y, const int32_t *n) {
    return (product_args){.w = w->data,
                          .type = w->type,
                          .count = w->count,
                          .rows = w->rows,
                          .cols = w->cols,
                          .in = in,
                          .n = n,
                          .y = y,
                          .ldy = (int64_t)w->count * w->rows,
                          .step = w->rows};
}

#define MANY_MIN 16 // rows from which on the tiles of many rows are at least half full

static bool is_packed(const product_args *a) {
    return a->type == GPU_Q8 || a->type == GPU_Q4;
}

static int64_t units(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit;
}

device_run product_few(const product_args *a, int64_t rows_max) {
    device_run r = {.grid_y = units(rows_max, GPU_FEW_ROWS), .args = a};
    if (is_packed(a)) {
        r.kernel = GPU_qdots_few;
        r.grid_x = a->count * units(a->rows, GPU_PANEL_ROWS);
        r.threads = 32 * MIN(GPU_FEW_WARPS, units(a->cols, GPU_QBLOCK));
    } else {
        r.kernel = GPU_dots_few;
        int64_t strips = a->count * units(a->rows, GPU_STRIP_ROWS);
        r.grid_x = units(strips, 2);
        r.threads = 64 * MIN(2, strips);
    }
    return r;
}

// For many rows: a has no norm, and xq for packed weights.
static device_run product_many(const product_args *a, int64_t rows_max) {
    device_run r = {.args = a};
    if (is_packed(a)) {
        r.kernel = GPU_qdots_many, r.threads = 128;
        r.grid_x = units(a->count * units(a->rows, GPU_PANEL_ROWS), 4);
        r.grid_y = units(rows_max, 64);
    } else {
        r.kernel = GPU_dots_many, r.threads = 256;
        r.grid_x = units(a->count * units(a->rows, GPU_STRIP_ROWS), 4);
        r.grid_y = units(rows_max, 32);
    }
    return r;
}

// Rounds the input to 8 bits, or norms it, as a product of many rows reads it.
static status prepare(device *d, product_args *a, int64_t rows_max, const product_scratch *s,
                      err *e) {
    norm_rows_args n = {.in = a->in, .n = a->n, .d = a->cols};
    if (is_packed(a))
        n.yq = s->q, a->xq = s->q;
    else if (!a->in.w)
        return OK;
    else
        n.y = s->norm, a->in = (gpu_input){.x = s->norm, .ldx = a->cols};
    return device_launch(d, &(device_run){GPU_norm_rows, rows_max, 1, 128, &n}, e);
}

status product_run(device *d, const product_args *a, int64_t rows_max, const product_scratch *s,
                   err *e) {
    product_args wide = *a;
    bool many = rows_max >= MANY_MIN;
    status rc = many ? prepare(d, &wide, rows_max, s, e) : OK;
    const device_run r = many ? product_many(&wide, rows_max) : product_few(a, rows_max);
    return rc ? rc : device_launch(d, &r, e);
}
