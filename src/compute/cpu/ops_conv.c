// ops_conv.c - the products and convolutions of chain.h, divided among the threads.
#include <assert.h>

#include "compute/cpu/compute.h"
#include "compute/tensor.h"

#define PART_PRODUCTS ((int64_t)256 << 10) // multiplications of a part: some microseconds
#define PART_ROWS 64                       // weight rows of a part: the widest block of the kernels
#define PART_X 60                          // rows of x of a part: each part reads the weights again
#define PART_VALUES ((int64_t)16 << 10)    // values of a part that are only copied

// ---- products ----

typedef struct {
    const compute *c;
    const chain_linear_args *a;
    const chain_conv_args *conv; // whose Winograd tiles its parts make first; or NULL
} chain_fork;

// Whether parts are ranges of x rows, not of weight rows: the longer side is cut.
static bool cuts_x(const chain_linear_args *a) {
    return a->n > a->w->rows;
}

static uint8_t *x_at(const chain_linear_args *a, int64_t row) {
    int64_t i = row / chain_tile_rows(a->w) * a->ldx;
    return (uint8_t *)(uintptr_t)a->x + (size_t)i * dtype_size(a->w->type);
}

// Transforms the Winograd tiles of rows x of y into v->work.
static void make_tiles(const compute *c, const chain_conv_args *v, span x) {
    int64_t step = chain_tile_rows(v->to.w);
    c->k.codec.winograd(&(winograd_args){.y = x_at(&v->to, x.from),
                                         .type = v->to.w->type,
                                         .rows = v->rows + x.from,
                                         .n = (x.to - x.from + step - 1) / step,
                                         .step = step,
                                         .cols = v->in,
                                         .elu = v->elu});
}

static void linear_part(void *arg, int part, int parts, int thread) {
    (void)thread;
    const chain_fork *f = arg;
    const chain_linear_args *a = f->a;
    span w = {0, a->w->rows}, x = {0, a->n};
    if (cuts_x(a))
        x = span_of(a->n, 6 * chain_tile_rows(a->w), part, parts);
    else
        w = span_of(a->w->rows, PART_ROWS, part, parts);
    if (w.from == w.to || x.from == x.to) return;
    if (f->conv) make_tiles(f->c, f->conv, x);
    f->c->k.codec.chain(&(chain_args){
        .y = (uint8_t *)a->y + (size_t)(x.from * a->ldy + w.from) * dtype_size(a->y_type),
        .y_type = a->y_type,
        .ldy = a->ldy,
        .w = (const uint8_t *)a->w->data +
             (size_t)(w.from / 16) * chain_panel_size(a->w->type, a->w->cols),
        .type = a->w->type,
        .taps = a->w->taps,
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
    chain_fork f = {c, a, conv};
    assert(a->y_type == DT_F32 || (a->y_type == DT_BF16 && !a->add));
    int64_t most = (int64_t)pool_threads(c->pool) * COMPUTE_PARTS_PER_THREAD;
    int64_t cost = a->w->rows * a->w->cols * a->n / chain_tile_rows(a->w) / PART_PRODUCTS;
    int64_t pieces = cuts_x(a) ? a->n / PART_X : a->w->rows / PART_ROWS;
    pool_run(c->pool, (int)MAX(1, MIN(most, MIN(cost, pieces))), linear_part, &f);
}

void chain_linear(compute *c, const chain_linear_args *a) {
    assert(!a->w->taps);
    run_linear(c, a, NULL);
}

// ---- rows that lie anywhere ----

typedef struct {
    const compute *c;
    const chain_lay_args *a;
} lay_fork;

static int parts_of_values(const compute *c, int64_t n) {
    int64_t most = (int64_t)pool_threads(c->pool) * COMPUTE_PARTS_PER_THREAD;
    return (int)MAX(1, MIN(most, n / PART_VALUES));
}

// The number of rows, of n, that follow each other in memory.
static int64_t run_of(const float *const *rows, int64_t n, int64_t cols) {
    int64_t i = 1;
    while (i < n && rows[i] == rows[i - 1] + cols) i++;
    return i;
}

static void lay_part(void *arg, int part, int parts, int thread) {
    (void)thread;
    const lay_fork *f = arg;
    const chain_lay_args *a = f->a;
    span s = span_of(a->n, 1, part, parts);
    for (int64_t i = s.from, run; i < s.to; i += run) {
        run = run_of(a->rows + i, s.to - i, a->cols);
        void *y = (uint8_t *)a->y + (size_t)(i * a->cols) * dtype_size(a->type);
        if (a->type == DT_BF16)
            f->c->k.codec.pack(y, a->rows[i], run * a->cols, a->elu);
        else if (a->elu)
            f->c->k.codec.elu(y, a->rows[i], run * a->cols);
        else
            memcpy(y, a->rows[i], (size_t)(run * a->cols) * sizeof(float));
    }
}

void chain_lay(compute *c, const chain_lay_args *a) {
    lay_fork f = {c, a};
    pool_run(c->pool, parts_of_values(c, a->n * a->cols), lay_part, &f);
}

// ---- convolutions ----

// The number of Winograd tiles for n rows of y.
static int64_t tiles_of(const chain_weight *w, int64_t n) {
    return (n + chain_tile_rows(w) - 1) / chain_tile_rows(w);
}

int64_t chain_conv_rows(const chain_weight *w, int64_t in, int64_t n, int64_t step) {
    if (!n) return 0;
    return w->taps ? (tiles_of(w, n) - 1) * chain_tile_rows(w) + CHAIN_TILE
                   : (n - 1) * step + w->cols / in;
}

size_t chain_conv_work(const chain_weight *w, int64_t in, int64_t n, int64_t step) {
    int64_t rows = w->taps ? tiles_of(w, n) * CHAIN_TILE : chain_conv_rows(w, in, n, step);
    return (size_t)(rows * in) * dtype_size(w->type);
}

static void tiles_part(void *arg, int part, int parts, int thread) {
    (void)thread;
    const chain_fork *f = arg;
    const chain_conv_args *v = f->conv;
    span x = span_of(v->to.n, chain_tile_rows(v->to.w), part, parts);
    if (x.from < x.to) make_tiles(f->c, v, x);
}

static void conv_by_tiles(compute *c, const chain_conv_args *v) {
    chain_fork f = {.c = c, .conv = v};
    if (!cuts_x(&v->to)) pool_run(c->pool, parts_of_values(c, v->to.n * v->in), tiles_part, &f);
    run_linear(c, &v->to, cuts_x(&v->to) ? v : NULL);
}

void chain_conv(compute *c, const chain_conv_args *a) {
    chain_conv_args v = *a;
    const chain_weight *w = v.to.w;
    if (!v.to.n) return;
    v.to.x = v.work;
    v.to.ldx = w->taps ? CHAIN_TILE * v.in : v.step * v.in;
    if (w->taps) {
        conv_by_tiles(c, &v);
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
