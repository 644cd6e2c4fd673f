// spectrum.h - the power spectrum of a stretch of mono sound under Hann's window.
#pragma once
#include "base/err.h"
#include "base/fft.h"

typedef struct {
    size_t size;  // samples of the window, a power of two
    float *power; // size / 2 + 1 bins of the last spectrum_at; bin k is k * rate / size Hz
    fft *plan;    // the rest is for spectrum.c
    float *window, *frame;
    double *scratch;
} spectrum;

// The window lasts seconds or a little more, and least samples (a power of two) at least.
// Errors: ERR_OOM. Close it in any case.
status spectrum_open(spectrum *s, size_t least, double seconds, int rate, err *e);
void spectrum_close(spectrum *s); // a zeroed one is fine

// Fills power from the size samples that begin at x[from]; silence outside x[0..n).
void spectrum_at(spectrum *s, const float *x, int64_t n, int64_t from);

// The power at its peak of a sine between -1 and 1: (size / 4)^2.
double spectrum_full(const spectrum *s);
