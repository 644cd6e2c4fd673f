// fft.c - see fft.h. The n real values are taken as n/2 complex ones, transformed by decimation in
// time, and the two interleaved halves are separated at the end. Real and imaginary parts lie
// apart, so that two values are worked on at a time.
#include "base/fft.h"

#include "base/lanes.h"
#include "base/mem.h"
#include "base/num.h"

struct fft {
    size_t half;
    uint32_t *order; // [half/4] j with its bits reversed
    double *w;       // of each pass from length 8 on: [2, length/2] exp(-2 pi j k / length)
    double *wr;      // [2, half/2 + 1] exp(-2 pi j k / n), to separate the halves
};

// exp(-2 pi j k / n): count real parts, then the imaginary ones.
static void fill_turns(double *w, size_t count, size_t n) {
    for (size_t k = 0; k < count; k++) {
        double x = (double)k / (double)n; // exact, n is a power of two
        w[k] = num_cos_turns(x);
        w[count + k] = -num_sin_turns(x);
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

// Where the factors of the pass to that length begin: behind those of 8, 16 ... length/2.
static double *factors(const fft *f, size_t len) {
    return f->w + len - 8;
}

status fft_open(fft **out, size_t n, err *e) {
    *out = NULL;
    if (n < FFT_SIZE_MIN || n > FFT_SIZE_MAX || (n & (n - 1)))
        return err_set(e, ERR_ARG, "transform of %zu values, expected a power of two", n);
    fft *f = mem_calloc(1, sizeof *f);
    if (!f) return err_set(e, ERR_OOM, "no memory for a transform of %zu values", n);
    f->half = n / 2;
    f->order = mem_alloc(f->half / 4 * sizeof *f->order);
    f->w = mem_alloc(2 * f->half * sizeof *f->w);
    f->wr = mem_alloc((f->half / 2 + 1) * 2 * sizeof *f->wr);
    if (!f->order || !f->w || !f->wr) {
        fft_close(f);
        return err_set(e, ERR_OOM, "no memory for a transform of %zu values", n);
    }
    fill_order(f->order, f->half / 4);
    for (size_t len = 8; len <= f->half; len *= 2) fill_turns(factors(f, len), len / 2, len);
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

// The first two passes: transforms of four complex inputs each, by the factors 1 and -j.
static void transform_fours(const fft *f, double *re, double *im, const float *x) {
    size_t m = f->half;
    for (size_t q = 0; q < m / 4; q++) {
        const float *in = x + 2 * (size_t)f->order[q];
        lanes_d2 a = lanes_d2_widen(in), b = lanes_d2_widen(in + m);
        lanes_d2 c = lanes_d2_widen(in + m / 2), d = lanes_d2_widen(in + m / 2 + m);
        lanes_d2 even = a + b, odd = a - b, plus = c + d, minus = lanes_d2_swap(c - d);
        lanes_d2 z0 = even + plus, z2 = even - plus, up = odd + minus, down = odd - minus;
        // z1 is odd - j (c - d), z3 is odd + j (c - d)
        lanes_d2_store(re + 4 * q, (lanes_d2){z0[0], up[0]});
        lanes_d2_store(re + 4 * q + 2, (lanes_d2){z2[0], down[0]});
        lanes_d2_store(im + 4 * q, (lanes_d2){z0[1], down[1]});
        lanes_d2_store(im + 4 * q + 2, (lanes_d2){z2[1], up[1]});
    }
}

// One pass joins neighbouring transforms of len/2 into transforms of len.
static void pass(const fft *f, double *re, double *im, size_t len) {
    size_t gap = len / 2;
    const double *wr = factors(f, len), *wi = wr + gap;
    for (size_t at = 0; at < f->half; at += len) {
        double *ar = re + at, *ai = im + at, *br = ar + gap, *bi = ai + gap;
        for (size_t k = 0; k < gap; k += 2) {
            lanes_d2 r = lanes_d2_load(br + k), i = lanes_d2_load(bi + k);
            lanes_d2 cr = lanes_d2_load(wr + k), ci = lanes_d2_load(wi + k);
            lanes_d2 tr = r * cr - i * ci, ti = r * ci + i * cr;
            r = lanes_d2_load(ar + k), i = lanes_d2_load(ai + k);
            lanes_d2_store(br + k, r - tr);
            lanes_d2_store(bi + k, i - ti);
            lanes_d2_store(ar + k, r + tr);
            lanes_d2_store(ai + k, i + ti);
        }
    }
}

// z[k] = E + jO, where E and O are the transforms of the even and odd inputs: X = E + w O, and
// E[k] = (z[k] + conj z[m-k]) / 2, O[k] = (z[k] - conj z[m-k]) / 2j.
static void separate(const fft *f, double *re, double *im) {
    size_t m = f->half;
    const double *wr = f->wr, *wi = wr + m / 2 + 1;
    re[m] = re[0] - im[0];
    im[m] = 0;
    re[0] += im[0];
    im[0] = 0;
    for (size_t k = 1; k <= m / 2; k += 2) { // and k + 1, against m - k and m - k - 1
        double *last_r = re + m - k - 1, *last_i = im + m - k - 1;
        lanes_d2 ar = lanes_d2_load(re + k), ai = lanes_d2_load(im + k);
        lanes_d2 br = lanes_d2_swap(lanes_d2_load(last_r));
        lanes_d2 bi = lanes_d2_swap(lanes_d2_load(last_i));
        lanes_d2 er = (ar + br) * 0.5, ei = (ai - bi) * 0.5;
        lanes_d2 or = (ai + bi) * 0.5, oi = (br - ar) * 0.5;
        lanes_d2 cr = lanes_d2_load(wr + k), ci = lanes_d2_load(wi + k);
        lanes_d2 tr = or *cr - oi * ci, ti = or *ci + oi * cr;
        lanes_d2_store(re + k, er + tr);
        lanes_d2_store(im + k, ei + ti);
        lanes_d2_store(last_r, lanes_d2_swap(er - tr)); // X[m-k] = conj(E[k] - w O[k])
        lanes_d2_store(last_i, lanes_d2_swap(ti - ei));
    }
}

void fft_real(const fft *f, double *out, const float *x) {
    double *re = out, *im = out + f->half + 1;
    transform_fours(f, re, im, x);
    for (size_t len = 8; len <= f->half; len *= 2) pass(f, re, im, len);
    separate(f, re, im);
}

void fft_power(const fft *f, float *power, const float *x, double *scratch) {
    size_t m = f->half;
    double *re = scratch, *im = scratch + m + 1;
    fft_real(f, scratch, x);
    for (size_t k = 0; k < m; k += 2) {
        lanes_d2 r = lanes_d2_load(re + k), i = lanes_d2_load(im + k);
        lanes_d2_narrow(power + k, r * r + i * i);
    }
    power[m] = (float)(re[m] * re[m] + im[m] * im[m]);
}

void fft_hann(float *window, size_t n) {
    for (size_t i = 0; i < n; i++)
        window[i] = (float)(0.5 - 0.5 * num_cos_turns((double)i / (double)n));
}
