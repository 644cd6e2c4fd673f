// dit_inside.h - what dit.c and dit_run.c share.
#pragma once
#include "model/dit.h"

typedef struct {
    weight q, k, v, o;
    const float *norm_w, *norm_b; // of the rows before
    // Of each head of q and k [dh]; NULL without norms.
    const float *q_norm_w, *q_norm_b, *k_norm_w, *k_norm_b;
} dit_attention;

typedef struct {
    dit_attention self, cross;
    weight up, down; // [2*ff, d], [d, ff]
    const float *up_b, *down_b;
    const float *norm_w, *norm_b;
} dit_block;

struct dit {
    dit_config cfg;
    const float *waves; // [cfg.waves / 2] frequencies of the time
    weight time0, time2, global0, global2, context0, context2;
    const float *time0_b, *time2_b;
    weight before, after; // [channels, channels], beside the identity
    weight in, out;       // [d, channels], [channels, d]
    dit_block *block;
};

// Keys and values as op_attend_rows takes them.
typedef struct {
    float *k, *v;
} dit_kv;

struct dit_context {
    int64_t n;
    dit_kv *kv; // of each block
    arena own;
};

struct dit_room {
    int64_t cap;                       // frames that there is room for, as in the shapes below
    int64_t frames;                    // of the run under way
    float *h, *norm, *q, *k, *v, *ctx; // [cap + 1, d]
    dit_kv kv;                         // of the frames, of one block
    float *hidden, *gated;             // [cap + 1, 2*ff], [cap + 1, ff]; or NULL, and then
    qblock *norm_q, *gated_q;          // rows in 8 bits, as all weights are packed; else NULL
    float *latent, *back;              // [cap, channels]
    float *waves, *wide;               // of one row
    float *cosines, *sines;            // [cap + 1, rotary / 2]
    arena own;
};

// Keys and values of one block's context, projected rows [n, cross], into kv.
void dit_put_context(const dit *m, compute *c, const dit_block *b, const float *rows, int64_t n,
                     float *k, float *v, dit_kv kv);
// How many rows attend: over the frames, or over a context.
attend_rows_shape dit_attention_shape(const dit_config *cfg, bool context);
// y = W2 silu(W0 x + b0) + b2 of n rows of width `in`; hidden is memory for [n, w0->rows].
typedef struct {
    float *y;
    const float *x;
    const weight *w0, *w2;
    const float *b0, *b2; // or NULL
    float *hidden;
    int64_t n;
} dit_mlp;
void dit_run_mlp(compute *c, const dit_mlp *a);
