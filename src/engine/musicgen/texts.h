// texts.h - the text encoder with a memory: a description asked for again is not encoded again.
//
// A service makes the same stems for many requests, and the encoder's states depend on the token
// ids alone. The texts used last are kept, up to TEXTS_MAX of them and TEXTS_BYTES_MAX bytes; the
// one unused for longest goes first. One thread uses a texts: the batch's.
#pragma once
#include "engine/musicgen/pipeline.h"

#define TEXTS_MAX 64
#define TEXTS_BYTES_MAX ((size_t)8 << 20) // of ids and states

typedef struct {
    int32_t *ids;  // [n]
    float *states; // [n, d_model]
    int64_t n;
    uint64_t used; // when last; greater is later
} texts_entry;

typedef struct {
    const pipeline *m; // borrowed
    texts_entry list[TEXTS_MAX];
    size_t count, bytes;
    uint64_t clock;
    uint64_t encoded, found; // texts so far
} texts;

void texts_init(texts *t, const pipeline *m); // m must outlive t
void texts_deinit(texts *t);                  // zeroed is fine

// As t5_encode, to the last bit; the encoder rests in between. No memory to keep a text is no
// error.
status texts_encode(texts *t, compute *c, float *out, const int32_t *ids, int64_t n, arena *work,
                    err *e);
