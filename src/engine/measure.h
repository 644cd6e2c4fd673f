// measure.h - what a finished stem holds, for whoever gets it: the judge's figures in public form.
#pragma once
#include "engine/unmet.h"
#include "stemforge.h"

#define MEASURE_FAULTS 4

// Borrowed strings of out point into it: it stays where it is until measure_deinit.
typedef struct {
    stemforge_measured out;
    judged heard;
    char key[CHORDS_KEY_TEXT];
    char (*chord_text)[CHORDS_KEY_TEXT];
    const char **chord;
    const char *fault[MEASURE_FAULTS];
    unmet unmet;
} measured;

// s has its name, samples and request.
status measure_init(measured *m, const stemforge_stem *s, err *e);
void measure_deinit(measured *m); // zeroed is fine
