// chain.c - see chain.h.
#include "compute/chain.h"

#include <assert.h>
#include <math.h>

#include "compute/gemm.h"

#define PARTS_PER_THREAD 4                 // so that a thread that lags leaves its rest to others
#define PART_PRODUCTS ((int64_t)256 << 10) // some microseconds
#define PART_ROWS 64                       // weight rows: the widest tile
#define PART_X 60                          // x rows, for each of which weights are read again
#define PART_PACK ((int64_t)16 << 10)      // values

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

typedef struct {
    const compute *c;
    const chain_linear_args *a;
} linear_job;

static bool cuts_x(const chain_linear_args *a) {
    return a->n > a->w->rows;
}

static void linear_part(void *arg, int part, int parts, int thread) {
    (void)thread;
    const linear_job *j = arg;
    const chain_linear_args *a = j->a;
    span w = {0, a->w->rows}, x = {0, a->n};
    if (cuts_x(a))
        x = span_of(a->n, 6, part, parts);
    else
        w = span_of(a->w->rows, PART_ROWS, part, parts);
    if (w.from == w.to || x.from == x.to) return;
    size_t size = dtype_size(a->w->type);
    j->c->k.chain(&(chain_args){
        .y = (uint8_t *)a->y + (size_t)(x.from * a->ldy + w.from) * dtype_size(a->y_type),
        .y_type = a->y_type,
        .ldy = a->ldy,
        .w = (const uint8_t *)a->w->data + w.from / 16 * steps(a->w->type, a->w->cols) * 64,
        .type = a->w->type,
        .rows = w.to - w.from,
        .cols = a->w->cols,
        .x = (const uint8_t *)a->x + (size_t)(x.from * a->ldx) * size,
        .ldx = a->ldx,
        .n = x.to - x.from,
        .bias = a->bias ? a->bias + w.from : NULL,
        .act = a->act,
        .add = a->add,
    });
}

void chain_linear(compute *c, const chain_linear_args *a) {
    linear_job j = {c, a};
    assert(a->y_type == DT_F32 || (a->y_type == DT_BF16 && !a->add));
    int64_t most = (int64_t)pool_threads(c->pool) * PARTS_PER_THREAD;
    int64_t cost = a->w->rows * a->w->cols * a->n / PART_PRODUCTS;
    int64_t pieces = cuts_x(a) ? a->n / PART_X : a->w->rows / PART_ROWS;
    pool_run(c->pool, (int)MAX(1, MIN(most, MIN(cost, pieces))), linear_part, &j);
}

typedef struct {
    const compute *c;
    uint16_t *y;
    const float *x;
    int64_t n;
    bool elu;
} pack_job;

static void pack_part(void *arg, int part, int parts, int thread) {
    (void)thread;
    const pack_job *j = arg;
    span s = span_of(j->n, 16, part, parts);
    j->c->k.pack(j->y + s.from, j->x + s.from, s.to - s.from, j->elu);
}

void chain_pack(compute *c, uint16_t *y, const float *x, int64_t n, bool elu) {
    pack_job j = {c, y, x, n, elu};
    int64_t most = (int64_t)pool_threads(c->pool) * PARTS_PER_THREAD;
    pool_run(c->pool, (int)MAX(1, MIN(most, n / PART_PACK)), pack_part, &j);
}
