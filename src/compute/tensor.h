// tensor.h - a view of numbers that somebody else owns: dtype, shape and pointer; bf16 and f16.
#pragma once
#include <string.h>

#include "compute/types.h"

#define TENSOR_DIMS_MAX 6

// A dense, row-major array: the last axis is contiguous. data may point into a mapped file, so it
// may be unaligned for its type.
typedef struct {
    dtype type;
    int dims;                       // 0: a scalar
    int64_t shape[TENSOR_DIMS_MAX]; // each >= 0; unused ones are 0
    const void *data;
} tensor;

size_t dtype_size(dtype t);      // bytes of one value; 0 for DT_OTHER and weights that are packed
const char *dtype_name(dtype t); // "F32", ... as safetensors spells it
bool dtype_is_float(dtype t);    // DT_F32, DT_BF16 or DT_F16
int64_t tensor_count(const tensor *t); // values in all; shapes were checked for overflow at load
// Writes a shape to out: "[2049, 64]".
void tensor_shape_text(char *out, size_t cap, const int64_t *shape, int dims);

// bf16 is the upper half of an f32. f32_to_bf16 rounds to nearest even and keeps NaN.
static inline float bf16_to_f32(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static inline uint16_t f32_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40); // quiet NaN
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
float f16_to_f32(uint16_t h); // exact
uint16_t f32_to_f16(float f); // to nearest even; past 65504 becomes infinity

// Copies n values starting at value index from t into out as f32. Types: F32, BF16, F16.
void tensor_read_f32(float *out, const tensor *t, int64_t from, int64_t n);
