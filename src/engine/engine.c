// engine.c - stemforge.h: a request becomes stems in the batch, and finished sound on the caller's
// thread.
#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "audio/file.h"
#include "audio/post.h"
#include "base/near.h"
#include "base/os.h"
#include "engine/batch.h"
#include "engine/musicgen/condition.h"
#include "engine/musicgen/texts.h"
#include "engine/prompt.h"
#include "stemforge.h"

#define PLACES_DEFAULT 16
#define SECONDS_MIN 0.1
#define SECONDS_MAX 600
#define WINDOW_MIN 16   // frames
#define TOKENS_MAX 1000 // of a finished prompt
#define WAIT_MS 100     // between looks at cancellation and progress

struct stemforge_engine {
    checkpoint model;
    compute *c;
    batch *b;
    texts texts;              // the batch's thread's
    encodec_decoder *decoder; // as well; NULL before the first stem ends
    resampler *to_rate;       // codec's rate to POST_RATE
};

_Static_assert((int)STEMFORGE_WEIGHTS_Q4 == (int)WEIGHTS_Q4 &&
                   (int)STEMFORGE_WEIGHTS_BF16 == (int)WEIGHTS_BF16,
               "stemforge.h has the numbers of model/weights.h");

const char *stemforge_version(void) {
    return STEMFORGE_VERSION;
}

// --- open and close

stemforge_options stemforge_options_default(void) {
    return (stemforge_options){.batch_max = PLACES_DEFAULT};
}

bool stemforge_weights_parse(const char *name, stemforge_weights *out) {
    static const char *const names[] = {"stored", "f32", "bf16", "q8", "q4"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (stemforge_weights)i;
        return true;
    }
    return false;
}

static int64_t positions_max(const checkpoint *m) {
    const mg_config *c = mg_get_config(m->lm);
    return MAX(c->positions, m->window + c->codebooks + 1);
}

static status open_engine(stemforge_engine *g, const stemforge_options *o, err *e) {
    status rc = compute_open(&g->c, o->threads, o->isa, e);
    const checkpoint_options files = {
        .model = o->model, .lm_type = (weights_type)o->weights, .c = g->c, .need_encoder = true};
    if (!rc) rc = checkpoint_open(&g->model, &files, e);
    if (rc) return rc;
    texts_init(&g->texts, &g->model);
    rc = resample_open(&g->to_rate, (int)encodec_get_config(g->model.codec)->sample_rate, POST_RATE,
                       e);
    const batch_limits limits = {.places = o->batch_max > 0 ? o->batch_max : PLACES_DEFAULT,
                                 .positions = positions_max(&g->model),
                                 .memory_max = o->memory_max};
    return rc ? rc : batch_open(&g->b, g->model.lm, g->c, &limits, e);
}

stemforge_status stemforge_open(stemforge_engine **out, const stemforge_options *o,
                                stemforge_error *e) {
    err unasked;
    if (!e) e = &unasked;
    *out = NULL;
    if (!o->model || !*o->model) return err_set(e, ERR_ARG, "no model was named");
    stemforge_engine *g = mem_calloc(1, sizeof *g);
    if (!g) return err_set(e, ERR_OOM, "no memory for an engine");
    status rc = open_engine(g, o, e);
    if (rc)
        stemforge_close(g);
    else
        *out = g;
    return rc;
}

void stemforge_close(stemforge_engine *g) {
    if (!g) return;
    batch_close(g->b);
    texts_deinit(&g->texts);
    encodec_decoder_free(g->decoder);
    resample_close(g->to_rate);
    checkpoint_close(&g->model);
    compute_close(g->c);
    mem_free(g);
}

stemforge_info stemforge_engine_info(const stemforge_engine *g) {
    const mg_config *c = mg_get_config(g->model.lm);
    int64_t prefix = c->melody ? c->chroma_length : 0;
    return (stemforge_info){
        .name = g->model.name,
        .family = c->melody ? "musicgen_melody" : "musicgen",
        .sample_rate = (int)encodec_get_config(g->model.codec)->sample_rate,
        .channels = (int)c->channels,
        .window_seconds = (double)g->model.window / g->model.frame_rate,
        .frame_rate = g->model.frame_rate,
        .parameters = g->model.values,
        .weight_bytes = g->model.size,
        .stem_bytes = 2 * mg_cache_bytes(c, g->model.window + prefix, 0, g->model.cache_type),
        .threads = compute_threads(g->c),
        .isa = compute_isa(g->c)};
}

stemforge_stats stemforge_engine_stats(stemforge_engine *g) {
    batch_stats s = batch_get_stats(g->b);
    return (stemforge_stats){.steps = s.steps,
                             .rows = s.rows,
                             .running = s.running,
                             .waiting = s.waiting,
                             .busy_seconds = s.busy_seconds};
}

// --- requests

stemforge_request stemforge_request_default(void) {
    return (stemforge_request){.seconds = 10, .temperature = 1, .top_k = -1, .guidance = -1};
}

static status no_such_stem(const char *field, const char *name, err *e) {
    char maybe[NEAR_TEXT];
    near meant = {.word = name};
    for (size_t i = 0; i < PROMPT_STEMS; i++) near_try(&meant, prompt_stems[i]);
    near_text(maybe, &meant, "");
    return err_field(
        e, field, "expected drums, bass, guitar, vocals, piano, synth or other, found \"%.40s\"%s",
        name, maybe);
}

static status check_stems(const stemforge_request *r, err *e) {
    if (r->stem_count < 1 || r->stem_count > PROMPT_STEMS) {
        return err_field(e, "stems", "expected 1 to %d names, found %zu", PROMPT_STEMS,
                         r->stem_count);
    }
    for (size_t i = 0; i < r->stem_count; i++) {
        char field[32];
        snprintf(field, sizeof field, "stems[%zu]", i);
        if (prompt_find_stem(r->stems[i]) < 0) return no_such_stem(field, r->stems[i], e);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(r->stems[i], r->stems[j]) == 0) {
                return err_field(e, field, "%s is there twice", r->stems[i]);
            }
        }
    }
    return OK;
}

static status check_range(const char *name, double v, double lo, double hi, err *e) {
    if (v >= lo && v <= hi) return OK;
    return err_field(e, name, "expected %g to %g, found %g", lo, hi, v);
}

static status check_request(const stemforge_request *r, err *e) {
    status rc = check_stems(r, e);
    if (!rc && r->bpm != 0) rc = check_range("bpm", r->bpm, 20, 400, e);
    if (!rc) rc = check_range("seconds", r->seconds, SECONDS_MIN, SECONDS_MAX, e);
    if (!rc) rc = check_range("temperature", r->temperature, 0, 2, e);
    if (!rc) rc = check_range("top_p", r->top_p, 0, 1, e);
    if (!rc && r->guidance >= 0) rc = check_range("guidance", r->guidance, 0, 100, e);
    if (!rc && r->top_k > SAMPLER_CODES_MAX)
        rc = check_range("top_k", r->top_k, 0, SAMPLER_CODES_MAX, e);
    if (!rc && r->key) {
        key k;
        rc = chords_parse_key(&k, r->key, e);
        if (rc) err_about(e, "key");
        if (rc) err_within(e, "key");
    }
    if (!rc && r->chord_count) {
        progression p;
        rc = chords_parse(&p, r->chords, r->chord_count, CONDITION_BPM, e);
        if (rc) err_within(e, "chords");
    }
    return rc;
}

stemforge_status stemforge_request_check(const stemforge_request *r, stemforge_error *e) {
    return check_request(r, e);
}

// --- one request

typedef struct request request;

typedef struct {
    request *of;
    const char *name;
    buf prompt;
    tok_ids ids;
    float *text;   // [ids.count, text_dim]
    float *planes; // [channels, samples] at the codec's rate, when decoded
    int64_t samples;
} stem;

struct request {
    stemforge_engine *g;
    const stemforge_request *r;
    const stemforge_events *ev;
    buf chords; // "Am F C G"
    condition cond;
    int32_t *given; // [K][given_n] codes to go on from
    float *given_planes;
    int64_t given_samples, given_n;
    int64_t frames; // to make
    double started;
    stem stems[PROMPT_STEMS];
    batch_item items[PROMPT_STEMS]; // packed: only the stems to make
    size_t index[PROMPT_STEMS];     // of item i among the request's stems
    batch_job job;
};

// FNV-1a, so that a stem's draws follow from its name.
static uint64_t name_stream(const char *s) {
    uint64_t h = 1469598103934665603u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 1099511628211u;
    return h;
}

// A long text takes its rows of a melody model's prefix from the window.
static int64_t window_of(const stem *s) {
    const checkpoint *m = &s->of->g->model;
    const mg_config *lm = mg_get_config(m->lm);
    if (!lm->melody) return m->window;
    int64_t rest = lm->positions - lm->chroma_length - (int64_t)s->ids.n - lm->codebooks;
    return MIN(m->window, rest);
}

static run_params params_of(const stem *s) {
    const request *q = s->of;
    const stemforge_request *r = q->r;
    const checkpoint *m = &q->g->model;
    int64_t window = window_of(s);
    return (run_params){
        .seq = {.text = s->text,
                .text_n = (int64_t)s->ids.count,
                .text_rows = (int64_t)s->ids.n,
                .sampling = {.temperature = (float)r->temperature,
                             .top_k = r->top_k >= 0 ? r->top_k : m->top_k,
                             .top_p = (float)r->top_p,
                             .guidance = (float)(r->guidance >= 0 ? r->guidance : m->guidance)},
                .seed = r->seed,
                .stream = name_stream(s->name),
                .frames = q->frames,
                .given = q->given,
                .given_n = q->given_n,
                .window = window,
                .cache_type = m->cache_type},
        .stride = MIN(m->stride, MAX(1, window * 3 / 5)),
        .chroma = condition_chroma,
        .chroma_arg = (void *)&q->cond,
    };
}

// On the batch's thread, once for all stems: what the request goes on from, as codes.
static status encode_given(request *q, compute *c, err *e) {
    if (!q->given_planes || q->given) return OK;
    const checkpoint *m = &q->g->model;
    int64_t books = mg_get_config(m->lm)->codebooks;
    int32_t *codes = mem_alloc((size_t)(books * q->given_n) * sizeof *codes);
    if (!codes) return err_set(e, ERR_OOM, "no memory for the codes of %s", q->r->continue_from);
    status rc = checkpoint_encode(m, c, q->given_planes, q->given_samples, codes, e);
    if (rc)
        mem_free(codes);
    else
        q->given = codes;
    return rc;
}

static status stem_begin(void *arg, decoder *d, compute *c, arena *work, run **out, err *e) {
    stem *s = arg;
    const checkpoint *m = &s->of->g->model;
    s->text = mem_alloc(s->ids.count * (size_t)mg_get_config(m->lm)->text_dim * sizeof *s->text);
    if (!s->text) return err_set(e, ERR_OOM, "no memory for the text of %s", s->name);
    status rc = texts_encode(&s->of->g->texts, c, s->text, s->ids.ids + s->ids.first,
                             (int64_t)s->ids.count, work, e);
    if (!rc) rc = encode_given(s->of, c, e);
    const run_params p = params_of(s);
    return rc ? rc : run_create(out, d, m->lm, &p, e);
}

static status make_room(stem *s, err *e) {
    const checkpoint *m = &s->of->g->model;
    s->samples = s->of->frames * encodec_get_config(m->codec)->hop;
    size_t n = (size_t)(mg_get_config(m->lm)->channels * s->samples);
    if (!s->planes) s->planes = mem_alloc(n * sizeof *s->planes);
    return s->planes ? OK : err_set(e, ERR_OOM, "no memory for the sound of %s", s->name);
}

static status stems_end(batch_item *const *items, size_t n, compute *c, err *e) {
    encodec_codes in[BATCH_TOGETHER];
    float *planes[2 * BATCH_TOGETHER], **plane = planes;
    stemforge_engine *g = ((const stem *)items[0]->arg)->of->g;
    const checkpoint *m = &g->model;
    int channels = (int)mg_get_config(m->lm)->channels;
    for (size_t i = 0; i < n; i++) {
        stem *s = items[i]->arg;
        status rc = make_room(s, e);
        if (rc) return rc;
        int64_t frames = s->of->frames;
        in[i] = (encodec_codes){seq_codes(run_seq(items[i]->r)), frames, frames, channels};
        for (int ch = 0; ch < channels; ch++) *plane++ = s->planes + ch * s->samples;
    }
    status rc =
        g->decoder ? OK : encodec_decoder_create(&g->decoder, m->codec, ENCODEC_STREAMS_MAX, e);
    return rc ? rc : encodec_decoder_run(g->decoder, c, in, n, planes, e);
}

static status check_given(const request *q, err *e) {
    if (q->given_n < q->frames) return OK;
    return err_field(e, "seconds", "expected more than the %.1f s of %s to go on from, found %g",
                     (double)q->given_n / q->g->model.frame_rate, q->r->continue_from,
                     q->r->seconds);
}

static status read_given_audio(request *q, err *e) {
    const checkpoint *m = &q->g->model;
    file_clip clip = {0};
    file_limits limits = file_limits_default();
    limits.seconds_max = SECONDS_MAX;
    status rc = file_read(&clip, q->r->continue_from, &limits, e);
    int channels = (int)mg_get_config(m->lm)->channels;
    int rate = (int)encodec_get_config(m->codec)->sample_rate;
    if (!rc) rc = file_clip_planes(&q->given_planes, &q->given_samples, &clip, rate, channels, e);
    file_clip_deinit(&clip);
    if (!rc) q->given_n = encodec_frame_count(m->codec, q->given_samples);
    return rc;
}

// A code file, as `stemforge encode` writes it: nothing is encoded then.
static status read_given_codes(request *q, err *e) {
    const checkpoint *m = &q->g->model;
    status rc = checkpoint_read_codes(m, q->r->continue_from, &q->given, &q->given_n, e);
    if (!rc && q->given_n > (int64_t)(SECONDS_MAX * m->frame_rate)) {
        rc = err_set(e, ERR_LIMIT, "%s: over %d s", q->r->continue_from, SECONDS_MAX);
    }
    return rc;
}

static status read_given(request *q, err *e) {
    const char *path = q->r->continue_from;
    if (!path) return OK;
    const char *dot = strrchr(path, '.');
    bool codes = dot && strcmp(dot, ".safetensors") == 0;
    status rc = codes ? read_given_codes(q, e) : read_given_audio(q, e);
    if (rc) err_about(e, "continue_from");
    return rc ? rc : check_given(q, e);
}

static status plan_stem(request *q, size_t i, err *e) {
    const stemforge_request *r = q->r;
    const checkpoint *m = &q->g->model;
    stem *s = &q->stems[i];
    s->of = q;
    s->name = r->stems[i];
    const prompt_parts parts = {.stem = r->stems[i],
                                .style = r->style,
                                .bpm = r->bpm,
                                .key = r->key,
                                .chords = buf_str(&q->chords),
                                .words = r->prompt};
    buf_init(&s->prompt, PROMPT_LINE_MAX);
    status rc =
        prompt_build(&s->prompt, m->own_captions ? PROMPT_CAPTION : PROMPT_SENTENCE, &parts, e);
    if (!rc) rc = tok_encode(m->words, buf_bytes(&s->prompt), &s->ids, e);
    if (!rc && (s->ids.count < 1 || s->ids.n > TOKENS_MAX))
        rc = err_field(e, "prompt", "%zu tokens, expected 1 to %d", s->ids.n, TOKENS_MAX);
    if (!rc && window_of(s) < WINDOW_MIN) {
        rc = err_field(e, "prompt", "%zu tokens leave no room for audio in %s", s->ids.n, m->name);
    }
    if (rc) return rc;
    if (r->skip && r->skip[i]) return OK;
    const run_params p = params_of(s);
    q->index[q->job.count] = i;
    q->items[q->job.count++] = (batch_item){
        .arg = s, .begin = stem_begin, .end = stems_end, .bytes = seq_cache_bytes(m->lm, &p.seq)};
    return OK;
}

static status plan(request *q, err *e) {
    const stemforge_request *r = q->r;
    const condition_wish wish = {.chords = r->chords,
                                 .chord_count = r->chord_count,
                                 .key = r->key,
                                 .bpm = r->bpm,
                                 .melody = r->melody};
    status rc = check_request(r, e);
    if (!rc) rc = condition_open(&q->cond, &q->g->model, &wish, e);
    q->frames = (int64_t)ceil(r->seconds * q->g->model.frame_rate - 1e-9);
    if (!rc) rc = read_given(q, e);
    buf_init(&q->chords, CHORDS_MAX * (CHORDS_NAME_MAX + 1));
    for (size_t i = 0; i < r->chord_count && !rc; i++)
        buf_printf(&q->chords, "%s%s", i ? " " : "", r->chords[i]);
    if (!rc) rc = buf_status(&q->chords, e);
    q->job.items = q->items;
    for (size_t i = 0; !rc && i < r->stem_count; i++) rc = plan_stem(q, i, e);
    return rc;
}

static status deliver(request *q, size_t i, err *e) {
    const stemforge_request *r = q->r;
    stem *s = &q->stems[i];
    int64_t frames = post_frames(r->seconds, POST_RATE);
    float *out = mem_alloc((size_t)(frames * POST_CHANNELS) * sizeof *out);
    if (!out) return err_set(e, ERR_OOM, "no memory for the sound of %s", s->name);
    int channels = (int)mg_get_config(q->g->model.lm)->channels;
    status rc = post_finish(out, frames, s->planes, channels, s->samples, q->g->to_rate, e);
    mem_free(s->planes);
    s->planes = NULL;
    if (!rc && q->ev->stem_done) {
        const stemforge_stem done = {.name = s->name,
                                     .samples = out,
                                     .frames = frames,
                                     .channels = POST_CHANNELS,
                                     .sample_rate = POST_RATE,
                                     .prompt = buf_str(&s->prompt),
                                     .seconds_spent = os_seconds() - q->started};
        *e = (err){0};
        rc = q->ev->stem_done(q->ev->arg, i, &done, e);
        e->code = rc;
    }
    mem_free(out);
    return rc;
}

static void report(request *q) {
    for (size_t i = 0; i < q->job.count && q->ev->progress; i++) {
        int64_t done, total;
        batch_progress(q->g->b, &q->job, i, &done, &total);
        if (total) q->ev->progress(q->ev->arg, q->index[i], done, total);
    }
}

static status follow(request *q, err *e) {
    size_t left = q->job.count;
    while (left) {
        int i = batch_wait(q->g->b, &q->job, WAIT_MS);
        report(q);
        if (q->ev->canceled && q->ev->canceled(q->ev->arg))
            return err_set(e, ERR_CANCELED, "canceled");
        if (i < 0) continue;
        left--;
        const err *why = &q->items[i].why;
        if (why->code) *e = *why;
        status rc = why->code ? why->code : deliver(q, q->index[i], e);
        if (rc) err_about(e, "%s", q->stems[q->index[i]].name);
        if (rc) return rc;
    }
    return OK;
}

static void request_close(request *q) {
    for (size_t i = 0; i < PROMPT_STEMS; i++) {
        buf_deinit(&q->stems[i].prompt);
        tok_ids_deinit(&q->stems[i].ids);
        mem_free(q->stems[i].text);
        mem_free(q->stems[i].planes);
    }
    buf_deinit(&q->chords);
    mem_free(q->given);
    mem_free(q->given_planes);
    condition_close(&q->cond);
    mem_free(q);
}

stemforge_status stemforge_generate(stemforge_engine *g, const stemforge_request *r,
                                    const stemforge_events *ev, stemforge_error *e) {
    static const stemforge_events none;
    err unasked;
    if (!e) e = &unasked;
    request *q = mem_calloc(1, sizeof *q);
    if (!q) return err_set(e, ERR_OOM, "no memory for a request");
    q->g = g;
    q->r = r;
    q->ev = ev ? ev : &none;
    q->started = os_seconds();
    status rc = plan(q, e);
    if (!rc && q->job.count) {
        rc = batch_enter(g->b, &q->job, e);
        if (!rc) {
            rc = follow(q, e);
            batch_leave(g->b, &q->job);
        }
    }
    request_close(q);
    return rc;
}
