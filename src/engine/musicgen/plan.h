// plan.h - a request to MusicGen: what its stems share, and the parameters of each.
#pragma once
#include "engine/musicgen/condition.h"
#include "engine/musicgen/model.h"

typedef struct {
    plan base;
    buf chords; // "Am F C G"
    condition cond;
    condition bass; // of a bass under chords over other notes
    bool has_bass;
    int32_t *given; // [K][given_n] codes to go on from; of an audio file from begin on
    int64_t given_n;
    int64_t frames; // to make
} musicgen_plan;

typedef struct {
    take base;
    buf line;
    tok_ids ids;
    float *text; // [ids.count, text_dim] from begin on
    run *run;    // likewise
} musicgen_take;

// As engine/family.h has them.
status musicgen_plan_create(family *f, const stemforge_request *r, plan **out, err *e);
void musicgen_plan_free(plan *p);
status musicgen_take_create(plan *p, size_t stem, take **out, err *e);
void musicgen_take_free(take *t);

run_params musicgen_take_params(const musicgen_take *t);
