// analyse_chroma.c - see analyse.h: energy by pitch class in each bar.
#include <math.h> // fabs, floor and sqrt: exact
#include <string.h>

#include "audio/analyse.h"
#include "audio/spectrum.h"
#include "base/mem.h"
#include "base/num.h"

#define CHROMA_LOW 50.0
#define CHROMA_HIGH 2100.0
// Tells semitones apart from 100 Hz up; lower notes by their partials.
#define CHROMA_WINDOW_SECONDS 0.18

// The frequency of the peak at bin k, in bins, by a parabola through the logarithms.
static double peak_bin(const float *p, size_t k) {
    double a = num_log2((double)p[k - 1] + 1e-30), b = num_log2((double)p[k] + 1e-30);
    double c = num_log2((double)p[k + 1] + 1e-30), bend = a - 2 * b + c;
    return (double)k + (bend < 0 ? (a - c) / (2 * bend) : 0);
}

// Adds the peaks of the window from sample from on to row.
static void add_window(double row[12], spectrum *w, const float *x, int64_t n, int64_t from,
                       int rate) {
    spectrum_at(w, x, n, from);
    double per_bin = (double)rate / (double)w->size;
    size_t last = MIN((size_t)(CHROMA_HIGH / per_bin), w->size / 2 - 1);
    for (size_t k = MAX((size_t)(CHROMA_LOW / per_bin), (size_t)1); k <= last; k++) {
        const float *p = w->power;
        if (!(p[k] > p[k - 1] && p[k] >= p[k + 1])) continue;
        double semitones = 12 * num_log2(peak_bin(p, k) * per_bin / 440) + 9; // above C
        int pitch = (int)floor(semitones + 0.5) % 12;
        // Amplitude rather than power: one loud note should not hide the others of a chord.
        row[pitch < 0 ? pitch + 12 : pitch] +=
            sqrt((double)p[k - 1] + (double)p[k] + (double)p[k + 1]);
    }
}

static void chroma_row(float out[12], spectrum *w, const float *x, int64_t n, int64_t from,
                       int64_t to, int rate) {
    double row[12] = {0}, sum = 0;
    int64_t size = (int64_t)w->size, hop = size / 4;
    // Only windows inside the bar, so that the neighbours' chords stay out; one if it is too short.
    for (int64_t at = from; at == from || at + size <= to; at += hop)
        add_window(row, w, x, n, at, rate);
    for (int i = 0; i < 12; i++) sum += row[i];
    for (int i = 0; i < 12; i++) out[i] = sum > 1e-6 ? (float)(row[i] / sum) : 0;
}

status analyse_chroma(float *out, size_t bars, double bar_seconds, const float *x, int64_t n,
                      int rate, err *e) {
    if (rate < 8000 || rate > 192000 || !(bar_seconds > 0.01) || n < 1)
        return err_set(e, ERR_ARG, "bars of %g s in %lld samples at %d Hz cannot be analysed",
                       bar_seconds, (long long)n, rate);
    memset(out, 0, bars * 12 * sizeof *out);
    spectrum w;
    status rc = spectrum_open(&w, 1024, CHROMA_WINDOW_SECONDS, rate, e);
    for (size_t b = 0; !rc && b < bars; b++) {
        int64_t from = (int64_t)((double)b * bar_seconds * rate);
        int64_t to = (int64_t)((double)(b + 1) * bar_seconds * rate);
        if (from >= n) break;
        chroma_row(out + b * 12, &w, x, n, from, MIN(to, n), rate);
    }
    spectrum_close(&w);
    return rc;
}

double analyse_chord_share(const float row[12], unsigned mask) {
    double in = 0, all = 0;
    for (int i = 0; i < 12; i++) {
        all += (double)row[i];
        if (mask >> i & 1) in += (double)row[i];
    }
    return all > 0 ? in / all : 0;
}

// How well each pitch class fits a key whose tonic is the first (Krumhansl and Kessler, 1982).
static const double profiles[2][12] = {
    {6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88}, // major
    {6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17}, // minor
};

// The correlation of row, begun at the tonic, with a profile.
static double fit_of(const float row[12], const double *profile, int tonic) {
    double mx = 0, my = 0, xy = 0, xx = 0, yy = 0;
    for (int i = 0; i < 12; i++) {
        mx += (double)row[i] / 12;
        my += profile[i] / 12;
    }
    for (int i = 0; i < 12; i++) {
        double x = (double)row[(tonic + i) % 12] - mx, y = profile[i] - my;
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    return xx > 0 ? xy / sqrt(xx * yy) : 0;
}

analyse_key analyse_find_key(const float row[12]) {
    double best = -2, next = -2;
    analyse_key k = {.tonic = -1};
    if (analyse_chord_share(row, 0xFFF) == 0) return k;
    for (int i = 0; i < 24; i++) {
        double fit = fit_of(row, profiles[i / 12], i % 12);
        if (fit > best) {
            next = best;
            best = fit;
            k.tonic = i % 12;
            k.minor = i >= 12;
        } else if (fit > next) {
            next = fit;
        }
    }
    k.lead = best - next;
    return k;
}
