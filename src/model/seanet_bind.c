// seanet_bind.c - finds the tensors of a layer, folds weight normalisation and lays the weights out
// for op_linear; see seanet.h.
#include <math.h>
#include <stdio.h>

#include "model/seanet.h"

typedef struct {
    tensor v, g, bias;
    bool plain; // v is the weight itself, there is no g
} conv_tensors;

// False when something is missing or wrong, and w then knows.
static bool find_conv(conv_tensors *t, weights *w, const char *prefix, const int64_t shape[3],
                      int64_t out) {
    int problems = w->problems;
    *t = (conv_tensors){.plain = weights_find(w, "%s.weight", prefix) != NULL};
    const weight_spec fused = {".weight", BIND_TENSOR, &t->v, {shape[0], shape[1], shape[2]}};
    const weight_spec normed[] = {
        {".weight_v|.parametrizations.weight.original1",
         BIND_TENSOR,
         &t->v,
         {shape[0], shape[1], shape[2]}},
        {".weight_g|.parametrizations.weight.original0", BIND_TENSOR, &t->g, {shape[0], 1, 1}},
    };
    const weight_spec bias = {".bias", BIND_TENSOR, &t->bias, {out}};
    weights_bind(w, t->plain ? &fused : normed, t->plain ? 1 : 2, "%s", prefix);
    weights_bind(w, &bias, 1, "%s", prefix);
    return w->problems == problems;
}

// Reads v[a] into row as f32 and scales it to length g[a]. False when it has no length.
static bool read_normed(const conv_tensors *t, int64_t a, int64_t n, float *row) {
    tensor_read_f32(row, &t->v, a * n, n);
    if (t->plain) return true;
    float g;
    tensor_read_f32(&g, &t->g, a, 1);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)row[i] * (double)row[i];
    if (!(sum > 0) || !isfinite(sum)) return false;
    float scale = (float)((double)g / sqrt(sum)); // sqrt is exact to the last bit everywhere
    for (int64_t i = 0; i < n; i++) row[i] *= scale;
    return true;
}

static void count(weights *w, const conv_tensors *t, size_t kept) {
    int64_t values = tensor_count(&t->v) + tensor_count(&t->bias);
    if (!t->plain) values += tensor_count(&t->g);
    weights_count(w, values, kept);
}

static const float *bind_bias(weights *w, const tensor *bias, int64_t out, int64_t times) {
    float *b = arena_f32(w->own, (size_t)times, (size_t)out);
    for (int64_t i = 0; b && i < times; i++) tensor_read_f32(b + i * out, bias, 0, out);
    return b;
}

void sea_conv_bind(sea_conv *l, weights *w, const char *prefix) {
    conv_tensors t;
    if (!find_conv(&t, w, prefix, (int64_t[]){l->out, l->in, l->k}, l->out)) return;
    int64_t n = l->in * l->k;
    float *folded = arena_f32(w->own, (size_t)l->out, (size_t)n);
    float *row = mem_alloc((size_t)n * sizeof *row);
    l->bias = bind_bias(w, &t.bias, l->out, 1);
    if (!folded || !row || !l->bias) w->own->failed = true;
    for (int64_t o = 0; !w->own->failed && o < l->out; o++) {
        if (!read_normed(&t, o, n, row)) {
            weights_problem(w, "%s.weight_v: row %lld has no length", prefix, (long long)o);
            break;
        }
        for (int64_t i = 0; i < l->in; i++) {
            for (int64_t j = 0; j < l->k; j++) folded[o * n + j * l->in + i] = row[i * l->k + j];
        }
    }
    mem_free(row);
    l->w = (weight){.type = DT_F32, .rows = l->out, .cols = n, .data = folded};
    count(w, &t, (size_t)(l->out * (n + 1)) * sizeof(float));
}

#define FOLD_BLOCK 16 // input channels at a time: as many as fill a cache line of the result

// rows: v of `count` input channels from i0 on, [count, out, 2*stride].
static void fold_up(const sea_up *l, float *folded, const float *rows, int64_t i0, int64_t n) {
    int64_t s = l->stride, k = 2 * s, cols = 2 * l->in;
    for (int64_t o = 0; o < l->out; o++) {
        for (int64_t j = 0; j < s; j++) {
            float *dst = folded + (j * l->out + o) * cols + i0;
            const float *src = rows + o * k + j;
            for (int64_t i = 0; i < n; i++) {
                dst[i] = src[i * l->out * k + s];     // what x[t-1] adds: tap j + stride
                dst[l->in + i] = src[i * l->out * k]; // what x[t] adds: tap j
            }
        }
    }
}

void sea_up_bind(sea_up *l, weights *w, const char *prefix) {
    conv_tensors t;
    int64_t s = l->stride, n = l->out * 2 * s;
    if (!find_conv(&t, w, prefix, (int64_t[]){l->in, l->out, 2 * s}, l->out)) return;
    float *folded = arena_f32(w->own, (size_t)(s * l->out), (size_t)(2 * l->in));
    float *rows = mem_alloc((size_t)n * FOLD_BLOCK * sizeof *rows);
    l->bias = bind_bias(w, &t.bias, l->out, s);
    if (!folded || !rows || !l->bias) w->own->failed = true;
    for (int64_t i = 0; !w->own->failed && i < l->in; i++) {
        int64_t slot = i % FOLD_BLOCK;
        if (!read_normed(&t, i, n, rows + slot * n)) {
            weights_problem(w, "%s.weight_v: row %lld has no length", prefix, (long long)i);
            break;
        }
        if (slot == FOLD_BLOCK - 1 || i == l->in - 1) {
            fold_up(l, folded, rows, i - slot, slot + 1);
        }
    }
    mem_free(rows);
    l->w = (weight){.type = DT_F32, .rows = s * l->out, .cols = 2 * l->in, .data = folded};
    count(w, &t, (size_t)(s * l->out * (2 * l->in + 1)) * sizeof(float));
}

void sea_lstm_bind(sea_lstm *l, weights *w, int64_t d, const char *prefix, int layer) {
    char w_ih[32], w_hh[32], b_ih[32], b_hh[32];
    snprintf(w_ih, sizeof w_ih, "weight_ih_l%d", layer);
    snprintf(w_hh, sizeof w_hh, "weight_hh_l%d", layer);
    snprintf(b_ih, sizeof b_ih, "bias_ih_l%d", layer);
    snprintf(b_hh, sizeof b_hh, "bias_hh_l%d", layer);
    const float *in = NULL, *rec = NULL;
    const weight_spec spec[] = {
        {w_ih, BIND_MATRIX, &l->w_ih, {4 * d, d}},
        {w_hh, BIND_MATRIX, &l->w_hh, {4 * d, d}},
        {b_ih, BIND_VECTOR, &in, {4 * d}},
        {b_hh, BIND_VECTOR, &rec, {4 * d}},
    };
    weights_bind(w, spec, ARRAY_LEN(spec), "%s.", prefix);
    if (!in || !rec) return;
    float *sum = arena_f32(w->own, 1, (size_t)(4 * d));
    for (int64_t i = 0; sum && i < 4 * d; i++) sum[i] = in[i] + rec[i];
    l->bias = sum;
}
