// ops_lstm.c - op_lstm of ops.h: the steps of one layer as rounds of the pool.
//
// A step reads the whole recurrent matrix for a few rows of h, so reading is its cost. Each thread
// owns some cells, the four stretches of weights for the gates of these cells, and their part of h.
// So threads meet once a step.
#include <assert.h>
#include <string.h>

#include "compute/cpu/gemm.h"

#define GRAIN 32           // cells of a part: two panels of packed weights
#define PART_WEIGHTS 65536 // with fewer weights, a part costs more than it saves

typedef struct {
    const compute *c;
    const lstm_args *a;
} lstm_fork;

// h before step t.
static const float *h_before(const lstm_args *a, int64_t t) {
    return t ? a->y + (t - 1) * a->rows * a->d : a->h;
}

// Adds the products of weight rows w to the gates of step t. q: h before, in 8 bits.
static void gate_rows(const lstm_fork *f, int64_t t, span w, const qblock *q) {
    const lstm_args *a = f->a;
    const linear_args step = {.y = a->z + t * a->rows * 4 * a->d,
                              .ldy = 4 * a->d,
                              .x = h_before(a, t),
                              .ldx = a->d,
                              .n = a->rows,
                              .w = a->w,
                              .add = true};
    gemm_block(f->c, &step, w, q);
}

// Adds the products of all gates of cells s: four stretches of weight rows, or a single one if
// gates may share a panel. Every other step goes backwards: it begins with what was read last, and
// some of that lies in the core's own cache.
static void gates(const lstm_fork *f, int64_t t, span s, const qblock *q) {
    int64_t d = f->a->d, stretches = d % GRAIN ? 1 : 4;
    if (stretches == 1) s = (span){0, 4 * d};
    int64_t each = (s.to - s.from + GEMM_BLOCK_ROWS - 1) / GEMM_BLOCK_ROWS;
    for (int64_t i = 0; i < stretches * each; i++) {
        int64_t at = t % 2 ? stretches * each - 1 - i : i, from = at / each * d;
        int64_t r = s.from + at % each * GEMM_BLOCK_ROWS;
        gate_rows(f, t, (span){from + r, from + MIN(r + GEMM_BLOCK_ROWS, s.to)}, q);
    }
}

// h before step t in 8 bits, [rows, blocks], for packed weights. Every thread makes its own: its
// part of h may end within a block, and rounding all of h costs less than another meeting.
static const qblock *quantised(const lstm_fork *f, int64_t t, int thread) {
    const lstm_args *a = f->a;
    if (!quant_is(a->w->type)) return NULL;
    qblock *q = (qblock *)(void *)f->c->scratch[thread].panel;
    for (int64_t i = 0; i < a->rows; i++)
        f->c->k.rows.quantise(q + i * quant_blocks(a->d), h_before(a, t) + i * a->d, a->d);
    return q;
}

static void step_part(void *arg, int round, int part, int parts, int thread) {
    const lstm_fork *f = arg;
    const lstm_args *a = f->a;
    int64_t t = round, d = a->d;
    span s = span_of(d, GRAIN, part, parts);
    gates(f, t, s, quantised(f, t, thread));
    float *h = a->y + t * a->rows * d;
    const float *z = a->z + t * a->rows * 4 * d;
    for (int64_t i = 0; i < a->rows; i++) {
        f->c->k.codec.lstm(h + i * d + s.from, a->cell + i * d + s.from, z + i * 4 * d + s.from, d,
                           s.to - s.from);
    }
}

void op_lstm(compute *c, const lstm_args *a) {
    lstm_fork f = {.c = c, .a = a};
    assert(a->rows <= LSTM_ROWS_MAX);
    assert((size_t)(a->rows * quant_blocks(a->d)) * sizeof(qblock) <=
           (size_t)COMPUTE_PANEL * sizeof(float));
    if (!a->n) return;
    int64_t most = MIN(pool_threads(c->pool), POOL_ROUND_PARTS_MAX);
    int64_t pieces = a->d % GRAIN ? 1 : MIN(a->d / GRAIN, 4 * a->d * a->d / PART_WEIGHTS);
    pool_run_rounds(c->pool, (int)a->n, (int)MAX(1, MIN(most, pieces)), step_part, &f);
    memcpy(a->h, a->y + (a->n - 1) * a->rows * a->d, (size_t)(a->rows * a->d) * sizeof *a->h);
}
