// plan.c - see plan.h.
#include "engine/musicgen/plan.h"

#include <math.h>
#include <string.h>

#include "audio/post.h"
#include "compute/rng.h"
#include "engine/followed.h"
#include "engine/musicgen/heard.h"
#include "engine/musicgen/sound.h"
#include "request/fields.h"
#include "request/length.h"
#include "request/sections.h"

#define WINDOW_MIN 16   // frames
#define SECONDS_MAX 600 // of codes to go on from
#define GIVEN_EDGE 2    // frames; none or four made deeper dips at the join

static const pipeline *pipeline_of(const plan *p) {
    return &((const musicgen_family *)p->f)->p;
}

// --- the parameters of a stem

static size_t longest_text(const musicgen_take *t) {
    size_t n = 0;
    for (int i = 0; i < DENSITIES; i++) n = MAX(n, t->text[i].ids.n);
    return n;
}

// The positions of a melody model hold chroma, text and audio, so a long text shortens the window.
static int64_t window_of(const musicgen_take *t) {
    const pipeline *p = pipeline_of(t->base.of);
    const mg_config *cfg = mg_get_config(p->lm);
    if (!cfg->melody) return p->window;
    int64_t rest = cfg->positions - cfg->chroma_length - (int64_t)longest_text(t) - cfg->codebooks;
    return MIN(p->window, rest);
}

static int type_of(const musicgen_take *t) {
    return stems_find(t->base.of->r->stems[t->base.stem]); // checked
}

static double temperature_of(const musicgen_take *t) {
    const stemforge_request *r = t->base.of->r;
    if (r->temperatures && r->temperatures[t->base.stem] >= 0) return r->temperatures[t->base.stem];
    return r->temperature * pipeline_of(t->base.of)->temperature[type_of(t)];
}

static const condition *condition_of(const musicgen_take *t) {
    const musicgen_plan *q = (const musicgen_plan *)t->base.of;
    bool bass = strcmp(q->base.r->stems[t->base.stem], "bass") == 0;
    return bass && q->has_bass ? &q->bass : &q->cond;
}

// The codec's frame in which a bar begins.
static int64_t frame_of_bar(const musicgen_plan *q, int bar) {
    if (!bar) return 0;
    const stemforge_request *r = q->base.r;
    double seconds = bar * meter_of(r->meter)->quarters * 60 / r->bpm; // parts have a tempo
    return (int64_t)floor(seconds * pipeline_of(&q->base)->frame_rate + 0.5);
}

static void set_parts(musicgen_take *t) {
    const musicgen_plan *q = (const musicgen_plan *)t->base.of;
    for (size_t i = 0; i < q->part_count; i++) {
        const musicgen_text *text = &t->text[q->densities[i].density];
        t->parts[i] = (run_part){.from = frame_of_bar(q, q->densities[i].bar),
                                 .text = text->states,
                                 .text_n = (int64_t)text->ids.count,
                                 .text_rows = (int64_t)text->ids.n};
    }
}

run_params musicgen_take_params(musicgen_take *t) {
    const musicgen_plan *q = (const musicgen_plan *)t->base.of;
    const stemforge_request *r = q->base.r;
    const pipeline *p = pipeline_of(&q->base);
    int64_t window = window_of(t);
    int64_t stride = MIN(p->stride, MAX(1, window * 3 / 5));
    set_parts(t);
    return (run_params){
        .seq = {.text = t->parts[0].text,
                .text_n = t->parts[0].text_n,
                .text_rows = t->parts[0].text_rows,
                .sampling = {.temperature = (float)temperature_of(t),
                             .top_k = r->top_k >= 0 ? r->top_k : p->top_k,
                             .top_p = (float)r->top_p,
                             .guidance = (float)(r->guidance >= 0 ? r->guidance : p->guidance),
                             .fine_less = (float)p->fine_less[type_of(t)]},
                .seed = t->base.seed,
                .stream = rng_stream(r->stems[t->base.stem]),
                .frames = q->frames,
                .given = q->given,
                .given_n = q->given_n,
                .window = window,
                .cache_type = p->cache_type},
        .stride = stride,
        .parts = t->parts,
        .part_count = q->part_count > 1 ? q->part_count : 0,
        .chroma = condition_chroma,
        .chroma_arg = (void *)(uintptr_t)condition_of(t),
        .anchored = q->cond.kind == CONDITION_GRID ? (window - stride) * 3 / 4 : 0,
        .anchor = condition_anchor,
    };
}

// --- what a request goes on from

static double given_seconds(const musicgen_plan *q) {
    const front *f = &q->base.front;
    if (f->x) return (double)f->frames / POST_RATE;
    return (double)q->given_n / pipeline_of(&q->base)->frame_rate;
}

// The model goes on from whole frames. The last ones were encoded beside the silence behind the
// end, so it makes them anew: what it heard as an end would be one.
static status read_given_audio(musicgen_plan *q, err *e) {
    const stemforge_info *info = &q->base.f->info;
    plan *p = &q->base;
    status rc = front_open(&p->front, p->r, info->sample_rate, info->channels, &p->said, e);
    int64_t whole = rc ? 0 : sound_frames(pipeline_of(p), p->front.samples + 1) - 1;
    q->given_n = MAX(0, whole - GIVEN_EDGE);
    return rc;
}

// A code file, as `stemforge encode` writes it, needs no encoding.
static status read_given_codes(musicgen_plan *q, err *e) {
    const pipeline *p = pipeline_of(&q->base);
    const char *path = q->base.r->continue_from;
    status rc = sound_read_codes(p, path, &q->given, &q->given_n, e);
    if (!rc && q->given_n > (int64_t)(SECONDS_MAX * p->frame_rate))
        rc = err_set(e, ERR_LIMIT, "%s: over %d s", path, SECONDS_MAX);
    return rc;
}

static status read_given(musicgen_plan *q, err *e) {
    const char *path = q->base.r->continue_from;
    if (!path) return OK;
    const char *dot = strrchr(path, '.');
    bool codes = dot && strcmp(dot, ".safetensors") == 0;
    status rc = codes ? read_given_codes(q, e) : read_given_audio(q, e);
    if (rc) err_about(e, "continue_from");
    return rc ? rc : front_settle(&q->base.own, given_seconds(q), e);
}

// --- plans

// The request whose chords go to the end of its sections.
static stemforge_request with_laid_chords(section_chords *laid, const stemforge_request *r) {
    stemforge_request told = *r;
    laid->named = false;
    if (!r->section_count && !r->ending) return told;
    sections_chords(laid, r);
    told.chords = laid->name;
    told.chord_count = laid->n;
    return told;
}

status musicgen_plan_create(family *f, const stemforge_request *r, plan **out, err *e) {
    section_chords laid;
    const stemforge_request told = with_laid_chords(&laid, r);
    condition_wish wish = {.chords = told.chords,
                           .chord_count = told.chord_count,
                           .key = r->key,
                           .time = timing_of(r, 0),
                           .loop_bars = r->loop ? (size_t)length_bars(r) : 0,
                           .melody = r->melody};
    musicgen_plan *q = mem_calloc(1, sizeof *q);
    if (!q) return err_set(e, ERR_OOM, "no memory for a request");
    q->base = (plan){.f = f, .r = &q->base.own, .own = *r};
    const pipeline *p = pipeline_of(&q->base);
    if (p->chroma && followed_asks(r, "melody")) {
        wish.melody = r->recording;
        wish.melody_image = (bytes){r->recording_image, r->recording_size};
    }
    status rc = condition_open(&q->cond, p, &wish, e);
    if (!rc) q->has_bass = condition_of_bass(&q->bass, &q->cond);
    if (!rc) rc = read_given(q, e);
    q->part_count = sections_densities(q->densities, r);
    q->frames = (int64_t)ceil(length_made_seconds(q->base.r) * p->frame_rate - 1e-9);
    if (!rc) rc = prompt_join_chords(&q->chords, r, e);
    if (!rc) heard_of_request(&q->base.said, &q->cond, laid.named ? &told : r);
    if (rc)
        musicgen_plan_free(&q->base);
    else
        *out = &q->base;
    return rc;
}

void musicgen_plan_free(plan *p) {
    musicgen_plan *q = (musicgen_plan *)p;
    if (!q) return;
    buf_deinit(&q->chords);
    mem_free(q->given);
    front_close(&q->base.front);
    condition_close(&q->cond);
    mem_free(q);
}

// --- takes

static status write_line(musicgen_take *t, density d, err *e) {
    musicgen_plan *q = (musicgen_plan *)t->base.of;
    const stemforge_request *r = q->base.r;
    const pipeline *p = pipeline_of(&q->base);
    musicgen_text *to = &t->text[d];
    const prompt_parts parts = {.stem = r->stems[t->base.stem],
                                .style = r->style,
                                .bpm = r->bpm,
                                .key = r->key,
                                .chords = buf_str(&q->chords),
                                .density = d ? density_names[d] : NULL,
                                .words = r->prompt};
    buf_init(&to->line, PROMPT_LINE_MAX);
    status rc = heard_line(&to->line, p, &parts, e);
    if (!rc) rc = tok_encode(p->tokenizer, buf_bytes(&to->line), &to->ids, e);
    return rc ? rc : heard_of_text(&q->base.said, &q->cond, &parts, &to->ids, e);
}

static status check_tokens(const musicgen_take *t, const tok_ids *ids, err *e) {
    if (ids->count < 1 || ids->n > DECODER_TEXT_MAX)
        return err_field(e, "prompt", "expected 1 to %d tokens, found %zu", DECODER_TEXT_MAX,
                         ids->n);
    const mg_config *cfg = mg_get_config(pipeline_of(t->base.of)->lm);
    int64_t window = window_of(t);
    if (!cfg->melody || window >= WINDOW_MIN) return OK; // a text model has columns alone
    return err_field(e, "prompt",
                     "%zu tokens leave %lld of %lld positions for audio, expected at least %d",
                     ids->n, (long long)MAX(0, window), (long long)cfg->positions, WINDOW_MIN);
}

// The texts that the plan's parts have.
static status write_texts(musicgen_take *t, err *e) {
    const musicgen_plan *q = (const musicgen_plan *)t->base.of;
    status rc = OK;
    for (size_t i = 0; i < q->part_count && !rc; i++) {
        density d = q->densities[i].density;
        if (t->text[d].ids.count) continue;
        rc = write_line(t, d, e);
        if (!rc) rc = check_tokens(t, &t->text[d].ids, e);
    }
    return rc;
}

// Of the caches, by the longest text.
static size_t cache_bytes(musicgen_take *t) {
    run_params params = musicgen_take_params(t);
    const musicgen_plan *q = (const musicgen_plan *)t->base.of;
    for (size_t i = 0; i < q->part_count; i++) {
        params.seq.text_n = MAX(params.seq.text_n, t->parts[i].text_n);
        params.seq.text_rows = MAX(params.seq.text_rows, t->parts[i].text_rows);
    }
    return seq_cache_bytes(pipeline_of(t->base.of)->lm, &params.seq);
}

status musicgen_take_create(plan *p, size_t stem, take **out, err *e) {
    musicgen_take *t = mem_calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_OOM, "no memory for a stem");
    t->base = (take){.of = p, .stem = stem};
    status rc = write_texts(t, e);
    if (rc) {
        musicgen_take_free(&t->base);
        return rc;
    }
    const musicgen_plan *q = (const musicgen_plan *)p;
    t->base.line = buf_str(&t->text[q->densities[0].density].line);
    t->base.temperature = temperature_of(t);
    t->base.bytes = cache_bytes(t);
    *out = &t->base;
    return OK;
}

void musicgen_take_free(take *base) {
    musicgen_take *t = (musicgen_take *)base;
    if (!t) return;
    for (int i = 0; i < DENSITIES; i++) {
        buf_deinit(&t->text[i].line);
        tok_ids_deinit(&t->text[i].ids);
        mem_free(t->text[i].states);
    }
    mem_free(t->base.planes);
    mem_free(t);
}
