// ops.h - what a network is made of, on the CPU: matrix products, norms, attention, activations.
//
// Every op states the order of its arithmetic, so that its result is the same bits on every
// instruction set, for any number of threads and whatever other rows share the call:
//   dot16(a, b, n): sixteen sums, element i goes to sum i % 16 by fma in rising i, as if n were
//   filled up to a multiple of 16 with zeros; then the sums are added pairwise: 8+8, 4+4, 2+2, 1+1
//   (s[j] + s[j+8], then j+4, j+2, j+1).
// Transcendental functions are ours (math.h), never libm's. kern.h has the rest to the bit.
//
// A compute owns the threads. Ops are called by one thread at a time; they fork, join, and never
// allocate. Pointers may be unaligned. Strides (ld*) count floats.
#pragma once
#include "base/err.h"
#include "compute/types.h"

// threads 0: STEMFORGE_THREADS, else as many as the process may use. isa NULL: the best this
// machine has (or what the environment's STEMFORGE_ISA says); else "scalar", "avx2", "avx512",
// "neon". ERR_ARG when the machine lacks it, and the text lists what there is.
status compute_open(compute **out, int threads, const char *isa, err *e);
void compute_close(compute *c); // NULL is fine
int compute_threads(const compute *c);
const char *compute_isa(const compute *c);

// y[i][o] = act(dot16(x_i, w_o, cols) + bias[o]) (+ y[i][o] when add), for i < n, o < w->rows.
// bias may be NULL (then nothing is added). x_i = x + i*ldx; ldx may be smaller than cols: rows
// then overlap, which makes a convolution over [time, channels] of this. y must not overlap x.
typedef struct {
    float *y;
    int64_t ldy;
    const float *x;
    int64_t ldx;
    int64_t n;
    // x in 8 bits, for packed weights; NULL: made here. Where it is given x itself is not read.
    const qblock *xq;
    // Gets y in 8 bits besides, unless NULL: of packed weights, w->rows a multiple of QUANT_BLOCK.
    qblock *yq;
    const weight *w;
    const float *bias;
    activation act;
    bool add; // add to what y holds (after act)
    // What the product after this one multiplies with: threads that wait fetch its beginning. NULL:
    // not known.
    const weight *next;
} linear_args;
void op_linear(compute *c, const linear_args *a);
// Several products that share nothing but the fork: q, k and v of one step, say.
void op_linear_many(compute *c, const linear_args *a, int count);

// Each row of x [n, d] by itself into y [n, d] (y may be x). yq: unless NULL, gets y in 8 bits.
// layer: y = (x - mean) / sqrt(variance + eps) * w + b.   rms: y = x / sqrt(mean of x^2 + eps) * w.
// Sums are in dot16's order.
typedef struct {
    float *y;
    qblock *yq;
    const float *x, *w;
    const float *b; // op_layer_norm's only
    int64_t n, d;
    float eps;
} norm_args;
void op_layer_norm(compute *c, const norm_args *a);
void op_rms_norm(compute *c, const norm_args *a);

// Attention of one query row over one sequence's keys and values.
// For each head h: s_j = dot16(q_h, k_jh, dh) * scale (+ bias_h[j]); e_j = exp(s_j - max); out_h =
// (sum over j in order of e_j v_jh, by fma) * (1 / dot16-ordered sum of e_j). With DT_I8 q and e
// are rounded to 15 bits of their largest and the sums are exact: qscores and qweigh of kern.h.
typedef struct {
    const float *q;    // [heads * dh]
    float *out;        // [heads * dh]
    qblock *outq;      // unless NULL, gets out in 8 bits; dh a multiple of QUANT_BLOCK
    const void *k, *v; // head h's at + h*kv_stride values of kv_type
    int64_t len;       // keys to attend to, 0: out is zero
    int64_t kv_stride; // attend_stride(shape, rows each head has room for)
    // NULL, as DT_I8 wants it, or head h's bias row at bias + h*bias_stride, [len]
    const float *bias;
} attend_item;
typedef struct {
    int64_t heads, dh;
    dtype kv_type; // DT_F32, DT_BF16 or DT_I8: then dh is at most ATTEND_I8_DH
    float scale;
    int64_t bias_stride;
} attend_shape;
#define ATTEND_I8_DH 1024
// Values of a head in a cache with room for cap rows: cap*dh, and the next head's lie behind them.
// DT_I8: kvpack.h's panels, in which the heads lie side by side.
int64_t attend_stride(const attend_shape *s, int64_t cap);
// len_max: the largest len among the items; scratch inside compute is grown by compute_reserve
// first.
void op_attend(compute *c, const attend_shape *s, const attend_item *items, int64_t n);
// Room for attention rows up to len_max keys. Call outside the step loop.
status compute_reserve(compute *c, int64_t len_max, err *e);

// One sequence's keys and values, with room for cap rows.
typedef struct {
    void *k, *v;
    int64_t cap;
} kv_cache;
// A row to be put at position pos < cap, as kv_type. DT_I8: each head's is scaled so that its
// largest value becomes 127.
typedef struct {
    kv_cache to;
    const float *k, *v; // [heads*dh]
    int64_t pos;
} kv_row;
void op_cache_put(compute *c, const attend_shape *s, const kv_row *rows, int64_t n);

// Copies rows 0 to n-1 of one cache to another, in which rows after them are lost.
void op_cache_copy(kv_cache to, kv_cache from, const attend_shape *s, int64_t n);

void op_add(compute *c, float *y, const float *x, int64_t n); // y += x

// One layer of an LSTM over n steps of some rows, whose input halves z [n, rows, 4*d] hold the
// gates i f g o of x W_ih^T + bias. Each step adds h W_hh^T in op_linear's order and gives
//   cell = sigmoid(f) cell + sigmoid(i) tanh(g); h = sigmoid(o) tanh(cell).
// y [n, rows, d] gets every step's h. h and cell [rows, d] are the state before and after; z is
// used up. At most LSTM_ROWS_MAX rows.
#define LSTM_ROWS_MAX 8
typedef struct {
    float *y, *z, *h, *cell;
    const weight *w; // W_hh [4*d, d]
    int64_t n, rows, d;
} lstm_args;
void op_lstm(compute *c, const lstm_args *a);

// Row i of y = row ids[i] of table (+= when add).
void op_embed(float *y, const weight *table, const int32_t *ids, int64_t n, bool add);

// Runs f(arg, part, parts) for part 0..parts-1, each exactly once, over the threads; joins.
void op_parallel(compute *c, int parts, void (*f)(void *arg, int part, int parts), void *arg);
