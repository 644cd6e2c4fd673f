// texts.c - see texts.h.
#include "engine/musicgen/texts.h"

#include <string.h>

void texts_init(texts *t, const pipeline *p) {
    *t = (texts){.p = p};
}

static size_t width(const texts *t) {
    return (size_t)t5_get_config(t->p->text)->d_model;
}

static size_t size_of(const texts *t, int64_t n) {
    return (size_t)n * (sizeof(int32_t) + width(t) * sizeof(float));
}

static void drop(texts *t, texts_entry *x) {
    t->bytes -= size_of(t, x->n);
    mem_free(x->ids);
    mem_free(x->states);
    *x = t->list[--t->count];
}

void texts_deinit(texts *t) {
    while (t->count) drop(t, &t->list[0]);
    *t = (texts){0};
}

static texts_entry *find(texts *t, const int32_t *ids, int64_t n) {
    for (size_t i = 0; i < t->count; i++) {
        texts_entry *x = &t->list[i];
        if (x->n == n && memcmp(x->ids, ids, (size_t)n * sizeof *ids) == 0) return x;
    }
    return NULL;
}

static texts_entry *oldest(texts *t) {
    texts_entry *x = &t->list[0];
    for (size_t i = 1; i < t->count; i++) {
        if (t->list[i].used < x->used) x = &t->list[i];
    }
    return x;
}

static void keep(texts *t, const float *states, const int32_t *ids, int64_t n) {
    size_t size = size_of(t, n), ids_size = (size_t)n * sizeof *ids;
    if (size > TEXTS_BYTES_MAX) return;
    while (t->count == TEXTS_MAX || t->bytes + size > TEXTS_BYTES_MAX) drop(t, oldest(t));
    texts_entry x = {.n = n, .used = t->clock};
    x.ids = mem_alloc(ids_size);
    x.states = mem_alloc(size - ids_size);
    if (!x.ids || !x.states) {
        mem_free(x.ids);
        mem_free(x.states);
        return;
    }
    memcpy(x.ids, ids, ids_size);
    memcpy(x.states, states, size - ids_size);
    t->list[t->count++] = x;
    t->bytes += size;
}

status texts_encode(texts *t, compute *c, float *out, const int32_t *ids, int64_t n, arena *work,
                    err *e) {
    texts_entry *known = n > 0 ? find(t, ids, n) : NULL;
    t->clock++;
    if (known) {
        known->used = t->clock;
        memcpy(out, known->states, (size_t)n * width(t) * sizeof *out);
        t->found++;
        return OK;
    }
    status rc = t->gpu ? gpu_text_encode(t->gpu, out, ids, n, e)
                       : t5_encode(t->p->text, c, out, ids, n, work, e);
    pipeline_rest_text(t->p);
    if (rc) return rc;
    t->encoded++;
    keep(t, out, ids, n);
    return OK;
}
