// judge_pulse.h - how likely a beat, and a bar, begins at each moment of a sound.
//
// A small network says so. Convolutions over time, each with twice the reach of the one before,
// hear what rises in 24 bands and where notes change. train/pulse.py made their weights, of true
// renders, and says how good they are.
#pragma once
#include "audio/listen.h"

#define PULSE_PER_SECOND 50 // or a little more: .per_second says it
#define PULSE_BANDS 24
#define PULSE_CHANGES 4
#define PULSE_INPUTS (PULSE_BANDS + PULSE_CHANGES)

// Zeroed is empty. Value i is of the moment i / per_second s.
typedef struct {
    float *beat; // [n] 0 to 1
    float *bar;  // [n] 0 to 1: a beat that begins a bar
    int64_t n;
    double per_second;
} pulse_curve;

status pulse_hear(pulse_curve *out, const listened *l, err *e);
void pulse_deinit(pulse_curve *p);

// What the network is given, for training: in [PULSE_INPUTS, n], n from pulse_count.
int64_t pulse_count(const listened *l);
status pulse_inputs(float *in, const listened *l, err *e);
// The network alone: beat and bar [n], from inputs.
status pulse_run(float *beat, float *bar, const float *in, int64_t n, err *e);
