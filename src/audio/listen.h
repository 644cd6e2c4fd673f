// listen.h - sound as the measures hear it: one channel, 16 to 32 kHz.
//
// What decides tempo, chords and the type of a stem lies under 8 kHz, and half the rate is half the
// work.
#pragma once
#include "base/err.h"

typedef struct {
    const float *x; // [n]: own, or the clip's where its rate is not halved
    int64_t n;
    int rate; // the clip's, halved until it is under 32 kHz
    double seconds;
    float *own; // for listen.c
} listened;

// mono [n] at rate Hz, 8000 to 192000, at least one value; else ERR_ARG. It is borrowed until
// listen_close. Halving keeps what lies under 0.4 of the new rate. An odd rate is not halved.
status listen_open(listened *out, const float *mono, int64_t n, int rate, err *e);
void listen_close(listened *l); // zeroed is fine
