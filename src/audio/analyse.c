// analyse.c - see analyse.h: mixing down, the onset curve, tempo and onsets.
#include "audio/analyse.h"

#include <math.h> // floor, fabs and sqrt: exact
#include <string.h>

#include "audio/spectrum.h"
#include "base/lanes.h"
#include "base/mem.h"
#include "base/num.h"

#define WINDOW_SECONDS 0.023
#define HOPS 4 // a window
#define BAND_LOW 40.0
#define BANDS_MAX 40
#define LAG_SECONDS 8.0 // the longest repetition looked at
#define LAGS 8          // that are correlated together

// Two frames of stereo at a time; the sums as in analyse_mono.
static int64_t mean_of_pairs(float *out, const float *x, int64_t frames) {
    int64_t i = 0;
    for (; i + 2 <= frames; i += 2) {
        lanes_d2 a = lanes_d2_widen(x + 2 * i), b = lanes_d2_widen(x + 2 * i + 2);
        lanes_d2 left = {a[0], b[0]}, right = {a[1], b[1]};
        lanes_d2_narrow(out + i, ((lanes_d2){0} + left + right) / 2);
    }
    return i;
}

void analyse_mono(float *out, const float *x, int64_t frames, int channels) {
    for (int64_t i = channels == 2 ? mean_of_pairs(out, x, frames) : 0; i < frames; i++) {
        double sum = 0;
        for (int c = 0; c < channels; c++) sum += (double)x[i * channels + c];
        out[i] = (float)(sum / channels);
    }
}

typedef struct {
    spectrum spectrum;
    size_t hop;
    int count;
    size_t edge[BANDS_MAX + 1]; // first bin of each band
} bands;

// Third-octave bands; where they would be narrower than a bin they begin at successive bins.
static void set_bands(bands *w, int rate) {
    size_t last = w->spectrum.size / 2;
    double per_bin = (double)rate / (double)w->spectrum.size;
    size_t at = MAX((size_t)(BAND_LOW / per_bin), (size_t)1);
    for (double hz = BAND_LOW; w->count < BANDS_MAX && at < last; hz *= num_exp(0.2310490602)) {
        size_t next = MAX((size_t)(hz * 1.2599210499 / per_bin), at + 1);
        w->edge[w->count++] = at;
        at = next;
    }
    w->edge[w->count] = MIN(at, last);
}

static status bands_open(bands *w, int rate, err *e) {
    *w = (bands){0};
    status rc = spectrum_open(&w->spectrum, 64, WINDOW_SECONDS, rate, e);
    w->hop = w->spectrum.size / HOPS;
    if (!rc) set_bands(w, rate);
    return rc;
}

// Loudness of each band in the window centred on sample centre of x; silence outside.
static void band_levels(double *level, bands *w, const float *x, int64_t n, int64_t centre) {
    spectrum_at(&w->spectrum, x, n, centre - (int64_t)w->spectrum.size / 2);
    double full = spectrum_full(&w->spectrum) * 1.5; // of a sine, over its three bins
    for (int b = 0; b < w->count; b++) {
        double sum = 0;
        for (size_t k = w->edge[b]; k < w->edge[b + 1]; k++) sum += (double)w->spectrum.power[k];
        level[b] = num_log2(1 + 100 * sum / full);
    }
}

static status check_input(int64_t n, int rate, err *e) {
    if (rate < 8000 || rate > 192000)
        return err_set(e, ERR_ARG, "sample rate %d, expected 8000 to 192000", rate);
    if (n < 1) return err_set(e, ERR_ARG, "no samples to analyse");
    return OK;
}

static double mean_of(const onset_curve *c) {
    double sum = 0;
    for (int64_t i = 0; i < c->n; i++) sum += (double)c->v[i];
    return c->n ? sum / (double)c->n : 0;
}

// What correlations are made of: the curve without its mean, and sums of its first squares.
typedef struct {
    const double *v, *squares; // [n], [n + 1]
    int64_t n;
} centred;

// The correlations at LAGS lags from `lag` on, of what overlaps, into out. Each sum goes from the
// curve's beginning to its end; those of several lags are made side by side.
static void correlations(double out[LAGS], const centred *c, int64_t lag) {
    const double *v = c->v;
    lanes_d2 both[LAGS / 2], left[LAGS / 2]; // lags in falling order
    int64_t begun = MIN(lag + LAGS - 1, c->n);
    for (int k = 0; k < LAGS; k++) {
        double ab = 0, aa = 0;
        for (int64_t i = lag + LAGS - 1 - k; i < begun; i++) {
            ab += v[i] * v[i - (lag + LAGS - 1 - k)];
            aa += v[i] * v[i];
        }
        both[k / 2][k % 2] = ab, left[k / 2][k % 2] = aa;
    }
    for (int64_t i = begun; i < c->n; i++) {
        const double *before = v + i - (lag + LAGS - 1);
        double square = v[i] * v[i];
        for (int k = 0; k < LAGS / 2; k++) {
            both[k] += v[i] * lanes_d2_load(before + 2 * k);
            left[k] += square;
        }
    }
    for (int k = 0; k < LAGS; k++) {
        int at = LAGS - 1 - k;
        double right = lag + k < c->n ? c->squares[c->n - lag - k] : 0;
        double norm = sqrt(left[at / 2][at % 2] * right);
        out[k] = norm > 0 ? both[at / 2][at % 2] / norm : 0;
    }
}

// raw [lags + 1 and LAGS more]: the correlation at each lag.
static void correlate_all(double *raw, const onset_curve *c, double *v, double *squares) {
    double mean = mean_of(c), sum = 0;
    for (int64_t i = 0; i < c->n; i++) {
        v[i] = (double)c->v[i] - mean;
        squares[i] = sum;
        sum += v[i] * v[i];
    }
    squares[c->n] = sum;
    const centred all = {v, squares, c->n};
    raw[0] = 1;
    for (int64_t lag = 1; lag <= c->lags; lag += LAGS) correlations(raw + lag, &all, lag);
}

static status correlate(onset_curve *c, err *e) {
    c->lags = (int64_t)MIN(LAG_SECONDS * c->per_second, (double)c->n * 0.7);
    c->same = mem_alloc((size_t)(c->lags + 1) * sizeof *c->same);
    double *work = mem_alloc((size_t)(2 * c->n + 1 + c->lags + 1 + LAGS) * sizeof *work);
    if (!c->same || !work) {
        mem_free(work);
        analyse_onset_curve_deinit(c);
        return err_set(e, ERR_OOM, "no memory for an onset curve");
    }
    double *raw = work + 2 * c->n + 1;
    correlate_all(raw, c, work, work + c->n);
    for (int64_t k = 0; k < c->lags; k++)
        c->same[k] = raw[k ? k - 1 : 1] / 4 + raw[k] / 2 + raw[k + 1] / 4;
    mem_free(work);
    return OK;
}

status analyse_onset_curve(onset_curve *out, const float *x, int64_t n, int rate, err *e) {
    *out = (onset_curve){0};
    status rc = check_input(n, rate, e);
    if (rc) return rc;
    bands w;
    rc = bands_open(&w, rate, e);
    int64_t count = rc ? 0 : n / (int64_t)w.hop + 1;
    float *v = rc ? NULL : mem_alloc((size_t)count * sizeof *v);
    if (!rc && !v) rc = err_set(e, ERR_OOM, "no memory for an onset curve");
    double level[2][BANDS_MAX] = {{0}};
    for (int64_t f = 0; !rc && f < count; f++) {
        // The rise is greatest when the onset passes the middle of the window: between two centres.
        double *now = level[f & 1], *before = level[~f & 1], rise = 0;
        band_levels(now, &w, x, n, f * (int64_t)w.hop + (int64_t)w.hop / 2);
        for (int b = 0; b < w.count; b++) rise += MAX(now[b] - before[b], 0);
        v[f] = (float)rise;
    }
    if (!rc) *out = (onset_curve){.v = v, .n = count, .per_second = (double)rate / (double)w.hop};
    spectrum_close(&w.spectrum);
    return rc ? rc : correlate(out, e);
}

void analyse_onset_curve_deinit(onset_curve *c) {
    mem_free(c->v);
    mem_free(c->same);
    *c = (onset_curve){0};
}

// The curve at a fractional index, its mean taken away; 0 outside.
static double at(const onset_curve *c, double i, double mean) {
    if (i < 0 || i > (double)(c->n - 1)) return 0;
    int64_t k = (int64_t)i;
    double part = i - (double)k, a = (double)c->v[k];
    double b = k + 1 < c->n ? (double)c->v[k + 1] : a;
    return a + (b - a) * part - mean;
}

// same at a fractional lag, by the cubic through the four lags around it (Catmull and Rom).
static double same_at(const onset_curve *c, double lag) {
    int64_t k = (int64_t)lag;
    if (k < 1 || k + 2 >= c->lags) return 0;
    double t = lag - (double)k, *p = &c->same[k];
    double bend = 2 * p[-1] - 5 * p[0] + 4 * p[1] - p[2];
    double twist = 3 * (p[0] - p[1]) + p[2] - p[-1];
    return p[0] + t / 2 * (p[1] - p[-1] + t * (bend + t * twist));
}

double analyse_tempo_strength(const onset_curve *c, double bpm) {
    double period = 60 / bpm * c->per_second, sum = 0;
    int count = 0;
    for (double lag = period; lag < (double)(c->lags - 2); lag += period, count++)
        sum += same_at(c, lag);
    return count ? sum / count : 0;
}

// Gaussian over octaves from 120 bpm.
static double preference(double bpm) {
    double octaves = num_log2(bpm / 120) / 0.7;
    return num_exp(-octaves * octaves / 2);
}

static double first_beat(const onset_curve *c, double bpm) {
    double period = 60 / bpm * c->per_second, best = -1, where = 0, mean = mean_of(c);
    for (double offset = 0; offset < period; offset += 0.25) {
        double sum = 0;
        for (double i = offset; i < (double)c->n; i += period)
            sum += at(c, i, mean) + (at(c, i - 1, mean) + at(c, i + 1, mean)) / 2;
        if (sum > best) best = sum, where = offset;
    }
    return where / c->per_second;
}

analyse_tempo analyse_find_tempo(const onset_curve *c, double lo, double hi) {
    analyse_tempo best = {0};
    double top = 0;
    if ((double)c->n / c->per_second < 4 * 60 / lo) return best;
    // At the longest lag of 8 s a beat of 15 ms is 0.2 % wide: steps of 0.1 % do not miss it. Then
    // steps of 0.01 % around the best.
    for (double bpm = lo; bpm <= hi; bpm *= 1.001) {
        double strength = analyse_tempo_strength(c, bpm), score = strength * preference(bpm);
        if (score > top) top = score, best = (analyse_tempo){bpm, strength, 0};
    }
    if (top <= 0) return (analyse_tempo){0};
    double centre = best.bpm;
    for (double bpm = centre * 0.998; bpm <= centre * 1.002; bpm *= 1.0001) {
        double strength = analyse_tempo_strength(c, bpm);
        if (strength > best.strength) best = (analyse_tempo){bpm, strength, 0};
    }
    best.first = first_beat(c, best.bpm);
    return best;
}

// The largest value within reach of i.
static double largest_near(const onset_curve *c, int64_t i, int64_t reach) {
    double top = 0;
    for (int64_t k = MAX(i - reach, 0); k < MIN(i + reach + 1, c->n); k++)
        top = MAX(top, (double)c->v[k]);
    return top;
}

size_t analyse_find_onsets(double *out, size_t max, const onset_curve *c) {
    int64_t near = (int64_t)(0.03 * c->per_second), wide = (int64_t)(c->per_second * 2);
    double mean = mean_of(c), top = largest_near(c, 0, c->n);
    size_t count = 0;
    for (int64_t i = 0; i < c->n; i++) {
        double v = (double)c->v[i];
        if (v <= 0.1 * top || v < largest_near(c, i, near)) continue;
        if (v - mean < 0.25 * (largest_near(c, i, wide) - mean)) continue;
        double a = i ? (double)c->v[i - 1] : 0, b = i + 1 < c->n ? (double)c->v[i + 1] : 0;
        double bend = a - 2 * v + b; // a parabola through three points
        double shift = bend < 0 ? (a - b) / (2 * bend) : 0;
        if (count < max) out[count] = ((double)i + shift) / c->per_second;
        count++;
        i += near; // equal neighbours are one peak
    }
    return count;
}
