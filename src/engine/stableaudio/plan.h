// plan.h - a request to Stable Audio: what its stems share, and the parameters of each.
#pragma once
#include "engine/stableaudio/denoise.h"
#include "engine/stableaudio/given.h"

typedef struct {
    family base;
    sa_model m;
    denoise_room *room; // the batch's thread's; NULL when no stems will be made
    bool values_read;   // the weights' values have been looked at
    err values;         // and what was found
    uint64_t steps;     // made so far
} stableaudio_family;

typedef struct {
    plan base;
    buf chords;       // "Am F C G"
    tok_ids negative; // of what it should not sound like; n 0: nothing was said
    int64_t samples;  // of a stem
    sa_windows windows;
    sa_course course;
    float guidance;
    sa_given given;
} stableaudio_plan;

typedef struct {
    take base;
    buf line;
    tok_ids ids;
    float *made;    // [frames of the stem, channels of the latent], from begin to end
    denoise *run;   // of the window under way; NULL: the next one was not begun
    int64_t window; // its number
    uint64_t moved; // the number of its last step among all
} stableaudio_take;

// As engine/family.h has them.
status stableaudio_plan_create(family *f, const stemforge_request *r, plan **out, err *e);
void stableaudio_plan_free(plan *p);
status stableaudio_take_create(plan *p, size_t stem, take **out, err *e);
void stableaudio_take_free(take *t);
