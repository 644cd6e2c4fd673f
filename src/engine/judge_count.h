// judge_count.h - counts the beats and bars of a recording.
//
// Of all ways to count, the likeliest one is taken: it meets most of what the network of
// judge_pulse.h takes for beats and first beats of bars while its steps change little. A step that
// is a twentieth longer costs something, one a fifth longer is not tried.
#pragma once
#include "audio/beats.h"
#include "engine/judge_pulse.h"

typedef struct {
    beat_track beats; // sure: the F-measure that the network's chances let expect of them
    size_t first_down;
    double down_sure; // the same of the beats that begin bars
} counted;

// asked: a tempo that somebody said, 0 for none; tempi up to half an octave from it are tried. of:
// beats a bar, 2 to 8. Without beats beats.bpm is 0. The caller releases beats (beats_deinit).
status count_find(counted *out, const pulse_curve *p, double asked, int of, err *e);
