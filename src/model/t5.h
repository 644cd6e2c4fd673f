// t5.h - the T5 text encoder: token ids to one vector a token.
//
// RMS norms before each sublayer, relative position bias from block 0 shared by all blocks, no
// 1/sqrt(d) scaling, feed-forward with ReLU or GELU, no biases (Raffel et al. 2020;
// docs/MODELS.md). A t5 is immutable after t5_open and borrows the weight file and the arena, which
// must outlive it.
#pragma once
#include "base/json.h"
#include "base/mem.h"
#include "compute/ops.h"
#include "model/weights.h"

#define T5_TOKENS_MAX 2048
#define T5_BUCKETS_MAX 4096

typedef struct {
    int64_t d_model, d_kv, d_ff, layers, heads, vocab;
    int64_t buckets, max_distance; // of the relative position bias
    double eps;                    // of the RMS norms
    activation act;                // of the feed-forward block: ACT_RELU or ACT_GELU
} t5_config;

typedef struct t5 t5;

// Reads the "text_encoder" object of config.json, binds what begins with prefix ("text_encoder.")
// and puts the network into own. Missing tensors are w's to report: nothing may run before
// weights_finish.
status t5_open(t5 **out, weights *w, const json *config, const char *prefix, arena *own, err *e);
const t5_config *t5_get_config(const t5 *m);

// ids [n], each below vocab, 1 <= n <= T5_TOKENS_MAX; out [n, d_model]. The result does not depend
// on what else was encoded; padding is not encoded at all. Scratch comes from work and stays there.
// ERR_FORMAT: the states are not finite numbers.
status t5_encode(const t5 *m, compute *c, float *out, const int32_t *ids, int64_t n, arena *work,
                 err *e);

// For measuring: bytes of the matrices that one text reads, multiplications for one token, and the
// widest of the matrices.
size_t t5_bytes(const t5 *m);
int64_t t5_values(const t5 *m);
const weight *t5_widest(const t5 *m);

// The bucket of a key at distance r = key - query; buckets in all, half of them for r > 0. With a
// max_distance of at most buckets / 4 the result may lie outside the table: t5_encode then refuses.
int64_t t5_bucket(int64_t r, int64_t buckets, int64_t max_distance);
