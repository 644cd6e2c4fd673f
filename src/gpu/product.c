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

static int64_t units(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit;
}

device_run product_few(const product_args *a, int64_t rows_max) {
    device_run r = {.grid_y = units(rows_max, GPU_FEW_ROWS), .args = a};
    if (a->type == GPU_Q8 || a->type == GPU_Q4) {
        r.kernel = GPU_qdots_few;
        r.grid_x = a->count * units(a->rows, GPU_PANEL_ROWS);
        r.threads = 32 * MIN(GPU_FEW_WARPS, units(a->cols, GPU_QBLOCK));
    } else {
        r.kernel = GPU_dots_few;
        r.grid_x = units(a->count * units(a->rows, GPU_STRIP_ROWS), 2);
        r.threads = 128;
    }
    return r;
}

status product_run(device *d, const product_args *a, int64_t rows_max, err *e) {
    const device_run r = product_few(a, rows_max);
    return device_launch(d, &r, e);
}
