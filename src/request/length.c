// length.c - see length.h.
#include "request/length.h"

#include <math.h> // floor: exact

#include "request/chords.h"
#include "request/sections.h"
#include "request/timing.h"

#define MINUTE 60.0

static int64_t nearest(double frames) {
    return (int64_t)floor(frames + 0.5);
}

int length_bars(const stemforge_request *r) {
    return r->section_count ? sections_bars(r) : MAX(r->bars, 0);
}

static double beats_of(const stemforge_request *r) { // bars may be any number before the checks
    return (double)length_bars(r) * meter_of(r->meter)->quarters;
}

double length_seconds(const stemforge_request *r) {
    if (length_bars(r) > 0) return beats_of(r) * MINUTE / r->bpm;
    return r->seconds > 0 ? r->seconds : LENGTH_SECONDS_DEFAULT;
}

int64_t length_frames(const stemforge_request *r, int rate) {
    if (length_bars(r) > 0) return nearest(beats_of(r) * MINUTE * rate / r->bpm);
    return nearest(length_seconds(r) * rate);
}

int64_t length_fold_frames(const stemforge_request *r, int rate) {
    return r->loop ? nearest(MINUTE * rate / r->bpm) : 0;
}

double length_made_seconds(const stemforge_request *r) {
    return length_seconds(r) + (r->loop ? MINUTE / r->bpm : 0);
}

double length_cycle_seconds(const stemforge_request *r) {
    int per_bar = MAX(r->chords_per_bar, 1), bars = 1;
    int chords = r->chord_count ? (int)r->chord_count : CHORDS_ASSUMED;
    while (bars * per_bar % chords && bars < chords) bars++;
    return r->bpm > 0 ? bars * meter_of(r->meter)->quarters * MINUTE / r->bpm : 0;
}
