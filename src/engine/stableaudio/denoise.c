// denoise.c - see denoise.h.
#include "engine/stableaudio/denoise.h"

#include <assert.h>

struct denoise_room {
    dit_room *net;
    float *in, *v, *null, *noise; // [frames, channels]
    arena own;
};

struct denoise {
    const sa_model *m;
    denoise_params p;
    dit_context *context, *negative;
    float *global;           // [d]
    float *x;                // [frames, channels], as these:
    float *estimate, *older; // those of the step before, and of the one before that
    int64_t done;
    arena own;
};

static size_t values(const sa_model *m, int64_t frames) {
    return (size_t)(frames * dit_get_config(m->net)->channels);
}

status denoise_room_create(denoise_room **out, const sa_model *m, compute *c, err *e) {
    *out = NULL;
    denoise_room *r = mem_calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_OOM, "no memory for the steps");
    int64_t frames = dit_get_config(m->net)->frames;
    float **const all[] = {&r->in, &r->v, &r->null, &r->noise};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) *all[i] = arena_f32(&r->own, 1, values(m, frames));
    status rc = r->own.failed ? err_set(e, ERR_OOM, "no memory for the steps") : OK;
    if (!rc) rc = dit_room_create(&r->net, m->net, c, frames, e);
    if (rc)
        denoise_room_free(r);
    else
        *out = r;
    return rc;
}

void denoise_room_free(denoise_room *r) {
    if (!r) return;
    dit_room_free(r->net);
    arena_deinit(&r->own);
    mem_free(r);
}

size_t denoise_bytes(const sa_model *m, int64_t frames, bool negative) {
    size_t rows = dit_context_bytes(m->net, sa_model_rows(m));
    return (negative ? 2 : 1) * rows + 3 * values(m, frames) * sizeof(float);
}

status denoise_create(denoise **out, const sa_model *m, compute *c, denoise_room *r,
                      const denoise_params *p, const denoise_conditions *k, err *e) {
    *out = NULL;
    denoise *d = mem_calloc(1, sizeof *d);
    if (!d) {
        dit_context_free(k->context);
        dit_context_free(k->negative);
        return err_set(e, ERR_OOM, "no memory for a stem");
    }
    *d = (denoise){.m = m, .p = *p, .context = k->context, .negative = k->negative};
    d->global = arena_f32(&d->own, 1, (size_t)dit_get_config(m->net)->d);
    size_t n = values(m, p->frames);
    float **const all[] = {&d->x, &d->estimate, &d->older};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) *all[i] = arena_f32(&d->own, 1, n);
    if (d->own.failed) {
        denoise_free(d);
        return err_set(e, ERR_OOM, "no memory for a stem");
    }
    dit_global(m->net, c, r->net, d->global, k->global);
    p->draw(p->arg, 0, d->x, (int64_t)n);
    float sound = 0, start = sa_course_start(&p->course, p->given ? &sound : NULL);
    for (size_t i = 0; i < n; i++) d->x[i] = d->x[i] * start;
    for (size_t i = 0; p->given && i < n; i++) d->x[i] = d->x[i] + sound * p->given[i];
    *out = d;
    return OK;
}

void denoise_free(denoise *d) {
    if (!d) return;
    dit_context_free(d->context);
    dit_context_free(d->negative);
    arena_deinit(&d->own);
    mem_free(d);
}

// v of the network at x * in, guided.
static void direction(const denoise *d, compute *c, denoise_room *r, const sa_step *s) {
    size_t n = values(d->m, d->p.frames);
    for (size_t i = 0; i < n; i++) r->in[i] = d->x[i] * s->in;
    dit_args a = {.y = r->v,
                  .x = r->in,
                  .frames = d->p.frames,
                  .global = d->global,
                  .context = d->context,
                  .t = s->time};
    dit_run(d->m->net, c, r->net, &a);
    if (!(d->p.guidance > 1)) return;
    a.y = r->null;
    a.context = d->negative;
    dit_run(d->m->net, c, r->net, &a);
    for (size_t i = 0; i < n; i++) r->v[i] = r->null[i] + d->p.guidance * (r->v[i] - r->null[i]);
}

// Frames that are kept become what the given sound is at the level behind the step, always in the
// same noise.
static void keep_frames(denoise *d, denoise_room *r, const sa_step *s) {
    int64_t width = dit_get_config(d->m->net)->channels, n = d->p.frames * width;
    span fresh = {d->p.fresh.from * width, d->p.fresh.to * width};
    if (!d->p.given || (fresh.from == 0 && fresh.to == n)) return;
    d->p.draw(d->p.arg, 0, r->noise, n);
    for (int64_t i = 0; i < n; i++) {
        if (i >= fresh.from && i < fresh.to) continue;
        d->x[i] = s->sound_next * d->p.given[i] + s->noise_next * r->noise[i];
    }
}

void denoise_step(denoise *d, compute *c, denoise_room *r) {
    assert(d->done < d->p.course.steps);
    sa_step s = sa_course_step(&d->p.course, d->done);
    size_t n = values(d->m, d->p.frames);
    bool noise = s.noise > 0;
    direction(d, c, r, &s);
    if (noise) d->p.draw(d->p.arg, d->done + 1, r->noise, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        float estimate = s.keep * d->x[i] - s.less * r->v[i];
        float x = s.back * d->x[i] + s.now * estimate + s.before * d->estimate[i];
        x = x + s.older * d->older[i];
        d->x[i] = noise ? x + s.noise * r->noise[i] : x;
        d->older[i] = d->estimate[i];
        d->estimate[i] = estimate;
    }
    keep_frames(d, r, &s);
    d->done++;
}

int64_t denoise_frames(const denoise *d) {
    return d->p.frames;
}

int64_t denoise_done(const denoise *d) {
    return d->done;
}

const float *denoise_latents(const denoise *d) {
    return d->x;
}
