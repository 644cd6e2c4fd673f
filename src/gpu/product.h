// product.h - which kernel makes a product, and the shape of its launch.
#pragma once
#include "gpu/upload.h"

// The arguments of y = in w^T with the matrices side by side; the caller adds what else there is.
product_args product_of(const gpu_matrix *w, gpu_input in, float *y, const int32_t *n);

// For few rows, of which rows_max at most count: each weight is read once for eight rows.
device_run product_few(const product_args *a, int64_t rows_max);

// Memory for the input of a product of many rows: [rows, cols] and [rows, blocks of cols].
typedef struct {
    float *norm;
    gpu_qblock *q;
} product_scratch;

// Launches what suits so many rows at most. All ways give the same bits.
status product_run(device *d, const product_args *a, int64_t rows_max, const product_scratch *s,
                   err *e);
