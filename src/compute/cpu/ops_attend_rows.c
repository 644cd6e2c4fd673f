// ops_attend_rows.c - op_attend_rows of ops.h: attention of many rows over the same keys.
//
// A tile of query rows times the keys of a head goes by score_rows, and the weighted sum of the
// values is a product as chain.h has them: both orders are those of op_attend, so the bits are too.
#include <assert.h>

#include "compute/cpu/compute.h"

#define LANES 16
// Query rows that go together: their scores stay in the L2 cache.
#define TILE 12
_Static_assert(TILE <= KVPACK_HEADS, "a thread has room for the scores of a tile");
_Static_assert(TILE <= SCORE_QUERIES, "a tile is one call");

static int64_t panels_of(int64_t n) {
    return (n + LANES - 1) / LANES;
}

// Values of one head of k, and of v.
static int64_t head_keys(const attend_rows_shape *s, int64_t len) {
    return panels_of(len) * LANES * s->dh;
}

static int64_t head_values(const attend_rows_shape *s, int64_t len) {
    return panels_of(s->dh) * LANES * len;
}

size_t attend_rows_values(const attend_rows_shape *s, int64_t len) {
    return (size_t)(s->kv_heads * MAX(head_keys(s, len), head_values(s, len)));
}

// ---- laying ----

typedef struct {
    const attend_rows_shape *s;
    float *to_k, *to_v;
    const float *k, *v;
    int64_t len;
} lay_fork;

// Row `at` of keys goes into lane at % 16 of its panel; behind the last row lanes are zero.
static void lay_key(const lay_fork *f, float *head, const float *row, int64_t at) {
    int64_t dh = f->s->dh;
    float *to = head + at / LANES * LANES * dh + at % LANES;
    for (int64_t d = 0; d < dh; d++) to[d * LANES] = row ? row[d] : 0;
}

static void lay_value(const lay_fork *f, float *head, const float *row, int64_t at) {
    int64_t dh = f->s->dh;
    for (int64_t p = 0; p < panels_of(dh); p++) {
        float *to = head + (p * f->len + at) * LANES;
        int64_t n = MIN(LANES, dh - p * LANES);
        memcpy(to, row + p * LANES, (size_t)n * sizeof *to);
        for (int64_t i = n; i < LANES; i++) to[i] = 0;
    }
}

static void lay_part(void *arg, int part, int parts, int thread) {
    const lay_fork *f = arg;
    const attend_rows_shape *s = f->s;
    span rows = span_of(panels_of(f->len) * LANES, LANES, part, parts);
    (void)thread;
    for (int64_t h = 0; h < s->kv_heads; h++) {
        float *k = f->to_k + h * head_keys(s, f->len), *v = f->to_v + h * head_values(s, f->len);
        for (int64_t j = rows.from; j < rows.to; j++) {
            int64_t at = (j * s->kv_heads + h) * s->dh;
            lay_key(f, k, j < f->len ? f->k + at : NULL, j);
            if (j < f->len) lay_value(f, v, f->v + at, j);
        }
    }
}

void op_attend_lay(compute *c, const attend_rows_shape *s, float *to_k, float *to_v, const float *k,
                   const float *v, int64_t len) {
    lay_fork f = {s, to_k, to_v, k, v, len};
    pool_run(c->pool, compute_parts(c, len, 4 * len * s->kv_heads * s->dh), lay_part, &f);
}

// ---- attention ----

typedef struct {
    const compute *c;
    const attend_rows_shape *s;
    const attend_rows_args *a;
    int64_t tiles; // of a head
} rows_fork;

// Scores of n rows, become weights; by[i]: one over the sum of row i.
static void weigh_keys(const rows_fork *f, float *scores, float *by, const float *q, const float *k,
                       int64_t n) {
    const kern_table *t = &f->c->k;
    const attend_rows_shape *s = f->s;
    int64_t len = f->a->len, lds = f->c->scores_max;
    t->attention.score_rows(&(query_rows){.s = scores,
                                          .lds = lds,
                                          .q = q,
                                          .ldq = s->heads * s->dh,
                                          .n = n,
                                          .k = k,
                                          .dh = s->dh,
                                          .len = len,
                                          .scale = s->scale,
                                          .max = by});
    for (int64_t i = 0; i < n; i++)
        by[i] = 1.0f / t->attention.softmax(scores + i * lds, len, by[i]);
}

// Tile `at` of head h.
static void attend_tile(const rows_fork *f, int64_t h, int64_t at, float *scores) {
    const attend_rows_shape *s = f->s;
    const attend_rows_args *a = f->a;
    int64_t from = at * TILE, n = MIN(TILE, a->n - from), ld = s->heads * s->dh;
    int64_t shared = h / (s->heads / s->kv_heads);
    float by[TILE], *out = a->out + from * ld + h * s->dh;
    weigh_keys(f, scores, by, a->q + from * ld + h * s->dh, a->k + shared * head_keys(s, a->len),
               n);
    f->c->k.codec.chain(&(chain_args){.y = out,
                                      .y_type = DT_F32,
                                      .ldy = ld,
                                      .w = a->v + shared * head_values(s, a->len),
                                      .type = DT_F32,
                                      .rows = s->dh,
                                      .cols = a->len,
                                      .x = scores,
                                      .ldx = f->c->scores_max,
                                      .n = n});
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < s->dh; d++) out[i * ld + d] = out[i * ld + d] * by[i];
}

// Tiles of one head follow each other, so that its keys and values stay in the cache.
static void rows_part(void *arg, int part, int parts, int thread) {
    const rows_fork *f = arg;
    span tiles = span_of(f->s->heads * f->tiles, 1, part, parts);
    for (int64_t i = tiles.from; i < tiles.to; i++)
        attend_tile(f, i / f->tiles, i % f->tiles, f->c->scratch[thread].scores);
}

void op_attend_rows(compute *c, const attend_rows_shape *s, const attend_rows_args *a) {
    rows_fork f = {c, s, a, (a->n + TILE - 1) / TILE};
    assert(a->len >= 1 && a->len <= c->scores_max && s->heads % s->kv_heads == 0);
    int64_t cost = 2 * a->n * a->len * s->heads * s->dh;
    pool_run(c->pool, compute_parts(c, s->heads * f.tiles, cost), rows_part, &f);
}
