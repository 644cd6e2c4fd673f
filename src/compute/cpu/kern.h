// kern.h - the CPU kernels: what each computes, to the bit, and the table that chooses among them.
//
// kern_ref.c is the specification of every slot; a faster version must agree with it to the last
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

// Products of a block of weight rows with a block of x rows: out[j*ldo + r] = dot16(x_j, w_r,
// cols).
typedef struct {
    float *out;
    int64_t ldo;
    const void *w; // row r at w + r*ldw values, or in strips (bf16x8.h); then ldw does not count
    dtype type;    // DT_F32, DT_BF16, DT_F16
    bool strips;
    int64_t ldw, rows;
    const float *x; // row j at x + j*ldx
    int64_t ldx, n;
    int64_t cols;
    bool cached; // the weights come again and again for other x rows: a hint
} dots_args;

// One head's keys or values: row j at p + j*dh values. next: what is read after them, a hint; p
// where there is nothing.
typedef struct {
    const void *p, *next;
    dtype type; // DT_F32 or DT_BF16
    int64_t dh, len;
} kv_rows;

// The same in 8 bits, of some heads (kvpack_heads(dh) at most): p is the first of the panels of
// kvpack.h, and the panels of further rows lie stride bytes apart.
typedef struct {
    const uint8_t *p, *next;
    int64_t stride;
    int64_t heads, dh, len;
    int64_t lds; // between the heads' scores; a multiple of 16, and at least len
} kv_panels;

#define DIGITS_LEAST 0x1p-100f

// Products of packed weights: out[j*ldo + 16*p + r] is the product of x row j and row r of panel p,
// in the order of quant.h.
typedef struct {
    float *out;
    int64_t ldo;
    const uint8_t *w; // the first panel; the next follows it
    dtype type;       // DT_Q8 or DT_Q4
    int64_t panels;
    const qblock *x; // [n, blocks]
    int64_t n, blocks;
    bool cached; // the weights come again and again: a hint
} qdots_args;

// chain.h's windows: row g of y [n, 4, cols] is e0 to e3 of rows[g*step] and the three behind it,
// or of their ELU. cols is a multiple of sixteen, step 2 or 3. BF16 as pack.
typedef struct {
    void *y;
    dtype type; // DT_F32 or DT_BF16
    const float *const *rows;
    int64_t n, step, cols;
    bool elu;
} winograd_args;

// chain.h's products of weight panels with x rows.
typedef struct {
    void *y;
    dtype y_type;
    int64_t ldy;
    const void *w; // the first panel; the next follows it
    dtype type;    // of w and x: DT_F32 or DT_BF16
    int taps;      // of a convolution by Winograd tiles, else 0
    int64_t rows, cols;
    const void *x;  // rows, or windows, at x + j*ldx
    int64_t ldx, n; // n: rows of y
    const float *bias;
    activation act;
    bool add;
} chain_args;

// Fetches n lines of weights, `apart` bytes from each other. once: they are read once and not again
// for long, so they shall not push out of the shared cache what is.
static inline __attribute__((always_inline)) void kern_fetch(const uint8_t *p, size_t n,
                                                             size_t apart, bool once) {
    if (once)
        for (size_t i = 0; i < n; i++) __builtin_prefetch(p + i * apart, 0, 0);
    else
        for (size_t i = 0; i < n; i++) __builtin_prefetch(p + i * apart);
}

typedef struct {
    void (*dots)(const dots_args *a);
    void (*chain)(const chain_args *a);
    // y[i] = bf16 of x[i], or of its ELU; 0 when that is below CHAIN_TINY
    void (*pack)(uint16_t *y, const float *x, int64_t n, bool elu);
    void (*winograd)(const winograd_args *a);
    void (*qdots)(const qdots_args *a);
    // One row of x [cols] to blocks; past the end x is 0. With m = max16 of the lanes
    // |x[i]| > |x[i+16]| ? |x[i]| : |x[i+16]|: scale = m * (1/127); q = x * (127 / m) rounded to
    // even, within +-127 (NaN: -127); all 0 where m is 0.
    void (*quantise)(qblock *out, const float *x, int64_t cols);

    // y[i] = act(s[i] + bias[i]) (+ y[i] when add); bias may be NULL: nothing is added then.
    void (*finish)(float *y, const float *s, const float *bias, int64_t n, activation act,
                   bool add);

    // One row each. mean = sum16(x) / d; var = sum16((x - mean)^2 by fma) / d;
    // y = fma((x - mean) * (1 / sqrt(var + eps)), w, b).
    void (*layer_norm)(float *y, const float *x, const float *w, const float *b, int64_t d,
                       float eps);
    // y = (x * (1 / sqrt(sum16(x^2 by fma) / d + eps))) * w
    void (*rms_norm)(float *y, const float *x, const float *w, int64_t d, float eps);

    // s[j] = dot16(q, k_j, dh) * scale (+ bias[j] when bias), and past the end, up to a multiple of
    // 16, -inf; returns max16 of s.
    float (*scores)(float *s, const float *q, const kv_rows *k, float scale, const float *bias);
    // s[j] = exp(s[j] - max), up to a multiple of 16; returns sum16 of them.
    float (*softmax)(float *s, int64_t len, float max);
    // out[d] = (chain of fma over j of s[j] v_j[d]) * by
    void (*weigh)(float *out, const float *s, const kv_rows *v, float by);

    // A row of keys or values in 8 bits. With m = max16 of the lanes' largest |x| (as a > b ? a : b
    // from 0 on): unit = m * (1/127), and q as quantise says.
    void (*quantise_row)(int8_t *q, float *unit, const float *x, int64_t n);
    // Attention over them. What they are multiplied with is x = unit * (128 hi + lo) in two digits
    // of 8 bits, so that sums are exact integers: with m of x as above, unit = m * (1/16256),
    // t = x * (127 / m), hi = t and lo = (t - hi) * 128, each as q above; but m is DIGITS_LEAST in
    // t where it is less or no number. Head h's scores are at s + h*lds: s[j] = ((float)sum of q
    // k_j * k's unit_j) * (q's unit * scale); max[h] as scores returns it. q [heads, dh].
    void (*qscores)(float *s, float *max, const float *q, const kv_panels *k, float scale);
    // s is 0 past the end, up to a multiple of 16. x = s[j] > 0 ? s[j] * v's unit_j : 0, in digits
    // for each KVPACK_RUN rows; out[h, d] = (chain of fma over those of (float)sum of x_j v_j[d],
    // x's unit) * by[h].
    void (*qweigh)(float *out, const float *s, const kv_panels *v, const float *by);

    void (*elu)(float *y, const float *x, int64_t n);
    void (*add)(float *y, const float *x, int64_t n);
    // n cells; the gates i f g o of cell j are at z[j], z[ld + j], ... sigmoid(x) = 1 / (1 +
    // exp(-x)); cell = fma(f, cell, i*g); h = o * tanh(cell).
    void (*lstm)(float *h, float *cell, const float *z, int64_t ld, int64_t n);
    // out[i] = value i of p as f32: exact
    void (*widen)(float *out, const void *p, dtype type, int64_t n);
} kern_table;

// Fills every slot with the best that flags (of isa.h) allow.
void kern_init(kern_table *k, unsigned flags);

void kern_init_ref(kern_table *k);
void kern_init_avx2(kern_table *k);       // x86-64 only
void kern_init_avxvnni(kern_table *k);    // x86-64 only
void kern_init_avx512(kern_table *k);     // x86-64 only
void kern_init_avx512bf16(kern_table *k); // x86-64 only
void kern_init_vnni(kern_table *k);       // x86-64 only
void kern_init_neon(kern_table *k);       // AArch64 only
void kern_init_dotprod(kern_table *k);    // AArch64 only
