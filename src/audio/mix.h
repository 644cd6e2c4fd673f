// mix.h - adds stereo tracks up: balance by loudness, gain, pan, and the level of the whole.
//
// Tracks are brought to a loudness first, since equal peaks leave drums 4 to 8 LU quieter than
// sustained sounds. Then come the gains that the caller wants. Nothing is clamped.
#pragma once
#include "base/err.h"

#define MIX_TRACK_LUFS (-23.0) // the loudness of a balanced track of no known kind
#define MIX_PEAK_MAX 1.0f      // a loudness target stays below this peak

typedef struct {
    double lufs;    // bring the track to it first; silence stays silence. 0: it stays as it is
    double gain_db; // then this
    double pan;     // -1 left to 1 right, equal power; 0 changes nothing
} mix_track;

typedef struct {
    float *x; // [frames, 2]; frames of the longest track
    int64_t frames;
    int rate;
} mix;

void mix_init(mix *m, int rate);
void mix_deinit(mix *m);
// Adds planes [2, n] at the mix's rate.
status mix_add(mix *m, const float *planes, int64_t n, const mix_track *t, err *e);
// Scales the whole to a peak of exactly `peak`.
void mix_set_peak(mix *m, float peak);
// Scales the whole to `lufs`, or as near as MIX_PEAK_MAX allows. *got: the loudness it has then.
status mix_set_loudness(mix *m, double lufs, double *got, err *e);
