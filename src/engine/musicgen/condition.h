// condition.h - what steers a melody model through its chroma prefix, window by window.
//
// All stems of a request share one condition, so they share one bar grid and one harmony; a bass
// under chords like C/G has its own.
#pragma once
#include "engine/musicgen/pipeline.h"

typedef struct {
    enum { CONDITION_NONE, CONDITION_GRID, CONDITION_CHORDS, CONDITION_MELODY } kind;
    const pipeline *p;
    progression chords; // GRID, CHORDS
    bool has_chords;    // they were asked for
    timing time;
    float *wave; // MELODY: mono at the chroma's rate, owned
    int64_t n;
} condition;

// The fields of a request that steer it; NULL and 0 mean "not given".
typedef struct {
    const char *const *chords;
    size_t chord_count;
    const char *key;
    timing time;        // its bpm 0: not given
    size_t loop_bars;   // after so many bars the first chord comes again, at most CHORDS_MAX; 0: no
    const char *melody; // path of an audio file
    bytes melody_image; // or its bytes
} condition_wish;

#define CONDITION_BPM 120 // the tempo of a request without one

// ERR_ARG: a chord or key is wrong, or the model cannot follow what was asked for. On failure *out
// is zeroed.
status condition_open(condition *out, const pipeline *p, const condition_wish *w, err *e);
void condition_close(condition *k); // zeroed is fine

// The condition of a bass: a chord over another note is, to it, the chord on that note. False: k is
// no GRID, or has no such chord, and *out is unset. *out lives no longer than k.
bool condition_of_bass(condition *out, const condition *k);

// Whether the chroma prefix says tempo and chords.
bool condition_is_timed(const condition *k);

// As run_chroma (run.h); arg is the condition. Several threads may call it at once.
status condition_chroma(void *arg, float *out, int64_t start_frame, int64_t *rows, err *e);

// As run_anchor (run.h), of a condition that is timed.
int64_t condition_anchor(const void *arg, int64_t start_frame, int64_t from);

// MELODY: the rows of a window that starts at start_s; to has room for chroma_length of them and
// gets their number.
status condition_melody(const condition *k, chroma_rows *to, double start_s, err *e);
int64_t condition_melody_rows(const condition *k); // of the first window
