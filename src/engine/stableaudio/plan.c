// plan.c - see plan.h.
#include "engine/stableaudio/plan.h"

#include <math.h>
#include <string.h>

#include "engine/prompt.h"
#include "request/length.h"
#include "request/sections.h"

static const sa_model *model_of(const plan *p) {
    return &((const stableaudio_family *)p->f)->m;
}

// --- what cannot be done

static status refuse(const stemforge_request *r, err *e) {
    static const char *const none = "expected none: Stable Audio cannot %s yet; leave it out";
    if (r->melody) return err_field(e, "melody", none, "follow a melody");
    if (r->temperature > 0 && (r->temperature < 1 || r->temperature > 1))
        return err_field(e, "temperature",
                         "expected 1, each step adds noise, or 0, none does; found %g",
                         r->temperature);
    for (size_t i = 0; r->temperatures && i < r->stem_count; i++)
        if (r->temperatures[i] >= 0 && (r->temperatures[i] > 0) != (r->temperature > 0))
            return err_field(e, "temperature", "expected %g for each stem, found %g",
                             r->temperature, r->temperatures[i]);
    return OK;
}

static double round_down(double seconds) {
    return floor(seconds * 100) / 100;
}

// What the request says, else the model's own.
static status read_canvas(sa_windows *w, const sa_model *m, const stemforge_request *r,
                          double seconds, err *e) {
    const oobleck_config *codec = oobleck_get_config(m->codec);
    double asked = r->canvas, most = sa_model_seconds(m);
    w->canvas = dit_get_config(m->net)->frames;
    if (asked <= 0 && m->loops) asked = MIN(most, ceil(seconds));
    if (asked <= 0) return OK;
    double frames = ceil(asked * (double)codec->sample_rate / (double)codec->hop - 1e-9);
    if (frames > (double)w->canvas)
        return err_field(e, "canvas", "expected at most the %.2f s of this model's, found %g",
                         round_down(most), asked);
    w->canvas = MAX(1, (int64_t)frames);
    double held = (double)oobleck_samples(m->codec, w->canvas) / (double)codec->sample_rate;
    if (seconds <= held || r->past_canvas) return OK;
    return err_field(e, "canvas",
                     "expected at least the %g s of a stem unless past_canvas is set, found %g",
                     seconds, asked);
}

// How long a stem is, in samples and in frames.
static status read_length(stableaudio_plan *q, double seconds, err *e) {
    const sa_model *m = model_of(&q->base);
    const stemforge_request *r = q->base.r;
    const oobleck_config *codec = oobleck_get_config(m->codec);
    sa_windows *w = &q->windows;
    double most = sa_model_seconds(m);
    if (seconds > most && !r->past_canvas)
        return err_field(e, "seconds",
                         "expected at most the %.2f s of this model's canvas unless past_canvas is "
                         "set, found %g",
                         round_down(most), seconds);
    status rc = read_canvas(w, m, r, seconds, e);
    if (rc) return rc;
    q->samples = (int64_t)ceil(seconds * (double)codec->sample_rate - 1e-9);
    w->frames = MAX(w->canvas, q->samples / codec->hop);
    while (oobleck_samples(m->codec, w->frames) < q->samples) w->frames++;
    return OK;
}

static status read_course(stableaudio_plan *q, err *e) {
    const stemforge_request *r = q->base.r;
    const sa_schedule *s = &model_of(&q->base)->schedule;
    q->course = (sa_course){.s = s, .sampler = s->sampler, .steps = r->steps ? r->steps : s->steps};
    if (q->course.steps < sa_steps_min(s))
        return err_field(e, "steps", "expected 2 to 500, found 1");
    bool named = r->sampler && *r->sampler;
    status rc = named ? sa_sampler_find(&q->course.sampler, s, r->sampler, e) : OK;
    if (!(r->temperature > 0)) q->course.sampler = sa_sampler_quiet(q->course.sampler);
    return rc;
}

static void warn(warnings *w, const stemforge_request *r) {
    static const char *const why = "is not used: Stable Audio draws no codes";
    if (r->top_k >= 0) warnings_add(w, WARNING_NOT_USED, "top_k", "top_k %s", why);
    if (r->top_p > 0) warnings_add(w, WARNING_NOT_USED, "top_p", "top_p %s", why);
    density_part parts[SECTIONS_MAX];
    if (sections_densities(parts, r) > 1)
        warnings_add(w, WARNING_NOT_USED, "sections",
                     "the density of sections is not used: Stable Audio reads one text for all");
    if (r->chord_count)
        warnings_add(w, WARNING_NOT_USED, "chords",
                     "chords are words of the text only: this model was not taught to follow them");
}

// --- text

// Once, of the first stem that it is true of.
static void warn_cut(warnings *w, const char *field, size_t read, size_t cut) {
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->item[i].code, WARNING_TEXT_CUT) && !strcmp(w->item[i].field, field)) return;
    if (cut)
        warnings_add(w, WARNING_TEXT_CUT, field,
                     "the model reads %zu tokens of text, found %zu: the end is not read", read,
                     read + cut);
}

// --- plans

static status read_negative(stableaudio_plan *q, err *e) {
    const char *text = q->base.r->negative_prompt;
    bool blank = !text || !text[strspn(text, " \t\n")];
    if (blank) return OK;
    if (!(q->guidance > 1)) {
        warnings_add(&q->base.said, WARNING_NOT_USED, "negative_prompt",
                     "negative_prompt is not used: it steers only with a guidance over 1");
        return OK;
    }
    size_t cut;
    status rc = sa_model_tokens(model_of(&q->base), text, &q->negative, &cut, e);
    if (!rc) warn_cut(&q->base.said, "negative_prompt", q->negative.count, cut);
    return rc;
}

// What it goes on from, and so how long it is.
static status read_front(stableaudio_plan *q, err *e) {
    const oobleck_config *codec = oobleck_get_config(model_of(&q->base)->codec);
    front *f = &q->base.front;
    if (!q->base.r->continue_from) return OK;
    status rc =
        front_open(f, q->base.r, (int)codec->sample_rate, (int)codec->channels, &q->base.said, e);
    if (rc) err_about(e, "continue_from");
    double given = (double)f->samples / (double)codec->sample_rate;
    return rc ? rc : front_settle(&q->base.own, given, e);
}

static status fill_plan(stableaudio_plan *q, err *e) {
    const stemforge_request *r = q->base.r;
    const sa_model *m = model_of(&q->base);
    status rc = refuse(r, e);
    if (!rc) rc = sa_given_check(r, e);
    if (!rc) rc = read_front(q, e);
    double seconds = length_made_seconds(r);
    if (!rc) rc = read_length(q, seconds, e);
    if (!rc) rc = read_course(q, e);
    if (!rc) rc = sa_given_read(&q->given, m, r, &q->base.front, &q->windows, e);
    if (rc) return rc;
    q->course.kept = q->given.kept;
    q->guidance = (float)(r->guidance >= 0 ? r->guidance : m->schedule.guidance);
    warn(&q->base.said, r);
    rc = prompt_join_chords(&q->chords, r, e);
    return rc ? rc : read_negative(q, e);
}

status stableaudio_plan_create(family *f, const stemforge_request *r, plan **out, err *e) {
    stableaudio_plan *q = mem_calloc(1, sizeof *q);
    if (!q) return err_set(e, ERR_OOM, "no memory for a request");
    q->base = (plan){.f = f, .r = &q->base.own, .own = *r};
    status rc = fill_plan(q, e);
    if (rc)
        stableaudio_plan_free(&q->base);
    else
        *out = &q->base;
    return rc;
}

void stableaudio_plan_free(plan *p) {
    stableaudio_plan *q = (stableaudio_plan *)p;
    if (!q) return;
    buf_deinit(&q->chords);
    tok_ids_deinit(&q->negative);
    sa_given_deinit(&q->given);
    front_close(&q->base.front);
    mem_free(q);
}

// --- takes

static status write_line(stableaudio_take *t, err *e) {
    stableaudio_plan *q = (stableaudio_plan *)t->base.of;
    const stemforge_request *r = q->base.r;
    density_part part[SECTIONS_MAX];
    density d = sections_densities(part, r) == 1 ? part[0].density : DENSITY_NORMAL;
    const prompt_parts parts = {.stem = r->stems[t->base.stem],
                                .style = r->style,
                                .bpm = r->bpm,
                                .key = r->key,
                                .chords = buf_str(&q->chords),
                                .density = d ? density_names[d] : NULL,
                                .words = r->prompt,
                                .bars = length_bars(r)};
    prompt_form form = model_of(&q->base)->loops ? PROMPT_LOOP : PROMPT_SENTENCE;
    size_t cut = 0;
    buf_init(&t->line, PROMPT_LINE_MAX);
    status rc = prompt_build(&t->line, form, &parts, e);
    if (!rc) rc = sa_model_tokens(model_of(&q->base), buf_str(&t->line), &t->ids, &cut, e);
    if (!rc) warn_cut(&q->base.said, "prompt", t->ids.count, cut);
    return rc;
}

static size_t take_bytes(const stableaudio_plan *q) {
    const sa_model *m = model_of(&q->base);
    size_t made = (size_t)(q->windows.frames * dit_get_config(m->net)->channels) * sizeof(float);
    return made + denoise_bytes(m, q->windows.canvas, q->negative.count > 0);
}

status stableaudio_take_create(plan *p, size_t stem, take **out, err *e) {
    const stableaudio_plan *q = (const stableaudio_plan *)p;
    stableaudio_take *t = mem_calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_OOM, "no memory for a stem");
    t->base = (take){.of = p, .stem = stem};
    status rc = write_line(t, e);
    if (rc) {
        stableaudio_take_free(&t->base);
        return rc;
    }
    t->base.line = buf_str(&t->line);
    t->base.temperature = p->r->temperature;
    t->base.bytes = take_bytes(q);
    *out = &t->base;
    return OK;
}

void stableaudio_take_free(take *base) {
    stableaudio_take *t = (stableaudio_take *)base;
    if (!t) return;
    buf_deinit(&t->line);
    tok_ids_deinit(&t->ids);
    mem_free(t->base.planes);
    mem_free(t);
}
