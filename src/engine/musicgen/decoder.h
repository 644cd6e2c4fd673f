// decoder.h - MusicGen's step behind one interface: the next column of codes of these sequences.
//
// A device does all of this: it keeps the codes, keys and values of a stem, prefills a window, and
// in one step feeds the last column, runs the layers, applies guidance, draws the next column and
// writes it down. The caller keeps the windows and counts the steps (run.h). Each device is a table
// of decoder_inside.h.
//
//     seq_create                            the codes of one stem; no caches yet
//     decoder_begin(d, s, window)           caches, prefix, the frames that are known
//     decoder_step(d, sequences, n)         one column of each, until the window has its columns
//     seq_rest, seq_codes                   the caches go, the codes stay
//
// The draw of codebook k in column p of window w has the number (w, p, k), so it depends on no
// other draw. One thread uses a decoder and its sequences; decoder_step allocates nothing.
#pragma once
#include "base/mem.h"
#include "compute/ops.h"
#include "engine/musicgen/delay.h"
#include "engine/musicgen/sampler.h"
#include "gpu/device.h"
#include "model/musicgen.h"

typedef struct decoder decoder;

typedef struct {
    int64_t sequences; // in one step at most
    int64_t positions; // of the longest sequence, prefix included
    int64_t prefill;   // rows that a prefill feeds at a time; 0: 256
} decoder_limits;

// gpu NULL: the CPU. gpu, m and c are borrowed until decoder_close.
status decoder_open(decoder **out, device *gpu, const musicgen *m, compute *c,
                    const decoder_limits *l, err *e);
void decoder_close(decoder *d); // after its sequences; NULL is fine

#define DECODER_TEXT_MAX 1000 // tokens of a text

// One stem.
typedef struct {
    const float *text; // [text_n, text_dim] states of the text encoder, borrowed until seq_free
    int64_t text_n;    // tokens with a mask of 1, at most DECODER_TEXT_MAX
    int64_t text_rows; // with padding: rows of a melody model's prefix; >= text_n
    bool text_null;    // there is no text: the unconditional branch alone runs
    sampler_params sampling;
    uint64_t seed, stream; // of the draws; stream: a number for the stem's name
    int64_t frames;        // to make in all, the given ones included
    const int32_t *given;  // [K][given_n] frames to go on from, borrowed for seq_create; or NULL
    int64_t given_n;       // < frames
    int64_t window;        // frames of its longest window
    dtype cache_type;      // DT_F32, DT_BF16 or DT_I8
    bool keep_first;       // keep the first step's scores, for a trace
    bool parallel;         // no delay pattern, for a trace
} seq_params;

typedef struct seq seq;

status seq_create(seq **out, decoder *d, const seq_params *p, err *e);
void seq_free(seq *s); // NULL is fine
// Bytes that the caches of such a sequence take while it runs.
size_t seq_cache_bytes(const musicgen *m, const seq_params *p);

// A window: frames start to start + frames - 1 of the piece, of which the first `known` are made.
typedef struct {
    int64_t index; // part of the numbers of the draws
    int64_t start, frames, known;
    // Columns 0 to `anchored` are those of a window that starts at frame `anchor`, in place of the
    // oldest known frames; at most start, and under known. 0, 0: none.
    int64_t anchor, anchored;
    // Melody models: rows [chroma_rows, bins] of the window's chroma; NULL: the null chroma.
    const float *chroma;
    int64_t chroma_rows;
    // A sequence whose conditional (null) cache begins with the same chroma rows; they are copied
    // from there. NULL: none.
    const seq *like, *like_null;
} seq_window;

// Another text from the next window on, as in seq_params. The caches go if it is another one.
void seq_set_text(seq *s, const float *text, int64_t n, int64_t rows);
// Empties the caches of s and prefills them for the window w.
status decoder_begin(decoder *d, seq *s, const seq_window *w, err *e);
// The number of steps in a window of so many frames, of which `known` are made.
int64_t decoder_columns(const musicgen *m, const seq_params *p, int64_t frames, int64_t known);
// Draws the next column of n different sequences, whose windows have begun and are not full.
status decoder_step(decoder *d, seq *const *s, size_t n, err *e);

// ERR_FORMAT once the scores of a step of s were not finite: nothing was drawn from them, and the
// codes mean nothing.
status seq_check(const seq *s, err *e);

bool seq_guided(const seq *s); // it has a null branch
void seq_rest(seq *s);         // the caches go; the codes stay
// The codes [K][frames], borrowed until seq_free. A device that is still at work is waited for;
// seq_check then knows of all steps.
status seq_codes(seq *s, const int32_t **out, err *e);
// The guided scores [K, vocab] of the first step; NULL before it and without keep_first.
const float *seq_first(const seq *s);

// Teacher forcing, for a trace: feeds columns as they are (no delay applied) behind the prefix of a
// fresh sequence.
typedef struct {
    const int32_t *codes; // [K][cols], special codes included
    int64_t cols;         // at most decoder_limits.prefill
    bool null;            // through the null branch
    bool bare;            // without the prefix
    float *logits;        // [cols, K, vocab]
} seq_forced;
status decoder_force(decoder *d, seq *s, const seq_window *w, const seq_forced *f, err *e);
