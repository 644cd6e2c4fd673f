// seanet_bind.c - finds the tensors of a layer, folds weight normalisation and lays the weights out
// for chain_linear; see seanet.h.
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/finite.h"
#include "model/seanet.h"

typedef struct {
    tensor v, g;
    bool plain; // v is the weight itself, there is no g
    const char *v_name, *g_name;
} conv_tensors;

static void name_tensors(conv_tensors *t, const weights *w, const char *prefix) {
    t->v_name = "weight_v", t->g_name = "weight_g";
    t->plain = weights_find(w, "%s.weight", prefix) != NULL;
    if (t->plain) t->v_name = "weight";
    if (t->plain || weights_find(w, "%s.weight_v", prefix)) return;
    t->v_name = "parametrizations.weight.original1";
    t->g_name = "parametrizations.weight.original0";
}

// Finds the tensors of a convolution. False when one is missing or wrong, which w then reports.
static bool find_conv(conv_tensors *t, weights *w, const char *prefix, const int64_t shape[3]) {
    int problems = w->problems;
    *t = (conv_tensors){0};
    name_tensors(t, w, prefix);
    const weight_spec fused = {".weight", BIND_TENSOR, &t->v, {shape[0], shape[1], shape[2]}};
    const weight_spec normed[] = {
        {".weight_v|.parametrizations.weight.original1",
         BIND_TENSOR,
         &t->v,
         {shape[0], shape[1], shape[2]}},
        {".weight_g|.parametrizations.weight.original0", BIND_TENSOR, &t->g, {shape[0], 1, 1}},
    };
    weights_bind(w, t->plain ? &fused : normed, t->plain ? 1 : 2, "%s", prefix);
    if (w->problems != problems) return false;
    weights_count(w, tensor_count(&t->v) + (t->plain ? 0 : tensor_count(&t->g)), 0);
    return true;
}

// Reads v[a] into row, n values, as f32 and scales it to length g[a]. False when it has no length.
// *broken: the tensor that held a value that is not finite, NULL for none.
static bool read_normed(const conv_tensors *t, int64_t a, int64_t n, float *row,
                        const char **broken) {
    tensor_read_f32(row, &t->v, a * n, n);
    *broken = finite_f32(row, n) ? NULL : t->v_name;
    if (t->plain || *broken) return true;
    float g;
    tensor_read_f32(&g, &t->g, a, 1);
    if (!finite_f32(&g, 1)) *broken = t->g_name;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)row[i] * (double)row[i];
    if (!(sum > 0)) return false;
    float scale = (float)((double)g / sqrt(sum)); // sqrt is exact to the last bit everywhere
    for (int64_t i = 0; i < n; i++) row[i] *= scale;
    return true;
}

static bool bind_row(weights *w, const conv_tensors *t, const char *prefix, int64_t a, int64_t n,
                     float *row) {
    const char *broken;
    bool ok = read_normed(t, a, n, row, &broken);
    if (broken) weights_broken(w, "%s.%s", prefix, broken);
    if (!ok && !w->blank)
        weights_problem(w, "%s.%s: row %lld has no length", prefix, t->v_name, (long long)a);
    return ok || w->blank;
}

static const float *bind_bias(weights *w, const char *prefix, int64_t out, int64_t times) {
    tensor bias = {0};
    const weight_spec spec = {".bias", BIND_TENSOR, &bias, {out}};
    weights_bind(w, &spec, 1, "%s", prefix);
    if (!bias.data) return NULL;
    float *b = arena_f32(w->own, (size_t)times, (size_t)out);
    for (int64_t i = 0; b && i < times; i++) tensor_read_f32(b + i * out, &bias, 0, out);
    if (b && !finite_f32(b, out)) weights_broken(w, "%s.bias", prefix);
    weights_count(w, out, (size_t)(times * out) * sizeof *b);
    return b;
}

// ---- matrices in panels

// bf16 does not pay for one input or one output channel.
static chain_weight conv_weight(const weights *w, const sea_conv *l) {
    dtype type = w->type == WEIGHTS_BF16 && l->in > 1 && l->out > 1 ? DT_BF16 : DT_F32;
    return chain_conv_weight(type, l->out, l->in, l->k, l->dilation > 1 ? l->k : l->stride);
}

static size_t size_of(const chain_weight *m) {
    size_t size = 0;
    chain_size(&size, m->type, m->rows, m->cols);
    return size;
}

static bool make_room(weights *w, chain_weight *m) {
    size_t size;
    if (chain_size(&size, m->type, m->rows, m->cols)) {
        m->data = arena_alloc(w->own, size);
        weights_count(w, 0, size);
    }
    if (!m->data) w->own->failed = true;
    return m->data != NULL;
}

// Takes the layer's matrix from a packed file; one of f32 is rounded where m asks for bf16. False
// when the file has none and the matrix must be made from tensors.
static bool take_packed(chain_weight *m, weights *w, const char *prefix) {
    const tensor *t = weights_find(w, "%s.weight", prefix);
    if (!t || (t->type != DT_CHAIN_F32 && t->type != DT_CHAIN_BF16)) return false;
    dtype type = t->type == DT_CHAIN_F32 ? DT_F32 : DT_BF16;
    if (t->shape[0] != m->rows || t->shape[1] != m->cols || (type != DT_F32 && type != m->type)) {
        weights_problem(w, "%s.weight is %s [%lld, %lld], expected %s [%lld, %lld] in panels",
                        prefix, dtype_name(t->type), (long long)t->shape[0], (long long)t->shape[1],
                        dtype_name(m->type), (long long)m->rows, (long long)m->cols);
    }
    const weight as = {.type = t->type, .rows = m->rows, .cols = m->cols, .data = t->data};
    if (type == m->type) {
        m->data = (void *)t->data;
        weights_count(w, tensor_count(t), size_of(m));
        weights_keep(w, &as, "%s.weight", prefix);
        return true;
    }
    weights_count(w, tensor_count(t), 0);
    if (!finite_weight(&as, weight_size(&as), w->c)) weights_broken(w, "%s.weight", prefix);
    if (t->shape[0] == m->rows && t->shape[1] == m->cols && make_room(w, m))
        chain_round(m, t->data);
    return true;
}

// Tells the converter to write the matrix m in place of the tensors that it was made from.
static void give_packed(const weights *w, const chain_weight *m, const char *prefix) {
    static const char *const parts[] = {"weight_g", "weight_v", "parametrizations.weight.original0",
                                        "parametrizations.weight.original1"};
    const weight as = {.type = m->type == DT_F32 ? DT_CHAIN_F32 : DT_CHAIN_BF16,
                       .rows = m->rows,
                       .cols = m->cols,
                       .data = m->data};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) weights_bound(w, NULL, "%s.%s", prefix, parts[i]);
    weights_bound(w, &as, "%s.weight", prefix);
}

// ---- convolutions

// Reads row o of a convolution and turns it to [k, in], the order of the rows of x in a window.
static bool read_turned(weights *w, const sea_conv *l, const conv_tensors *t, const char *prefix,
                        int64_t o, float *row) {
    int64_t n = l->in * l->k;
    float *plain = row + n;
    if (!bind_row(w, t, prefix, o, n, plain)) return false;
    for (int64_t i = 0; i < l->in; i++) {
        for (int64_t j = 0; j < l->k; j++) row[j * l->in + i] = plain[i * l->k + j];
    }
    return true;
}

static void bind_single(sea_conv *l, weights *w, const conv_tensors *t, const char *prefix) {
    int64_t n = l->in * l->k;
    float *row = arena_f32(w->own, 2, (size_t)n);
    if (!row || !read_turned(w, l, t, prefix, 0, row)) return;
    l->single = (weight){.type = DT_F32, .rows = 1, .cols = n, .data = row};
    weights_count(w, 0, (size_t)n * sizeof *row);
}

// Puts row o of the matrix: row [k, in]. Only Winograd's layout needs all taps at once, and it has
// two or three; a convolution of any other length goes tap by tap.
static void put_row(const sea_conv *l, int64_t o, const float *row) {
    if (!l->w.taps) {
        for (int64_t j = 0; j < l->k; j++) chain_put(&l->w, o, j * l->in, row + j * l->in, l->in);
        return;
    }
    const float *const tap[3] = {row, row + l->in, row + 2 * l->in};
    assert(l->k <= 3);
    chain_put_taps(&l->w, o, 0, tap, l->k, l->in);
}

static void bind_conv_rows(sea_conv *l, weights *w, const conv_tensors *t, const char *prefix) {
    int64_t n = l->in * l->k;
    float *row = mem_alloc(2 * (size_t)n * sizeof *row);
    if (!row || !make_room(w, &l->w)) w->own->failed = true;
    for (int64_t o = 0; !w->own->failed && o < l->out; o++) {
        if (!read_turned(w, l, t, prefix, o, row)) break;
        put_row(l, o, row);
    }
    mem_free(row);
    give_packed(w, &l->w, prefix);
}

void sea_conv_bind(sea_conv *l, weights *w, const char *prefix) {
    conv_tensors t;
    l->bias = l->bare ? NULL : bind_bias(w, prefix, l->out, 1);
    l->pad = (l->k - 1) * l->dilation + 1 - l->stride;
    l->w = conv_weight(w, l);
    if (!sea_conv_is_single(l) && take_packed(&l->w, w, prefix)) return;
    if (!find_conv(&t, w, prefix, (int64_t[]){l->out, l->in, l->k})) return;
    if (sea_conv_is_single(l))
        bind_single(l, w, &t, prefix);
    else
        bind_conv_rows(l, w, &t, prefix);
}

// ---- transposed convolutions

#define FOLD_BLOCK 16 // input channels at a time: they fill a cache line of the result

// Puts the taps of n input channels from i0 on; rows [n, out, 2*stride] holds them.
static void fold_up(const sea_up *l, const float *rows, int64_t i0, int64_t n) {
    int64_t s = l->stride, k = 2 * s;
    for (int64_t o = 0; o < l->out; o++) {
        for (int64_t j = 0; j < s; j++) {
            const float *src = rows + o * k + j;
            float before[FOLD_BLOCK], now[FOLD_BLOCK]; // weights of x[t-1] and x[t] in row j
            for (int64_t i = 0; i < n; i++) {
                before[i] = src[i * l->out * k + s];
                now[i] = src[i * l->out * k];
            }
            const float *const tap[2] = {before, now};
            chain_put_taps(&l->conv.w, j * l->out + o, i0, tap, 2, n);
        }
    }
}

static void bind_up_rows(sea_up *l, weights *w, const conv_tensors *t, const char *prefix) {
    int64_t n = l->out * 2 * l->stride;
    float *rows = mem_alloc((size_t)n * FOLD_BLOCK * sizeof *rows);
    if (!rows || !make_room(w, &l->conv.w)) w->own->failed = true;
    for (int64_t i = 0; !w->own->failed && i < l->in; i++) {
        int64_t slot = i % FOLD_BLOCK;
        if (!bind_row(w, t, prefix, i, n, rows + slot * n)) break;
        if (slot == FOLD_BLOCK - 1 || i == l->in - 1) fold_up(l, rows, i - slot, slot + 1);
    }
    mem_free(rows);
    give_packed(w, &l->conv.w, prefix);
}

void sea_up_bind(sea_up *l, weights *w, const char *prefix) {
    conv_tensors t;
    int64_t s = l->stride;
    l->conv =
        (sea_conv){.in = l->in, .out = s * l->out, .k = 2, .stride = 1, .dilation = 1, .pad = 2};
    l->conv.bias = bind_bias(w, prefix, l->out, s);
    l->conv.w = conv_weight(w, &l->conv);
    if (take_packed(&l->conv.w, w, prefix)) return;
    if (find_conv(&t, w, prefix, (int64_t[]){l->in, l->out, 2 * s})) bind_up_rows(l, w, &t, prefix);
}

// ---- LSTM

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
    // Each step reads the recurrent matrix again, so its size decides the time. The signal is as
    // near to the reference with both matrices in 8 bits as in bf16.
    weights_type type = w->type;
    if (type == WEIGHTS_BF16) w->type = WEIGHTS_Q8;
    weights_bind(w, spec, ARRAY_LEN(spec), "%s.", prefix);
    w->type = type;
    if (!in || !rec) return;
    float *sum = arena_f32(w->own, 1, (size_t)(4 * d));
    for (int64_t i = 0; sum && i < 4 * d; i++) sum[i] = in[i] + rec[i];
    l->bias = sum;
}
