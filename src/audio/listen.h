// listen.h - sound as the measures hear it: one channel, 16 to 32 kHz.
//
// What decides tempo, chords and the type of a stem lies under 8 kHz, and half the rate is half the
// work.
#pragma once
#include "base/err.h"

typedef struct {
    float *x; // [n], the mean of the channels
    int64_t n;
    int rate; // the clip's, halved until it is under 32 kHz
    double seconds;
} listened;

// x [frames, channels] at rate Hz, 8000 to 192000, at least one frame; else ERR_ARG. Halving keeps
// what lies under 0.4 of the new rate. A rate that is odd is not halved.
status listen_open(listened *out, const float *x, int64_t frames, int channels, int rate, err *e);
void listen_close(listened *l); // zeroed is fine
