// texts.h - the text encoder with a memory: a description asked for again is not encoded again.
//
// A service makes the same stems for many requests, and the encoder's states depend on the token
// ids alone. At most TEXTS_MAX texts and TEXTS_BYTES_MAX bytes are kept; the text that was not used
// for the longest time leaves first. The batch's thread alone uses it.
#pragma once
#include "engine/musicgen/pipeline.h"
#include "gpu/text.h"

#define TEXTS_MAX 64
#define TEXTS_BYTES_MAX ((size_t)8 << 20) // of ids and states

typedef struct {
    int32_t *ids;  // [n]
    float *states; // [n, d_model]
    int64_t n;
    uint64_t used; // the clock at its last use
} texts_entry;

typedef struct {
    const pipeline *p; // borrowed
    gpu_text *gpu;     // the encoder on a GPU, borrowed; NULL: the CPU's
    texts_entry list[TEXTS_MAX];
    size_t count, bytes;
    uint64_t clock;
    uint64_t encoded, found; // texts since init
} texts;

void texts_init(texts *t, const pipeline *p); // p must outlive t
void texts_deinit(texts *t);                  // zeroed is fine

// As t5_encode, with the same bits. The encoder leaves memory between texts (pipeline_rest_text).
// Without memory to keep a text the call still succeeds.
status texts_encode(texts *t, compute *c, float *out, const int32_t *ids, int64_t n, arena *work,
                    err *e);
