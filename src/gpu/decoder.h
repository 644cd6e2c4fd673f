// decoder.h - the MusicGen decoder as a program of kernels: model/musicgen.h on the device.
//
// It knows rows, caches and draws, not windows: engine/musicgen/decoder_gpu.c has the sequences.
// Two tables of rows lie on the device, one for steps and one for what is fed before them. The
// caller writes rows into a table, and feeds or steps it; a step moves the rows of its table on by
// itself, so the next step needs no word from the host while the same sequences go on. Everything
// keeps its order in the device's stream.
#pragma once
#include "gpu/device.h"
#include "model/musicgen.h"

typedef struct gpu_decoder gpu_decoder;

typedef struct {
    int64_t sequences; // in one step at most
    int64_t feed;      // rows that are fed at a time
    int64_t positions; // of the longest cache
} gpu_decoder_limits;

// Uploads the weights. The device is borrowed until gpu_decoder_close; m is not. c computes what is
// uploaded.
status gpu_decoder_open(gpu_decoder **out, device *dev, const musicgen *m, compute *c,
                        const gpu_decoder_limits *l, err *e);
void gpu_decoder_close(gpu_decoder *d); // NULL is fine

typedef enum { GPU_STEP, GPU_FEED, GPU_TABLES } gpu_table;
// Write n rows or sequences of a table, from `first` on. A table of rows fed has one sequence.
// counts: what the table holds from now on; NULL: as before.
status gpu_put_rows(gpu_decoder *d, gpu_table t, const gpu_row *rows, int64_t first, int64_t n,
                    const gpu_counts *counts, err *e);
status gpu_put_seqs(gpu_decoder *d, gpu_table t, const gpu_seq_entry *seqs, int64_t first,
                    int64_t n, err *e);

// One column of each row of the table of steps, the draws, and the table moved on. rows: how many
// there are.
status gpu_decoder_step(gpu_decoder *d, dtype cache, int64_t rows, err *e);

// Feeds the n rows of the other table: x [n, d] for rows with a column of -1, or NULL. logits: gets
// [n, K, vocab], which waits; or NULL.
typedef struct {
    dtype cache;
    int64_t n;
    const float *x;
    float *logits;
    bool unread; // all n are rows that layers from control_layers on do not read: no logits
} gpu_feed;
status gpu_decoder_feed(gpu_decoder *d, const gpu_feed *f, err *e);

// Fills a text's cache, with room for n rows, from projected rows text [n, d].
status gpu_decoder_text(gpu_decoder *d, dtype cache, void *to, const float *text, int64_t n,
                        err *e);

// Copies the first n positions of a self cache to another, of prefixed sequences; *_cap: the rows
// they have room for.
typedef struct {
    dtype cache;
    void *to;
    const void *from;
    int64_t to_cap, from_cap, n;
} gpu_cache_copy;
status gpu_decoder_copy(gpu_decoder *d, const gpu_cache_copy *c, err *e);
