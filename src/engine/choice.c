// choice.c - see choice.h.
#include "engine/choice.h"

#include <string.h>

#include "base/mem.h"

#define STEPS 10 // in which leak and held pitch are compared

status choice_hear(candidate **out, const stemforge_stem *s, float *sound, err *e) {
    *out = NULL;
    candidate *c = mem_calloc(1, sizeof *c);
    if (!c) {
        mem_free(sound);
        return err_set(e, ERR_OOM, "no memory for a take of %s", s->name);
    }
    c->stem = *s;
    c->stem.samples = c->sound = sound;
    status rc = measure_init(&c->heard, &c->stem, e);
    c->stem.measured = &c->heard.out;
    c->stem.unmet = c->heard.unmet.item;
    c->stem.unmet_count = c->heard.unmet.n;
    if (rc)
        choice_free(c);
    else
        *out = c;
    return rc;
}

void choice_free(candidate *c) {
    if (!c) return;
    measure_deinit(&c->heard);
    mem_free(c->sound);
    mem_free(c);
}

static int type_missed(const candidate *c) {
    return !c->stem.measured->type || strcmp(c->stem.measured->type, c->stem.name) != 0;
}

static int step_of(double v) {
    return (int)(v * STEPS + 0.5);
}

bool choice_is_better(const candidate *a, const candidate *b) {
    const stemforge_measured *x = a->stem.measured, *y = b->stem.measured;
    if (x->fault_count != y->fault_count) return x->fault_count < y->fault_count;
    if (type_missed(a) != type_missed(b)) return type_missed(a) < type_missed(b);
    if (step_of(x->leak) != step_of(y->leak)) return step_of(x->leak) < step_of(y->leak);
    int held = step_of(x->held_pitch + 1) - step_of(y->held_pitch + 1);
    return held ? held > 0 : a->stem.take < b->stem.take;
}
