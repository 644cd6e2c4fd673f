// judge_pulse_in.c - see judge_pulse.h: what the network is given of a sound.
#include "engine/judge_pulse.h"

#include <math.h> // sqrt: exact
#include <string.h>

#include "audio/harmony.h"
#include "audio/spectrum.h"
#include "base/mem.h"
#include "base/num.h"

#define WINDOW_SECONDS 0.046
#define BAND_LOW 40.0
#define BAND_HIGH 7600.0
#define LOUD 1000.0 // a band's power against the sound's mean, where its level is counted from
#define LEVEL 0.1
#define NOTE_HOP 0.05 // seconds
#define BASS_NOTES (55 - HARMONY_NOTE_LOW)

static int64_t hop_of(const listened *l) {
    return l->rate / PULSE_PER_SECOND;
}

int64_t pulse_count(const listened *l) {
    return l->n / hop_of(l) + 1;
}

// --- levels of bands

// The first bin of each band, evenly apart in the logarithm, a bin at least.
static void fill_edges(size_t edge[PULSE_BANDS + 1], const spectrum *s, int rate) {
    double per_bin = (double)rate / (double)s->size, octaves = num_log2(BAND_HIGH / BAND_LOW);
    size_t at = 1;
    for (int b = 0; b <= PULSE_BANDS; b++) {
        double hz = BAND_LOW * num_exp(octaves * b / PULSE_BANDS * 0.69314718055994531);
        at = MAX((size_t)(hz / per_bin + 0.5), at);
        edge[b] = MIN(at, s->size / 2);
        at++;
    }
}

static void fill_powers(float *power, int64_t n, spectrum *s, const listened *l) {
    size_t edge[PULSE_BANDS + 1];
    fill_edges(edge, s, l->rate);
    for (int64_t f = 0; f < n; f++) {
        spectrum_at(s, l->x, l->n, f * hop_of(l) - (int64_t)s->size / 2);
        for (int b = 0; b < PULSE_BANDS; b++) {
            double sum = 0;
            for (size_t k = edge[b]; k < edge[b + 1]; k++) sum += (double)s->power[k];
            power[b * n + f] = (float)sum;
        }
    }
}

static void to_levels(float *power, int64_t n) {
    double mean = 0;
    for (int64_t i = 0; i < PULSE_BANDS * n; i++) mean += (double)power[i];
    mean /= (double)n;
    for (int64_t i = 0; i < PULSE_BANDS * n; i++) {
        double over = mean > 0 ? (double)power[i] / mean : 0;
        power[i] = (float)(LEVEL * num_log2(1 + LOUD * over));
    }
}

static status fill_levels(float *in, int64_t n, const listened *l, err *e) {
    spectrum s;
    status rc = spectrum_open(&s, 256, WINDOW_SECONDS, l->rate, e);
    if (!rc) fill_powers(in, n, &s, l);
    if (!rc) to_levels(in, n);
    spectrum_close(&s);
    return rc;
}

// --- changes of notes

typedef struct {
    int64_t reach; // frames of NOTE_HOP on each side
    int notes;     // from the lowest
} change;

static const change changes[PULSE_CHANGES] = {
    {6, HARMONY_NOTES}, {16, HARMONY_NOTES}, {6, BASS_NOTES}, {16, BASS_NOTES}};

// How far the notes of the frames before frame f are from those after it, 0 to 1. sum [frames + 1,
// HARMONY_NOTES] has what is in front of each frame.
static double change_at(const double *sum, int64_t frames, int64_t f, const change *c) {
    int64_t from = MAX(f - c->reach, 0) * HARMONY_NOTES, at = f * HARMONY_NOTES;
    int64_t to = MIN(f + c->reach, frames) * HARMONY_NOTES;
    double ab = 0, aa = 0, bb = 0;
    for (int64_t k = 0; k < c->notes; k++) {
        double a = sum[at + k] - sum[from + k], b = sum[to + k] - sum[at + k];
        a = MAX(a, 0), b = MAX(b, 0); // a sum rounds
        ab += sqrt(a * b), aa += a, bb += b;
    }
    return aa > 0 && bb > 0 ? MAX(1 - ab / sqrt(aa * bb), 0) : 0;
}

static void add_up(double *sum, const float *note, int64_t frames) {
    memset(sum, 0, HARMONY_NOTES * sizeof *sum);
    for (int64_t i = 0; i < frames * HARMONY_NOTES; i++)
        sum[i + HARMONY_NOTES] = sum[i] + (double)note[i];
}

static status fill_changes(float *in, int64_t n, const listened *l, err *e) {
    int64_t frames = (int64_t)(l->seconds / NOTE_HOP) + 1;
    size_t size = (size_t)(frames * HARMONY_NOTES);
    float *note = mem_alloc(size * sizeof *note);
    double *sum = mem_alloc((size + HARMONY_NOTES) * sizeof *sum);
    status rc = note && sum ? OK : err_set(e, ERR_OOM, "no memory for notes");
    if (!rc) rc = harmony_notes(note, (size_t)frames, NOTE_HOP, l, e);
    if (!rc) add_up(sum, note, frames);
    for (int64_t f = 0; !rc && f < n; f++) {
        int64_t at = (int64_t)((double)(f * hop_of(l)) / l->rate / NOTE_HOP + 0.5);
        for (int k = 0; k < PULSE_CHANGES; k++)
            in[k * n + f] = (float)change_at(sum, frames, MIN(at, frames), &changes[k]);
    }
    mem_free(note);
    mem_free(sum);
    return rc;
}

status pulse_inputs(float *in, const listened *l, err *e) {
    int64_t n = pulse_count(l);
    status rc = fill_levels(in, n, l, e);
    return rc ? rc : fill_changes(in + PULSE_BANDS * n, n, l, e);
}
