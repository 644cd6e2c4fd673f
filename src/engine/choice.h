// choice.h - a stem's takes, finished and heard, and which of two is the better one.
#pragma once
#include "engine/measure.h"

// A finished take. choice_free releases it with its sound.
typedef struct {
    stemforge_stem stem; // its samples and measured lie here
    float *sound;
    measured heard;
} candidate;

// Takes sound over, also on failure, and hears it. s says everything but samples and measured.
status choice_hear(candidate **out, const stemforge_stem *s, float *sound, err *e);
void choice_free(candidate *c); // NULL is fine

// Whether a is to be chosen before b: the one with fewer faults; of equal ones, that which sounds
// like the stem it is; that with less leak; that which holds its pitch longer (both in steps of a
// tenth, since less is nothing to an ear); that with the lower number.
bool choice_is_better(const candidate *a, const candidate *b);
