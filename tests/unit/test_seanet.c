// test_seanet.c - the codec's layers against their formulas in double, however the input is cut.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/seanet.h"

static uint32_t seed = 1;

static double uniform(void) { // -1 to 1
    seed = seed * 1664525u + 1013904223u;
    return (double)(seed >> 8) / 8388608 - 1;
}

static int64_t below(int64_t n) {
    return (int64_t)((uniform() + 1) / 2 * (double)n);
}

// Rows of the next piece: up to most, none sometimes, never more than are left.
static int64_t piece(int64_t left, int64_t most) {
    int64_t n = below(most + 1);
    return MIN(left, n);
}

static float *noise(arena *a, int64_t n) {
    float *p = arena_f32(a, 1, (size_t)n);
    for (int64_t i = 0; i < n; i++) p[i] = (float)uniform();
    return p;
}

static compute *open_compute(void) {
    compute *c;
    err e = {0};
    cr_assert_eq(compute_open(&c, 2, NULL, &e), OK, "%s", e.text);
    return c;
}

static double elu(double x) {
    return x > 0 ? x : expm1(x);
}

// Row i of x [n, ch], channel c, padded on the right with zeros to m rows and then reflected.
static double padded(const float *x, int64_t n, int64_t m, int64_t ch, int64_t i, int64_t c,
                     bool reflect) {
    if (i < 0) {
        if (!reflect) return 0;
        i = -i;
    }
    if (i >= m) {
        if (!reflect) return 0;
        i = 2 * (m - 1) - i;
    }
    cr_assert(i >= 0);
    return i < n ? x[i * ch + c] : 0;
}

// The reference's convolution, straight from its text: pad, then correlate. Returns the rows.
static int64_t conv_naive(const sea_conv *l, const float *plain, const float *x, int64_t n,
                          double *y) {
    int64_t reach = (l->k - 1) * l->dilation + 1, pad = reach - l->stride;
    double frames = (double)(n - reach + pad) / (double)l->stride + 1;
    int64_t extra = ((int64_t)ceil(frames) - 1) * l->stride + reach - pad - n;
    int64_t right = pad / 2 + extra, left = pad - pad / 2, longest = MAX(left, right);
    int64_t m = l->reflect && n <= longest ? longest + 1 : n;
    int64_t rows = (left + n + right - reach) / l->stride + 1;
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t o = 0; o < l->out; o++) {
            double sum = l->bias[o];
            for (int64_t j = 0; j < l->k; j++) {
                for (int64_t i = 0; i < l->in; i++) {
                    int64_t at = t * l->stride + j * l->dilation - left;
                    // What lies behind the drawn-out end and right of n is the zeros themselves.
                    double v = padded(x, n, m, l->in, at, i, l->reflect);
                    sum += v * (double)plain[(o * l->k + j) * l->in + i];
                }
            }
            y[t * l->out + o] = sum;
        }
    }
    return rows;
}

// Pushes x in random pieces; returns the rows given.
static int64_t conv_in_pieces(compute *c, const sea_conv *l, sea_tail *s, arena *a, const float *x,
                              int64_t n, float *y) {
    float *work = arena_f32(a, 1, sea_conv_work(l, n));
    int64_t given = 0, at = 0;
    while (at < n) {
        int64_t take = piece(n - at, 6);
        bool last = at + take == n && below(3); // sometimes the end comes with no rows
        sea_input in = {.x = x + at * l->in, .n = take, .last = last, .work = work};
        given += sea_conv_push(c, l, s, &in, y + given * l->out);
        at += take;
        if (last) return given;
    }
    sea_input end = {.x = x, .n = 0, .last = true, .work = work};
    return given + sea_conv_push(c, l, s, &end, y + given * l->out);
}

// plain: [out, k, in]
static void set_weights(sea_conv *l, const float *plain, arena *a) {
    size_t size;
    l->pad = (l->k - 1) * l->dilation + 1 - l->stride;
    l->w = chain_conv_weight(DT_F32, l->out, l->in, l->k, l->dilation > 1 ? l->k : l->stride);
    cr_assert(chain_size(&size, DT_F32, l->w.rows, l->w.cols));
    l->w.data = arena_alloc(a, size);
    l->single = (weight){DT_F32, 1, l->k * l->in, plain};
    for (int64_t o = 0; o < l->out; o++) {
        const float *tap[16];
        for (int64_t j = 0; j < l->k; j++) tap[j] = plain + (o * l->k + j) * l->in;
        chain_put_taps(&l->w, o, 0, tap, l->k, l->in);
    }
}

static void check_conv(compute *c, const sea_conv *shape, int64_t n) {
    arena a;
    arena_init(&a, 0);
    sea_conv l = *shape;
    const float *plain = noise(&a, l.out * l.k * l.in);
    set_weights(&l, plain, &a);
    l.bias = noise(&a, l.out);
    const float *x = noise(&a, n * l.in);
    double *want = arena_alloc(&a, (size_t)((n + 1) * l.out) * sizeof *want);
    float *whole = arena_f32(&a, (size_t)n + 1, (size_t)l.out);
    float *pieces = arena_f32(&a, (size_t)n + 1, (size_t)l.out);
    int64_t rows = conv_naive(&l, plain, x, n, want);
    cr_assert_eq(rows, (n + l.stride - 1) / l.stride);
    sea_tail s;
    cr_assert(sea_conv_tail_init(&l, &s, &a));
    sea_input in = {.x = x, .n = n, .last = true, .work = arena_f32(&a, 1, sea_conv_work(&l, n))};
    cr_assert_eq(sea_conv_push(c, &l, &s, &in, whole), rows);
    for (int64_t i = 0; i < rows * l.out; i++) {
        cr_assert_float_eq(whole[i], want[i], 1e-5 * (double)(l.k * l.in),
                           "k%d s%d d%d in%d n%d reflect%d value %d: %g, want %g", (int)l.k,
                           (int)l.stride, (int)l.dilation, (int)l.in, (int)n, l.reflect, (int)i,
                           (double)whole[i], want[i]);
    }
    sea_tail_reset(&s);
    cr_assert_eq(conv_in_pieces(c, &l, &s, &a, x, n, pieces), rows);
    cr_assert_arr_eq(pieces, whole, (size_t)(rows * l.out) * sizeof *whole, "k%d s%d n%d", (int)l.k,
                     (int)l.stride, (int)n);
    arena_deinit(&a);
}

Test(seanet, convolution_is_its_formula_and_no_cut_changes_a_bit) {
    compute *c = open_compute();
    const sea_conv shapes[] = {
        {.in = 5, .out = 3, .k = 7, .stride = 1, .dilation = 1},
        {.in = 1, .out = 4, .k = 7, .stride = 1, .dilation = 1},
        {.in = 8, .out = 4, .k = 3, .stride = 1, .dilation = 1},
        {.in = 4, .out = 8, .k = 1, .stride = 1, .dilation = 1},
        {.in = 3, .out = 6, .k = 8, .stride = 4, .dilation = 1},
        {.in = 3, .out = 6, .k = 10, .stride = 5, .dilation = 1},
        {.in = 2, .out = 4, .k = 16, .stride = 8, .dilation = 1},
        {.in = 4, .out = 2, .k = 3, .stride = 1, .dilation = 4},
        {.in = 64, .out = 1, .k = 7, .stride = 1, .dilation = 1},
        {.in = 2, .out = 4, .k = 2, .stride = 1, .dilation = 1},
        {.in = 16, .out = 4, .k = 2, .stride = 1, .dilation = 1}, // by windows
        {.in = 48, .out = 40, .k = 3, .stride = 1, .dilation = 1},
        {.in = 16, .out = 4, .k = 3, .stride = 1, .dilation = 2},
    };
    const int64_t lengths[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 31, 64, 77};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        for (size_t j = 0; j < ARRAY_LEN(lengths); j++) {
            for (int reflect = 0; reflect < 2; reflect++) {
                sea_conv l = shapes[i];
                l.reflect = reflect;
                check_conv(c, &l, lengths[j]);
            }
        }
    }
    compute_close(c);
}

// The reference's transposed convolution: every input row adds to 2*stride rows, then the ends go.
static void up_naive(const sea_up *l, const double *v, const float *bias, const float *x, int64_t n,
                     double *y) {
    int64_t s = l->stride, k = 2 * s, left = s - s / 2;
    for (int64_t t = 0; t < n * s; t++) {
        for (int64_t o = 0; o < l->out; o++) {
            double sum = bias[o];
            for (int64_t from = 0; from < n; from++) {
                int64_t j = t + left - from * s;
                if (j < 0 || j >= k) continue;
                for (int64_t i = 0; i < l->in; i++) {
                    sum += elu(x[from * l->in + i]) * v[(i * l->out + o) * k + j];
                }
            }
            y[t * l->out + o] = sum;
        }
    }
}

typedef struct {
    tensor v, g, bias;
} up_file;

static const tensor *find_up(const void *file, const char *name) {
    const up_file *f = file;
    if (!strcmp(name, "up.weight_v")) return &f->v;
    if (!strcmp(name, "up.weight_g")) return &f->g;
    return strcmp(name, "up.bias") ? NULL : &f->bias;
}

static void check_up(compute *c, int64_t in, int64_t out, int64_t s, int64_t n) {
    arena a;
    arena_init(&a, 0);
    sea_up l = {.in = in, .out = out, .stride = s};
    int64_t len = out * 2 * s;
    const float *v = noise(&a, in * len), *g = noise(&a, in), *bias = noise(&a, out);
    up_file file = {
        {DT_F32, 3, {in, out, 2 * s}, v}, {DT_F32, 3, {in, 1, 1}, g}, {DT_F32, 1, {out}, bias}};
    weights w;
    weights_init(&w, (weights_source){.find = find_up, .file = &file}, &a, WEIGHTS_AS_STORED);
    sea_up_bind(&l, &w, "up");
    cr_assert_eq(weights_finish(&w, NULL), OK);
    double *normed = arena_alloc(&a, (size_t)(in * len) * sizeof *normed);
    for (int64_t i = 0; i < in; i++) {
        double sum = 0;
        for (int64_t j = 0; j < len; j++) sum += (double)v[i * len + j] * (double)v[i * len + j];
        for (int64_t j = 0; j < len; j++) normed[i * len + j] = g[i] * v[i * len + j] / sqrt(sum);
    }
    const float *x = noise(&a, n * in);
    double *want = arena_alloc(&a, (size_t)(n * s * out) * sizeof *want);
    up_naive(&l, normed, bias, x, n, want);
    sea_tail tail;
    cr_assert(sea_up_tail_init(&l, &tail, &a));
    float *y = arena_f32(&a, (size_t)sea_up_rows_max(&l, n), (size_t)out);
    float *got = arena_f32(&a, (size_t)((n + 2) * s), (size_t)out), *first;
    float *work = arena_f32(&a, 1, sea_up_work(&l, n));
    int64_t rows = 0, at = 0;
    for (bool last = false; !last;) {
        int64_t take = piece(n - at, 3);
        last = at + take == n && below(2);
        sea_input in_piece = {.x = x + at * in, .n = take, .last = last, .elu = true, .work = work};
        int64_t m = sea_up_push(c, &l, &tail, &in_piece, y, &first);
        memcpy(got + rows * out, first, (size_t)(m * out) * sizeof *got);
        rows += m;
        at += take;
    }
    cr_assert_eq(rows, n * s, "stride %d n %d: %d rows", (int)s, (int)n, (int)rows);
    for (int64_t i = 0; i < rows * out; i++) {
        cr_assert_float_eq(got[i], want[i], 1e-5 * (double)in, "stride %d n %d value %d: %g, %g",
                           (int)s, (int)n, (int)i, (double)got[i], want[i]);
    }
    arena_deinit(&a);
}

Test(seanet, transposed_convolution_is_its_formula_in_any_pieces) {
    compute *c = open_compute();
    const int64_t strides[] = {1, 2, 4, 5, 8};
    for (size_t i = 0; i < ARRAY_LEN(strides); i++) {
        for (int64_t n = 1; n < 20; n += 3) {
            check_up(c, 6, 3, strides[i], n);
            check_up(c, 40, 20, strides[i], n); // more than one block of the fold
            check_up(c, 48, 5, strides[i], n);  // by windows
        }
    }
    compute_close(c);
}

static void lstm_naive(const sea_lstm *layer, int layers, int64_t d, const float *x, int64_t n,
                       double *y) {
    double *h = calloc((size_t)(2 * layers * d), sizeof *h), *cell = h + layers * d;
    double *z = calloc((size_t)(4 * d), sizeof *z);
    for (int64_t t = 0; t < n; t++) {
        for (int64_t i = 0; i < d; i++) y[t * d + i] = x[t * d + i];
        for (int l = 0; l < layers; l++) {
            const float *wi = layer[l].w_ih.data, *wh = layer[l].w_hh.data;
            for (int64_t o = 0; o < 4 * d; o++) {
                z[o] = layer[l].bias[o];
                for (int64_t i = 0; i < d; i++) {
                    z[o] += wi[o * d + i] * y[t * d + i] + wh[o * d + i] * h[l * d + i];
                }
            }
            for (int64_t i = 0; i < d; i++) {
                double in = 1 / (1 + exp(-z[i])), forget = 1 / (1 + exp(-z[d + i]));
                double out = 1 / (1 + exp(-z[3 * d + i]));
                cell[l * d + i] = forget * cell[l * d + i] + in * tanh(z[2 * d + i]);
                y[t * d + i] = h[l * d + i] = out * tanh(cell[l * d + i]);
            }
        }
        for (int64_t i = 0; i < d; i++) y[t * d + i] += x[t * d + i];
    }
    free(h);
    free(z);
}

Test(seanet, lstm_is_its_formula_for_streams_side_by_side_and_in_pieces) {
    enum { D = 24, N = 9, S = 3, LAYERS = 2 };
    compute *c = open_compute();
    arena a;
    arena_init(&a, 0);
    sea_lstm layer[LAYERS] = {0};
    for (int l = 0; l < LAYERS; l++) {
        layer[l].w_ih = (weight){DT_F32, 4 * D, D, noise(&a, 4 * D * D)};
        layer[l].w_hh = (weight){DT_F32, 4 * D, D, noise(&a, 4 * D * D)};
        layer[l].bias = noise(&a, 4 * D);
    }
    float *x = noise(&a, N * S * D), one[N * D];
    float *z = arena_f32(&a, N * S, 4 * D), *y = arena_f32(&a, N * S, D);
    double want[S][N * D];
    for (int s = 0; s < S; s++) {
        for (int t = 0; t < N; t++) memcpy(one + t * D, x + (t * S + s) * D, sizeof *x * D);
        lstm_naive(layer, LAYERS, D, one, N, want[s]);
    }
    sea_lstm_run run = {
        layer, LAYERS, D, S, arena_f32(&a, LAYERS * S, D), arena_f32(&a, LAYERS * S, D)};
    sea_lstm_push(c, &run, x, 4, z, y);
    sea_lstm_push(c, &run, x, 0, z, y);
    sea_lstm_push(c, &run, x + 4 * S * D, N - 4, z, y);
    for (int s = 0; s < S; s++) {
        for (int t = 0; t < N; t++) {
            for (int i = 0; i < D; i++) {
                cr_assert_float_eq(x[(t * S + s) * D + i], want[s][t * D + i], 1e-5);
            }
        }
    }
    arena_deinit(&a);
    compute_close(c);
}
