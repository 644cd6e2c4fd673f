// timing.h - where the beats, bars and chords of a request lie in time.
//
// A tempo counts quarter notes in every meter, as MIDI and `acid` do: a bar of 6/8 is as long as
// one of 3/4, and is felt in two. Beat 0 begins bar 1, at 0 s where the tempo is even.
#pragma once
#include "base/err.h"
#include "stemforge.h"

typedef struct {
    const char *name;
    int quarters;    // a bar
    double pulse;    // the beat that is felt, in quarters
    int beats, unit; // as it is written: 6, 8
} meter;

extern const meter meters[]; // 4/4, 3/4, 6/8
extern const size_t meter_count;
const meter *meter_find(const char *name); // NULL: not one of them
const meter *meter_of(const char *name);   // 4/4 for NULL and for what checks refuse

typedef struct {
    double bpm;
    const double
        *beats;        // [beat_count] seconds of beats 0, 1 ..., where the tempo moves; NULL: even
    size_t beat_count; // 2 or more
    const meter *meter;
    int chords_per_bar; // 1 or more
} timing;

// Of a checked request; bpm stands for one that has no tempo.
timing timing_of(const stemforge_request *r, double bpm);
timing timing_even(double bpm); // 4/4, a chord a bar

// The beat, in quarters and parts of them, that sounds at t seconds. Outside of the beats that are
// known the tempo goes on.
double timing_beat(const timing *t, double seconds);
// The seconds at which a beat sounds.
double timing_seconds(const timing *t, double beat);
// The number of the chord that sounds there: 0 is the first one of bar 1. A boundary belongs to
// what begins there (up to 1e-6 bar early, for rounding). Within a bar chords change at whole
// beats, the later ones being shorter, but in 6/8 at equal parts.
int64_t timing_chord(const timing *t, double beat);
// The beat at which a chord begins.
double timing_chord_begin(const timing *t, int64_t number);
