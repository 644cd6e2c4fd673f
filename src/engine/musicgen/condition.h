// condition.h - what steers a melody model through its chroma prefix, window by window.
//
// One condition serves all stems of a request: that is what keeps them on one bar grid and one
// harmony.
#pragma once
#include "engine/musicgen/pipeline.h"

typedef struct {
    enum { CONDITION_NONE, CONDITION_GRID, CONDITION_CHORDS, CONDITION_MELODY } kind;
    const pipeline *m;
    progression chords; // GRID, CHORDS
    bool has_chords;    // GRID: false when all bars are silent
    double bpm;
    float *wave; // MELODY: mono at the chroma's rate, owned
    int64_t n;
} condition;

// What a request says of it; NULL and 0 mean "not given".
typedef struct {
    const char *const *chords;
    size_t chord_count;
    const char *key;
    double bpm;
    const char *melody; // path of an audio file
} condition_wish;

#define CONDITION_BPM 120 // when a tempo is needed and none was given

// ERR_ARG: a chord, key or combination that cannot be; zeroed *out on failure.
status condition_open(condition *out, const pipeline *m, const condition_wish *w, err *e);
void condition_close(condition *k); // zeroed is fine

// A run_chroma: arg is the condition. Several threads may call it at once.
int64_t condition_chroma(void *arg, float *out, int64_t start_frame);
