// plan.h - a request to MusicGen: what its stems share, and the parameters of each.
#pragma once
#include "engine/musicgen/condition.h"
#include "engine/musicgen/model.h"
#include "request/sections.h"

typedef struct {
    plan base;
    density_part densities[SECTIONS_MAX]; // the parts of the piece, at least one
    size_t part_count;
    buf chords; // "Am F C G"
    condition cond;
    condition bass; // of a bass under chords over other notes
    bool has_bass;
    int32_t *given; // [K][given_n] codes to go on from; of an audio file from begin on
    int64_t given_n;
    int64_t frames; // to make
} musicgen_plan;

// What a take is told where it has one density.
typedef struct {
    buf line;
    tok_ids ids;
    float *states; // [ids.count, text_dim] from begin on
} musicgen_text;

typedef struct {
    take base;
    musicgen_text text[DENSITIES]; // those that the plan's parts have; the others are empty
    run_part parts[SECTIONS_MAX];
    run *run; // from begin on
} musicgen_take;

// As engine/family.h has them.
status musicgen_plan_create(family *f, const stemforge_request *r, plan **out, err *e);
void musicgen_plan_free(plan *p);
status musicgen_take_create(plan *p, size_t stem, take **out, err *e);
void musicgen_take_free(take *t);

// Its parts are t's own, written anew.
run_params musicgen_take_params(musicgen_take *t);
