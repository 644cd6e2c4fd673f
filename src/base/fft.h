// fft.h - discrete Fourier transform of real input, length a power of two, in double.
//
// A plan is immutable and may be shared by threads. The twiddle factors are num.h's and the order
// of operations is fixed, so a spectrum is the same bits everywhere.
#pragma once
#include "base/err.h"

#define FFT_SIZE_MIN 8
#define FFT_SIZE_MAX ((size_t)1 << 20)

typedef struct fft fft;

// n: a power of two from FFT_SIZE_MIN to FFT_SIZE_MAX, else ERR_ARG. *out is the caller's.
status fft_open(fft **out, size_t n, err *e);
void fft_close(fft *f); // NULL is fine

// X[k] = sum over i of x[i] exp(-2 pi j k i / n), for k = 0 to n/2.
// x [n]; out [2, n/2 + 1] the real parts, then the imaginary ones; it also serves as scratch: no
// allocation.
void fft_real(const fft *f, double *out, const float *x);
// |X[k]|^2, [n/2 + 1]; scratch as out of fft_real.
void fft_power(const fft *f, float *power, const float *x, double *scratch);

// Periodic Hann window: 0.5 - 0.5 cos(2 pi i / n), [n].
void fft_hann(float *window, size_t n);
