// family.c - Stable Audio behind engine/family.h's table.
#include "engine/stableaudio/family.h"

#include <math.h>

#include "compute/rng.h"
#include "engine/stableaudio/describe.h"
#include "engine/stableaudio/noise.h"
#include "engine/stableaudio/plan.h"
#include "request/length.h"

static stableaudio_family *self(const take *t) {
    return (stableaudio_family *)t->of->f;
}

// --- open and close

static stemforge_info info_of(const stableaudio_family *f) {
    const sa_model *m = &f->m;
    const oobleck_config *codec = oobleck_get_config(m->codec);
    return (stemforge_info){.name = f->base.files.name,
                            .family = SA_KEY,
                            .sample_rate = (int)codec->sample_rate,
                            .channels = (int)codec->channels,
                            .window_seconds = sa_model_seconds(m),
                            .frame_rate = (double)codec->sample_rate / (double)codec->hop,
                            .top_k = -1,
                            .guidance = m->schedule.guidance,
                            .steps = (int)m->schedule.steps,
                            .parameters = m->values,
                            .weight_bytes = m->size,
                            .stem_bytes = denoise_bytes(m, dit_get_config(m->net)->frames, true)};
}

static status open_model(family *base, const family_options *o, err *e) {
    stableaudio_family *f = (stableaudio_family *)base;
    status rc = sa_model_open(&f->m, &base->files, o->weights, o->c, e);
    if (rc) return rc;
    base->info = info_of(f);
    return o->places ? denoise_room_create(&f->room, &f->m, o->c, e) : OK;
}

static void close_model(family *base) {
    stableaudio_family *f = (stableaudio_family *)base;
    denoise_room_free(f->room);
    sa_model_close(&f->m);
}

// --- a stem from begin to end

// Once, before the first stem: that reads the files, as the stem will.
static status check_values(stableaudio_family *f, err *e) {
    for (size_t i = 0; i < ARRAY_LEN(f->m.kept) && !f->values_read; i++)
        f->values_read = weights_check_values(f->m.kept[i], f->base.c, &f->values) != OK;
    f->values_read = true;
    return f->values.code ? err_set(e, f->values.code, "%s", f->values.text) : OK;
}

// rc, unless the model's files changed meanwhile: then that is what failed, whatever came of it.
static status from_same_files(const stableaudio_family *f, status rc, err *e) {
    status changed = sa_files_check(&f->m.files, NULL);
    return changed ? sa_files_check(&f->m.files, e) : rc;
}

static void draw(void *arg, int64_t number, float *out, int64_t n) {
    const take *t = arg;
    const stemforge_request *r = t->of->r;
    sa_noise(out, n, t->seed, rng_stream(r->stems[t->stem]), (uint64_t)number);
}

static status make_conditions(take *base, denoise_conditions *k, float *global, err *e) {
    stableaudio_family *f = self(base);
    const stableaudio_take *t = (const stableaudio_take *)base;
    const stableaudio_plan *q = (const stableaudio_plan *)base->of;
    double seconds = ceil(length_made_seconds(base->of->r)); // it was trained on whole numbers
    const sa_text text = {t->ids.ids + t->ids.first, (int64_t)t->ids.count, seconds};
    const sa_text not = {q->negative.ids + q->negative.first, (int64_t)q->negative.count, seconds};
    status rc = OK;
    if (not .n) rc = sa_model_condition(&f->m, f->base.c, &not, &k->negative, global, e);
    if (!rc) rc = sa_model_condition(&f->m, f->base.c, &text, &k->context, global, e);
    if (rc) dit_context_free(k->negative);
    k->global = global;
    return rc;
}

static status begin(take *base, err *e) {
    stableaudio_family *f = self(base);
    stableaudio_plan *q = (stableaudio_plan *)base->of;
    status rc = check_values(f, e);
    if (!rc) rc = sa_given_encode(&q->given, &f->m, f->base.c, e);
    if (rc) return from_same_files(f, rc, e);
    const denoise_params p = {.course = q->course,
                              .frames = q->frames,
                              .guidance = q->guidance,
                              .draw = draw,
                              .arg = base,
                              .given = q->given.latents,
                              .fresh = q->given.fresh};
    denoise_conditions k = {0};
    size_t width = (size_t)dit_get_config(f->m.net)->global;
    float *global = mem_alloc(width * sizeof *global);
    if (!global) rc = err_set(e, ERR_OOM, "no memory for a stem");
    if (!rc) rc = make_conditions(base, &k, global, e);
    if (!rc)
        rc = denoise_create(&((stableaudio_take *)base)->run, &f->m, f->base.c, f->room, &p, &k, e);
    mem_free(global);
    rc = from_same_files(f, rc, e);
    if (rc) return rc;
    ((stableaudio_take *)base)->moved = 0;
    base->total = q->course.steps;
    base->length = q->samples;
    return OK;
}

// The take that has waited longest. A step is seconds long and gains nothing from company, so each
// take has its own: others that compute by turns, and cancellations, wait for one alone.
static stableaudio_take *next_take(take *const *list, size_t n) {
    stableaudio_take *next = NULL;
    for (size_t i = 0; i < n; i++) {
        stableaudio_take *t = (stableaudio_take *)list[i];
        if (list[i]->done < list[i]->total && (!next || t->moved < next->moved)) next = t;
    }
    return next;
}

static status step(family *base, take *const *list, size_t n, err *e) {
    stableaudio_family *f = (stableaudio_family *)base;
    stableaudio_take *t = next_take(list, n);
    if (t) {
        denoise_step(t->run, base->c, f->room);
        t->base.done = denoise_done(t->run);
        t->moved = ++f->steps;
    }
    return from_same_files(f, OK, e);
}

static status finish_one(stableaudio_family *f, take *t, err *e) {
    size_t n = (size_t)(f->base.info.channels * t->length);
    t->samples = t->length;
    t->planes = mem_alloc(n * sizeof *t->planes);
    if (!t->planes) return err_set(e, ERR_OOM, "no memory for the sound of a stem");
    const denoise *run = ((const stableaudio_take *)t)->run;
    const oobleck_args a = {.latents = denoise_latents(run),
                            .frames = denoise_frames(run),
                            .planes = t->planes,
                            .samples = t->length};
    status rc = oobleck_decode(f->m.codec, f->base.c, &a, e);
    if (rc) mem_free(t->planes);
    if (rc) t->planes = NULL;
    return rc;
}

static status finish(family *base, take *const *list, size_t n, err *e) {
    stableaudio_family *f = (stableaudio_family *)base;
    status rc = OK;
    for (size_t i = 0; i < n && !rc; i++) {
        // A failure makes the batch call again for each take alone: what is there is there.
        if (!list[i]->planes) rc = finish_one(f, list[i], e);
    }
    return from_same_files(f, rc, e);
}

static void end(take *base) {
    stableaudio_take *t = (stableaudio_take *)base;
    denoise_free(t->run);
    t->run = NULL;
}

static size_t tensors(const family *f, const st_file *sets[FAMILY_SETS_MAX]) {
    const sa_files *files = &((const stableaudio_family *)f)->m.files;
    size_t n = 0;
    _Static_assert(SA_FILES_MAX <= FAMILY_SETS_MAX, "a set for each file");
    for (; n < SA_FILES_MAX && files->file[n]; n++) sets[n] = files->file[n];
    return n;
}

static status pack_texts(const family *f, packing *out, err *e) {
    return sa_files_pack(&((const stableaudio_family *)f)->m.files, out, e);
}

const family_ops stableaudio_family_ops = {
    .key = SA_KEY,
    .title = "Stable Audio",
    .expects = "a Stable Audio folder: of a StableAudioPipeline, or with model_config.json",
    .size = sizeof(stableaudio_family),
    .recognise = sa_files_recognise,
    .open = open_model,
    .close = close_model,
    .plan = stableaudio_plan_create,
    .plan_free = stableaudio_plan_free,
    .take = stableaudio_take_create,
    .take_free = stableaudio_take_free,
    .begin = begin,
    .step = step,
    .finish = finish,
    .end = end,
    .tensors = tensors,
    .pack_texts = pack_texts,
    .describe = stableaudio_describe,
};
