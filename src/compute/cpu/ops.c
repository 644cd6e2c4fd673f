// ops.c - see ops.h: each op divides its rows among the threads and leaves the arithmetic to kern.
#include "compute/ops.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/os.h"
#include "compute/cpu/gemm.h"
#include "compute/cpu/isa.h"

// Values a part should have at least: below, a fork costs more than it saves.
#define FORK_VALUES ((int64_t)4 << 10)

// ---- opening ----

// The levels this machine has, for an error text: "scalar avx2".
static void level_list(char *out, size_t cap, unsigned have) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        unsigned flags;
        if (!cpu_level(have, names[i], &flags)) continue;
        for (const char *s = at ? " " : ""; *s && at + 1 < cap; s++) out[at++] = *s;
        for (const char *s = names[i]; *s && at + 1 < cap; s++) out[at++] = *s;
    }
    out[at] = 0;
}

static status choose_isa(compute *c, const char *isa, err *e) {
    unsigned have = cpu_flags(), flags = have;
    if (!isa) isa = getenv("STEMFORGE_ISA");
    if (isa && *isa && !cpu_level(have, isa, &flags)) {
        char list[64];
        level_list(list, sizeof list, have);
        return err_set(e, ERR_ARG, "instruction set: expected one of \"%s\", found \"%s\"", list,
                       isa);
    }
    kern_init(&c->k, flags);
    c->isa = cpu_level_name(flags);
    return OK;
}

static status scratch_open(compute *c, int threads, err *e) {
    c->scratch = mem_calloc((size_t)threads, sizeof *c->scratch);
    if (!c->scratch) return err_set(e, ERR_OOM, "no memory for %d threads", threads);
    for (int i = 0; i < threads; i++) {
        c->scratch[i].panel = mem_aligned((size_t)GEMM_PANEL * sizeof(float));
        if (!c->scratch[i].panel) return err_set(e, ERR_OOM, "no memory for thread %d", i);
    }
    c->qx = mem_aligned((size_t)GEMM_QBLOCKS * sizeof(qblock));
    if (!c->qx) return err_set(e, ERR_OOM, "no memory for quantised rows");
    return compute_reserve(c, 2048, e);
}

// STEMFORGE_THREADS, else as many as the process may use.
static status default_threads(int *out, err *e) {
    const char *text = getenv("STEMFORGE_THREADS");
    *out = MIN(os_cpu_count(), POOL_THREADS_MAX);
    if (!text || !*text) return OK;
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || n < 1 || n > POOL_THREADS_MAX) {
        return err_set(e, ERR_ARG, "STEMFORGE_THREADS: expected 1 to %d, found \"%.40s\"",
                       POOL_THREADS_MAX, text);
    }
    *out = (int)n;
    return OK;
}

status compute_open(compute **out, int threads, const char *isa, err *e) {
    *out = NULL;
    if (threads < 0) return err_set(e, ERR_ARG, "threads: expected 0 or more, found %d", threads);
    status got = threads ? OK : default_threads(&threads, e);
    if (got) return got;
    compute *c = mem_calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_OOM, "no memory for a compute");
    status rc = choose_isa(c, isa, e);
    if (rc == OK) rc = pool_open(&c->pool, threads, e);
    if (rc == OK) rc = scratch_open(c, threads, e);
    if (rc != OK) {
        compute_close(c);
        return rc;
    }
    *out = c;
    return OK;
}

void compute_close(compute *c) {
    if (!c) return;
    for (int i = 0; c->scratch && i < pool_threads(c->pool); i++) {
        mem_free(c->scratch[i].panel);
        mem_free(c->scratch[i].scores);
    }
    mem_free(c->scratch);
    mem_free(c->qx);
    pool_close(c->pool);
    mem_free(c);
}

status compute_reserve(compute *c, int64_t len_max, err *e) {
    if (len_max <= c->scores_max) return OK;
    size_t n = size_align((size_t)len_max, 16);
    for (int i = 0; i < pool_threads(c->pool); i++) {
        float *p = mem_aligned(n * KVPACK_HEADS * sizeof(float));
        if (!p) return err_set(e, ERR_OOM, "no memory for attention over %lld", (long long)len_max);
        mem_free(c->scratch[i].scores);
        c->scratch[i].scores = p;
    }
    c->scores_max = (int64_t)n;
    return OK;
}

int compute_threads(const compute *c) {
    return pool_threads(c->pool);
}
const char *compute_isa(const compute *c) {
    return c->isa;
}

// Parts of work on n rows or values of the given cost in all: none is smaller than a fork is worth,
// and every thread gets as many.
static int parts_of(const compute *c, int64_t n, int64_t cost) {
    int64_t threads = pool_threads(c->pool), most = MIN(n, MIN(2 * threads, cost / FORK_VALUES));
    return (int)MAX(1, most > threads ? most / threads * threads : most);
}

// ---- products ----

// Products in one fork: each matrix falls into a share for each thread, and a share into pieces. A
// thread goes through its share of the first matrix piece after piece, then of the next.
typedef struct {
    const compute *c;
    const linear_args *a;
    int count;
    int shares, pieces;
    // Of packed weights: the x rows that are done in this round, and the first of them in 8 bits.
    int64_t from, to;
    const qblock *q;
} linear_job;

typedef struct {
    const linear_args *a;
    int part, parts;
} piece;

static piece piece_of(const linear_job *j, int part) {
    int share = part / (j->count * j->pieces), in = part % (j->count * j->pieces);
    return (piece){&j->a[in / j->pieces], share * j->pieces + in % j->pieces,
                   j->shares * j->pieces};
}

// parts: into how many the largest of the products falls.
static void fork_linear(compute *c, linear_job *j, int parts, pool_fn f) {
    int threads = pool_threads(c->pool);
    const weight *next = j->a->next;
    j->shares = MIN(threads, parts);
    j->pieces = parts / j->shares;
    for (int i = 0; i < threads; i++) {
        pool_next(c->pool, i, next ? gemm_first(next, i, threads) : NULL);
    }
    pool_run(c->pool, j->shares * j->count * j->pieces, f, j);
}

static void plain_part(void *arg, int part, int parts, int thread) {
    const linear_job *j = arg;
    const piece p = piece_of(j, part);
    (void)parts;
    gemm_part(j->c, p.a, p.part, p.parts, thread);
}

static void plain_many(compute *c, const linear_args *a, int count) {
    linear_job j = {.c = c, .a = a, .count = count};
    int parts = 1;
    for (int i = 0; i < count; i++) {
        assert(a[i].w->type <= DT_F16 || a[i].w->type == DT_BF16X8);
        assert(!a[i].xq && !a[i].yq);
        parts = MAX(parts, gemm_parts(&a[i], pool_threads(c->pool)));
    }
    fork_linear(c, &j, parts, plain_part);
}

// Products of packed weights share one and the same x.
static void quantise_part(void *arg, int part, int parts, int thread) {
    const linear_job *j = arg;
    int64_t cols = j->a->w->cols;
    span s = span_of(j->to - j->from, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++) {
        const float *x = j->a->x + (j->from + i) * j->a->ldx;
        j->c->k.quantise(j->c->qx + i * quant_blocks(cols), x, cols);
    }
}

static void quantise_rows(compute *c, linear_job *j) {
    int64_t n = j->to - j->from, cols = j->a->w->cols;
    pool_run(c->pool, parts_of(c, n, n * cols), quantise_part, j);
    j->q = c->qx;
}

static void packed_part(void *arg, int part, int parts, int thread) {
    const linear_job *j = arg;
    const piece p = piece_of(j, part);
    (void)parts, (void)thread;
    gemm_packed_part(j->c, p.a, (span){j->from, j->to}, j->q, p.part, p.parts);
}

static void packed_many(compute *c, const linear_args *a, int count) {
    int64_t blocks = quant_blocks(a->w->cols);
    assert(blocks <= GEMM_QBLOCKS);
    int64_t chunk = GEMM_QBLOCKS / MAX(1, blocks);
    for (int64_t from = 0; from < a->n; from += chunk) {
        linear_job j = {.c = c, .a = a, .count = count, .from = from};
        j.to = MIN(from + chunk, a->n);
        if (a->xq)
            j.q = a->xq + from * blocks;
        else
            quantise_rows(c, &j);
        int parts = 1;
        for (int i = 0; i < count; i++) {
            assert(!a[i].yq || a[i].w->rows % QUANT_BLOCK == 0);
            parts = MAX(parts, gemm_packed_parts(&a[i], j.to - from, pool_threads(c->pool)));
        }
        fork_linear(c, &j, parts, packed_part);
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

// ---- rows ----

typedef struct {
    const compute *c;
    const layer_norm_args *a;
} layer_norm_job;

static void layer_norm_part(void *arg, int part, int parts, int thread) {
    const layer_norm_job *j = arg;
    const layer_norm_args *a = j->a;
    span s = span_of(a->n, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++) {
        float *y = a->y + i * a->d;
        j->c->k.layer_norm(y, a->x + i * a->d, a->w, a->b, a->d, a->eps);
        if (a->yq) j->c->k.quantise(a->yq + i * quant_blocks(a->d), y, a->d);
    }
}

void op_layer_norm(compute *c, const layer_norm_args *a) {
    layer_norm_job j = {c, a};
    pool_run(c->pool, parts_of(c, a->n, (a->yq ? 2 : 1) * a->n * a->d), layer_norm_part, &j);
}

typedef struct {
    const compute *c;
    float *y;
    const float *x, *w;
    int64_t n, d;
    float eps;
} rows_job;

static void rms_norm_part(void *arg, int part, int parts, int thread) {
    const rows_job *j = arg;
    span s = span_of(j->n, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++) {
        j->c->k.rms_norm(j->y + i * j->d, j->x + i * j->d, j->w, j->d, j->eps);
    }
}

void op_rms_norm(compute *c, float *y, const float *x, const float *w, int64_t n, int64_t d,
                 float eps) {
    rows_job j = {.c = c, .y = y, .x = x, .w = w, .n = n, .d = d, .eps = eps};
    pool_run(c->pool, parts_of(c, n, n * d), rms_norm_part, &j);
}

static void elu_part(void *arg, int part, int parts, int thread) {
    const rows_job *j = arg;
    span s = span_of(j->n, 16, part, parts);
    (void)thread;
    j->c->k.elu(j->y + s.from, j->x + s.from, s.to - s.from);
}

void op_elu(compute *c, float *y, const float *x, int64_t n) {
    rows_job j = {.c = c, .y = y, .x = x, .n = n};
    pool_run(c->pool, parts_of(c, n, n), elu_part, &j);
}

static void add_part(void *arg, int part, int parts, int thread) {
    const rows_job *j = arg;
    span s = span_of(j->n, 16, part, parts);
    (void)thread;
    j->c->k.add(j->y + s.from, j->x + s.from, s.to - s.from);
}

void op_add(compute *c, float *y, const float *x, int64_t n) {
    rows_job j = {.c = c, .y = y, .x = x, .n = n};
    pool_run(c->pool, parts_of(c, n, n), add_part, &j);
}

// ---- attention ----

typedef struct {
    const compute *c;
    const attend_shape *s;
    const attend_item *items;
    int64_t n;
    int64_t work; // keys of all items and heads
} attend_job;

// Keys count, and each head of an item costs about as much as this many more.
#define ATTEND_FIXED 8

// A value put into panels costs about as much as this many that are only passed over.
#define PUT_I8 8

int64_t attend_stride(const attend_shape *s, int64_t cap) {
    return s->kv_type == DT_I8 ? kvpack_size(cap, s->dh) : cap * s->dh;
}

// Head h's rows, or the first of its panels.
static uint8_t *head_at(const void *cache, const attend_shape *s, int64_t stride, int64_t h) {
    int64_t at = s->kv_type == DT_I8 ? h * kvpack_panel_size(s->dh)
                                     : h * stride * (int64_t)dtype_size(s->kv_type);
    return (uint8_t *)(uintptr_t)cache + at;
}

// Keys that are read after those of head h of item i; the same where it is the last.
static const uint8_t *next_keys(const attend_job *j, int64_t i, int64_t h) {
    if (++h == j->s->heads && i + 1 < j->n) h = 0, i++;
    const attend_item *it = &j->items[i];
    return head_at(it->k, j->s, it->kv_stride, MIN(h, j->s->heads - 1));
}

static void attend_plain(const attend_job *j, int64_t i, int64_t h, float *s) {
    const kern_table *t = &j->c->k;
    const attend_item *it = &j->items[i];
    const attend_shape *as = j->s;
    const float *bias = it->bias ? it->bias + h * as->bias_stride : NULL;
    kv_rows k = {.type = as->kv_type, .dh = as->dh, .len = it->len}, v = k;
    k.p = head_at(it->k, as, it->kv_stride, h), v.p = head_at(it->v, as, it->kv_stride, h);
    k.next = v.p, v.next = next_keys(j, i, h);
    float max = t->scores(s, it->q + h * as->dh, &k, as->scale, bias);
    t->weigh(it->out + h * as->dh, s, &v, 1.0f / t->softmax(s, it->len, max));
}

// Heads h of an item, as many as the kernels take at once.
static void attend_packed(const attend_job *j, int64_t i, span h, float *s) {
    const kern_table *t = &j->c->k;
    const attend_item *it = &j->items[i];
    const attend_shape *as = j->s;
    float by[KVPACK_HEADS];
    kv_panels k = {.heads = h.to - h.from, .dh = as->dh, .len = it->len}, v;
    k.stride = as->heads * kvpack_panel_size(as->dh), k.lds = j->c->scores_max, v = k;
    k.p = head_at(it->k, as, 0, h.from), v.p = head_at(it->v, as, 0, h.from);
    k.next = v.p, v.next = next_keys(j, i, h.to - 1);
    t->qscores(s, by, it->q + h.from * as->dh, &k, as->scale);
    for (int64_t n = 0; n < k.heads; n++) by[n] = 1.0f / t->softmax(s + n * k.lds, it->len, by[n]);
    t->qweigh(it->out + h.from * as->dh, s, &v, by);
}

static void attend_heads(const attend_job *j, int64_t i, span h, float *scores) {
    const attend_item *it = &j->items[i];
    int64_t dh = j->s->dh, step = j->s->kv_type == DT_I8 ? kvpack_heads(dh) : 1;
    if (!it->len) memset(it->out + h.from * dh, 0, (size_t)((h.to - h.from) * dh) * sizeof(float));
    for (int64_t at = h.from; at < h.to && it->len; at += step) {
        if (j->s->kv_type == DT_I8)
            attend_packed(j, i, (span){at, MIN(at + step, h.to)}, scores);
        else
            attend_plain(j, i, at, scores);
    }
    if (it->outq) {
        j->c->k.quantise(it->outq + h.from * dh / QUANT_BLOCK, it->out + h.from * dh,
                         (h.to - h.from) * dh);
    }
}

// Heads of an item that begin before so much work is done of it.
static int64_t heads_before(int64_t work, int64_t cost, int64_t heads) {
    return MAX(0, MIN(heads, (work + cost - 1) / cost));
}

// A head falls to the part in whose share of all the work it begins.
static void attend_part(void *arg, int part, int parts, int thread) {
    const attend_job *j = arg;
    int64_t from = j->work * part / parts, to = j->work * (part + 1) / parts, at = 0;
    for (int64_t i = 0; i < j->n && at < to; i++) {
        int64_t cost = j->items[i].len + ATTEND_FIXED, heads = j->s->heads;
        span h = {heads_before(from - at, cost, heads), heads_before(to - at, cost, heads)};
        attend_heads(j, i, h, j->c->scratch[thread].scores);
        at += cost * heads;
    }
}

void op_attend(compute *c, const attend_shape *s, const attend_item *items, int64_t n) {
    attend_job j = {.c = c, .s = s, .items = items, .n = n};
    assert(s->kv_type == DT_F32 || s->kv_type == DT_BF16 ||
           (s->kv_type == DT_I8 && s->dh <= ATTEND_I8_DH));
    for (int64_t i = 0; i < n; i++) {
        assert(s->kv_type != DT_I8 || !items[i].bias);
        assert(!items[i].outq || s->dh % QUANT_BLOCK == 0);
        assert(items[i].len >= 0 && items[i].len <= c->scores_max); // compute_reserve comes first
        j.work += (items[i].len + ATTEND_FIXED) * s->heads;
    }
    // Keys and values.
    pool_run(c->pool, parts_of(c, n * s->heads, 2 * j.work * s->dh), attend_part, &j);
}

// ---- caches ----

typedef struct {
    const compute *c;
    const attend_shape *s;
    const kv_row *rows;
    int64_t n;
} put_job;

static void put_plain(const compute *c, const attend_shape *s, uint8_t *head, const float *x,
                      int64_t pos) {
    uint8_t *to = head + (size_t)(pos * s->dh) * dtype_size(s->kv_type);
    if (s->kv_type == DT_BF16)
        c->k.pack((uint16_t *)(void *)to, x, s->dh, false);
    else
        memcpy(to, x, (size_t)s->dh * sizeof *x);
}

static void put_packed(const compute *c, const attend_shape *s, const kv_row *r, int64_t h) {
    int8_t q[ATTEND_I8_DH];
    float unit;
    const kvpack_place at = {s->heads, h, s->dh, r->pos};
    c->k.quantise_row(q, &unit, r->k + h * s->dh, s->dh);
    kvpack_put_key(r->to.k, &at, q, unit);
    c->k.quantise_row(q, &unit, r->v + h * s->dh, s->dh);
    kvpack_put_value(r->to.v, &at, q, unit);
}

static void put_head(const compute *c, const attend_shape *s, const kv_row *r, int64_t h) {
    int64_t stride = attend_stride(s, r->to.cap);
    if (s->kv_type == DT_I8) {
        put_packed(c, s, r, h);
        return;
    }
    put_plain(c, s, head_at(r->to.k, s, stride, h), r->k + h * s->dh, r->pos);
    put_plain(c, s, head_at(r->to.v, s, stride, h), r->v + h * s->dh, r->pos);
}

static void put_part(void *arg, int part, int parts, int thread) {
    const put_job *j = arg;
    span s = span_of(j->n * j->s->heads, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++)
        put_head(j->c, j->s, &j->rows[i / j->s->heads], i % j->s->heads);
}

void op_cache_put(compute *c, const attend_shape *s, const kv_row *rows, int64_t n) {
    put_job j = {c, s, rows, n};
    assert(s->kv_type != DT_I8 || s->dh <= ATTEND_I8_DH);
    for (int64_t i = 0; i < n; i++) assert(rows[i].pos < rows[i].to.cap);
    int64_t each = 2 * s->heads * s->dh * (s->kv_type == DT_I8 ? PUT_I8 : 1);
    pool_run(c->pool, parts_of(c, n * s->heads, n * each), put_part, &j);
}

void op_cache_copy(kv_cache to, kv_cache from, const attend_shape *s, int64_t n) {
    // In panels the heads lie side by side, and rows after rows: one run.
    int64_t runs = s->kv_type == DT_I8 ? 1 : s->heads;
    size_t size = (size_t)(s->heads / runs * attend_stride(s, n)) * dtype_size(s->kv_type);
    for (int64_t h = 0; h < runs; h++) {
        int64_t at = attend_stride(s, to.cap), of = attend_stride(s, from.cap);
        memcpy(head_at(to.k, s, at, h), head_at(from.k, s, of, h), size);
        memcpy(head_at(to.v, s, at, h), head_at(from.v, s, of, h), size);
    }
}

// ---- the rest ----

// Values from..from+n-1 of row id.
static void table_read(float *out, const weight *w, int64_t id, int64_t from, int64_t n) {
    tensor t = {.type = w->type, .dims = 2, .shape = {w->rows, w->cols}, .data = w->data};
    tensor_read_f32(out, &t, id * w->cols + from, n);
}

void op_embed(float *y, const weight *table, const int32_t *ids, int64_t n, bool add) {
    assert(table->type <= DT_F16); // rows that are looked up lie row by row
    for (int64_t i = 0; i < n; i++, y += table->cols) {
        assert(ids[i] >= 0 && ids[i] < table->rows);
        if (!add) {
            table_read(y, table, ids[i], 0, table->cols);
            continue;
        }
        for (int64_t from = 0; from < table->cols; from += 256) {
            float row[256];
            int64_t m = MIN(256, table->cols - from);
            table_read(row, table, ids[i], from, m);
            for (int64_t d = 0; d < m; d++) y[from + d] = y[from + d] + row[d];
        }
    }
}

typedef struct {
    void (*f)(void *arg, int part, int parts);
    void *arg;
} parallel_job;

static void parallel_part(void *arg, int part, int parts, int thread) {
    const parallel_job *j = arg;
    (void)thread;
    j->f(j->arg, part, parts);
}

void op_parallel(compute *c, int parts, void (*f)(void *arg, int part, int parts), void *arg) {
    parallel_job j = {f, arg};
    pool_run(c->pool, parts, parallel_part, &j);
}
