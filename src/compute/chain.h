// chain.h - matrix products with weights laid out for many rows of x: convolutions, above all.
//
// Sixteen weight rows lie in the lanes of a vector and every sum is one chain, so nothing is added
// across lanes and results go straight from registers to y. Order, the same bits everywhere:
//   F32   sum of x[k] w[k] by fma in rising k, from +0
//   BF16  x and w rounded to bf16; of values 2k and 2k+1 first the second, then the first, by fma
// The second is what AVX-512 BF16's instruction computes at twice the rate, as long as nothing is
// denormal: it takes those for zero. So values below CHAIN_TINY are packed as zero; every product
// and sum is then a multiple of 2^-110, or zero.
#pragma once
#include "compute/ops.h"

#define CHAIN_TINY 0x1p-48f

// Row r and column k are in panel r/16: of F32 at [k][r%16], of BF16 at [k/2][r%16][k%2]. As a
// tensor or a weight such a matrix has type DT_CHAIN_F32 or DT_CHAIN_BF16.
typedef struct {
    dtype type; // DT_F32 or DT_BF16
    int64_t rows, cols;
    void *data; // chain_size bytes, zero where nothing was put; a packed file's are read only
} chain_weight;

// Bytes of rows x cols; false when they overflow.
bool chain_size(size_t *out, dtype type, int64_t rows, int64_t cols);
// Puts n values of a row from column col on; BF16 rounds.
void chain_put(const chain_weight *w, int64_t row, int64_t col, const float *x, int64_t n);

// y[i][o] = act(sum_k x_i[k] w_o[k] + bias[o]) (+ y[i][o] when add), as op_linear. x is of w's
// type, packed by chain_pack when BF16, and ldx counts its values; rows may overlap.
// y is f32, or BF16 as chain_pack would round it: then nothing can be added to it.
typedef struct {
    void *y;
    dtype y_type;
    int64_t ldy;
    const void *x;
    int64_t ldx;
    int64_t n;
    const chain_weight *w;
    const float *bias; // or NULL: nothing is added
    activation act;
    bool add;
} chain_linear_args;
void chain_linear(compute *c, const chain_linear_args *a);

// Rounds n values, or ELU of them, to bf16.
void chain_pack(compute *c, uint16_t *y, const float *x, int64_t n, bool elu);
