// judge_kind.h - which stem a sound is, and what else sounds in it, by a small network.
//
// Three convolutions over a log-mel picture and one layer behind their means and maxima; its output
// is what share of the energy each stem has. train/kind.py made its weights, of true renders with
// other stems mixed in, and says how good it is.
#pragma once
#include "audio/listen.h"

#define KIND_COUNT 7 // in the order of request/stems.h
#define KIND_BANDS 48

// share [KIND_COUNT] adds up to 1. Silence gets a guess like any other sound.
status kind_hear(double *share, const listened *l, err *e);
// The network alone: power [KIND_BANDS, frames] of the mel bands.
status kind_run(double *share, const float *power, int64_t frames, err *e);
