// analyse.h - what a finished stem really holds: tempo, onsets, chroma by bar, and defects.
//
// For tests and for measuring models; nothing here changes a sample. Input is one plane of mono f32
// [n] unless said otherwise (analyse_mono makes it), at rate Hz, 8000 to 192000.
#pragma once
#include "base/err.h"

// The mean of the channels of x [frames, channels] into out [frames].
void analyse_mono(float *out, const float *x, int64_t frames, int channels);

// How much of the spectrum rises at each moment: the sum over third-octave bands from 40 Hz of the
// rise of log(1 + 100 power), power of a full-scale sine being 1. Value f lies at f / per_second
// s.
typedef struct {
    float *v; // [n]
    int64_t n;
    double per_second;
    // How well the curve repeats after k values, [lags]: its autocorrelation over what overlaps, up
    // to 1, smoothed over three lags so that a beat a few milliseconds off still counts.
    double *same;
    int64_t lags; // 8 s of them, or 7 tenths of the curve
} onset_curve;

status analyse_onset_curve(onset_curve *out, const float *x, int64_t n, int rate, err *e);
void analyse_onset_curve_deinit(onset_curve *c); // zeroed is fine

typedef struct {
    double bpm;      // 0 when nothing repeats
    double strength; // mean autocorrelation of the curve over whole multiples of the beat, up to 1
    double first;    // seconds of the first beat, within 0 to 60 / bpm
} analyse_tempo;

// The tempo between lo and hi bpm whose multiples the curve repeats with best. Halves and doubles
// of a tempo repeat nearly as well: tempi near 120 are preferred (a Gaussian over octaves, sigma
// 0.7). Needs at least four beats of lo. The first beat is where the comb of beats gathers most of
// the curve.
analyse_tempo analyse_find_tempo(const onset_curve *c, double lo, double hi);
// strength, as above, of one tempo exactly.
double analyse_tempo_strength(const onset_curve *c, double bpm);

// Times of the curve's peaks in rising order, at most max of them into out; how many there are. A
// peak tops its 30 ms each side, a quarter of the curve's largest deviation within 2 s, and a tenth
// of the largest.
size_t analyse_find_onsets(double *out, size_t max, const onset_curve *c);

// Energy by pitch class (C first) in each bar of bar_seconds from time 0; only bars that begin
// within the clip are filled, the rest is 0. Spectral peaks between 50 and 2100 Hz count, each to
// its nearest pitch class at A = 440 Hz. Rows sum to 1, or are 0 for silence. out [bars, 12].
status analyse_chroma(float *out, size_t bars, double bar_seconds, const float *x, int64_t n,
                      int rate, err *e);
// The share of a chroma row's energy that lies in the pitch classes of mask (bit p: class p).
double analyse_chord_share(const float row[12], unsigned mask);

typedef struct {
    int tonic;   // 0 C to 11 B; -1 for silence
    bool minor;  // else major
    double lead; // correlation of the best key less that of the next one: under 0.05 is a guess
} analyse_key;
// The key whose profile a chroma row (of a whole clip) correlates with best, by Krumhansl and
// Kessler's profiles.
analyse_key analyse_find_key(const float row[12]);

typedef struct {
    double silent_share;  // of 100 ms blocks, those under -60 dB of full scale (rms)
    double silence_max_s; // the longest row of them
    double silence_end_s; // the row at the end: early collapse
    int64_t clipped_runs; // runs of three or more samples at the clip's peak magnitude: flat tops
    int64_t clicks;       // see below
    double mean;          // direct current
} analyse_defects;

// A click is a sample whose second difference is over 0.1 and over 25 times the rms of the second
// differences within 5 ms around it, its nearest three samples either side left out: a jump where
// the sound is smooth. Clicks closer than 5 ms count once.
analyse_defects analyse_find_defects(const float *x, int64_t n, int rate);
