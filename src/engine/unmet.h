// unmet.h - what was asked of a stem and is not heard in it: warnings, with both and how sure.
//
// A measure that is not sure says nothing, and what an ear takes for the same is no difference: a
// tempo and its double, a key and those that share all but one note with it, chords that share two
// notes. The shipped model's harmony is right by outside judges, so a few bars that this judge
// hears otherwise are no warning.
#pragma once
#include "engine/judge.h"
#include "stemforge.h"

#define UNMET_MAX 5
#define UNMET_TEXT 400

#define UNMET_TEMPO 0.02       // of the tempo
#define UNMET_SCALE_NOTES 2    // notes of the asked key's scale that the heard key lacks
#define UNMET_CHORDS_SHARE 0.5 // of the bars whose chord is sure
#define UNMET_CHORDS_MIN 3     // bars whose chord is sure
#define UNMET_TYPE_SHARE 0.5   // of its energy: what is heard as another stem
#define UNMET_LEAK 0.25        // of its energy: what is heard as another group of stems

// Zeroed is empty. Texts of item point into it.
typedef struct {
    stemforge_warning item[UNMET_MAX];
    char text[UNMET_MAX][UNMET_TEXT];
    size_t n;
} unmet;

// A tempo, its half and its double are one.
bool unmet_is_tempo(double heard, double asked);

// m: what was heard in s, whose request is there; j: the same, as the judge has it.
void unmet_find(unmet *out, const stemforge_stem *s, const stemforge_measured *m, const judged *j);
