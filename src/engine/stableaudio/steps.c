// steps.c - see steps.h.
#include "engine/stableaudio/steps.h"

#include "base/os.h"
#include "engine/stableaudio/family.h"
#include "engine/stableaudio/noise.h"
#include "engine/stableaudio/plan.h"

struct sa_steps {
    const sa_model *m;
    compute *c;
    denoise_room *room;
    denoise *run; // NULL: none was begun
};

status sa_steps_open(sa_steps **out, const family *f, err *e) {
    *out = NULL;
    if (f->ops != &stableaudio_family_ops)
        return err_set(e, ERR_ARG, "%s: expected a Stable Audio model, found one of %s",
                       f->files.name, f->ops->title);
    sa_steps *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "no memory for a bench");
    s->m = &((const stableaudio_family *)f)->m;
    s->c = f->c;
    status rc = denoise_room_create(&s->room, s->m, s->c, e);
    if (rc)
        sa_steps_close(s);
    else
        *out = s;
    return rc;
}

void sa_steps_close(sa_steps *s) {
    if (!s) return;
    sa_steps_end(s);
    denoise_room_free(s->room);
    mem_free(s);
}

const weight *sa_steps_widest(const sa_steps *s) {
    return dit_widest(s->m->net);
}

dtype sa_steps_codec_type(const sa_steps *s) {
    return oobleck_type(s->m->codec);
}

double sa_steps_frame_rate(const sa_steps *s) {
    const oobleck_config *codec = oobleck_get_config(s->m->codec);
    return (double)codec->sample_rate / (double)codec->hop;
}

int64_t sa_steps_frames(const sa_steps *s) {
    return dit_get_config(s->m->net)->frames;
}

// --- steps

static void draw(void *arg, int64_t number, float *out, int64_t n) {
    (void)arg;
    sa_noise(out, n, 1, 1, (uint64_t)number);
}

static status condition(sa_steps *s, const char *text, double seconds, denoise_conditions *k,
                        float *global, err *e) {
    tok_ids ids = {0};
    status rc = tok_encode(s->m->files.tokenizer, bytes_of(text), &ids, e);
    const sa_text t = {ids.ids + ids.first, MIN((int64_t)ids.count, s->m->tokens), 0, seconds};
    if (!rc) rc = sa_model_condition(s->m, s->c, &t, &k->context, global, e);
    sa_model_rest_text(s->m);
    k->global = global;
    tok_ids_deinit(&ids);
    return rc;
}

status sa_steps_begin(sa_steps *s, const char *text, int64_t frames, err *e) {
    const sa_schedule *schedule = &s->m->schedule;
    const denoise_params p = {
        .course = {.s = schedule, .sampler = schedule->sampler, .steps = SA_STEPS_MAX},
        .frames = frames,
        .guidance = 7,
        .draw = draw,
        .fresh = {0, frames}};
    denoise_conditions k = {0};
    float *global = mem_alloc((size_t)dit_get_config(s->m->net)->global * sizeof *global);
    status rc = global ? OK : err_set(e, ERR_OOM, "no memory for a bench");
    sa_steps_end(s);
    if (!rc) rc = condition(s, text, (double)frames / sa_steps_frame_rate(s), &k, global, e);
    if (!rc) rc = denoise_create(&s->run, s->m, s->c, s->room, &p, &k, e);
    mem_free(global);
    return rc;
}

void sa_steps_step(sa_steps *s) {
    denoise_step(s->run, s->c, s->room);
}

double sa_steps_products(const sa_steps *s) {
    int64_t frames = denoise_frames(s->run);
    return dit_products(s->m->net, frames, sa_model_rows(s->m)) +
           dit_products(s->m->net, frames, 0);
}

void sa_steps_end(sa_steps *s) {
    denoise_free(s->run);
    s->run = NULL;
}

// --- the codec

status sa_steps_sound(sa_steps *s, int64_t frames, double *spent, err *e) {
    const oobleck_config *codec = oobleck_get_config(s->m->codec);
    int64_t samples = oobleck_samples(s->m->codec, frames);
    float *latents = mem_alloc((size_t)(frames * codec->latent) * sizeof *latents);
    float *planes = mem_alloc((size_t)(samples * codec->channels) * sizeof *planes);
    status rc = latents && planes ? OK : err_set(e, ERR_OOM, "no memory for a bench");
    if (!rc) sa_noise(latents, frames * codec->latent, 2, 1, 0);
    double from = os_seconds();
    const oobleck_args a = {
        .latents = latents, .frames = frames, .planes = planes, .samples = samples};
    if (!rc) rc = oobleck_decode(s->m->codec, s->c, &a, e);
    *spent = os_seconds() - from;
    mem_free(latents);
    mem_free(planes);
    return rc;
}

double sa_steps_sound_products(const sa_steps *s, int64_t frames) {
    return (double)frames * oobleck_products(s->m->codec);
}
