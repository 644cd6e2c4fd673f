// musicgen_weights.h - the weights of a musicgen: for model/musicgen*.c, and for devices that run
// the step themselves.
#pragma once
#include "model/musicgen.h"

#define MG_NORM_EPS 1e-5f

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
