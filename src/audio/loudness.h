// loudness.h - how loud sound is to a listener: integrated loudness of ITU-R BS.1770 and EBU R128.
//
// The K-weighted power of 400 ms blocks, four of which begin in each 400 ms; blocks under -70 LUFS
// do not count, and of the rest none that lies 10 LU under their mean.
#pragma once
#include "base/err.h"

#define LOUDNESS_SILENCE (-70.0) // what is quieter has no loudness

// LUFS of x [frames, channels] at rate Hz, 1 or 2 channels; LOUDNESS_SILENCE when no block counts.
// A clip shorter than a block is one block. Errors: ERR_OOM.
status loudness_of(double *out, const float *x, int64_t frames, int channels, int rate, err *e);
