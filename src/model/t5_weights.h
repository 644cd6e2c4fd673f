// t5_weights.h - the weights of a t5: for model/t5.c, and for devices that run it themselves.
#pragma once
#include "model/t5.h"

typedef struct {
    weight q, k, v, o, wi, wo;
    const float *norm_attn, *norm_ffn; // [d_model]
} t5_block;

struct t5 {
    t5_config cfg;
    weight shared; // [vocab, d_model]
    weight bias;   // [buckets, heads]
    const float *norm_final;
    t5_block *block;
};

// The bias of every distance between two of n tokens: out [heads, 2n - 1], where column n - 1 is
// distance 0. ERR_FORMAT: a distance has no bucket in the table.
status t5_distances(const t5 *m, float *out, int64_t n, err *e);
// OK, or the error of t5_encode: a value of x [n * d_model] or of the states is not finite.
status t5_check_states(const t5 *m, const float *x, const float *states, int64_t n, err *e);
// Refuses what t5_encode refuses.
status t5_check_ids(const t5 *m, const int32_t *ids, int64_t n, err *e);
