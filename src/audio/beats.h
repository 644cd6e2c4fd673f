// beats.h - where the beats of a piece lie: one tempo, and each beat, also when the tempo moves.
//
// The tempo is the one whose multiples the onset curve repeats with (analyse.h). The beats are the
// path through the curve that meets most of its rise while its steps stay near the tempo: a step a
// twentieth longer costs little, one a fifth longer costs more than a beat is worth. So small
// changes of tempo are followed.
#pragma once
#include "audio/analyse.h"

typedef struct {
    double bpm;   // 0: nothing repeats, and there are no beats
    double sure;  // 0 to 1: how far the curve at beats is over that between them
    double first; // seconds of the first beat of an even grid, within 0 to 60 / bpm
    double *at;   // [n] seconds, rising
    size_t n;
} beat_track;

// asked: a tempo that somebody said, 0 for none. Of a tempo, its half and its double the one that
// is nearest to it is taken: to ears they differ little.
status beats_find(beat_track *out, const onset_curve *c, double asked, err *e);
void beats_deinit(beat_track *b); // zeroed is fine
