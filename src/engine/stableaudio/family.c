// family.c - Stable Audio behind engine/family.h's table.
#include "engine/stableaudio/family.h"

#include <math.h>
#include <string.h>

#include "compute/rng.h"
#include "engine/stableaudio/describe.h"
#include "engine/stableaudio/noise.h"
#include "engine/stableaudio/plan.h"
#include "engine/stableaudio/trace.h"
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

#define WINDOW_DRAWS 1024 // numbers of draws that a window has, more than steps

static void draw(void *arg, int64_t number, float *out, int64_t n) {
    const stableaudio_take *t = arg;
    const stemforge_request *r = t->base.of->r;
    uint64_t numbered = (uint64_t)(t->window * WINDOW_DRAWS + number);
    _Static_assert(WINDOW_DRAWS > SA_STEPS_MAX, "windows share no draw");
    sa_noise(out, n, t->base.seed, rng_stream(r->stems[t->base.stem]), numbered);
}

// Of the text and of where the window lies. The models were trained on whole seconds.
static status make_conditions(stableaudio_take *t, int64_t start, denoise_conditions *k,
                              float *global, err *e) {
    stableaudio_family *f = self(&t->base);
    const stableaudio_plan *q = (const stableaudio_plan *)t->base.of;
    double from = floor((double)start / f->base.info.frame_rate);
    double to = ceil(length_made_seconds(t->base.of->r));
    const sa_text text = {t->ids.ids + t->ids.first, (int64_t)t->ids.count, from, to};
    const sa_text not = {q->negative.ids + q->negative.first, (int64_t)q->negative.count, from, to};
    status rc = OK;
    if (not .n) rc = sa_model_condition(&f->m, f->base.c, &not, &k->negative, global, e);
    if (!rc) rc = sa_model_condition(&f->m, f->base.c, &text, &k->context, global, e);
    sa_model_rest_text(&f->m);
    if (rc) dit_context_free(k->negative);
    k->global = global;
    return rc;
}

// The take's next window.
static status begin_window(stableaudio_take *t, err *e) {
    stableaudio_family *f = self(&t->base);
    const stableaudio_plan *q = (const stableaudio_plan *)t->base.of;
    const dit_config *net = dit_get_config(f->m.net);
    sa_window w = sa_windows_at(&q->windows, t->window);
    bool given = q->given.latents || t->window > 0;
    const denoise_params p = {.course = q->course,
                              .frames = q->windows.canvas,
                              .guidance = q->guidance,
                              .draw = draw,
                              .arg = t,
                              .given = given ? t->made + w.start * net->channels : NULL,
                              .fresh = w.fresh};
    denoise_conditions k = {0};
    float *global = mem_alloc((size_t)net->global * sizeof *global);
    status rc = global ? OK : err_set(e, ERR_OOM, "no memory for a stem");
    if (!rc) rc = make_conditions(t, w.start, &k, global, e);
    if (!rc) rc = denoise_create(&t->run, &f->m, f->base.c, f->room, &p, &k, e);
    mem_free(global);
    return from_same_files(f, rc, e);
}

// What is given of the latents, then nothing.
static status begin_latents(stableaudio_take *t, err *e) {
    const stableaudio_plan *q = (const stableaudio_plan *)t->base.of;
    size_t width = (size_t)dit_get_config(self(&t->base)->m.net)->channels;
    t->made = mem_calloc((size_t)q->windows.frames * width, sizeof *t->made);
    if (!t->made) return err_set(e, ERR_OOM, "no memory for a stem");
    if (q->given.latents)
        memcpy(t->made, q->given.latents, (size_t)q->given.frames * width * sizeof *t->made);
    return OK;
}

static status begin(take *base, err *e) {
    stableaudio_family *f = self(base);
    stableaudio_take *t = (stableaudio_take *)base;
    stableaudio_plan *q = (stableaudio_plan *)base->of;
    status rc = check_values(f, e);
    if (!rc) rc = sa_given_encode(&q->given, &f->m, f->base.c, e);
    sa_model_rest_codec(&f->m); // of which at least the values were looked at
    if (rc) return from_same_files(f, rc, e);
    t->window = 0;
    t->moved = 0;
    rc = begin_latents(t, e);
    if (!rc) rc = begin_window(t, e);
    if (rc) return rc;
    base->total = q->course.steps * sa_windows_count(&q->windows);
    base->length = q->samples;
    return OK;
}

// The window behind the one that has ended.
static status prefill(take *base, take *const *others, size_t n, err *e) {
    (void)others, (void)n;
    status rc = begin_window((stableaudio_take *)base, e);
    if (!rc) base->wants_prefill = false;
    return rc;
}

// Keeps what the window under way has made.
static void end_window(stableaudio_take *t) {
    const stableaudio_plan *q = (const stableaudio_plan *)t->base.of;
    int64_t width = dit_get_config(self(&t->base)->m.net)->channels;
    sa_window w = sa_windows_at(&q->windows, t->window);
    memcpy(t->made + w.start * width, denoise_latents(t->run),
           (size_t)(q->windows.canvas * width) * sizeof *t->made);
    denoise_free(t->run);
    t->run = NULL;
    t->window++;
    t->base.wants_prefill = t->base.done < t->base.total;
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
        t->base.done++;
        t->moved = ++f->steps;
        if (denoise_done(t->run) == ((stableaudio_plan *)t->base.of)->course.steps) end_window(t);
    }
    return from_same_files(f, OK, e);
}

static status finish_one(stableaudio_family *f, take *t, err *e) {
    size_t n = (size_t)(f->base.info.channels * t->length);
    t->samples = t->length;
    t->planes = mem_alloc(n * sizeof *t->planes);
    if (!t->planes) return err_set(e, ERR_OOM, "no memory for the sound of a stem");
    const stableaudio_plan *q = (const stableaudio_plan *)t->of;
    const oobleck_args a = {.latents = ((const stableaudio_take *)t)->made,
                            .frames = q->windows.frames,
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
    sa_model_rest_codec(&f->m);
    return from_same_files(f, rc, e);
}

static void end(take *base) {
    stableaudio_take *t = (stableaudio_take *)base;
    denoise_free(t->run);
    mem_free(t->made);
    t->run = NULL;
    t->made = NULL;
    base->wants_prefill = false;
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
    .prefill = prefill,
    .step = step,
    .finish = finish,
    .end = end,
    .tensors = tensors,
    .pack_texts = pack_texts,
    .trace = stableaudio_trace,
    .describe = stableaudio_describe,
};
