// fft.c - see fft.h. The n real values are taken as n/2 complex ones, transformed by decimation in
// time, and the two interleaved halves are separated at the end.
#include "base/fft.h"

#include "base/mem.h"
#include "base/num.h"

struct fft {
    size_t half;
    uint32_t *order; // [half] where complex input j goes: j with its bits reversed
    double *w;       // [half/2, 2] exp(-2 pi j k / half)
    double *wr;      // [half/2 + 1, 2] exp(-2 pi j k / n), to separate the halves
};

static void fill_turns(double *w, size_t count, size_t n) {
    for (size_t k = 0; k < count; k++) {
        double x = (double)k / (double)n; // exact, n is a power of two
        w[2 * k] = num_cos_turns(x);
        w[2 * k + 1] = -num_sin_turns(x);
    }
}

static void fill_order(uint32_t *order, size_t n) {
    for (size_t j = 0, r = 0; j < n; j++) {
        order[j] = (uint32_t)r;
        size_t bit = n >> 1;
        for (; bit && (r & bit); bit >>= 1) r ^= bit; // r + 1, counted from the top bit down
        r |= bit;
    }
}

status fft_open(fft **out, size_t n, err *e) {
    *out = NULL;
    if (n < FFT_SIZE_MIN || n > FFT_SIZE_MAX || (n & (n - 1)))
        return err_set(e, ERR_ARG, "transform of %zu values, expected a power of two", n);
    fft *f = mem_calloc(1, sizeof *f);
    if (!f) return err_set(e, ERR_OOM, "no memory for a transform of %zu values", n);
    f->half = n / 2;
    f->order = mem_alloc(f->half * sizeof *f->order);
    f->w = mem_alloc(f->half * sizeof *f->w);
    f->wr = mem_alloc((f->half / 2 + 1) * 2 * sizeof *f->wr);
    if (!f->order || !f->w || !f->wr) {
        fft_close(f);
        return err_set(e, ERR_OOM, "no memory for a transform of %zu values", n);
    }
    fill_order(f->order, f->half);
    fill_turns(f->w, f->half / 2, f->half);
    fill_turns(f->wr, f->half / 2 + 1, n);
    *out = f;
    return OK;
}

void fft_close(fft *f) {
    if (!f) return;
    mem_free(f->order);
    mem_free(f->w);
    mem_free(f->wr);
    mem_free(f);
}

// One pass joins neighbouring transforms of len/2 into transforms of len.
static void pass(const fft *f, double *z, size_t len) {
    size_t step = f->half / len, gap = len; // gap: len/2 complex values, two doubles each
    for (size_t at = 0; at < f->half; at += len) {
        double *a = z + 2 * at, *b = a + gap;
        for (size_t k = 0; k < len / 2; k++) {
            double wr = f->w[2 * k * step], wi = f->w[2 * k * step + 1];
            double tr = b[2 * k] * wr - b[2 * k + 1] * wi;
            double ti = b[2 * k] * wi + b[2 * k + 1] * wr;
            b[2 * k] = a[2 * k] - tr;
            b[2 * k + 1] = a[2 * k + 1] - ti;
            a[2 * k] += tr;
            a[2 * k + 1] += ti;
        }
    }
}

// z[k] = E + jO, where E and O are the transforms of the even and odd inputs: X = E + w O, and
// E[k] = (z[k] + conj z[m-k]) / 2, O[k] = (z[k] - conj z[m-k]) / 2j.
static void separate(const fft *f, double *z) {
    size_t m = f->half;
    z[2 * m] = z[0] - z[1];
    z[2 * m + 1] = 0;
    z[0] += z[1];
    z[1] = 0;
    for (size_t k = 1; k <= m / 2; k++) {
        double *a = z + 2 * k, *b = z + 2 * (m - k);
        double er = (a[0] + b[0]) * 0.5, ei = (a[1] - b[1]) * 0.5;
        double or = (a[1] + b[1]) * 0.5, oi = (b[0] - a[0]) * 0.5;
        double wr = f->wr[2 * k], wi = f->wr[2 * k + 1];
        double tr = or *wr - oi * wi, ti = or *wi + oi * wr;
        a[0] = er + tr;
        a[1] = ei + ti;
        b[0] = er - tr; // X[m-k] = conj(E[k] - w O[k])
        b[1] = ti - ei;
    }
}

void fft_real(const fft *f, double *out, const float *x) {
    for (size_t j = 0; j < f->half; j++) {
        size_t r = f->order[j];
        out[2 * r] = (double)x[2 * j];
        out[2 * r + 1] = (double)x[2 * j + 1];
    }
    for (size_t len = 2; len <= f->half; len *= 2) pass(f, out, len);
    separate(f, out);
}

void fft_power(const fft *f, float *power, const float *x, double *scratch) {
    fft_real(f, scratch, x);
    for (size_t k = 0; k <= f->half; k++) {
        double re = scratch[2 * k], im = scratch[2 * k + 1];
        power[k] = (float)(re * re + im * im);
    }
}

void fft_hann(float *window, size_t n) {
    for (size_t i = 0; i < n; i++)
        window[i] = (float)(0.5 - 0.5 * num_cos_turns((double)i / (double)n));
}
