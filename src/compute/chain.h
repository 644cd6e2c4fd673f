// chain.h - matrix products with weights laid out for many rows of x: convolutions, above all.
//
// Sixteen weight rows lie in the lanes of a vector and every sum is one chain, so nothing is added
// across lanes and results go straight from registers to y. Order, the same bits everywhere:
//   F32   sum of x[k] w[k] by fma in rising k, from +0
//   BF16  x and w rounded to bf16; of values 2k and 2k+1 first the second, then the first, by fma
// The second is what AVX-512 BF16's instruction computes at twice the rate, as long as nothing is
// denormal: it takes those for zero. So values below CHAIN_TINY are packed as zero; every product
// and sum is then a multiple of 2^-110, or zero.
//
// Convolutions of stride 1 with two or three taps, y[t] = sum_j W_j x[t+j], take four products of
// matrices where their formula has six, for 3 or 2 rows of y: taps + rows = 5. A window of four
// rows d0 to d3 of x is turned into four combinations, as are the taps, and their products into
// rows of y. This is Winograd's F(rows, taps), the transposed form of Toom's and Cook's product of
// polynomials by their values at the points 0, 1, -1 and infinity:
//   e0 = d0 - d2    e1 = d1 + d2           e2 = d2 - d1                e3 = d3 - d1
//   P0 = W_first    P1 = (sum_j W_j) / 2   P2 = (sum_j (-1)^j W_j)/2   P3 = W_last
//   p_i = P_i e_i   y of row 0, 2 of the window: p1 + p2, of row 1: p1 - p2;
//                   and p0 + that in the first row, that + p3 in the last
// All of it in f32, but e and P are rounded to bf16 where products are; sums as above. Windows lie
// at multiples of `rows` from the first row of y on, so callers who want the same bits however a
// sequence is cut begin at such a multiple.
#pragma once
#include "compute/types.h"

#define CHAIN_TINY 0x1p-48f
#define CHAIN_TILE 4 // rows of x in a window, and products

// Row r and column k are in panel r/16: of F32 at [k][r%16], of BF16 at [k/2][r%16][k%2]. As a
// tensor or a weight such a matrix has type DT_CHAIN_F32 or DT_CHAIN_BF16.
typedef struct {
    dtype type; // DT_F32 or DT_BF16
    int64_t rows, cols;
    int taps;   // of a convolution by Winograd tiles, whose columns are P0, P1, P2, P3; else 0
    void *data; // chain_size bytes, zero where nothing was put; a packed file's are read only
} chain_weight;

// Bytes of one panel: sixteen rows of cols columns.
size_t chain_panel_size(dtype type, int64_t cols);
// Bytes of rows x cols; false when they overflow.
bool chain_size(size_t *out, dtype type, int64_t rows, int64_t cols);
// The matrix, data not set, of a convolution with `taps` taps over rows of `in` values, whose inputs
// lie `step` rows apart. It goes by Winograd tiles where step and shape allow.
chain_weight chain_conv_weight(dtype type, int64_t rows, int64_t in, int64_t taps, int64_t step);
// Puts n values of a row from column col on; BF16 rounds.
void chain_put(const chain_weight *w, int64_t row, int64_t col, const float *x, int64_t n);
// Puts the values of a row for inputs col to col + n; tap[j] has those of tap j.
void chain_put_taps(const chain_weight *w, int64_t row, int64_t col, const float *const *tap,
                    int64_t taps, int64_t n);
// Rows of y that one Winograd tile gives; 1 for matrices without tiles.
int64_t chain_tile_rows(const chain_weight *w);

// y[i][o] = act(sum_k x_i[k] w_o[k] + bias[o]) (+ y[i][o] when add), as op_linear. x is of w's
// type, laid by chain_lay when BF16, and ldx counts its values; rows may overlap.
// y is f32, or BF16 as chain_lay would round it: then nothing can be added to it.
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

// A convolution: y row t is that of x rows t*step to t*step + taps, which may lie anywhere. to.x
// and to.ldx do not count.
typedef struct {
    chain_linear_args to;
    const float *const *rows; // of x: chain_conv_rows(w, in, n, step) pointers to `in` values each
    int64_t in, step;
    bool elu;   // of x first
    void *work; // chain_conv_work(w, in, n, step) bytes, at a cache line
} chain_conv_args;
int64_t chain_conv_rows(const chain_weight *w, int64_t in, int64_t n, int64_t step);
size_t chain_conv_work(const chain_weight *w, int64_t in, int64_t n, int64_t step);
void chain_conv(compute *c, const chain_conv_args *a);

// n rows of x, lying anywhere, or ELU of them, to y [n, cols] as type: DT_F32, or DT_BF16 rounded.
typedef struct {
    void *y;
    dtype type;
    const float *const *rows;
    int64_t n, cols;
    bool elu;
} chain_lay_args;
void chain_lay(compute *c, const chain_lay_args *a);
