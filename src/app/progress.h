// progress.h - the progress bar on a terminal, and its plain form elsewhere.
//
// On a terminal one line is redrawn with a bar, rate and time left, never wider than the terminal;
// otherwise a line is printed at each tenth. Everything goes to stderr. One progress at a time; not
// for several threads.
#pragma once
#include "base/base.h"

typedef struct {
    const char *what;     // "drums, bass"
    const char *unit;     // "steps"
    double audio_seconds; // of the whole; set: the rate is in "times real time", not in units
    int64_t done, total;
    double start, drawn; // seconds
    bool terminal, off, shown;
    int tenth;
} progress;

void progress_begin(progress *p, const char *what, const char *unit, bool off);
void progress_update(progress *p, int64_t done, int64_t total);
void progress_end(progress *p); // clears the bar
