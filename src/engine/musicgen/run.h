// run.h - one stem on its way through the decoder: windows, prefill, one column a step, sampling.
//
// A run is a state machine that the batch drives from its one thread:
//
//     run_create                          memory for the codes; the caches come with the first
//     window while (!run_done(r)) {
//         if (run_needs_window(r)) run_begin_window(r, ...);   prefill
//         run_rows(r, ...);  mg_forward(rows of many runs);  run_accept(r, scores)
//     }
//     run_codes
//
// Long pieces go by windows as the reference does it: each window starts stride frames after the
// one before, and what the two share is its prompt; positions start anew, codes are decoded once at
// the end. The draws of column p of window w are numbered (w, p, codebook), so they depend on
// nothing else.
#pragma once
#include "base/mem.h"
#include "compute/ops.h"
#include "engine/musicgen/sampler.h"
#include "model/musicgen.h"

// Chroma rows of a window that starts at frame start, into out [chroma_length, bins]; returns how
// many rows it wrote (the decoder tiles them), 0 for the null condition.
typedef int64_t (*run_chroma)(void *arg, float *out, int64_t start_frame);

typedef struct {
    const float
        *text; // [text_n, text_dim] states of the text encoder, borrowed until the run is freed
    int64_t text_n;    // tokens with a mask of 1
    int64_t text_rows; // with padding: rows a melody model's prefix has; >= text_n
    bool text_null;    // no text at all: the unconditional branch alone
    run_chroma chroma; // melody models; NULL: the null chroma
    void *chroma_arg;
    sampler_params sampling;
    uint64_t seed, stream; // stream: a number for the stem's name
    int64_t frames;        // to make in all, the given ones included
    const int32_t *given;  // [K][given_n] frames to go on from, borrowed during run_create; or NULL
    int64_t given_n;       // < frames
    int64_t window, stride; // frames; stride <= window
    dtype cache_type;       // DT_F32, DT_BF16 or DT_I8
    bool keep_first;        // keep the first step's scores for a trace
    bool parallel;          // no delay pattern, for a trace
} run_params;

typedef struct run run;

status run_create(run **out, const musicgen *m, const run_params *p, err *e);
void run_free(run *r); // NULL is fine

// Bytes its caches take while it runs.
size_t run_cache_bytes(const musicgen *m, const run_params *p);

bool run_needs_window(const run *r);
// Runs whose window has begun and whose prefix begins as r's will; NULL: none.
typedef struct {
    const run *cond, *null; // in the conditional branch, in the null one
} run_likes;
// Puts other into *l where it is one.
void run_compare(run_likes *l, const run *r, const run *other);
// Prefill; what is alike is copied. work is scratch that the caller resets.
status run_begin_window(run *r, const run_likes *l, compute *c, mg_scratch *s, arena *work, err *e);
void run_drop_caches(run *r); // when it is done; the codes stay

// Its rows of the next step: the conditional one, and the null one when guided. Valid until
// run_accept.
bool run_guided(const run *r);
void run_rows(run *r, mg_row *cond, mg_row *null);
// The scores [K, vocab] of both rows of a step; null is NULL when unguided.
typedef struct {
    run *r;
    const float *cond, *null;
} run_scores;
// Draws the next column of n runs of one model and moves them on.
void run_accept(compute *c, const run_scores *s, int64_t n);

bool run_done(const run *r);
int64_t run_steps_done(const run *r);
int64_t run_steps_total(const run *r);
int64_t run_frames(const run *r);
const int32_t *run_codes(const run *r); // [K][frames]
const float *run_first(const run *r);   // [K, vocab], with keep_first and after the first step

// One run on its own, start to end: codes [K][frames], first [K, vocab] or NULL (wants keep_first).
status run_alone(const musicgen *m, compute *c, const run_params *p, int32_t *codes, float *first,
                 err *e);

// Teacher forcing, for a trace: feeds raw columns (no delay applied) behind the prefix of a fresh
// run.
typedef struct {
    const int32_t *codes; // [K][cols], special codes included
    int64_t cols;         // at most the scratch's rows
    bool null;            // through the null branch
    float *logits;        // [cols, K, vocab]
} run_forced;
status run_force(run *r, compute *c, mg_scratch *s, arena *work, const run_forced *f, err *e);
