// ops.h - what a network is made of: matrix products, norms, attention, recurrences.
//
// Every op states the order of its arithmetic. So its result has the same bits on every instruction
// set, for any number of threads, and whatever other rows share the call:
//   dot16(a, b, n): sixteen sums, element i goes to sum i % 16 by fma in rising i, as if n were
//   filled up to a multiple of 16 with zeros; then the sums are added pairwise: 8+8, 4+4, 2+2, 1+1
//   (s[j] + s[j+8], then j+4, j+2, j+1).
// Exponentials and the like are those of math.h, never libm's. cpu/kern.h has the rest to the bit.
//
// A compute owns the threads. Ops are called by one thread at a time; they fork, join, and never
// allocate. Pointers may be unaligned. Strides (ld*) count floats.
#pragma once
#include "base/err.h"
#include "compute/types.h"

// The number of the arithmetic: recipes carry it, `info` shows it. It rises when a result of an op,
// of a draw (engine/musicgen/sampler.h) or of a stem's finishing (audio/post.h, audio/steady.h)
// changes in one bit, or when the shipped model computes something else with the same weights. 1
// was ARITHMETIC_1_VERSION's; no release had 2 to 4.
#define ARITHMETIC 5
#define ARITHMETIC_1_VERSION "0.1.0"

// threads 0: STEMFORGE_THREADS, else as many as the process may use. isa: "scalar", "avx2",
// "avx512", "amx" or "neon"; NULL: STEMFORGE_ISA, else the best this machine has. ERR_ARG when the
// machine lacks it: the text lists what there is.
status compute_open(compute **out, int threads, const char *isa, err *e);
void compute_close(compute *c); // NULL is fine
int compute_threads(const compute *c);
const char *compute_isa(const compute *c);

// y[i][o] = act(dot16(x_i, w_o, cols) + bias[o]) (+ y[i][o] when add), for i < n, o < w->rows.
// x_i is x + i*ldx. ldx may be smaller than cols: rows of x then overlap, and the product is a
// convolution over [time, channels]. y must not overlap x.
typedef struct {
    float *y;
    int64_t ldy;
    const float *x;
    int64_t ldx;
    int64_t n;
    const qblock *xq; // x in 8 bits, for packed weights; then x is not read. NULL: made here
    qblock *yq; // gets y in 8 bits; or NULL. Packed weights, w->rows a multiple of QUANT_BLOCK
    const weight *w;
    const float *bias; // or NULL: nothing is added
    activation act;
    bool add; // add the result to what y holds
    // Results o of the first half of w's rows and of the second, u and g, become one, u * (g *
    // sigmoid(g)), which yq gets. Packed weights, half of w->rows a multiple of QUANT_BLOCK, no act
    // and no add; y is not written.
    bool gate;
    const weight *next; // the weights of the next product: waiting threads prefetch them; or NULL
} linear_args;
void op_linear(compute *c, const linear_args *a);
// Several products in one fork. They must not depend on each other (q, k and v of one step, say).
void op_linear_many(compute *c, const linear_args *a, int count);

// Norms of each row of x [n, d] into y [n, d] (y may be x). Sums are in dot16's order.
//   layer: y = (x - mean) / sqrt(variance + eps) * w + b
//   rms:   y = x / sqrt(mean of x^2 + eps) * w
typedef struct {
    float *y;
    qblock *yq; // gets y in 8 bits; or NULL
    const float *x, *w;
    const float *b; // op_layer_norm's only
    int64_t n, d;
    float eps;
} norm_args;
void op_layer_norm(compute *c, const norm_args *a);
void op_rms_norm(compute *c, const norm_args *a);

// Attention of one query row over the keys and values of one sequence. For each head h:
//   s_j = dot16(q_h, k_jh, dh) * scale (+ bias_h[j]); e_j = exp(s_j - max)
//   out_h = (sum over j in order of e_j v_jh, by fma) * (1 / dot16-ordered sum of e_j)
// With DT_I8, q and e are rounded to 15 bits of their largest, and the sums are exact:
// kern_packed_attention in cpu/kern.h.
typedef struct {
    const float *q;    // [heads * dh]
    float *out;        // [heads * dh]
    qblock *outq;      // gets out in 8 bits, or NULL; QUANT_BLOCK a multiple of dh
    const void *k, *v; // head h at + h*kv_stride values of kv_type
    int64_t len;       // keys to attend to; 0: out is zero
    int64_t kv_stride; // attend_stride(shape, rows that each head has room for)
    const float *bias; // head h's row [len] at bias + h*bias_stride; or NULL, as DT_I8 demands
} attend_item;
typedef struct {
    int64_t heads, dh;
    dtype kv_type; // DT_F32, DT_BF16 or DT_I8; DT_I8 demands dh <= ATTEND_I8_DH
    float scale;
    int64_t bias_stride;
} attend_shape;
#define ATTEND_I8_DH 1024
// Values of one head in a cache with room for cap rows: cap*dh, and the next head follows. With
// DT_I8 the heads lie side by side in panels (cpu/kvpack.h).
int64_t attend_stride(const attend_shape *s, int64_t cap);
// compute_reserve must have made room for the largest len of the items.
void op_attend(compute *c, const attend_shape *s, const attend_item *items, int64_t n);
// Makes room for attention over up to len_max keys. Call it outside the step loop: it allocates.
status compute_reserve(compute *c, int64_t len_max, err *e);

// The keys and values of one sequence, with room for cap rows.
typedef struct {
    void *k, *v;
    int64_t cap;
} kv_cache;
// A row that op_cache_put writes to position pos < cap of a cache, as kv_type. With DT_I8, each
// head of the row is scaled so that its largest value becomes 127.
typedef struct {
    kv_cache to;
    const float *k, *v; // [heads*dh]
    int64_t pos;
} kv_row;
void op_cache_put(compute *c, const attend_shape *s, const kv_row *rows, int64_t n);

// Copies rows 0 to n-1 of one cache to another. The other's later rows are lost.
void op_cache_copy(kv_cache to, kv_cache from, const attend_shape *s, int64_t n);

// Attention of n query rows over the same keys and values: for each row what op_attend over f32
// gives, to the bit. Rows go together in tiles, so that a key is read once a tile, and the scores
// of a tile are all that is ever there of them. `heads / kv_heads` heads in a row share the keys
// and values of one.
typedef struct {
    int64_t heads, kv_heads, dh;
    float scale;
} attend_rows_shape;
typedef struct {
    float *out;     // [n, heads * dh]
    const float *q; // likewise
    int64_t n;
    const float *k, *v; // as op_attend_lay left them
    int64_t len;        // keys, at least 1
} attend_rows_args;
// compute_reserve must have made room for len.
void op_attend_rows(compute *c, const attend_rows_shape *s, const attend_rows_args *a);
// The values that op_attend_lay fills for len rows, of keys as of values.
size_t attend_rows_values(const attend_rows_shape *s, int64_t len);
// Lays rows of keys and values [len, kv_heads * dh] for op_attend_rows: head by head, keys in
// panels of sixteen rows, values in chain.h's panels of the matrix [dh, len].
void op_attend_lay(compute *c, const attend_rows_shape *s, float *to_k, float *to_v, const float *k,
                   const float *v, int64_t len);

void op_add(compute *c, float *y, const float *x, int64_t n); // y += x

// The gated activation SwiGLU: a row of x [n, 2*d] is u and then g, a row of y [n, d] becomes
// u * (g * sigmoid(g)).
void op_gate(compute *c, float *y, const float *x, int64_t n, int64_t d);

// The activation snake: y = x + sin(a x)^2 by, with the a and by of each column.
typedef struct {
    float *y;
    const float *x;      // [n, d]; may be y
    const float *a, *by; // [d]
    int64_t n, d;
} snake_args;
void op_snake(compute *c, const snake_args *a);

// One layer of an LSTM over n steps of `rows` sequences. z [n, rows, 4*d] holds the input halves of
// the gates i f g o: x W_ih^T + bias. Each step adds h W_hh^T in op_linear's order and computes
//   cell = sigmoid(f) cell + sigmoid(i) tanh(g); h = sigmoid(o) tanh(cell).
// y [n, rows, d] gets the h of every step. h and cell [rows, d] are the state before and after. z
// is overwritten.
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
