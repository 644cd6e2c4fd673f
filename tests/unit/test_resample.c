// test_resample.c - the filter's promises, with libsoxr as the oracle.
#include <criterion/criterion.h>
#include <math.h>
#include <soxr.h>
#include <string.h>

#include "audio/resample.h"
#include "base/mem.h"

static const int pairs[][2] = {{32000, 44100}, {44100, 32000}, {48000, 32000}, {22050, 32000},
                               {96000, 44100}, {8000, 44100},  {44100, 48000}, {11025, 32000}};

static resampler *open_pair(int from, int to) {
    resampler *r;
    err e = {0};
    cr_assert_eq(resample_open(&r, from, to, &e), OK, "%s", e.text);
    return r;
}

static void fill_sine(float *x, int64_t n, double hz, int rate) {
    double w = 2 * acos(-1) * hz / rate;
    for (int64_t i = 0; i < n; i++) x[i] = (float)sin(w * (double)i + 0.3);
}

// Amplitude of the sine of hz in the middle of y (Hann-weighted projection on cos and sin), and the
// weighted rms of what is left when it is taken away.
static void fit_sine(const float *y, int64_t n, double hz, int rate, double *amplitude,
                     double *rest) {
    double w = 2 * acos(-1) * hz / rate, c = 0, s = 0, sum = 0, left = 0;
    int64_t lo = n / 5, hi = n - n / 5;
    for (int64_t i = lo; i < hi; i++) {
        double h = 0.5 - 0.5 * cos(2 * acos(-1) * (double)(i - lo) / (double)(hi - lo));
        c += h * (double)y[i] * cos(w * (double)i);
        s += h * (double)y[i] * sin(w * (double)i);
        sum += h;
    }
    c *= 2 / sum, s *= 2 / sum;
    for (int64_t i = lo; i < hi; i++) {
        double h = 0.5 - 0.5 * cos(2 * acos(-1) * (double)(i - lo) / (double)(hi - lo));
        double d = (double)y[i] - c * cos(w * (double)i) - s * sin(w * (double)i);
        left += h * d * d;
    }
    *amplitude = sqrt(c * c + s * s);
    *rest = sqrt(left / sum);
}

Test(resample, length_is_rounded_to_nearest) {
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        resampler *r = open_pair(pairs[i][0], pairs[i][1]);
        for (int64_t n = 0; n < 3000; n += 7) {
            double exact = (double)n * pairs[i][1] / pairs[i][0];
            cr_assert_eq(resample_frames(r, n), (int64_t)floor(exact + 0.5), "%ld", (long)n);
        }
        resample_close(r);
    }
    resampler *r = open_pair(32000, 44100);
    cr_assert_eq(resample_frames(r, 320000), 441000);
    resample_close(r);
}

// 0.01 dB is 0.115 %; 100 dB is 1e-5.
Test(resample, sines_up_to_nine_tenths_of_nyquist_pass_unchanged_and_clean) {
    enum { N = 24000 };
    float *x = mem_alloc(N * sizeof *x);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        int from = pairs[i][0], to = pairs[i][1];
        resampler *r = open_pair(from, to);
        int64_t m = resample_frames(r, N);
        float *y = mem_alloc((size_t)m * sizeof *y);
        for (int step = 1; step <= 9; step++) {
            double hz = 0.1 * step * MIN(from, to) / 2, a, rest;
            fill_sine(x, N, hz, from);
            cr_assert_eq(resample_run(r, y, 1, x, 1, N, NULL), OK);
            fit_sine(y, m, hz, to, &a, &rest);
            cr_assert_lt(fabs(20 * log10(a)), 0.01, "%d to %d: %g Hz at %g dB", from, to, hz,
                         20 * log10(a));
            cr_assert_lt(rest, 1e-5, "%d to %d: %g Hz leaves %g", from, to, hz, rest);
        }
        resample_close(r);
        mem_free(y);
    }
    mem_free(x);
}

Test(resample, what_is_above_the_new_nyquist_vanishes) {
    enum { N = 24000 };
    float *x = mem_alloc(N * sizeof *x), *y = mem_alloc(N * sizeof *y);
    const int down[][2] = {{44100, 32000}, {48000, 32000}, {96000, 44100}};
    for (size_t i = 0; i < ARRAY_LEN(down); i++) {
        int from = down[i][0], to = down[i][1];
        resampler *r = open_pair(from, to);
        int64_t m = resample_frames(r, N);
        for (double hz = to / 2.0; hz < from / 2.0; hz += 397) {
            fill_sine(x, N, hz, from);
            cr_assert_eq(resample_run(r, y, 1, x, 1, N, NULL), OK);
            double worst = 0; // the ends see the sine begin and stop, which is broad-band
            for (int64_t k = m / 5; k < m - m / 5; k++) worst = MAX(worst, fabs((double)y[k]));
            cr_assert_lt(worst, 1e-5, "%d to %d: %g Hz leaks %g", from, to, hz, worst);
        }
        resample_close(r);
    }
    mem_free(x), mem_free(y);
}

Test(resample, an_impulse_stays_where_it_was) { // zero delay: the response is symmetric about it
    resampler *r = open_pair(32000, 44100);
    float x[1000] = {0}, y[1378];
    x[320] = 1; // output 441 lies exactly on it
    cr_assert_eq(resample_frames(r, 1000), 1378);
    cr_assert_eq(resample_run(r, y, 1, x, 1, 1000, NULL), OK);
    for (int k = 0; k < 441; k++) {
        cr_assert_leq(fabsf(y[k]), y[441]);
        cr_assert_float_eq(y[441 - k], y[441 + k], 1e-7f);
    }
    resample_close(r);
}

Test(resample, a_constant_stays_constant_away_from_the_ends) {
    resampler *r = open_pair(44100, 32000);
    float x[4000], y[2902];
    for (int i = 0; i < 4000; i++) x[i] = 0.5f;
    cr_assert_eq(resample_run(r, y, 1, x, 1, 4000, NULL), OK);
    for (int k = 100; k < 2800; k++)
        cr_assert_float_eq(y[k], 0.5f, 5e-7f, "%d: %a", k, (double)y[k]);
    resample_close(r);
}

Test(resample, agrees_with_libsoxr) {
    enum { N = 20000 };
    float *x = mem_alloc(N * sizeof *x);
    for (size_t p = 0; p < ARRAY_LEN(pairs); p++) {
        int from = pairs[p][0], to = pairs[p][1];
        resampler *r = open_pair(from, to);
        int64_t m = resample_frames(r, N);
        float *y = mem_alloc((size_t)m * sizeof *y), *want = mem_alloc((size_t)m * sizeof *want);
        for (int i = 0; i < N; i++) { // a sweep to 0.85 of the lower Nyquist that comes and goes
            double t = (double)i / N, top = 0.85 * MIN(from, to) / 2.0 / from;
            double envelope = 0.5 - 0.5 * cos(2 * acos(-1) * t);
            x[i] = (float)(envelope * sin(acos(-1) * top * t * i));
        }
        cr_assert_eq(resample_run(r, y, 1, x, 1, N, NULL), OK);
        soxr_quality_spec_t q = soxr_quality_spec(SOXR_VHQ, SOXR_ROLLOFF_NONE);
        size_t done = 0;
        soxr_error_t bad =
            soxr_oneshot(from, to, 1, x, N, NULL, want, (size_t)m, &done, NULL, &q, NULL);
        cr_assert(!bad, "%s", bad);
        cr_assert_geq((int64_t)done, m - 1);
        double worst = 0;
        for (size_t k = 0; k < done; k++) worst = MAX(worst, fabs((double)y[k] - (double)want[k]));
        cr_assert_lt(worst, 2e-5, "%d to %d: %g", from, to, worst);
        resample_close(r);
        mem_free(y), mem_free(want);
    }
    mem_free(x);
}

Test(resample, strides_and_length_do_not_change_a_sample) {
    enum { N = 9001 };
    resampler *r = open_pair(32000, 44100);
    int64_t m = resample_frames(r, N);
    float *x = mem_alloc(2 * N * sizeof *x), *a = mem_alloc((size_t)m * sizeof *a);
    float *b = mem_calloc((size_t)m * 2, sizeof *b);
    for (int i = 0; i < N; i++) x[2 * i] = (float)sin(i * i * 0.01), x[2 * i + 1] = 9;
    cr_assert_eq(resample_run(r, b, 2, x, 2, N, NULL), OK);
    for (int i = 0; i < N; i++) x[i] = x[2 * i];
    cr_assert_eq(resample_run(r, a, 1, x, 1, N, NULL), OK);
    for (int64_t k = 0; k < m; k++) cr_assert(a[k] == b[2 * k] && b[2 * k + 1] == 0);
    // A longer input with the same beginning: the beginning of the output is the same bits.
    cr_assert_eq(resample_run(r, a, 1, x, 1, N / 2, NULL), OK);
    for (int64_t k = 0; k < m / 2 - 200; k++) cr_assert(a[k] == b[2 * k]);
    mem_free(x), mem_free(a), mem_free(b), resample_close(r);
}

Test(resample, every_sum_is_the_one_the_comment_states) {
    // An impulse train reads single coefficients back; the plain loop below is the stated order.
    resampler *r = open_pair(32000, 44100);
    float h[160], x[161], y[222];
    for (int j = 0; j < 160; j++) { // output 0 reads inputs -79 to 80: only 0 to 80 exist
        memset(x, 0, sizeof x);
        x[j] = 1;
        cr_assert_eq(resample_run(r, y, 1, x, 1, 161, NULL), OK);
        h[j] = y[110]; // input time 79.8: base 79 reads inputs 0 to 159
    }
    for (int j = 0; j < 161; j++) x[j] = (float)cos(j * 1.7) / 3;
    cr_assert_eq(resample_run(r, y, 1, x, 1, 161, NULL), OK);
    float lane[16] = {0};
    for (int j = 0; j < 160; j++) lane[j % 16] += x[j] * h[j];
    for (int width = 8; width >= 1; width /= 2)
        for (int j = 0; j < width; j++) lane[j] += lane[j + width];
    cr_assert_eq(lane[0], y[110], "%a %a", (double)lane[0], (double)y[110]);
    resample_close(r);
}

Test(resample, equal_rates_copy_and_nothing_gives_nothing) {
    resampler *r = open_pair(44100, 44100);
    float x[3] = {1, 2, 3}, y[3] = {0};
    cr_assert_eq(resample_frames(r, 3), 3);
    cr_assert_eq(resample_run(r, y, 1, x, 1, 3, NULL), OK);
    cr_assert_eq(memcmp(x, y, sizeof x), 0);
    resample_close(r);
    r = open_pair(32000, 44100);
    cr_assert_eq(resample_run(r, y, 1, x, 1, 0, NULL), OK);
    resample_close(r);
}

Test(resample, refuses_rates_it_cannot_serve) {
    resampler *r;
    err e;
    cr_assert_eq(resample_open(&r, 0, 44100, &e), ERR_ARG);
    cr_assert_str_eq(e.text, "sample rate 0, expected 1000 to 768000");
    cr_assert_eq(resample_open(&r, 44100, 2000000000, &e), ERR_ARG);
    cr_assert_eq(resample_open(&r, 767999, 44100, &e), ERR_LIMIT);
    cr_assert_null(r);
}

Test(resample, open_survives_each_failed_allocation) {
    for (int n = 0; n < 3; n++) {
        resampler *r;
        mem_fail_after(n);
        cr_assert_eq(resample_open(&r, 32000, 44100, NULL), ERR_OOM);
        mem_fail_after(-1);
        cr_assert_null(r);
    }
}
