// ops_linear.c - op_linear of ops.h: several matrix products in one fork of the threads.
#include <assert.h>

#include "compute/cpu/gemm.h"

// Several products in one fork. Each matrix is cut into shares, one a thread, and a share into
// pieces. A thread goes through its share of the first matrix piece by piece, then through that of
// the next.
typedef struct {
    const compute *c;
    const linear_args *a;
    int count;
    int shares, pieces;
    int64_t from, to; // packed weights: the rows of x in this fork,
    const qblock *q;  // and these in 8 bits
} linear_fork;

// One part of one product.
typedef struct {
    const linear_args *a;
    int part, parts;
} piece;

static piece piece_of(const linear_fork *f, int part) {
    int share = part / (f->count * f->pieces), in = part % (f->count * f->pieces);
    return (piece){&f->a[in / f->pieces], share * f->pieces + in % f->pieces,
                   f->shares * f->pieces};
}

// parts: the parts of the largest product.
static void run_fork(compute *c, linear_fork *f, int parts, pool_fn part) {
    int threads = pool_threads(c->pool);
    const weight *next = f->a->next;
    f->shares = MIN(threads, parts);
    f->pieces = parts / f->shares;
    for (int i = 0; i < threads; i++) {
        pool_next(c->pool, i, next ? gemm_first(next, i, threads) : NULL);
    }
    pool_run(c->pool, f->shares * f->count * f->pieces, part, f);
}

static void plain_part(void *arg, int part, int parts, int thread) {
    const linear_fork *f = arg;
    const piece p = piece_of(f, part);
    (void)parts;
    gemm_part(f->c, p.a, p.part, p.parts, thread);
}

static void plain_many(compute *c, const linear_args *a, int count) {
    linear_fork f = {.c = c, .a = a, .count = count};
    int parts = 1;
    for (int i = 0; i < count; i++) {
        assert(dtype_is_float(a[i].w->type) || a[i].w->type == DT_BF16X8);
        assert(!a[i].xq && !a[i].yq && !a[i].gate);
        parts = MAX(parts, gemm_parts(&a[i], pool_threads(c->pool)));
    }
    run_fork(c, &f, parts, plain_part);
}

// Rounds some rows of x to 8 bits. All products of a fork of packed weights have the same x.
static void quantise_part(void *arg, int part, int parts, int thread) {
    const linear_fork *f = arg;
    int64_t cols = f->a->w->cols;
    span s = span_of(f->to - f->from, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++) {
        const float *x = f->a->x + (f->from + i) * f->a->ldx;
        f->c->k.rows.quantise(f->c->qx + i * quant_blocks(cols), x, cols);
    }
}

static void quantise_rows(compute *c, linear_fork *f) {
    int64_t n = f->to - f->from, cols = f->a->w->cols;
    pool_run(c->pool, compute_parts(c, n, n * cols), quantise_part, f);
    f->q = c->qx;
}

static void packed_part(void *arg, int part, int parts, int thread) {
    const linear_fork *f = arg;
    const piece p = piece_of(f, part);
    (void)parts;
    gemm_packed_part(f->c, p.a, (span){f->from, f->to}, f->q, p.part, p.parts, thread);
}

static void packed_many(compute *c, const linear_args *a, int count) {
    int64_t blocks = quant_blocks(a->w->cols);
    assert(blocks <= COMPUTE_QBLOCKS);
    int64_t chunk = COMPUTE_QBLOCKS / MAX(1, blocks);
    for (int64_t from = 0; from < a->n; from += chunk) {
        linear_fork f = {.c = c, .a = a, .count = count, .from = from};
        f.to = MIN(from + chunk, a->n);
        if (a->xq)
            f.q = a->xq + from * blocks;
        else
            quantise_rows(c, &f);
        int parts = 1;
        for (int i = 0; i < count; i++) {
            assert(!a[i].yq || a[i].w->rows % QUANT_BLOCK == 0);
            assert(!a[i].gate || (a[i].yq && a[i].w->rows / 2 % QUANT_BLOCK == 0));
            parts = MAX(parts, gemm_packed_parts(&a[i], f.to - from, pool_threads(c->pool)));
        }
        run_fork(c, &f, parts, packed_part);
    }
}

static bool same_x(const linear_args *a, const linear_args *b) {
    return a->x == b->x && a->xq == b->xq && a->ldx == b->ldx && a->n == b->n &&
           a->w->cols == b->w->cols;
}

void op_linear_many(compute *c, const linear_args *a, int count) {
    for (int i = 0, end; i < count; i = end) {
        bool packed = quant_is(a[i].w->type);
        for (end = i + 1; end < count && quant_is(a[end].w->type) == packed; end++) {
            if (packed && !same_x(&a[i], &a[end])) break;
        }
        if (packed)
            packed_many(c, a + i, end - i);
        else
            plain_many(c, a + i, end - i);
    }
}

void op_linear(compute *c, const linear_args *a) {
    op_linear_many(c, a, 1);
}
