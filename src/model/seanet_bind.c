// seanet_bind.c - finds the tensors of a layer, folds weight normalisation and lays the weights out
// for chain_linear; see seanet.h.
#include <math.h>
#include <stdio.h>
#include <string.h>

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

// Matrices wide enough to be worth it; a single channel in or out is not.
static bool wants_bf16(const weights *w, int64_t k, int64_t in, int64_t out) {
    return w->type == WEIGHTS_BF16 && k > 1 && in > 1 && out > 1;
}

static chain_weight new_matrix(weights *w, bool bf16, int64_t rows, int64_t cols) {
    chain_weight m = {.type = bf16 ? DT_BF16 : DT_F32, .rows = rows, .cols = cols};
    size_t size;
    if (chain_size(&size, m.type, rows, cols))
        m.data = arena_alloc(w->own, size);
    else
        w->own->failed = true;
    return m;
}

static size_t kept(const chain_weight *m, int64_t biases) {
    size_t size = 0;
    chain_size(&size, m->type, m->rows, m->cols);
    return size + (size_t)biases * sizeof(float);
}

static bool bind_row(weights *w, const conv_tensors *t, const char *prefix, int64_t a, int64_t n,
                     float *row) {
    bool ok = read_normed(t, a, n, row);
    if (!ok) weights_problem(w, "%s.weight_v: row %lld has no length", prefix, (long long)a);
    return ok;
}

void sea_conv_bind(sea_conv *l, weights *w, const char *prefix) {
    conv_tensors t;
    if (!find_conv(&t, w, prefix, (int64_t[]){l->out, l->in, l->k}, l->out)) return;
    int64_t n = l->in * l->k;
    l->w = (chain_weight){.type = DT_F32, .rows = l->out, .cols = n};
    float *single = NULL;
    if (l->out > 1)
        l->w = new_matrix(w, wants_bf16(w, l->k, l->in, l->out), l->out, n);
    else
        single = arena_f32(w->own, 1, (size_t)n);
    l->single = (weight){.type = DT_F32, .rows = 1, .cols = n, .data = single};
    float *row = mem_alloc(2 * (size_t)n * sizeof *row), *turned = row + n;
    l->bias = bind_bias(w, &t.bias, l->out, 1);
    if (!row) w->own->failed = true;
    for (int64_t o = 0; !w->own->failed && o < l->out; o++) {
        if (!bind_row(w, &t, prefix, o, n, row)) break;
        for (int64_t i = 0; i < l->in; i++) {
            for (int64_t j = 0; j < l->k; j++) turned[j * l->in + i] = row[i * l->k + j];
        }
        if (single)
            memcpy(single, turned, (size_t)n * sizeof *single);
        else
            chain_put(&l->w, o, 0, turned, n);
    }
    mem_free(row);
    count(w, &t, kept(&l->w, l->out));
}

#define FOLD_BLOCK 16 // input channels at a time: as many as fill a cache line of the result

// rows: v of n input channels from i0 on, [n, out, 2*stride].
static void fold_up(const sea_up *l, const float *rows, int64_t i0, int64_t n) {
    int64_t s = l->stride, k = 2 * s;
    for (int64_t o = 0; o < l->out; o++) {
        for (int64_t j = 0; j < s; j++) {
            const float *src = rows + o * k + j;
            float before[FOLD_BLOCK], now[FOLD_BLOCK]; // what x[t-1] and x[t] add to row j
            for (int64_t i = 0; i < n; i++) {
                before[i] = src[i * l->out * k + s];
                now[i] = src[i * l->out * k];
            }
            chain_put(&l->w, j * l->out + o, i0, before, n);
            chain_put(&l->w, j * l->out + o, l->in + i0, now, n);
        }
    }
}

void sea_up_bind(sea_up *l, weights *w, const char *prefix) {
    conv_tensors t;
    int64_t s = l->stride, n = l->out * 2 * s;
    if (!find_conv(&t, w, prefix, (int64_t[]){l->in, l->out, 2 * s}, l->out)) return;
    l->w = new_matrix(w, wants_bf16(w, 2, l->in, l->out), s * l->out, 2 * l->in);
    float *rows = mem_alloc((size_t)n * FOLD_BLOCK * sizeof *rows);
    l->bias = bind_bias(w, &t.bias, l->out, s);
    if (!rows) w->own->failed = true;
    for (int64_t i = 0; !w->own->failed && i < l->in; i++) {
        int64_t slot = i % FOLD_BLOCK;
        if (!bind_row(w, &t, prefix, i, n, rows + slot * n)) break;
        if (slot == FOLD_BLOCK - 1 || i == l->in - 1) fold_up(l, rows, i - slot, slot + 1);
    }
    mem_free(rows);
    count(w, &t, kept(&l->w, s * l->out));
}

static void pack_input_half(sea_lstm *l, weights *w) {
    chain_weight m = new_matrix(w, true, l->w_ih.rows, l->w_ih.cols);
    tensor t = {.type = l->w_ih.type, .dims = 2, .shape = {m.rows, m.cols}, .data = l->w_ih.data};
    float *row = mem_alloc((size_t)m.cols * sizeof *row);
    if (!row) w->own->failed = true;
    for (int64_t r = 0; !w->own->failed && r < m.rows; r++) {
        tensor_read_f32(row, &t, r * m.cols, m.cols);
        chain_put(&m, r, 0, row, m.cols);
    }
    mem_free(row);
    l->in = m;
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
        {b_ih, BIND_VECTOR, &in, {4 * d}},
        {b_hh, BIND_VECTOR, &rec, {4 * d}},
    };
    const weight_spec recurrent = {w_hh, BIND_MATRIX, &l->w_hh, {4 * d, d}};
    weights_type type = w->type;
    weights_bind(w, spec, ARRAY_LEN(spec), "%s.", prefix);
    // The recurrent half is read anew for each step, so its size is its time.
    if (type == WEIGHTS_BF16) w->type = WEIGHTS_Q8;
    weights_bind(w, &recurrent, 1, "%s.", prefix);
    w->type = type;
    if (!in || !rec) return;
    float *sum = arena_f32(w->own, 1, (size_t)(4 * d));
    for (int64_t i = 0; sum && i < 4 * d; i++) sum[i] = in[i] + rec[i];
    l->bias = sum;
    // A packed file may have brought 8 bits here too: op_linear takes those as they are.
    if (type == WEIGHTS_BF16 && l->w_ih.type == DT_BF16 && l->w_ih.data) pack_input_half(l, w);
}
