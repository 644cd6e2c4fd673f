// musicgen_cache.c - see musicgen.h: keys and values of one branch of one sequence.
#include <assert.h>

#include "model/musicgen_inside.h"

attend_shape mg_cache_shape(const mg_cache *k, float scale) {
    return (attend_shape){.heads = k->heads, .dh = k->dh, .kv_type = k->type, .scale = scale};
}

static int64_t block_stride(const mg_cache *k, int64_t cap) {
    const attend_shape shape = mg_cache_shape(k, 1);
    return attend_stride(&shape, cap);
}

static size_t block_bytes(const mg_cache *k, int64_t cap) {
    return (size_t)(k->heads * block_stride(k, cap)) * dtype_size(k->type);
}

static kv_cache cache_at(const mg_cache *k, uint8_t *keys, int64_t cap) {
    return (kv_cache){keys, keys + block_bytes(k, cap), cap};
}

// Bytes of the layers below this one: those that keep all rows, then those that do not.
static size_t self_bytes(const mg_cache *k, int64_t layers) {
    int64_t whole = MIN(layers, k->whole), rest = layers - whole;
    return 2 * ((size_t)whole * block_bytes(k, k->cap) +
                (size_t)rest * block_bytes(k, MAX(0, k->cap - k->unread)));
}

kv_cache mg_cache_self(const mg_cache *k, int64_t layer) {
    return cache_at(k, k->self + self_bytes(k, layer), k->cap - mg_cache_unread(k, layer));
}

kv_cache mg_cache_text(const mg_cache *k, int64_t layer) {
    size_t below = 2 * (size_t)layer * block_bytes(k, k->text_cap);
    return cache_at(k, k->across + below, k->text_cap);
}

static mg_cache cache_of(const mg_config *cfg, int64_t len_max, int64_t text_max, dtype type) {
    return (mg_cache){.type = type,
                      .layers = cfg->layers,
                      .heads = cfg->heads,
                      .dh = cfg->dh,
                      .cap = len_max,
                      .whole = cfg->control_layers,
                      .unread = mg_unread_rows(cfg),
                      .text_cap = cfg->melody ? 0 : text_max};
}

size_t mg_cache_bytes(const mg_config *cfg, int64_t len_max, int64_t text_max, dtype type) {
    const mg_cache k = cache_of(cfg, len_max, text_max, type);
    return self_bytes(&k, k.layers) + 2 * (size_t)k.layers * block_bytes(&k, k.text_cap);
}

status mg_cache_create(mg_cache **out, const musicgen *m, int64_t len_max, int64_t text_max,
                       dtype type, err *e) {
    const mg_config *cfg = &m->cfg;
    *out = NULL;
    assert(len_max > mg_unread_rows(cfg) && len_max <= 4 * (int64_t)MG_POSITIONS_MAX);
    assert(text_max >= 0);
    mg_cache *k = mem_calloc(1, sizeof *k);
    if (!k) return err_set(e, ERR_OOM, "no memory for a cache");
    *k = cache_of(cfg, len_max, text_max, type);
    k->self = mem_aligned(self_bytes(k, k->layers));
    if (k->self && k->text_cap)
        k->across = mem_aligned(2 * (size_t)k->layers * block_bytes(k, k->text_cap));
    if (!k->self || (k->text_cap && !k->across)) {
        size_t size = mg_cache_bytes(cfg, len_max, text_max, type);
        mg_cache_free(k);
        return err_set(e, ERR_OOM, "no memory for a cache of %zu bytes", size);
    }
    *out = k;
    return OK;
}

void mg_cache_free(mg_cache *k) {
    if (!k) return;
    mem_free(k->self);
    mem_free(k->across);
    mem_free(k);
}

// Room for as many rows behind those that are not there, in as much memory or less.
void mg_cache_set_bare(mg_cache *k) {
    assert(k->len == 0);
    k->cap -= k->unread;
    k->unread = 0;
}

void mg_cache_reset(mg_cache *k) {
    k->len = 0;
}

int64_t mg_cache_len(const mg_cache *k) {
    return k->len;
}

bool mg_cache_has_text(const mg_cache *k) {
    return k->text_n > 0;
}

void mg_cache_copy(mg_cache *to, const mg_cache *from, int64_t n) {
    const attend_shape shape = mg_cache_shape(to, 1);
    assert(to->type == from->type && to->len == 0 && n <= to->cap && n <= from->len);
    assert(to->unread == from->unread && n >= to->unread);
    for (int64_t i = 0; i < to->layers; i++) {
        int64_t kept = n - mg_cache_unread(to, i);
        op_cache_copy(mg_cache_self(to, i), mg_cache_self(from, i), &shape, kept);
    }
    to->len = n;
}

status mg_cache_set_text(mg_cache *k, const musicgen *m, compute *c, const float *text, int64_t n,
                         arena *work, err *e) {
    int64_t d = m->cfg.d;
    assert(!m->cfg.melody && n <= k->text_cap);
    float *row[2] = {arena_f32(work, (size_t)n, (size_t)d), arena_f32(work, (size_t)n, (size_t)d)};
    if (!row[0] || !row[1]) return err_set(e, ERR_OOM, "no memory for the text's keys and values");
    const attend_shape shape = mg_cache_shape(k, 1);
    for (int64_t i = 0; i < k->layers; i++) {
        const linear_args kv[] = {
            {.y = row[0], .ldy = d, .x = text, .ldx = d, .n = n, .w = &m->layer[i].ck},
            {.y = row[1], .ldy = d, .x = text, .ldx = d, .n = n, .w = &m->layer[i].cv},
        };
        op_linear_many(c, kv, 2);
        for (int64_t t = 0; t < n; t++) {
            const kv_row put = {mg_cache_text(k, i), row[0] + t * d, row[1] + t * d, t};
            op_cache_put(c, &shape, &put, 1);
        }
    }
    k->text_n = n;
    return OK;
}
