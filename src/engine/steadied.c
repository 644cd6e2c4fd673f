// steadied.c - see steadied.h.
#include "engine/steadied.h"

#include <math.h> // ceil: exact

#include "request/length.h"

static bool must_change(const stemforge_request *r) {
    return r->section_count || r->loop || r->continue_from || r->init_audio || r->follow_count ||
           r->melody || r->beat_count;
}

double steadied_span(const stemforge_request *r, double window_seconds) {
    double cycle = length_cycle_seconds(r);
    if (must_change(r) || !(cycle > 0) || length_made_seconds(r) <= window_seconds) return 0;
    return ceil(STEADIED_SECONDS / cycle) * cycle;
}
