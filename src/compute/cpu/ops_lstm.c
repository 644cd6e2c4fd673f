// ops_lstm.c - op_lstm of ops.h: the steps of one layer as rounds of the pool.
//
// A step reads the whole recurrent matrix for a few rows of h, so reading is its cost. Each thread
// owns some cells, the four stretches of weights for the gates of these cells, and their part of h.
// So threads meet once a step.
#include <assert.h>
#include <string.h>

#include "compute/cpu/gemm.h"

#define GRAIN 32           // cells of a part: two panels of packed weights, a block of h in 8 bits
#define PART_WEIGHTS 65536 // with fewer weights, a part costs more than it saves

typedef struct {
    const compute *c;
    const lstm_args *a;
    qblock *q[2]; // for packed weights: h of the step before and of this one, [rows, blocks]
} lstm_fork;

// Adds the products of weight rows w to the gates of step t.
static void gate_rows(const lstm_fork *f, int64_t t, span w) {
    const lstm_args *a = f->a;
    const linear_args step = {.y = a->z + t * a->rows * 4 * a->d,
                              .ldy = 4 * a->d,
                              .x = t ? a->y + (t - 1) * a->rows * a->d : a->h,
                              .ldx = a->d,
                              .n = a->rows,
                              .w = a->w,
                              .add = true};
    gemm_block(f->c, &step, w, f->q[t % 2]);
}

// Adds the products of all gates of cells s: four stretches of weight rows, or a single one if
// gates may share a panel. Every other step goes backwards: it begins with what was read last, and
// some of that lies in the core's own cache.
static void gates(const lstm_fork *f, int64_t t, span s) {
    int64_t d = f->a->d, stretches = d % GRAIN ? 1 : 4;
    if (stretches == 1) s = (span){0, 4 * d};
    int64_t each = (s.to - s.from + GEMM_BLOCK_ROWS - 1) / GEMM_BLOCK_ROWS;
    for (int64_t i = 0; i < stretches * each; i++) {
        int64_t at = t % 2 ? stretches * each - 1 - i : i, from = at / each * d;
        int64_t r = s.from + at % each * GEMM_BLOCK_ROWS;
        gate_rows(f, t, (span){from + r, from + MIN(r + GEMM_BLOCK_ROWS, s.to)});
    }
}

// Rounds cells s of h to 8 bits for step t.
static void quantise(const lstm_fork *f, int64_t t, const float *h, span s) {
    int64_t blocks = quant_blocks(f->a->d);
    for (int64_t i = 0; i < f->a->rows && quant_is(f->a->w->type); i++) {
        f->c->k.rows.quantise(f->q[t % 2] + i * blocks + s.from / QUANT_BLOCK,
                              h + i * f->a->d + s.from, s.to - s.from);
    }
}

static void step_part(void *arg, int round, int part, int parts, int thread) {
    const lstm_fork *f = arg;
    const lstm_args *a = f->a;
    int64_t t = round, d = a->d;
    span s = span_of(d, GRAIN, part, parts);
    (void)thread;
    gates(f, t, s);
    float *h = a->y + t * a->rows * d;
    const float *z = a->z + t * a->rows * 4 * d;
    for (int64_t i = 0; i < a->rows; i++) {
        f->c->k.codec.lstm(h + i * d + s.from, a->cell + i * d + s.from, z + i * 4 * d + s.from, d,
                           s.to - s.from);
    }
    quantise(f, t + 1, h, s);
}

void op_lstm(compute *c, const lstm_args *a) {
    lstm_fork f = {.c = c, .a = a, .q = {c->qx, c->qx + a->rows * quant_blocks(a->d)}};
    assert(a->rows <= LSTM_ROWS_MAX && 2 * a->rows * quant_blocks(a->d) <= COMPUTE_QBLOCKS);
    if (!a->n) return;
    int64_t most = MIN(pool_threads(c->pool), POOL_ROUND_PARTS_MAX);
    int64_t pieces = a->d % GRAIN ? 1 : MIN(a->d / GRAIN, 4 * a->d * a->d / PART_WEIGHTS);
    quantise(&f, 0, a->h, (span){0, a->d});
    pool_run_rounds(c->pool, (int)a->n, (int)MAX(1, MIN(most, pieces)), step_part, &f);
    memcpy(a->h, a->y + (a->n - 1) * a->rows * a->d, (size_t)(a->rows * a->d) * sizeof *a->h);
}
