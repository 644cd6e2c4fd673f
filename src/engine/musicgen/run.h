// run.h - one stem from its first window to its last: where windows begin, how many steps they
// have.
//
// A run is a state machine around a sequence of decoder.h, driven from one thread:
//
//     run_create
//     while (!run_done(r)) {
//         if (run_needs_window(r)) run_begin_window(r, ...);
//         decoder_step(d, {run_seq(r), ...}, n);
//         run_stepped(r);
//     }
//     seq_codes(run_seq(r), &codes, e)
//
// Long pieces go by windows as the reference does it: a window starts `stride` frames after the one
// before and goes on from the frames that both share. A run with an anchor puts frames of the
// beginning, with their chroma, in place of the oldest of these. Where the text changes, a window
// ends and the next one begins. Positions start anew in each window, and the codes are decoded
// once, at the end.
#pragma once
#include "engine/musicgen/decoder.h"

// Writes the chroma rows of a window that starts at a frame into out [chroma_length, bins] and how
// many there are into *rows (the decoder tiles them); 0: the null chroma.
typedef status (*run_chroma)(void *arg, float *out, int64_t start_frame, int64_t *rows, err *e);

// The first frame from `from` on that lies where start_frame does in its bar.
typedef int64_t (*run_anchor)(const void *arg, int64_t start_frame, int64_t from);

// From that frame on the text is another one.
typedef struct {
    int64_t from;      // frame
    const float *text; // as in seq_params, which has the longest window of all texts
    int64_t text_n, text_rows;
} run_part;

typedef struct {
    seq_params seq;
    int64_t stride; // frames; at most seq.window
    // Parts of the piece with texts of their own, in order; the first begins at frame 0 and has
    // the text of seq. A window ends where the next part begins. 0: one text, that of seq.
    const run_part *parts; // borrowed until run_free
    size_t part_count;
    run_chroma chroma; // melody models; NULL: the null chroma
    void *chroma_arg;  // runs of one chroma and one argument hear the same rows
    // Frames of the piece's first window that later ones hear in place of their oldest ones, so
    // that the sound stays what it was; 0: none.
    int64_t anchored;
    run_anchor anchor; // of chroma_arg
} run_params;

typedef struct run run;

status run_create(run **out, decoder *d, const musicgen *m, const run_params *p, err *e);
void run_free(run *r); // NULL is fine

bool run_needs_window(const run *r);
// Prefills the next window. Chroma rows that one of the n others has in its caches already are
// copied from there; others may include r itself.
status run_begin_window(run *r, run *const *others, size_t n, err *e);

seq *run_seq(const run *r);
void run_stepped(run *r); // counts a column that decoder_step drew

bool run_done(const run *r);
int64_t run_steps_done(const run *r);
int64_t run_steps_total(const run *r);
int64_t run_frames(const run *r);

// One run on its own, start to end: codes [K][frames]; first [K, vocab], or NULL (needs
// keep_first). gpu NULL: the CPU computes.
status run_alone(const musicgen *m, device *gpu, compute *c, const run_params *p, int32_t *codes,
                 float *first, err *e);
