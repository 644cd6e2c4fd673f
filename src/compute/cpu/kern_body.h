// kern_body.h - the vector kernels, written once over a vector of sixteen floats.
//
// kern_avx2.c, kern_avx512.c and kern_neon.c define v16 and the functions below, then include this
// file:
//   v16                 the sixteen lanes of kern.h, in however many registers
//   v_set v_load v_store
//   v_bf16 v_f16        loads that widen
//   v_add v_sub v_mul v_div v_abs
//   v_fma(a, b, c)      a*b + c
//   v_max(a, b)         a > b ? a : b
//   v_min(a, b)         a < b ? a : b
//   v_pick(a, b, x, y)  a < b ? x : y
//   v_with_sign(x, of)  |x| with the sign of `of`
//   v_pow2(n)           2^n for integral n in [-127, 127]
//   v_bytes(p, a, b)    a's and b's integral values in [-127, 127] as 32 bytes at p
//   v_sum(a)            sum16
//   v_top(a)            max16
//   v_sums(a)           {sum16(a[0]), ..., sum16(a[15])}
#pragma once
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/cpu/kern_lanes.h"

INLINE size_t type_size(dtype type) {
    return type == DT_F32 ? 4 : 2;
}

INLINE v16 v_read(const uint8_t *p, dtype type) {
    if (type == DT_F32) return v_load((const float *)(const void *)p);
    return type == DT_BF16 ? v_bf16(p) : v_f16(p);
}

INLINE v16 v_read_n(const uint8_t *p, dtype type, int64_t n) {
    uint8_t t[64] = {0};
    memcpy(t, p, (size_t)n * type_size(type));
    return v_read(t, type);
}

// ---- exp and its family: the expressions of math.c ----

INLINE v16 v_reduced_expm1(v16 x, v16 *n) {
    v16 round = v_set(MATH_ROUND);
    *n = v_sub(v_fma(x, v_set(MATH_LOG2E), round), round);
    v16 r = v_fma(*n, v_set(-MATH_LN2_HI), x);
    r = v_fma(*n, v_set(-MATH_LN2_LO), r);
    v16 q = v_fma(v_set(MATH_Q4), r, v_set(MATH_Q3));
    q = v_fma(q, r, v_set(MATH_Q2));
    q = v_fma(q, r, v_set(MATH_Q1));
    q = v_fma(q, r, v_set(MATH_Q0));
    return v_fma(v_mul(r, r), q, r);
}

INLINE v16 v_exp(v16 x) {
    v16 n, round = v_set(MATH_ROUND);
    x = v_min(v_set(MATH_EXP_HI), v_max(v_set(MATH_EXP_LO), x));
    v16 m = v_reduced_expm1(x, &n);
    v16 half = v_sub(v_add(v_mul(n, v_set(0.5f)), round), round);
    return v_mul(v_mul(v_add(m, v_set(1.0f)), v_pow2(half)), v_pow2(v_sub(n, half)));
}

INLINE v16 v_expm1(v16 x) {
    v16 n, m = v_reduced_expm1(v_min(v_set(MATH_EXPM1_HI), v_max(v_set(MATH_EXPM1_LO), x)), &n);
    v16 s = v_pow2(n);
    return v_fma(s, m, v_sub(s, v_set(1.0f)));
}

INLINE v16 v_tanh(v16 x) {
    v16 t = v_expm1(v_mul(v_set(2.0f), v_min(v_set(10.0f), v_abs(x))));
    return v_with_sign(v_div(t, v_add(t, v_set(2.0f))), x);
}

INLINE v16 v_sigmoid(v16 x) {
    v16 one = v_set(1.0f), minus = v_mul(v_set(-1.0f), x);
    return v_div(one, v_add(one, v_exp(minus)));
}

INLINE v16 v_erf(v16 x) {
    v16 a = v_abs(x), u = v_mul(a, a), b = v_min(v_set(MATH_ERF_HI), a);
    v16 p = v_fma(v_set(MATH_P6), u, v_set(MATH_P5));
    p = v_fma(p, u, v_set(MATH_P4));
    p = v_fma(p, u, v_set(MATH_P3));
    p = v_fma(p, u, v_set(MATH_P2));
    p = v_fma(p, u, v_set(MATH_P1));
    p = v_fma(p, u, v_set(MATH_P0));
    v16 t = v_fma(v_set(MATH_T7), b, v_set(MATH_T6));
    t = v_fma(t, b, v_set(MATH_T5));
    t = v_fma(t, b, v_set(MATH_T4));
    t = v_fma(t, b, v_set(MATH_T3));
    t = v_fma(t, b, v_set(MATH_T2));
    t = v_fma(t, b, v_set(MATH_T1));
    t = v_fma(t, b, v_set(MATH_T0));
    v16 large = v_sub(v_set(1.0f), v_exp(t));
    return v_with_sign(v_pick(a, v_set(MATH_ERF_SPLIT), v_fma(a, p, a), large), x);
}

INLINE v16 v_elu(v16 x) {
    return v_pick(v_set(0.0f), x, x, v_expm1(x));
}

INLINE v16 v_gelu(v16 x) {
    v16 e = v_erf(v_mul(x, v_set(0x1.6a09e6p-1f)));
    return v_mul(v_mul(v_set(0.5f), x), v_add(v_set(1.0f), e));
}

#include "compute/cpu/kern_dots.h"

// ---- what follows a product ----

INLINE v16 v_activate(v16 v, activation act) {
    switch (act) {
    case ACT_RELU: return v_pick(v_set(0.0f), v, v, v_set(0.0f));
    case ACT_GELU: return v_gelu(v);
    case ACT_ELU: return v_elu(v);
    case ACT_NONE: break;
    }
    return v;
}

INLINE void finish_as(float *y, const float *s, const float *bias, int64_t n, const activation act,
                      bool add) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 v = v_load(s + i);
        v = v_activate(bias ? v_add(v, v_load(bias + i)) : v, act);
        v_store(y + i, add ? v_add(v_load(y + i), v) : v);
    }
    for (; act == ACT_NONE && i < n; i++) { // a single row of weights gets here for each x
        float v = bias ? s[i] + bias[i] : s[i];
        y[i] = add ? y[i] + v : v;
    }
    if (i == n) return;
    v16 v = v_load_n(s + i, n - i);
    v = v_activate(bias ? v_add(v, v_load_n(bias + i, n - i)) : v, act);
    v_store_n(y + i, add ? v_add(v_load_n(y + i, n - i), v) : v, n - i);
}

static void finish(float *y, const float *s, const float *bias, int64_t n, activation act,
                   bool add) {
    switch (act) {
    case ACT_NONE: finish_as(y, s, bias, n, ACT_NONE, add); break;
    case ACT_RELU: finish_as(y, s, bias, n, ACT_RELU, add); break;
    case ACT_GELU: finish_as(y, s, bias, n, ACT_GELU, add); break;
    case ACT_ELU: finish_as(y, s, bias, n, ACT_ELU, add); break;
    }
}

// ---- norms ----

// Lanes that lie past the end add nothing: they are left out, since adding a zero would turn -0 to
// +0.
static float sum_of_rest(v16 acc, const float *x, int64_t n, float less, bool square) {
    float lane[16];
    v_store(lane, acc);
    for (int64_t i = 0; i < n; i++) {
        float c = x[i] - less;
        lane[i] = square ? fmaf(c, c, lane[i]) : lane[i] + x[i];
    }
    return v_sum(v_load(lane));
}

static float sum_of(const float *x, int64_t d) {
    v16 acc = v_set(0.0f);
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) acc = v_add(acc, v_load(x + i));
    return i == d ? v_sum(acc) : sum_of_rest(acc, x + i, d - i, 0, false);
}

static float sum_of_squares(const float *x, int64_t d, float less) {
    v16 acc = v_set(0.0f), m = v_set(less);
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        v16 c = v_sub(v_load(x + i), m);
        acc = v_fma(c, c, acc);
    }
    return i == d ? v_sum(acc) : sum_of_rest(acc, x + i, d - i, less, true);
}

static void layer_norm(float *y, const float *x, const float *w, const float *b, int64_t d,
                       float eps) {
    float mean = sum_of(x, d) / (float)d;
    float scale = 1.0f / sqrtf(sum_of_squares(x, d, mean) / (float)d + eps);
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        v16 c = v_mul(v_sub(v_load(x + i), v_set(mean)), v_set(scale));
        v_store(y + i, v_fma(c, v_load(w + i), v_load(b + i)));
    }
    for (; i < d; i++) y[i] = fmaf((x[i] - mean) * scale, w[i], b[i]);
}

static void rms_norm(float *y, const float *x, const float *w, int64_t d, float eps) {
    float scale = 1.0f / sqrtf(sum_of_squares(x, d, 0) / (float)d + eps);
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        v_store(y + i, v_mul(v_mul(v_load(x + i), v_set(scale)), v_load(w + i)));
    }
    for (; i < d; i++) y[i] = (x[i] * scale) * w[i];
}

// ---- attention ----

// Sixteen keys at once: their sums are added up together.
INLINE v16 scores16(const float *q, const uint8_t *k, ptrdiff_t ahead, int64_t dh, int64_t keys,
                    const dtype type) {
    v16 acc[16];
    size_t row = (size_t)dh * type_size(type);
    UNROLLED
    for (int j = 0; j < 16; j++) acc[j] = v_set(0.0f);
    for (int64_t c = 0; c < dh; c += 16) {
        bool whole = c + 16 <= dh;
        v16 qv = whole ? v_load(q + c) : v_load_n(q + c, dh - c);
        const uint8_t *at = k + (size_t)c * type_size(type);
        if (whole && keys == 16) {
            UNROLLED
            for (int j = 0; j < 16; j++) {
                if ((size_t)c * type_size(type) % 64 == 0) __builtin_prefetch(at + j * row + ahead);
                acc[j] = v_fma(v_read(at + j * row, type), qv, acc[j]);
            }
            continue;
        }
        UNROLLED
        for (int j = 0; j < keys; j++) {
            v16 kv = whole ? v_read(at + j * row, type) : v_read_n(at + j * row, type, dh - c);
            acc[j] = v_fma(kv, qv, acc[j]);
        }
    }
    return v_sums(acc);
}

INLINE float scores_as(float *s, const float *q, const kv_rows *k, float scale, const float *bias,
                       const dtype type) {
    v16 top = v_set(-INFINITY);
    const uint8_t *p = k->p;
    const size_t rows16 = 16 * (size_t)k->dh * type_size(type);
    const kv_pass pass = kv_pass_of(p, k->next, (size_t)(k->len * k->dh) * type_size(type));
    int64_t j = 0;
    for (; j + 16 <= k->len; j += 16, p += rows16) {
        v16 v = v_mul(scores16(q, p, kv_ahead(&pass, p), k->dh, 16, type), v_set(scale));
        if (bias) v = v_add(v, v_load(bias + j));
        v_store(s + j, v);
        top = v_max(top, v);
    }
    if (j == k->len) return v_top(top);
    v16 v = v_mul(scores16(q, p, kv_ahead(&pass, p), k->dh, k->len - j, type), v_set(scale));
    if (bias) v = v_add(v, v_load_n(bias + j, k->len - j));
    v_store(s + j, v_first_n(v, v_set(-INFINITY), k->len - j));
    return v_top(v_first_n(v_max(top, v), top, k->len - j));
}

static float scores(float *s, const float *q, const kv_rows *k, float scale, const float *bias) {
    if (k->type == DT_F32) return scores_as(s, q, k, scale, bias, DT_F32);
    return scores_as(s, q, k, scale, bias, DT_BF16);
}

static float softmax(float *s, int64_t len, float max) {
    v16 sum = v_set(0.0f), top = v_set(max);
    for (int64_t j = 0; j < len; j += 16) {
        v16 e = v_exp(v_sub(v_load(s + j), top));
        v_store(s + j, e);
        sum = v_add(sum, e);
    }
    return v_sum(sum);
}

// Columns c..c+16*cols-1 of the weighted sum.
INLINE void weigh_cols(float *out, const float *s, const kv_rows *v, float by, int64_t c,
                       const int cols, const dtype type) {
    size_t row = (size_t)v->dh * type_size(type);
    const uint8_t *p = (const uint8_t *)v->p + (size_t)c * type_size(type);
    const kv_pass pass = kv_pass_of(v->p, v->next, (size_t)v->len * row);
    v16 acc[8];
    UNROLLED
    for (int i = 0; i < 8; i++) acc[i] = v_set(0.0f);
    for (int64_t j = 0; j < v->len; j++, p += row) {
        v16 e = v_set(s[j]);
        const ptrdiff_t ahead = kv_ahead(&pass, p);
        UNROLLED
        for (int i = 0; i < cols; i++) {
            const uint8_t *at = p + (size_t)i * 16 * type_size(type);
            if (i * 16 * type_size(type) % 64 == 0) __builtin_prefetch(at + ahead);
            acc[i] = v_fma(e, v_read(at, type), acc[i]);
        }
    }
    UNROLLED
    for (int i = 0; i < cols; i++) v_store(out + c + 16 * i, v_mul(acc[i], v_set(by)));
}

INLINE void weigh_rest(float *out, const float *s, const kv_rows *v, float by, int64_t c,
                       const dtype type) {
    size_t row = (size_t)v->dh * type_size(type);
    const uint8_t *p = (const uint8_t *)v->p + (size_t)c * type_size(type);
    v16 acc = v_set(0.0f);
    for (int64_t j = 0; j < v->len; j++, p += row) {
        acc = v_fma(v_set(s[j]), v_read_n(p, type, v->dh - c), acc);
    }
    v_store_n(out + c, v_mul(acc, v_set(by)), v->dh - c);
}

INLINE void weigh_as(float *out, const float *s, const kv_rows *v, float by, const dtype type) {
    int64_t c = 0;
    for (; c + 64 <= v->dh; c += 64) weigh_cols(out, s, v, by, c, 4, type);
    for (; c + 16 <= v->dh; c += 16) weigh_cols(out, s, v, by, c, 1, type);
    if (c < v->dh) weigh_rest(out, s, v, by, c, type);
}

static void weigh(float *out, const float *s, const kv_rows *v, float by) {
    if (v->type == DT_F32)
        weigh_as(out, s, v, by, DT_F32);
    else
        weigh_as(out, s, v, by, DT_BF16);
}

// ---- quantised x ----

INLINE void quantise32(qblock *out, v16 lo, v16 hi) {
    float m = v_top(v_max(v_abs(lo), v_abs(hi)));
    v16 by = v_set(m > 0.0f ? 127.0f / m : 0.0f);
    v16 a = v_quantum(v_mul(lo, by)), b = v_quantum(v_mul(hi, by));
    v_bytes(out->q, a, b);
    out->scale = m * (1.0f / 127.0f);
    out->less8 = -8 * (int32_t)v_sum(v_add(a, b)); // exact: at most 32 * 127
}

static void quantise(qblock *out, const float *x, int64_t cols) {
    int64_t i = 0;
    for (; i + 32 <= cols; i += 32) quantise32(out++, v_load(x + i), v_load(x + i + 16));
    if (i == cols) return;
    int64_t lo = MIN(16, cols - i);
    quantise32(out, v_load_n(x + i, lo), v_load_n(x + i + lo, cols - i - lo));
}

static void quantise_row(int8_t *q, float *unit, const float *x, int64_t n) {
    float m = v_largest(x, n);
    v16 by = v_set(m > 0.0f ? 127.0f / m : 0.0f);
    *unit = m * (1.0f / 127.0f);
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        v16 lo = v_load(x + i), hi = v_load(x + i + 16);
        v_bytes(q + i, v_quantum(v_mul(lo, by)), v_quantum(v_mul(hi, by)));
    }
    for (; i < n; i += 16) {
        int8_t both[32];
        v16 rest = v_quantum(v_mul(v_load_n(x + i, MIN(16, n - i)), by));
        v_bytes(both, rest, rest);
        memcpy(q + i, both, (size_t)MIN(16, n - i));
    }
}

// ---- element by element ----

static void elu(float *y, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_elu(v_load(x + i)));
    if (i < n) v_store_n(y + i, v_elu(v_load_n(x + i, n - i)), n - i);
}

static void add(float *y, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_add(v_load(y + i), v_load(x + i)));
    for (; i < n; i++) y[i] = y[i] + x[i];
}

// Sixteen cells, or the last n of them.
INLINE void lstm16(float *h, float *cell, const float *z, int64_t ld, int64_t n) {
    v16 in = v_sigmoid(v_load_n(z, n)), forget = v_sigmoid(v_load_n(z + ld, n));
    v16 gate = v_tanh(v_load_n(z + 2 * ld, n)), out = v_sigmoid(v_load_n(z + 3 * ld, n));
    v16 c = v_fma(forget, v_load_n(cell, n), v_mul(in, gate));
    v_store_n(cell, c, n);
    v_store_n(h, v_mul(out, v_tanh(c)), n);
}

static void lstm(float *h, float *cell, const float *z, int64_t ld, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) lstm16(h + i, cell + i, z + i, ld, 16);
    if (i < n) lstm16(h + i, cell + i, z + i, ld, n - i);
}

INLINE void widen_as(float *out, const uint8_t *p, int64_t n, const dtype type) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(out + i, v_read(p + (size_t)i * type_size(type), type));
    if (i < n) v_store_n(out + i, v_read_n(p + (size_t)i * type_size(type), type, n - i), n - i);
}

static void widen(float *out, const void *p, dtype type, int64_t n) {
    switch (type) {
    case DT_F32: widen_as(out, p, n, DT_F32); break;
    case DT_BF16: widen_as(out, p, n, DT_BF16); break;
    default: widen_as(out, p, n, DT_F16); break;
    }
}

#include "compute/cpu/kern_chain.h"

static void fill_table(kern_table *k) {
    *k = (kern_table){
        .dots = dots,
        .chain = chain,
        .pack = pack,
        .winograd = winograd,
        .qdots = k->qdots, // these of the level below, until a file of their own improves them
        .qscores = k->qscores,
        .qweigh = k->qweigh,
        .quantise = quantise,
        .finish = finish,
        .layer_norm = layer_norm,
        .rms_norm = rms_norm,
        .scores = scores,
        .softmax = softmax,
        .weigh = weigh,
        .quantise_row = quantise_row,
        .elu = elu,
        .add = add,
        .lstm = lstm,
        .widen = widen,
    };
}
