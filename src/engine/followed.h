// followed.h - a recording that stems follow: its beats, chords and length as a request says them.
//
// It is measured by judge.h. What is not sure enough is an error that says how sure it is: stems on
// a guessed grid would be of no use.
#pragma once
#include "engine/judge.h"

#define FOLLOW_BEATS_MAX 8192

// What a recording must be to be followed; FOLLOW_LIMITS unless the options say otherwise.
typedef struct {
    double seconds_max; // its length
    double tempo_sure;  // the F-measure expected of the beats (judge_count.h), at least
    double chords_sure; // share of the bars whose chord is sure (judge.h), at least
} follow_limits;
#define FOLLOW_LIMITS ((follow_limits){600, 0.5, 0.35})

typedef struct {
    stemforge_heard heard; // its strings lie here
    double *beats;
    const char *chord[CHORDS_MAX];
    char text[CHORDS_MAX][CHORDS_KEY_TEXT], key[CHORDS_KEY_TEXT];
} followed;

// Whether r is to follow something: "tempo", "chords" or "melody"; NULL: anything.
bool followed_asks(const stemforge_request *r, const char *what);
// Reads and measures r's recording and writes into r what stands there: bpm, beats, chords, and
// seconds when there are none. ERR_ARG about "follow": not sure enough; about "recording": not a
// sound. The request points into *out, which is the caller's (followed_close).
status followed_open(followed **out, stemforge_request *r, const follow_limits *l, err *e);
void followed_close(followed *f); // NULL is fine
