// length.h - how long a stem is: the seconds asked for, or the exact time of so many bars.
//
// A bar has the beats of its meter. The times of bars are quotients of whole numbers and the tempo,
// rounded once, so the frames of a stem are those of the exact time.
#pragma once
#include "base/base.h"
#include "stemforge.h"

#define LENGTH_SECONDS_DEFAULT 10 // of a request that says neither seconds nor bars

int length_bars(const stemforge_request *r);                 // 0: its length is seconds
double length_seconds(const stemforge_request *r);           // of the finished stem
int64_t length_frames(const stemforge_request *r, int rate); // the same, to the nearest frame
// What is made past the end of a loop, and folded into its beginning: a beat. 0: no loop.
int64_t length_fold_frames(const stemforge_request *r, int rate);
double length_made_seconds(const stemforge_request *r); // with the fold
// The bars after which its chords are at their first again; without chords as many bars as a model
// with a grid has assumed ones (chords_default). 0: no tempo.
double length_cycle_seconds(const stemforge_request *r);
