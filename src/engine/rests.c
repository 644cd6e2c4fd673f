// rests.c - see rests.h.
#include "engine/rests.h"

#include <math.h> // floor: exact

#include "request/length.h"

// The frame at which so many quarter notes end.
static int64_t frame_at(const stemforge_request *r, double quarters, int rate) {
    return (int64_t)floor(quarters * 60 * rate / r->bpm + 0.5);
}

// From one bar line to another, the later one included when it is the end.
static post_rest rest_between(const stemforge_request *r, int from, int to, int rate) {
    int quarters = meter_of(r->meter)->quarters;
    int64_t early = post_frames(RESTS_EARLY_SECONDS, rate);
    post_rest rest = {.from = MAX(0, frame_at(r, from * quarters, rate) - early),
                      .to = frame_at(r, to * quarters, rate) - early,
                      .fade_out = post_frames(RESTS_OUT_SECONDS, rate),
                      .fade_in = post_frames(RESTS_IN_SECONDS, rate)};
    if (to == length_bars(r)) rest.to = length_frames(r, rate);
    return rest;
}

// The last bar's first beat sounds, its second fades out.
static post_rest ending_of(const stemforge_request *r, int rate) {
    const meter *m = meter_of(r->meter);
    double bar = (length_bars(r) - 1) * m->quarters;
    int64_t from = frame_at(r, bar + 2 * m->pulse, rate);
    return (post_rest){.from = from,
                       .to = length_frames(r, rate),
                       .fade_out = from - frame_at(r, bar + m->pulse, rate)};
}

size_t rests_of(post_rest out[RESTS_MAX], const stemforge_request *r, const char *stem, int rate) {
    section s[SECTIONS_MAX];
    size_t count = sections_of(s, r), n = 0;
    int bar = 0, from = 0; // a rest runs from there to bar
    for (size_t i = 0; i < count; bar += s[i++].bars) {
        if (!section_plays(&s[i], stem)) continue;
        if (bar > from) out[n++] = rest_between(r, from, bar, rate);
        from = bar + s[i].bars;
    }
    if (bar > from)
        out[n++] = rest_between(r, from, bar, rate);
    else if (r->ending)
        out[n++] = ending_of(r, rate);
    return n;
}
