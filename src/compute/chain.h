// chain.h - convolutions as matrix products whose every sum is one chain of fma.
//
// Sixteen weight rows lie in the lanes of a vector. Each sum is one chain, so nothing is added
// across lanes, and results go straight from registers to y. The order of a sum, the same bits
// everywhere:
//   F32   sum of x[k] w[k] by fma in rising k, from +0
//   BF16  x and w rounded to bf16; for each pair of values 2k, 2k+1: fma of the second, then of the
//         first
// AVX-512 BF16 has an instruction for the latter that is twice as fast but takes denormals for
// zero. Therefore values below CHAIN_TINY are packed as zero: every product and sum is then a
// multiple of 2^-110, or zero, and never denormal.
//
// A convolution of stride 1 with two or three taps, y[t] = sum_j W_j x[t+j], goes by Winograd
// tiles: four matrix products for taps + rows = 5, that is for 3 or 2 rows of y, where the formula
// has six. Four rows d0 to d3 of x, a tile, are turned into four combinations e; so are the taps,
// into P, and the four products into rows of y. This is Winograd's F(rows, taps), the transposed
// form of Toom's and Cook's product of polynomials by their values at the points 0, 1, -1 and
// infinity:
//   e0 = d0 - d2    e1 = d1 + d2           e2 = d2 - d1                e3 = d3 - d1
//   P0 = W_first    P1 = (sum_j W_j) / 2   P2 = (sum_j (-1)^j W_j)/2   P3 = W_last
//   p_i = P_i e_i   row 0 and row 2 of the tile's y: p1 + p2; row 1: p1 - p2;
//                   the first row: p0 + that; the last row: that + p3
// All of it is in f32, but e and P are rounded to bf16 where the products are bf16. Sums are in the
// order above. Tiles begin at multiples of `rows` from the first row of y on. A caller who cuts a
// sequence cuts at such a multiple, so that the bits do not change.
#pragma once
#include "compute/types.h"

#define CHAIN_TINY 0x1p-48f
#define CHAIN_TILE 4 // rows of x in a Winograd tile, and matrix products for it

// A weight matrix in panels of sixteen rows. Row r and column k lie in panel r/16: with F32 at
// [k][r%16], with BF16 at [k/2][r%16][k%2]. A tensor of this layout has type DT_CHAIN_F32 or
// DT_CHAIN_BF16.
typedef struct {
    dtype type; // DT_F32 or DT_BF16
    int64_t rows, cols;
    int taps;   // of a convolution by Winograd tiles, whose columns are P0, P1, P2, P3; else 0
    void *data; // chain_size bytes, zero where nothing was put; read only if from a packed file
} chain_weight;

// Bytes of one panel: sixteen rows of cols columns.
size_t chain_panel_size(dtype type, int64_t cols);
// Writes the bytes of rows x cols to *out; false when they overflow.
bool chain_size(size_t *out, dtype type, int64_t rows, int64_t cols);
// Shape and layout of the weight matrix of a convolution with `taps` taps over rows of `in` values.
// Its inputs lie `step` rows apart. It goes by Winograd tiles where step and shape allow. data is
// NULL: the caller sets it.
chain_weight chain_conv_weight(dtype type, int64_t rows, int64_t in, int64_t taps, int64_t step);
// Writes n values of a row, from column col on; BF16 rounds them.
void chain_put(const chain_weight *w, int64_t row, int64_t col, const float *x, int64_t n);
// Fills to, of BF16, with the values of the same matrix in panels of F32.
void chain_round(const chain_weight *to, const void *panels);
// Writes the weights of a row for inputs col to col + n - 1; tap[j] has those of tap j.
void chain_put_taps(const chain_weight *w, int64_t row, int64_t col, const float *const *tap,
                    int64_t taps, int64_t n);
// Rows of y that one Winograd tile gives; 1 for matrices without tiles.
int64_t chain_tile_rows(const chain_weight *w);

// y[i][o] = act(sum_k x_i[k] w_o[k] + bias[o]) (+ y[i][o] when add), as op_linear. x has w's type;
// chain_lay makes it if that is BF16. Rows of x may overlap.
typedef struct {
    void *y;
    dtype y_type; // DT_F32, or DT_BF16 rounded as chain_lay does; then add must be false
    int64_t ldy;
    const void *x;
    int64_t ldx; // values of x
    int64_t n;
    const chain_weight *w;
    const float *bias; // or NULL: nothing is added
    activation act;
    bool add;
} chain_linear_args;
void chain_linear(compute *c, const chain_linear_args *a);

// A convolution: row t of y is that of rows t*step to t*step + taps - 1 of x. These may lie
// anywhere.
typedef struct {
    chain_linear_args to;     // x and ldx do not count
    const float *const *rows; // of x: chain_conv_rows(w, in, n, step) pointers to `in` values each
    int64_t in, step;
    bool elu;   // of x first
    void *work; // chain_conv_work(w, in, n, step) bytes, at a cache line
} chain_conv_args;
int64_t chain_conv_rows(const chain_weight *w, int64_t in, int64_t n, int64_t step);
size_t chain_conv_work(const chain_weight *w, int64_t in, int64_t n, int64_t step);
void chain_conv(compute *c, const chain_conv_args *a);

// Copies n rows of x, which may lie anywhere, or their ELU, to y [n, cols].
typedef struct {
    void *y;
    dtype type; // of y: DT_F32, or DT_BF16 with values below CHAIN_TINY as 0
    const float *const *rows;
    int64_t n, cols;
    bool elu;
} chain_lay_args;
void chain_lay(compute *c, const chain_lay_args *a);
