// resample.h - sample-rate conversion by a fixed polyphase filter.
//
// The filter is a sinc under a Kaiser window: flat within 0.01 dB up to 0.9 of the lower Nyquist
// frequency, at least 100 dB down from that Nyquist frequency on. It has no delay: output k lies at
// input time k * from / to. Outside the input there is silence. Coefficients are made with num.h
// and the sums have a fixed order, so the output is the same bits on every machine.
#pragma once
#include "base/err.h"

#define RESAMPLE_RATE_MIN 1000
#define RESAMPLE_RATE_MAX 768000

typedef struct resampler resampler;

// Rates in Hz within the limits above, else ERR_ARG. The filter takes to/gcd rows of about 160
// coefficients (more when the rate falls); pairs that would need over 32 MB give ERR_LIMIT. A
// resampler is immutable and may be shared by threads. Equal rates copy.
status resample_open(resampler **out, int from, int to, err *e);
void resample_close(resampler *r); // NULL is fine

// Output frames for n input frames: n * to / from, rounded to nearest, halves up. n >= 0.
int64_t resample_frames(const resampler *r, int64_t n);

// Converts one channel: x[i * x_step] for i < n to y[k * y_step] for k < resample_frames(n). A step
// of 1 is a plane, of 2 a channel of interleaved stereo. y must not overlap x. Fails only with
// ERR_OOM.
status resample_run(const resampler *r, float *y, int y_step, const float *x, int x_step, int64_t n,
                    err *e);
