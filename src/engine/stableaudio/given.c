// given.c - see given.h.
#include "engine/stableaudio/given.h"

#include <math.h>
#include <string.h>

#include "audio/file.h"
#include "request/length.h"

#define STRENGTH_DEFAULT 0.4
#define SECONDS_MAX 600
#define EDGE 2 // frames

static bool without(const stemforge_request *r) {
    return r->strength <= 0 && r->remake_from < 0 && r->remake_to < 0;
}

status sa_given_check(const stemforge_request *r, err *e) {
    static const char *const alone = "expected --init-audio beside it, found none";
    if (r->init_audio && r->continue_from)
        return err_field(e, "init_audio", "expected it or continue_from, found both");
    if (r->init_audio || without(r)) return OK;
    return err_field(e, r->strength > 0 ? "strength" : "remake_from", "%s", alone);
}

// planes [channels, n], cut or filled up with silence to the frames.
static status fit(sa_given *g, const sa_model *m, const float *planes, int64_t n, err *e) {
    const oobleck_config *codec = oobleck_get_config(m->codec);
    g->samples = g->frames * codec->hop;
    g->planes = mem_calloc((size_t)(codec->channels * g->samples), sizeof *g->planes);
    if (!g->planes) return err_set(e, ERR_OOM, "no memory for a given sound");
    for (int64_t ch = 0; ch < codec->channels; ch++)
        memcpy(g->planes + ch * g->samples, planes + ch * n,
               (size_t)MIN(n, g->samples) * sizeof *planes);
    return OK;
}

static status read_sound(sa_given *g, const sa_model *m, const char *path, err *e) {
    const oobleck_config *codec = oobleck_get_config(m->codec);
    file_clip clip = {0};
    file_limits limits = file_limits_default();
    limits.seconds_max = SECONDS_MAX;
    float *planes = NULL;
    int64_t n = 0;
    status rc = file_read(&clip, path, &limits, e);
    if (!rc)
        rc = file_clip_planes(&planes, &n, &clip, (int)codec->sample_rate, (int)codec->channels, e);
    file_clip_deinit(&clip);
    if (!rc) rc = fit(g, m, planes, n, e);
    mem_free(planes);
    return rc;
}

// Seconds to remake, as frames; the whole where nothing is said.
static status read_mask(sa_windows *w, const sa_model *m, const stemforge_request *r, err *e) {
    const oobleck_config *codec = oobleck_get_config(m->codec);
    double rate = (double)codec->sample_rate / (double)codec->hop, length = length_made_seconds(r);
    double from = MAX(0, r->remake_from), to = r->remake_to >= 0 ? r->remake_to : length;
    if (!(from < to) || to > length)
        return err_field(e, "remake_to",
                         "expected more than %g s and at most the %g s of a stem, "
                         "found %g",
                         from, length, to);
    w->fresh.from = MIN(w->frames - 1, (int64_t)floor(from * rate + 1e-9));
    if (r->remake_to >= 0) w->fresh.to = MIN(w->frames, (int64_t)ceil(to * rate - 1e-9));
    return OK;
}

static status read_variation(sa_given *g, const sa_model *m, const stemforge_request *r,
                             sa_windows *w, err *e) {
    bool mask = r->remake_from >= 0 || r->remake_to >= 0;
    status rc = read_mask(w, m, r, e);
    if (rc) return rc;
    g->frames = w->frames;
    rc = read_sound(g, m, r->init_audio, e);
    if (rc) err_about(e, "init_audio");
    g->kept = 1 - (r->strength > 0 ? r->strength : mask ? 1 : STRENGTH_DEFAULT);
    return rc;
}

// Whole frames are kept, but for the last ones: those were encoded beside the silence behind the
// end, and would sound like one.
static status read_beginning(sa_given *g, const sa_model *m, const front *f, sa_windows *w,
                             err *e) {
    int64_t hop = oobleck_get_config(m->codec)->hop, whole = f->samples / hop;
    w->fresh.from = MIN(w->frames - 1, MAX(0, whole - EDGE));
    g->frames = MIN(w->frames, MAX(w->canvas, whole + 1)); // silence behind these says nothing
    return fit(g, m, f->planes, f->samples, e);
}

status sa_given_read(sa_given *out, const sa_model *m, const stemforge_request *r, const front *f,
                     sa_windows *w, err *e) {
    *out = (sa_given){0};
    w->fresh = (span){0, w->frames};
    status rc = OK;
    if (r->init_audio) rc = read_variation(out, m, r, w, e);
    if (!rc && r->continue_from) rc = read_beginning(out, m, f, w, e);
    return rc;
}

status sa_given_encode(sa_given *g, sa_model *m, compute *c, err *e) {
    if (!g->planes || g->latents) return OK;
    size_t n = (size_t)(g->frames * oobleck_get_config(m->codec)->latent);
    float *latents = mem_alloc(n * sizeof *latents);
    if (!latents) return err_set(e, ERR_OOM, "no memory for the latents of a sound");
    const oobleck_encode_args a = {
        .planes = g->planes, .samples = g->samples, .latents = latents, .frames = g->frames};
    status rc = sa_model_encode(m, c, &a, e);
    if (rc)
        mem_free(latents);
    else
        g->latents = latents;
    return rc;
}

void sa_given_deinit(sa_given *g) {
    mem_free(g->planes);
    mem_free(g->latents);
    *g = (sa_given){0};
}
