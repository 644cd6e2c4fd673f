// ops_conv.c - see chain.h.
#include "compute/chain.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "compute/cpu/gemm.h"

#define PARTS_PER_THREAD 4                 // so that a thread that lags leaves its rest to others
#define PART_PRODUCTS ((int64_t)256 << 10) // some microseconds
#define PART_ROWS 64                       // weight rows: the widest tile
#define PART_X 60                          // x rows, for each of which weights are read again
#define PUT_BLOCK 64                       // values
#define PART_VALUES ((int64_t)16 << 10)    // to lay out

static int64_t steps(dtype type, int64_t cols) {
    return type == DT_F32 ? cols : (cols + 1) / 2;
}

bool chain_size(size_t *out, dtype type, int64_t rows, int64_t cols) {
    return size_mul(out, ((size_t)rows + 15) / 16, (size_t)steps(type, cols)) &&
           size_mul(out, *out, 64);
}

void chain_put(const chain_weight *w, int64_t row, int64_t col, const float *x, int64_t n) {
    int64_t panel = row / 16 * steps(w->type, w->cols) * 16, lane = row % 16;
    assert(col >= 0 && col + n <= w->cols && row < w->rows);
    if (w->type == DT_F32) {
        float *to = (float *)w->data + panel + lane;
        for (int64_t i = 0; i < n; i++) to[(col + i) * 16] = x[i];
        return;
    }
    uint16_t *to = (uint16_t *)w->data + 2 * (panel + lane);
    for (int64_t i = 0; i < n; i++) {
        int64_t k = col + i;
        to[k / 2 * 32 + k % 2] = f32_to_bf16(fabsf(x[i]) < CHAIN_TINY ? 0.0f : x[i]);
    }
}

chain_weight chain_conv_weight(dtype type, int64_t rows, int64_t in, int64_t taps, int64_t step) {
    bool fast = step == 1 && (taps == 2 || taps == 3) && in % 16 == 0 && rows > 1;
    return (chain_weight){.type = type,
                          .rows = rows,
                          .cols = in * (fast ? CHAIN_WINDOW : taps),
                          .fast = fast ? (int)taps : 0};
}

int64_t chain_window_rows(const chain_weight *w) {
    return w->fast ? CHAIN_WINDOW + 1 - w->fast : 1;
}

// P1 and P2 of n inputs, PUT_BLOCK at most.
static void put_sums(const chain_weight *w, int64_t row, int64_t col, const float *const *tap,
                     int64_t at, int64_t n) {
    float one[PUT_BLOCK], minus_one[PUT_BLOCK];
    for (int64_t i = 0; i < n; i++) {
        float even = tap[0][at + i] + (w->fast > 2 ? tap[2][at + i] : 0.0f), odd = tap[1][at + i];
        one[i] = (even + odd) / 2;
        minus_one[i] = (even - odd) / 2;
    }
    chain_put(w, row, w->cols / CHAIN_WINDOW + col, one, n);
    chain_put(w, row, w->cols / CHAIN_WINDOW * 2 + col, minus_one, n);
}

void chain_put_taps(const chain_weight *w, int64_t row, int64_t col, const float *const *tap,
                    int64_t taps, int64_t n) {
    int64_t in = w->cols / (w->fast ? CHAIN_WINDOW : taps);
    if (!w->fast) {
        for (int64_t j = 0; j < taps; j++) chain_put(w, row, j * in + col, tap[j], n);
        return;
    }
    chain_put(w, row, col, tap[0], n);
    for (int64_t i = 0; i < n; i += PUT_BLOCK)
        put_sums(w, row, col + i, tap, i, MIN(PUT_BLOCK, n - i));
    chain_put(w, row, 3 * in + col, tap[taps - 1], n);
}

// ---- products

typedef struct {
    const compute *c;
    const chain_linear_args *a;
    const chain_conv_args *conv; // whose windows its parts make first; or NULL
} linear_job;

// A matrix with more rows than x is divided by its rows.
static bool cuts_x(const chain_linear_args *a) {
    return a->n > a->w->rows;
}

static uint8_t *x_at(const chain_linear_args *a, int64_t row) {
    int64_t i = row / chain_window_rows(a->w) * a->ldx;
    return (uint8_t *)(uintptr_t)a->x + (size_t)i * dtype_size(a->w->type);
}

static void make_windows(const compute *c, const chain_conv_args *v, span x) {
    int64_t step = chain_window_rows(v->to.w);
    c->k.windows(&(windows_args){.y = x_at(&v->to, x.from),
                                 .type = v->to.w->type,
                                 .rows = v->rows + x.from,
                                 .n = (x.to - x.from + step - 1) / step,
                                 .step = step,
                                 .cols = v->in,
                                 .elu = v->elu});
}

static void linear_part(void *arg, int part, int parts, int thread) {
    (void)thread;
    const linear_job *j = arg;
    const chain_linear_args *a = j->a;
    span w = {0, a->w->rows}, x = {0, a->n};
    if (cuts_x(a))
        x = span_of(a->n, 6 * chain_window_rows(a->w), part, parts);
    else
        w = span_of(a->w->rows, PART_ROWS, part, parts);
    if (w.from == w.to || x.from == x.to) return;
    if (j->conv) make_windows(j->c, j->conv, x);
    j->c->k.chain(&(chain_args){
        .y = (uint8_t *)a->y + (size_t)(x.from * a->ldy + w.from) * dtype_size(a->y_type),
        .y_type = a->y_type,
        .ldy = a->ldy,
        .w = (const uint8_t *)a->w->data + w.from / 16 * steps(a->w->type, a->w->cols) * 64,
        .type = a->w->type,
        .fast = a->w->fast,
        .rows = w.to - w.from,
        .cols = a->w->cols,
        .x = x_at(a, x.from),
        .ldx = a->ldx,
        .n = x.to - x.from,
        .bias = a->bias ? a->bias + w.from : NULL,
        .act = a->act,
        .add = a->add,
    });
}

static void run_linear(compute *c, const chain_linear_args *a, const chain_conv_args *conv) {
    linear_job j = {c, a, conv};
    assert(a->y_type == DT_F32 || (a->y_type == DT_BF16 && !a->add));
    int64_t most = (int64_t)pool_threads(c->pool) * PARTS_PER_THREAD;
    int64_t cost = a->w->rows * a->w->cols * a->n / chain_window_rows(a->w) / PART_PRODUCTS;
    int64_t pieces = cuts_x(a) ? a->n / PART_X : a->w->rows / PART_ROWS;
    pool_run(c->pool, (int)MAX(1, MIN(most, MIN(cost, pieces))), linear_part, &j);
}

void chain_linear(compute *c, const chain_linear_args *a) {
    assert(!a->w->fast);
    run_linear(c, a, NULL);
}

// ---- rows that lie anywhere

typedef struct {
    const compute *c;
    const chain_lay_args *a;
} lay_job;

static int parts_of_values(const compute *c, int64_t n) {
    int64_t most = (int64_t)pool_threads(c->pool) * PARTS_PER_THREAD;
    return (int)MAX(1, MIN(most, n / PART_VALUES));
}

// How many of n rows follow each other in memory.
static int64_t run_of(const float *const *rows, int64_t n, int64_t cols) {
    int64_t i = 1;
    while (i < n && rows[i] == rows[i - 1] + cols) i++;
    return i;
}

static void lay_part(void *arg, int part, int parts, int thread) {
    (void)thread;
    const lay_job *j = arg;
    const chain_lay_args *a = j->a;
    span s = span_of(a->n, 1, part, parts);
    for (int64_t i = s.from, run; i < s.to; i += run) {
        run = run_of(a->rows + i, s.to - i, a->cols);
        void *y = (uint8_t *)a->y + (size_t)(i * a->cols) * dtype_size(a->type);
        if (a->type == DT_BF16)
            j->c->k.pack(y, a->rows[i], run * a->cols, a->elu);
        else if (a->elu)
            j->c->k.elu(y, a->rows[i], run * a->cols);
        else
            memcpy(y, a->rows[i], (size_t)(run * a->cols) * sizeof(float));
    }
}

void chain_lay(compute *c, const chain_lay_args *a) {
    lay_job j = {c, a};
    pool_run(c->pool, parts_of_values(c, a->n * a->cols), lay_part, &j);
}

// ---- convolutions

static int64_t windows_of(const chain_weight *w, int64_t n) {
    return (n + chain_window_rows(w) - 1) / chain_window_rows(w);
}

int64_t chain_conv_rows(const chain_weight *w, int64_t in, int64_t n, int64_t step) {
    if (!n) return 0;
    return w->fast ? (windows_of(w, n) - 1) * chain_window_rows(w) + CHAIN_WINDOW
                   : (n - 1) * step + w->cols / in;
}

size_t chain_conv_work(const chain_weight *w, int64_t in, int64_t n, int64_t step) {
    int64_t rows = w->fast ? windows_of(w, n) * CHAIN_WINDOW : chain_conv_rows(w, in, n, step);
    return (size_t)(rows * in) * dtype_size(w->type);
}

static void windows_part(void *arg, int part, int parts, int thread) {
    (void)thread;
    const linear_job *j = arg;
    const chain_conv_args *v = j->conv;
    span x = span_of(v->to.n, chain_window_rows(v->to.w), part, parts);
    if (x.from < x.to) make_windows(j->c, v, x);
}

static void conv_by_windows(compute *c, const chain_conv_args *v) {
    linear_job j = {.c = c, .conv = v};
    if (!cuts_x(&v->to)) pool_run(c->pool, parts_of_values(c, v->to.n * v->in), windows_part, &j);
    run_linear(c, &v->to, cuts_x(&v->to) ? v : NULL);
}

void chain_conv(compute *c, const chain_conv_args *a) {
    chain_conv_args v = *a;
    const chain_weight *w = v.to.w;
    if (!v.to.n) return;
    v.to.x = v.work;
    v.to.ldx = w->fast ? CHAIN_WINDOW * v.in : v.step * v.in;
    if (w->fast) {
        conv_by_windows(c, &v);
        return;
    }
    chain_lay(c, &(chain_lay_args){.y = v.work,
                                   .type = w->type,
                                   .rows = v.rows,
                                   .n = chain_conv_rows(w, v.in, v.to.n, v.step),
                                   .cols = v.in,
                                   .elu = v.elu});
    chain_linear(c, &v.to);
}
