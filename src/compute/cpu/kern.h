// kern.h - the CPU kernels: what each computes, to the bit, and the table of them.
//
// kern_ref.c is the specification of every slot. A faster version must agree with it to the last
// bit (any NaN equals any other). Order of arithmetic:
//   lanes: element i belongs to lane i % 16. The last block is filled up with zeros.
//   dot16: each lane is one chain of fma in rising i, starting at +0.
//   sum16: the lanes are added pairwise: lane j + lane j+8, then j+4, j+2, j+1.
//   max16: as sum16 with a > b ? a : b in place of a + b.
// Kernels run on the calling thread, never allocate, and take pointers of any alignment.
#pragma once
#include "compute/bf16x8.h"
#include "compute/chain.h"
#include "compute/cpu/kvpack.h"
#include "compute/quant.h"
#include "compute/tensor.h"

// How a kernel prefetches weights that are read once a step, and how many bytes ahead. All zero is
// the default: non-temporal, so that they do not push other data out of the shared cache.
typedef enum { FETCH_ONCE, FETCH_L2, FETCH_L1, FETCH_NOTHING } kern_fetch_into;
typedef struct {
    kern_fetch_into into;
    int32_t ahead; // of packed weights; 0: QAHEAD of packed_dots_tmpl.h
} kern_prefetch;

// ---- products: dots_tmpl.h, packed_dots_tmpl.h ----

// A block of weight rows times a block of rows of x: out[j*ldo + r] = dot16(x_j, w_r, cols).
typedef struct {
    float *out;
    int64_t ldo;
    const void *w;    // row r at w + r*ldw values
    dtype type;       // DT_F32, DT_BF16, DT_F16
    bool interleaved; // w lies as bf16x8.h says, and ldw does not count
    int64_t ldw, rows;
    const float *x; // row j at x + j*ldx
    int64_t ldx, n;
    int64_t cols;
    bool cached; // a hint: the weights lie in a cache, because they are read again and again
    kern_prefetch prefetch; // a hint, for weights that no cache holds
} dots_args;

typedef struct {
    void (*dots)(const dots_args *a);
    // y[i] = act(s[i] + bias[i]) (+ y[i] when add). bias NULL: nothing is added to s.
    void (*finish)(float *y, const float *s, const float *bias, int64_t n, activation act,
                   bool add);
} kern_products;

// Packed weights times rows of x in 8 bits: out[j*ldo + 16*p + r] is the product of row j of x and
// row r of panel p, in the order that quant.h states.
typedef struct {
    float *out;
    int64_t ldo;
    const uint8_t *w; // the first panel; the next follows it
    dtype type;       // DT_Q8 or DT_Q4
    int64_t panels;
    const qblock *x; // [n, quant_blocks(cols)]
    int64_t n, cols;
    bool cached; // hints, as in dots_args
    kern_prefetch prefetch;
    const float *y; // a hint: where the caller will write out's rows, ldy apart; or NULL
    int64_t ldy;
} qdots_args;

typedef struct {
    void (*dots)(const qdots_args *a);
} kern_packed;

// ---- attention: attend_tmpl.h, packed_attend_tmpl.h ----

// The keys or the values of one head.
typedef struct {
    const void *p;    // row j at p + j*dh values
    const void *next; // a hint: what is read after these rows; p if there is nothing
    dtype type;       // DT_F32 or DT_BF16
    int64_t dh, len;
} kv_rows;

// Some queries, and the keys of one head in panels of sixteen: value d of key j lies at
// k[(j/16 * dh + d) * 16 + j%16].
typedef struct {
    float *s; // of query i from s + i*lds on; lds: a multiple of 16, at least len
    int64_t lds;
    const float *q; // query i at q + i*ldq
    int64_t ldq, n;
    const float *k;
    int64_t dh, len;
    float scale;
    float *max; // of each query
} query_rows;
#define SCORE_QUERIES 16 // the most of a call

typedef struct {
    // s_i[j] = dot16(q_i, k_j, dh) * scale; filled up as `scores` does, whose result is max[i].
    void (*score_rows)(const query_rows *a);
    // s[j] = dot16(q, k_j, dh) * scale (+ bias[j] when bias). s is filled up to a multiple of 16
    // with -inf. Returns max16 of s.
    float (*scores)(float *s, const float *q, const kv_rows *k, float scale, const float *bias);
    // s[j] = exp(s[j] - max), up to a multiple of 16. Returns sum16 of s.
    float (*softmax)(float *s, int64_t len, float max);
    // out[d] = (chain of fma over j of s[j] v_j[d]) * by
    void (*weigh)(float *out, const float *s, const kv_rows *v, float by);
} kern_attention;

// The keys or the values of several heads in 8 bits, kvpack_heads(dh) at most.
typedef struct {
    const uint8_t *p, *next; // as in kv_rows; p is the first panel of kvpack.h
    int64_t stride;          // bytes from the panels of sixteen rows to those of the next sixteen
    int64_t heads, dh, len;
    int64_t lds; // from one head's scores to the next; a multiple of 16, and at least len
    kern_fetch_into prefetch; // a hint
} kv_panels;

#define DIGITS_LEAST 0x1p-100f

// Queries and probabilities are split into two digits of 8 bits, x = unit * (128 hi + lo), so that
// all sums are exact integers. With m = max16 of the largest |x| in each lane (a > b ? a : b from 0
// on):
//   unit = m * (1/16256);   t = x * (127 / max(m, DIGITS_LEAST))
//   hi = round(t) and lo = round((t - hi) * 128), to nearest even, within +-127; NaN gives -127.
typedef struct {
    // Scores of head h begin at s + h*lds: s[j] = ((float)sum of q k_j * k's unit_j) * (q's unit *
    // scale). s is filled up, and max[h] is what `scores` returns. q [heads, dh].
    void (*scores)(float *s, float *max, const float *q, const kv_panels *k, float scale);
    // x = s[j] > 0 ? s[j] * v's unit_j : 0 is split into digits, KVPACK_RUN rows at a time. out[h,
    // d] = (chain of fma over these runs of (float)sum of x_j v_j[d], x's unit) * by[h]. s must be
    // 0 past the end, up to a multiple of 16.
    void (*weigh)(float *out, const float *s, const kv_panels *v, const float *by);
} kern_packed_attention;

// ---- norms and other kernels along a row: rows_tmpl.h ----

typedef struct {
    // mean = sum16(x) / d; var = sum16((x - mean)^2 by fma) / d;
    // y = fma((x - mean) * (1 / sqrt(var + eps)), w, b).
    void (*layer_norm)(float *y, const float *x, const float *w, const float *b, int64_t d,
                       float eps);
    // y = (x * (1 / sqrt(sum16(x^2 by fma) / d + eps))) * w
    void (*rms_norm)(float *y, const float *x, const float *w, int64_t d, float eps);
} kern_norms;

typedef struct {
    // Rounds x [cols] to blocks; past the end q is 0. With m = max16 of a block's largest |x| in
    // each lane (a > b ? a : b from 0 on): scale = m * (1/127); q = x * (127 / m) rounded to
    // even, within +-127 (NaN: -127); all 0 where m is 0.
    void (*quantise)(qblock *out, const float *x, int64_t cols);
    // Rounds x [n] to 8 bits with one scale, the unit, as quantise does a block.
    void (*quantise_row)(int8_t *q, float *unit, const float *x, int64_t n);
    // y[i] += x[i]
    void (*add)(float *y, const float *x, int64_t n);
    // y[i] = x[i] * (g[i] * sigmoid(g[i]))
    void (*gate)(float *y, const float *x, const float *g, int64_t n);
    // y[i] = fma(sin2(a[i] * x[i]), by[i], x[i])
    void (*snake)(float *y, const float *x, const float *a, const float *by, int64_t n);
    // out[i] = value i of p as f32: exact
    void (*widen)(float *out, const void *p, dtype type, int64_t n);
} kern_rows;

// ---- the codec: conv_tmpl.h ----

// Products of weight panels with rows of x, in the order that chain.h states.
typedef struct {
    void *y;
    dtype y_type;
    int64_t ldy;
    const void *w; // the first panel; the next follows it
    dtype type;    // of w and x: DT_F32 or DT_BF16
    int taps;      // of a convolution by Winograd tiles, else 0
    int64_t rows, cols;
    const void *x;  // rows, or Winograd tiles, at x + j*ldx
    int64_t ldx, n; // n: rows of y
    const float *bias;
    activation act;
    bool add;
} chain_args;

// Transforms of Winograd tiles (chain.h): y [n, 4, cols]. Tile g is e0 to e3 of rows[g*step] and
// the three rows after it, or of their ELU. bf16 results are rounded as in `pack`.
typedef struct {
    void *y;
    dtype type; // DT_F32 or DT_BF16
    const float *const *rows;
    int64_t n, step, cols; // step: 2 or 3; cols: a multiple of 16
    bool elu;
} winograd_args;

typedef struct {
    void (*chain)(const chain_args *a);
    void (*winograd)(const winograd_args *a);
    // y[i] = x[i], or its ELU, as bf16; 0 if its magnitude is below CHAIN_TINY
    void (*pack)(uint16_t *y, const float *x, int64_t n, bool elu);
    // y[i] = x[i] > 0 ? x[i] : expm1(x[i])
    void (*elu)(float *y, const float *x, int64_t n);
    // One step of n cells. The gates i f g o of cell j are z[j], z[ld + j], z[2*ld + j], z[3*ld +
    // j]. cell = fma(sigmoid(f), cell, sigmoid(i) * tanh(g)); h = sigmoid(o) * tanh(cell);
    // sigmoid(x) = 1 / (1 + exp(-x)).
    void (*lstm)(float *h, float *cell, const float *z, int64_t ld, int64_t n);
} kern_codec;

typedef struct {
    kern_products products;
    kern_packed packed;
    kern_attention attention;
    kern_packed_attention packed_attention;
    kern_norms norms;
    kern_rows rows;
    kern_codec codec;
} kern_table;

// Fills every slot with the best that flags (of isa.h) allow.
void kern_init(kern_table *k, unsigned flags);

// Whether both tables give the same bits for products of packed weights: a look of microseconds.
bool kern_packed_agree(const kern_table *a, const kern_table *b);

// Each of these overwrites the groups that its instruction set improves. kern.c calls them in
// rising order.
void kern_init_ref(kern_table *k);
void kern_init_avx2(kern_table *k);       // x86-64 only
void kern_init_avxvnni(kern_table *k);    // x86-64 only
void kern_init_avx512(kern_table *k);     // x86-64 only
void kern_init_avx512bf16(kern_table *k); // x86-64 only
void kern_init_vnni(kern_table *k);       // x86-64 only
void kern_init_amx(kern_table *k);        // x86-64 only
void kern_init_neon(kern_table *k);       // AArch64 only
void kern_init_dotprod(kern_table *k);    // AArch64 only
void kern_init_i8mm(kern_table *k);       // AArch64 only
