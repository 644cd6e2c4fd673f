// musicgen_inside.h - the inside of the caches of a musicgen, shared by musicgen.c,
// musicgen_cache.c and musicgen_step.c.
#pragma once
#include "model/musicgen_weights.h"

// Memory: for each layer the keys [heads, cap, dh], then the values, so the keys of a head are read
// in one stream. DT_I8: kvpack.h's panels, in which the heads lie side by side. Layers from `whole`
// on have no place for the first `unread` rows.
struct mg_cache {
    dtype type;
    int64_t layers, heads, dh;
    int64_t len, cap; // positions in use, room
    int64_t whole, unread;
    int64_t text_n, text_cap;
    uint8_t *self, *across; // [layers][2: keys, values][heads, cap, dh]
};

// Rows of the sequence that stand in front of a layer's cache.
static inline int64_t mg_cache_unread(const mg_cache *k, int64_t layer) {
    return layer < k->whole ? 0 : k->unread;
}

attend_shape mg_cache_shape(const mg_cache *k, float scale);
// The keys and values of one layer: of the sequence itself, and of its text.
kv_cache mg_cache_self(const mg_cache *k, int64_t layer);
kv_cache mg_cache_text(const mg_cache *k, int64_t layer);
