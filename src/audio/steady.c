// steady.c - see steady.h.
#include "audio/steady.h"

#include <math.h> // sqrt, floor: exact
#include <string.h>

#include "base/fft.h"
#include "base/mem.h"
#include "base/num.h"

#define FRAME 4096
#define HOP (FRAME / 2)
#define BINS (HOP + 1)
#define BANDS 24
#define LOWEST_HZ 50.0
#define THIRD 1.2599210498948732 // of an octave: the third root of 2
#define WIDTH 1                  // a band reaches as many bands up and down
#define QUIETEST 1e-6            // of the loudest band's power: below it nothing is told apart
#define RATIO_MAX 2.0            // of powers: 3 dB

typedef struct {
    fft *plan;
    int64_t frames;                        // frame i begins at sample (i - 1) * HOP
    int64_t around;                        // frames of a span
    double centre[BANDS + 2 * WIDTH];      // in bins; band b is number b + WIDTH
    float window[FRAME], in[FRAME];        // sine
    double bins[2 * BINS], back[2 * BINS]; // a spectrum, and a frame made of one
    double whole[BANDS];
    double (*sums)[BANDS]; // [frames + 1] of the powers of the frames before
    float *added;          // [n] to the channel
} steady;

static status open_all(steady *s, int64_t n, int rate, double span, err *e) {
    s->frames = n / HOP + 1;
    s->around = (int64_t)floor(span * rate / HOP + 0.5);
    status rc = fft_open(&s->plan, FRAME, e);
    s->sums = mem_calloc((size_t)s->frames + 1, sizeof *s->sums);
    s->added = mem_alloc((size_t)n * sizeof *s->added);
    if (!rc && (!s->sums || !s->added)) rc = err_set(e, ERR_OOM, "no memory for a long sound");
    for (int i = 0; i < FRAME; i++) s->window[i] = (float)num_sin_turns((i + 0.5) / (2 * FRAME));
    double hz = LOWEST_HZ / THIRD / THIRD;
    for (int b = 0; b < BANDS + 2 * WIDTH; b++, hz *= THIRD) s->centre[b] = hz * FRAME / rate;
    return rc;
}

static void close_all(steady *s) {
    fft_close(s->plan);
    mem_free(s->sums);
    mem_free(s->added);
    mem_free(s);
}

// The spectrum of frame i.
static void transform(steady *s, const float *x, int64_t n, int64_t i) {
    int64_t from = (i - 1) * HOP;
    for (int64_t k = 0; k < FRAME; k++) {
        int64_t at = from + k;
        s->in[k] = at >= 0 && at < n ? x[at] * s->window[k] : 0;
    }
    fft_real(s->plan, s->bins, s->in);
}

// A triangle over frequency, 1 at the centre.
static double band_power(const steady *s, int b) {
    double low = s->centre[b], mid = s->centre[b + WIDTH], high = s->centre[b + 2 * WIDTH], sum = 0;
    for (int k = MAX(1, (int)low); k < BINS && k < high; k++) {
        double share = k < mid ? (k - low) / (mid - low) : (high - k) / (high - mid);
        double re = s->bins[k], im = s->bins[BINS + k];
        if (share > 0) sum += share * (re * re + im * im);
    }
    return sum;
}

static void measure(steady *s, const float *x, int64_t n) {
    for (int64_t i = 0; i < s->frames; i++) {
        transform(s, x, n, i);
        for (int b = 0; b < BANDS; b++) s->sums[i + 1][b] += band_power(s, b);
    }
}

static void add_up(steady *s) {
    for (int64_t i = 0; i < s->frames; i++) {
        for (int b = 0; b < BANDS; b++) s->sums[i + 1][b] += s->sums[i][b];
    }
    for (int b = 0; b < BANDS; b++) s->whole[b] = s->sums[s->frames][b] / (double)s->frames;
}

static double quietest(const steady *s) {
    double most = 0;
    for (int b = 0; b < BANDS; b++) most = s->whole[b] > most ? s->whole[b] : most;
    return most * QUIETEST;
}

// What each band is to be multiplied with around frame i.
static void gains_at(const steady *s, double gain[BANDS], int64_t i, double floor_power) {
    int64_t from = MIN(MAX(0, i - s->around / 2), s->frames - s->around);
    for (int b = 0; b < BANDS; b++) {
        double sum = s->sums[from + s->around][b] - s->sums[from][b];
        double mean = MAX(0, sum) / (double)s->around + floor_power;
        double ratio = mean > 0 ? (s->whole[b] + floor_power) / mean : 1;
        gain[b] = sqrt(MIN(MAX(ratio, 1 / RATIO_MAX), RATIO_MAX));
    }
}

// Multiplies the spectrum by the gains less 1. b is the band whose centre is at bin k or below.
static void weigh(steady *s, const double gain[BANDS]) {
    const double *centre = s->centre + WIDTH;
    for (int k = 0, b = 0; k < BINS; k++) {
        while (b < BANDS - 1 && centre[b + 1] <= k) b++;
        double g = gain[b];
        if (k > centre[b] && b < BANDS - 1)
            g += (gain[b + 1] - g) * (k - centre[b]) / (centre[b + 1] - centre[b]);
        s->bins[k] *= g - 1;
        s->bins[BINS + k] *= g - 1;
    }
}

// The frame of a spectrum, by the same transform: that of re + im, which is a real sequence, holds
// the sum and the difference of samples k and FRAME - k.
static void transform_back(steady *s) {
    for (int k = 0; k < BINS; k++) {
        double re = s->bins[k], im = s->bins[BINS + k];
        s->in[k] = (float)(re + im);
        if (k > 0 && k < HOP) s->in[FRAME - k] = (float)(re - im);
    }
    fft_real(s->plan, s->back, s->in);
}

static void add_frame(steady *s, int64_t n, int64_t i) {
    int64_t from = (i - 1) * HOP;
    for (int k = 0; k < FRAME; k++) {
        int64_t at = from + k;
        int m = k < BINS ? k : FRAME - k;
        double sign = k < BINS ? 1 : -1;
        double y = (s->back[m] + sign * s->back[BINS + m]) / FRAME;
        if (at >= 0 && at < n) s->added[at] += (float)y * s->window[k];
    }
}

static void filter(steady *s, float *x, int64_t n, double floor_power) {
    double gain[BANDS];
    memset(s->added, 0, (size_t)n * sizeof *s->added);
    for (int64_t i = 0; i < s->frames; i++) {
        gains_at(s, gain, i, floor_power);
        transform(s, x, n, i);
        weigh(s, gain);
        transform_back(s);
        add_frame(s, n, i);
    }
    for (int64_t i = 0; i < n; i++) x[i] += s->added[i];
}

status steady_hold(float *planes, int channels, int64_t n, int rate, double span, err *e) {
    if ((double)n < 2 * span * rate || n < 2 * FRAME) return OK;
    steady *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "no memory for a long sound");
    status rc = open_all(s, n, rate, span, e);
    if (!rc) {
        for (int c = 0; c < channels; c++) measure(s, planes + c * n, n);
        add_up(s);
        double floor_power = quietest(s);
        for (int c = 0; c < channels; c++) filter(s, planes + c * n, n, floor_power);
    }
    close_all(s);
    return rc;
}
