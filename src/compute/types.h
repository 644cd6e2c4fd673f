// types.h - the types that ops, layouts and kernels share. No functions.
#pragma once
#include "base/base.h"

// What the values are and, for matrices that are packed, how they lie.
typedef enum {
    DT_F32,
    DT_BF16,
    DT_F16,
    DT_I64,
    DT_I32,
    DT_U8,
    DT_BOOL,
    DT_OTHER, // known to exist, never computed with
    DT_Q8,    // weights of 8 and of 4 bits, in panels of sixteen rows: quant.h
    DT_Q4,
    DT_CHAIN_F32, // weights of convolutions, in panels: chain.h
    DT_CHAIN_BF16,
    DT_I8,     // cached keys and values of 8 bits: cpu/kvpack.h
    DT_BF16X8, // bf16 weights, eight rows interleaved: bf16x8.h
} dtype;

typedef enum { ACT_NONE, ACT_RELU, ACT_GELU, ACT_ELU } activation;

// The half-open range [from, to).
typedef struct {
    int64_t from, to;
} span;

// A weight matrix [rows, cols]: y = x W^T. F32, BF16 and F16 are row-major; the others lie as
// quant.h and bf16x8.h say. data is borrowed and may be unaligned (a mapped file).
typedef struct {
    dtype type; // DT_F32, DT_BF16, DT_F16, DT_BF16X8, DT_Q8 or DT_Q4
    int64_t rows, cols;
    const void *data;
} weight;

#define QUANT_BLOCK 256 // columns that share a scale: quant.h
#define QUANT_SUB 32    // columns that share a sub-scale, in weights of 4 bits

// A block of activations in 8 bits: x[i] is scale * q[i]; past the end of a row q is 0. The sums of
// q cancel the offsets with which weights are stored.
typedef struct {
    float scale;
    int32_t less128; // -128 times the sum of q
    // [j][h]: -8 times the sum of q over the QUANT_SUB columns from 128h + 32j on
    int16_t less8[QUANT_BLOCK / QUANT_SUB / 2][2];
    int8_t q[QUANT_BLOCK];
} qblock;

// Threads, kernels and scratch memory of one processor: compute_open in ops.h.
typedef struct compute compute;
