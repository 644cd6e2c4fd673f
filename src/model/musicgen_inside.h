// musicgen_inside.h - the inside of a musicgen and of its caches, shared by musicgen.c,
// musicgen_cache.c and musicgen_step.c.
#pragma once
#include "model/musicgen.h"

typedef struct {
    const float *w, *b; // [d]
} mg_norm;

typedef struct {
    weight q, k, v, o;        // self-attention [d, d]
    weight cq, ck, cv, co;    // cross-attention [d, d]; unused in melody models
    weight fc1, fc2;          // [ffn, d], [d, ffn]
    mg_norm attn, cross, ffn; // in front of each
} mg_layer;

struct musicgen {
    mg_config cfg;
    weight embed[MG_CODEBOOKS_MAX]; // [vocab + 1, d]
    weight head[MG_CODEBOOKS_MAX];  // [vocab, d]
    mg_layer *layer;
    mg_norm norm;
    weight text_proj, chroma_proj; // [d, text_dim], [d, bins]
    const float *text_bias, *chroma_bias;
};

// Memory: for each layer the keys [heads, cap, dh], then the values, so the keys of a head are read
// in one stream. DT_I8: kvpack.h's panels, in which the heads lie side by side.
struct mg_cache {
    dtype type;
    int64_t layers, heads, dh;
    int64_t len, cap; // positions in use, room
    int64_t text_n, text_cap;
    uint8_t *self, *across; // [layers][2: keys, values][heads, cap, dh]
};

attend_shape mg_cache_shape(const mg_cache *k, float scale);
// The keys and values of one layer: of the sequence itself, and of its text.
kv_cache mg_cache_self(const mg_cache *k, int64_t layer);
kv_cache mg_cache_text(const mg_cache *k, int64_t layer);
