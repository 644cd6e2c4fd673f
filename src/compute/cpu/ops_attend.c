// ops_attend.c - op_attend of ops.h, and the caches of keys and values that it reads.
#include <assert.h>

#include "compute/cpu/compute.h"

_Static_assert(KVPACK_WIDTH == ATTEND_I8_DH, "a head of 8-bit keys fits what kernels take at once");

typedef struct {
    const compute *c;
    const attend_shape *s;
    const attend_item *items;
    int64_t n;
    int64_t work; // the cost of all items and heads, in keys
} attend_fork;

// The fixed cost of one head of an item, in keys.
#define ATTEND_FIXED 8

// The cost of writing a value into a panel, in values that are only copied.
#define PUT_I8 8

int64_t attend_stride(const attend_shape *s, int64_t cap) {
    return s->kv_type == DT_I8 ? kvpack_size(cap, s->dh) : cap * s->dh;
}

// Address of the rows of head h, or of its first panel.
static uint8_t *head_at(const void *cache, const attend_shape *s, int64_t stride, int64_t h) {
    int64_t at = s->kv_type == DT_I8 ? h * kvpack_panel_size(s->dh)
                                     : h * stride * (int64_t)dtype_size(s->kv_type);
    return (uint8_t *)(uintptr_t)cache + at;
}

// Address of the keys that are read after those of head h of item i; the same keys if it is the
// last.
static const uint8_t *next_keys(const attend_fork *f, int64_t i, int64_t h) {
    if (++h == f->s->heads && i + 1 < f->n) h = 0, i++;
    const attend_item *it = &f->items[i];
    return head_at(it->k, f->s, it->kv_stride, MIN(h, f->s->heads - 1));
}

static void attend_plain(const attend_fork *f, int64_t i, int64_t h, float *s) {
    const kern_table *t = &f->c->k;
    const attend_item *it = &f->items[i];
    const attend_shape *as = f->s;
    const float *bias = it->bias ? it->bias + h * as->bias_stride : NULL;
    kv_rows k = {.type = as->kv_type, .dh = as->dh, .len = it->len}, v = k;
    k.p = head_at(it->k, as, it->kv_stride, h), v.p = head_at(it->v, as, it->kv_stride, h);
    k.next = v.p, v.next = next_keys(f, i, h);
    float max = t->attention.scores(s, it->q + h * as->dh, &k, as->scale, bias);
    t->attention.weigh(it->out + h * as->dh, s, &v, 1.0f / t->attention.softmax(s, it->len, max));
}

// Attention of heads h of item i, no more than kvpack_heads.
static void attend_packed(const attend_fork *f, int64_t i, span h, float *s) {
    const kern_table *t = &f->c->k;
    const attend_item *it = &f->items[i];
    const attend_shape *as = f->s;
    float by[KVPACK_HEADS];
    kv_panels k = {.heads = h.to - h.from, .dh = as->dh, .len = it->len}, v;
    k.prefetch = f->c->prefetch.into;
    k.stride = as->heads * kvpack_panel_size(as->dh), k.lds = f->c->scores_max, v = k;
    k.p = head_at(it->k, as, 0, h.from), v.p = head_at(it->v, as, 0, h.from);
    k.next = v.p, v.next = next_keys(f, i, h.to - 1);
    t->packed_attention.scores(s, by, it->q + h.from * as->dh, &k, as->scale);
    for (int64_t n = 0; n < k.heads; n++)
        by[n] = 1.0f / t->attention.softmax(s + n * k.lds, it->len, by[n]);
    t->packed_attention.weigh(it->out + h.from * as->dh, s, &v, by);
}

static void attend_heads(const attend_fork *f, int64_t i, span h, float *scores) {
    const attend_item *it = &f->items[i];
    int64_t dh = f->s->dh, step = f->s->kv_type == DT_I8 ? kvpack_heads(dh) : 1;
    if (!it->len) memset(it->out + h.from * dh, 0, (size_t)((h.to - h.from) * dh) * sizeof(float));
    for (int64_t at = h.from; at < h.to && it->len; at += step) {
        if (f->s->kv_type == DT_I8)
            attend_packed(f, i, (span){at, MIN(at + step, h.to)}, scores);
        else
            attend_plain(f, i, at, scores);
    }
    if (it->outq) {
        f->c->k.rows.quantise(it->outq + h.from * dh / QUANT_BLOCK, it->out + h.from * dh,
                              (h.to - h.from) * dh);
    }
}

// Heads that one part makes together: those of a block, if the results become 8 bits.
static int64_t heads_together(const attend_fork *f, int64_t i) {
    return f->items[i].outq ? QUANT_BLOCK / f->s->dh : 1;
}

// The number of heads that begin before `work` is done, if `together` of them cost `cost`.
static int64_t heads_before(int64_t work, int64_t cost, int64_t heads, int64_t together) {
    return MAX(0, MIN(heads, (work + cost - 1) / cost * together));
}

// Work is cut by cost. A head belongs to the part that contains the head's first unit of cost.
static void attend_part(void *arg, int part, int parts, int thread) {
    const attend_fork *f = arg;
    int64_t from = f->work * part / parts, to = f->work * (part + 1) / parts, at = 0;
    for (int64_t i = 0; i < f->n && at < to; i++) {
        int64_t cost = f->items[i].len + ATTEND_FIXED, heads = f->s->heads;
        int64_t together = heads_together(f, i), each = cost * together;
        span h = {heads_before(from - at, each, heads, together),
                  heads_before(to - at, each, heads, together)};
        attend_heads(f, i, h, f->c->scratch[thread].scores);
        at += cost * heads;
    }
}

void op_attend(compute *c, const attend_shape *s, const attend_item *items, int64_t n) {
    attend_fork f = {.c = c, .s = s, .items = items, .n = n};
    assert(s->kv_type == DT_F32 || s->kv_type == DT_BF16 ||
           (s->kv_type == DT_I8 && s->dh <= ATTEND_I8_DH));
    for (int64_t i = 0; i < n; i++) {
        assert(s->kv_type != DT_I8 || !items[i].bias);
        assert(!items[i].outq || QUANT_BLOCK % s->dh == 0);
        assert(items[i].len >= 0 && items[i].len <= c->scores_max); // compute_reserve comes first
        f.work += (items[i].len + ATTEND_FIXED) * s->heads;
    }
    // Each key and each value is read once.
    pool_run(c->pool, compute_parts(c, n * s->heads, 2 * f.work * s->dh), attend_part, &f);
}

// ---- caches ----

typedef struct {
    const compute *c;
    const attend_shape *s;
    const kv_row *rows;
    int64_t n;
} put_fork;

static void put_plain(const compute *c, const attend_shape *s, uint8_t *head, const float *x,
                      int64_t pos) {
    uint8_t *to = head + (size_t)(pos * s->dh) * dtype_size(s->kv_type);
    if (s->kv_type == DT_BF16)
        c->k.codec.pack((uint16_t *)(void *)to, x, s->dh, false);
    else
        memcpy(to, x, (size_t)s->dh * sizeof *x);
}

static void put_packed(const compute *c, const attend_shape *s, const kv_row *r, int64_t h) {
    int8_t q[ATTEND_I8_DH];
    float unit;
    const kvpack_place at = {s->heads, h, s->dh, r->pos};
    c->k.rows.quantise_row(q, &unit, r->k + h * s->dh, s->dh);
    kvpack_put_key(r->to.k, &at, q, unit);
    c->k.rows.quantise_row(q, &unit, r->v + h * s->dh, s->dh);
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
    const put_fork *f = arg;
    span s = span_of(f->n * f->s->heads, 1, part, parts);
    (void)thread;
    for (int64_t i = s.from; i < s.to; i++)
        put_head(f->c, f->s, &f->rows[i / f->s->heads], i % f->s->heads);
}

void op_cache_put(compute *c, const attend_shape *s, const kv_row *rows, int64_t n) {
    put_fork f = {c, s, rows, n};
    assert(s->kv_type != DT_I8 || s->dh <= ATTEND_I8_DH);
    for (int64_t i = 0; i < n; i++) assert(rows[i].pos < rows[i].to.cap);
    int64_t each = 2 * s->heads * s->dh * (s->kv_type == DT_I8 ? PUT_I8 : 1);
    pool_run(c->pool, compute_parts(c, n * s->heads, n * each), put_part, &f);
}

void op_cache_copy(kv_cache to, kv_cache from, const attend_shape *s, int64_t n) {
    // Panels have all heads of the same rows side by side: one run of memory.
    int64_t runs = s->kv_type == DT_I8 ? 1 : s->heads;
    size_t size = (size_t)(s->heads / runs * attend_stride(s, n)) * dtype_size(s->kv_type);
    for (int64_t h = 0; h < runs; h++) {
        int64_t at = attend_stride(s, to.cap), of = attend_stride(s, from.cap);
        memcpy(head_at(to.k, s, at, h), head_at(from.k, s, of, h), size);
        memcpy(head_at(to.v, s, at, h), head_at(from.v, s, of, h), size);
    }
}
