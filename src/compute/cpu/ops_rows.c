// ops_rows.c - ops of ops.h that go along rows: norms, sums, embeddings; and forks for host code.
#include <assert.h>

#include "compute/cpu/compute.h"
#include "compute/tensor.h"

// ---- norms ----

typedef struct {
    const kern_table *k;
    const norm_args *a;
    bool layer; // else rms
} norm_fork;

static void norm_part(void *arg, int part, int parts, int thread) {
    const norm_fork *f = arg;
    const norm_args *a = f->a;
    span s = span_of(a->n, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++) {
        float *y = a->y + i * a->d;
        if (f->layer)
            f->k->norms.layer_norm(y, a->x + i * a->d, a->w, a->b, a->d, a->eps);
        else
            f->k->norms.rms_norm(y, a->x + i * a->d, a->w, a->d, a->eps);
        if (a->yq) f->k->rows.quantise(a->yq + i * quant_blocks(a->d), y, a->d);
    }
}

static void norm(compute *c, const norm_args *a, bool layer) {
    norm_fork f = {&c->k, a, layer};
    int64_t cost = (a->yq ? 2 : 1) * a->n * a->d;
    pool_run(c->pool, compute_parts(c, a->n, cost), norm_part, &f);
}

void op_layer_norm(compute *c, const norm_args *a) {
    norm(c, a, true);
}

void op_rms_norm(compute *c, const norm_args *a) {
    norm(c, a, false);
}

// ---- sums ----

typedef struct {
    const kern_table *k;
    float *y;
    const float *x;
    int64_t n;
} add_fork;

static void add_part(void *arg, int part, int parts, int thread) {
    const add_fork *f = arg;
    span s = span_of(f->n, 16, part, parts);
    (void)thread;
    f->k->rows.add(f->y + s.from, f->x + s.from, s.to - s.from);
}

void op_add(compute *c, float *y, const float *x, int64_t n) {
    add_fork f = {&c->k, y, x, n};
    pool_run(c->pool, compute_parts(c, n, n), add_part, &f);
}

// ---- activations ----

typedef struct {
    const kern_table *k;
    float *y;
    const float *x;
    int64_t n, d;
} gate_fork;

static void gate_part(void *arg, int part, int parts, int thread) {
    const gate_fork *f = arg;
    span s = span_of(f->n, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++) {
        const float *x = f->x + i * 2 * f->d;
        f->k->rows.gate(f->y + i * f->d, x, x + f->d, f->d);
    }
}

void op_gate(compute *c, float *y, const float *x, int64_t n, int64_t d) {
    gate_fork f = {&c->k, y, x, n, d};
    pool_run(c->pool, compute_parts(c, n, 2 * n * d), gate_part, &f);
}

typedef struct {
    const kern_table *k;
    const snake_args *a;
} snake_fork;

static void snake_part(void *arg, int part, int parts, int thread) {
    const snake_fork *f = arg;
    const snake_args *a = f->a;
    span s = span_of(a->n, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++)
        f->k->rows.snake(a->y + i * a->d, a->x + i * a->d, a->a, a->by, a->d);
}

void op_snake(compute *c, const snake_args *a) {
    snake_fork f = {&c->k, a};
    pool_run(c->pool, compute_parts(c, a->n, 2 * a->n * a->d), snake_part, &f);
}

// ---- embeddings ----

// Reads n values of row `row` of the table, from column `from` on.
static void table_read(float *out, const weight *table, int64_t row, int64_t from, int64_t n) {
    tensor t = {
        .type = table->type, .dims = 2, .shape = {table->rows, table->cols}, .data = table->data};
    tensor_read_f32(out, &t, row * table->cols + from, n);
}

static void add_row(float *y, const weight *table, int64_t row) {
    for (int64_t from = 0; from < table->cols; from += 256) {
        float x[256];
        int64_t n = MIN(256, table->cols - from);
        table_read(x, table, row, from, n);
        for (int64_t i = 0; i < n; i++) y[from + i] = y[from + i] + x[i];
    }
}

void op_embed(float *y, const weight *table, const int32_t *ids, int64_t n, bool add) {
    assert(dtype_is_float(table->type)); // rows that are looked up lie row by row
    for (int64_t i = 0; i < n; i++, y += table->cols) {
        assert(ids[i] >= 0 && ids[i] < table->rows);
        if (add)
            add_row(y, table, ids[i]);
        else
            table_read(y, table, ids[i], 0, table->cols);
    }
}

// ---- forks for host code ----

typedef struct {
    void (*f)(void *arg, int part, int parts);
    void *arg;
} host_fork;

static void host_part(void *arg, int part, int parts, int thread) {
    const host_fork *f = arg;
    (void)thread;
    f->f(f->arg, part, parts);
}

void op_parallel(compute *c, int parts, void (*f)(void *arg, int part, int parts), void *arg) {
    host_fork fork = {f, arg};
    pool_run(c->pool, parts, host_part, &fork);
}
