// upload.h - weights on the device, in the layouts that kern.h names.
#pragma once
#include "compute/types.h"
#include "gpu/device.h"

// `count` matrices [rows, cols] of one layout, one after another.
typedef struct {
    void *data;
    int32_t type, count, rows;
    int64_t cols;
} gpu_matrix;

// Packed weights go as they are; bf16 becomes strips of bf16, f32 and f16 strips of f32, and where
// float types differ all become f32: the same values. ERR_FORMAT: the shapes or packings differ.
status upload_matrices(device *d, gpu_matrix *out, const weight *const *w, int count, err *e);

// Tables of rows that are looked up, f32 or bf16, one after another: out->type GPU_F32 or GPU_BF16.
status upload_tables(device *d, gpu_matrix *out, const weight *const *w, int count, err *e);

status upload_floats(device *d, float **out, const float *x, int64_t n, err *e);
