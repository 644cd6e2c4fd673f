// timing.c - see timing.h.
#include "request/timing.h"

#include <math.h> // floor and ceil: exact
#include <string.h>

const meter meters[] = {{"4/4", 4, 1, 4, 4}, {"3/4", 3, 1, 3, 4}, {"6/8", 3, 1.5, 6, 8}};
const size_t meter_count = ARRAY_LEN(meters);

const meter *meter_find(const char *name) {
    for (size_t i = 0; i < meter_count; i++)
        if (strcmp(meters[i].name, name) == 0) return &meters[i];
    return NULL;
}

const meter *meter_of(const char *name) {
    const meter *m = name ? meter_find(name) : NULL;
    return m ? m : &meters[0];
}

timing timing_even(double bpm) {
    return (timing){.bpm = bpm, .meter = &meters[0], .chords_per_bar = 1};
}

timing timing_of(const stemforge_request *r, double bpm) {
    return (timing){.bpm = r->bpm > 0 ? r->bpm : bpm,
                    .beats = r->beat_count > 1 ? r->beats : NULL,
                    .beat_count = r->beat_count,
                    .meter = meter_of(r->meter),
                    .chords_per_bar = MAX(r->chords_per_bar, 1)};
}

double timing_beat(const timing *t, double seconds) {
    if (!t->beats) return seconds * t->bpm / 60;
    size_t lo = 0, hi = t->beat_count - 2; // the beat that it lies in, or the one at that end
    while (lo < hi) {
        size_t mid = (lo + hi + 1) / 2;
        if (t->beats[mid] <= seconds)
            lo = mid;
        else
            hi = mid - 1;
    }
    return (double)lo + (seconds - t->beats[lo]) / (t->beats[lo + 1] - t->beats[lo]);
}

double timing_seconds(const timing *t, double beat) {
    if (!t->beats) return beat * 60 / t->bpm;
    double last = (double)(t->beat_count - 2);
    size_t i = (size_t)MAX(0, MIN(floor(beat), last));
    return t->beats[i] + (beat - (double)i) * (t->beats[i + 1] - t->beats[i]);
}

// Quarters into its bar at which chord k begins.
static double begins_at(const timing *t, int k) {
    double at = (double)k * t->meter->quarters / t->chords_per_bar;
    return t->meter->pulse > 1 ? at : ceil(at);
}

int64_t timing_chord(const timing *t, double beat) {
    double bar = floor(beat / t->meter->quarters + 1e-6), in = beat - bar * t->meter->quarters;
    int k = t->chords_per_bar - 1;
    while (k > 0 && in + 1e-6 * t->meter->quarters < begins_at(t, k)) k--;
    return (int64_t)bar * t->chords_per_bar + k;
}

double timing_chord_begin(const timing *t, int64_t number) {
    int64_t bar = number / t->chords_per_bar;
    return (double)(bar * t->meter->quarters) + begins_at(t, (int)(number % t->chords_per_bar));
}
