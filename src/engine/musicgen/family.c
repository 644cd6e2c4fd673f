// family.c - MusicGen behind engine/family.h's table.
#include "engine/musicgen/family.h"

#include <stdio.h>
#include <string.h>

#include "engine/musicgen/describe.h"
#include "engine/musicgen/on_gpu.h"
#include "engine/musicgen/plan.h"
#include "engine/musicgen/sound.h"
#include "engine/musicgen/trace.h"

static musicgen_family *self(const take *t) {
    return (musicgen_family *)t->of->f;
}

static bool recognise(const checkpoint *files) {
    const char *type = json_str_value(json_find(files->config, "model_type"));
    return type && (strcmp(type, "musicgen") == 0 || strcmp(type, "musicgen_melody") == 0);
}

// --- open and close

static stemforge_info info_of(const musicgen_family *f) {
    const pipeline *p = &f->p;
    const mg_config *cfg = mg_get_config(p->lm);
    int64_t prefix = cfg->melody ? cfg->chroma_length : 0;
    return (stemforge_info){.name = f->base.files.name,
                            .family = cfg->melody ? "musicgen_melody" : "musicgen",
                            .sample_rate = (int)encodec_get_config(p->codec)->sample_rate,
                            .channels = (int)cfg->channels,
                            .window_seconds = (double)p->window / p->frame_rate,
                            .frame_rate = p->frame_rate,
                            .top_k = p->top_k,
                            .guidance = p->guidance,
                            .parameters = p->values,
                            .weight_bytes = p->size,
                            .stem_bytes =
                                2 * mg_cache_bytes(cfg, p->window + prefix, 0, p->cache_type)};
}

static decoder_limits limits_of(const musicgen_family *f) {
    const mg_config *cfg = mg_get_config(f->p.lm);
    return (decoder_limits){.sequences = f->places,
                            .positions = MAX(cfg->positions, f->p.window + cfg->codebooks + 1)};
}

// A GPU that the model does not fit into is no failure, unless no other device will do. One that
// computes other bits is.
static status open_decoder(musicgen_family *f, const family_options *o, err *e) {
    const decoder_limits limits = limits_of(f);
    err why = {0};
    status rc = o->gpu ? on_gpu_open(f, o->gpu, &limits, &why) : OK;
    if (rc == ERR_CONFLICT || (rc && o->gpu_only)) return err_set(e, rc, "%s", why.text);
    snprintf(f->base.cpu_why, sizeof f->base.cpu_why, "%.199s", why.text);
    return f->decoder ? OK : decoder_open(&f->decoder, NULL, f->p.lm, f->base.c, &limits, e);
}

static status open_steps(musicgen_family *f, const family_options *o, err *e) {
    size_t places = (size_t)o->places;
    f->places = o->places;
    f->running = mem_calloc(places, sizeof *f->running);
    f->stepped = mem_calloc(places, sizeof *f->stepped);
    if (!f->running || !f->stepped) return err_set(e, ERR_OOM, "no memory for %zu stems", places);
    return open_decoder(f, o, e);
}

static status open_model(family *base, const family_options *o, err *e) {
    musicgen_family *f = (musicgen_family *)base;
    status rc = pipeline_open(&f->p, &base->files, o->weights, o->c, e);
    if (rc) return rc;
    texts_init(&f->texts, &f->p);
    base->info = info_of(f);
    return o->places ? open_steps(f, o, e) : OK;
}

static void close_model(family *base) {
    musicgen_family *f = (musicgen_family *)base;
    on_gpu_close(f);
    texts_deinit(&f->texts);
    encodec_decoder_free(f->codec);
    arena_deinit(&f->work);
    mem_free(f->running);
    mem_free(f->stepped);
    pipeline_close(&f->p);
}

// --- a stem from begin to end

// Rows of `from` codes become rows of `to`, their first ones.
static void shorten_rows(int32_t *codes, int64_t rows, int64_t from, int64_t to) {
    for (int64_t k = 1; k < rows; k++)
        memmove(codes + k * to, codes + k * from, (size_t)to * sizeof *codes);
}

// What the request goes on from becomes codes, once for all its stems. A frame that it fills in
// part is left out.
static status encode_given(musicgen_plan *q, err *e) {
    musicgen_family *f = (musicgen_family *)q->base.f;
    const front *given = &q->base.front;
    if (!given->planes || q->given || !q->given_n) return OK;
    int64_t books = mg_get_config(f->p.lm)->codebooks, frames = sound_frames(&f->p, given->samples);
    int32_t *codes = mem_alloc((size_t)(books * frames) * sizeof *codes);
    if (!codes)
        return err_set(e, ERR_OOM, "no memory for the codes of %s", q->base.r->continue_from);
    sound_codec d = {.c = f->base.c, .gpu = f->gpu_codec};
    status rc = sound_encode(&f->p, &d, given->planes, given->samples, codes, e);
    if (rc == ERR_OOM && d.gpu) { // the CPU makes the same codes
        d.gpu = NULL;
        rc = sound_encode(&f->p, &d, given->planes, given->samples, codes, e);
    }
    if (rc) {
        mem_free(codes);
        return rc;
    }
    shorten_rows(codes, books, frames, q->given_n);
    q->given = codes;
    return OK;
}

// Once, before the first stem: that reads the file, as the stem will.
static status check_values(musicgen_family *f, err *e) {
    if (!f->values_read) (void)!weights_check_values(f->p.kept, f->base.c, &f->values);
    f->values_read = true;
    return f->values.code ? err_set(e, f->values.code, "%s", f->values.text) : OK;
}

static status encode_text(musicgen_take *t, musicgen_text *text, err *e) {
    musicgen_family *f = self(&t->base);
    size_t n = text->ids.count * (size_t)mg_get_config(f->p.lm)->text_dim;
    if (!n) return OK; // a density that no part has
    text->states = mem_alloc(n * sizeof *text->states);
    if (!text->states) return err_set(e, ERR_OOM, "no memory for the text of a stem");
    status rc = texts_encode(&f->texts, f->base.c, text->states, text->ids.ids + text->ids.first,
                             (int64_t)text->ids.count, &f->work, e);
    arena_reset(&f->work);
    return rc;
}

static status begin(take *base, err *e) {
    musicgen_take *t = (musicgen_take *)base;
    musicgen_family *f = self(base);
    status rc = check_values(f, e);
    for (int i = 0; i < DENSITIES && !rc; i++) rc = encode_text(t, &t->text[i], e);
    if (!rc) rc = encode_given((musicgen_plan *)base->of, e);
    if (rc) return rc;
    const run_params params = musicgen_take_params(t);
    rc = run_create(&t->run, f->decoder, f->p.lm, &params, e);
    if (rc) return rc;
    base->total = run_steps_total(t->run);
    base->length = run_frames(t->run);
    base->wants_prefill = true;
    return OK;
}

static status prefill(take *base, take *const *others, size_t n, err *e) {
    musicgen_family *f = self(base);
    for (size_t i = 0; i < n; i++) f->running[i] = ((musicgen_take *)others[i])->run;
    status rc = run_begin_window(((musicgen_take *)base)->run, f->running, n, e);
    base->wants_prefill = rc != OK;
    return rc;
}

static status step(family *base, take *const *list, size_t n, err *e) {
    musicgen_family *f = (musicgen_family *)base;
    for (size_t i = 0; i < n; i++) f->stepped[i] = run_seq(((musicgen_take *)list[i])->run);
    status rc = decoder_step(f->decoder, f->stepped, n, e);
    for (size_t i = 0; i < n && !rc; i++) {
        run *r = ((musicgen_take *)list[i])->run;
        run_stepped(r);
        bool broken = seq_check(f->stepped[i], NULL) != OK; // it ends now, and finish says why
        list[i]->done = broken ? list[i]->total : run_steps_done(r);
        list[i]->wants_prefill = !broken && run_needs_window(r);
    }
    return rc;
}

static status make_room(const musicgen_family *f, take *t, err *e) {
    t->samples = sound_samples(&f->p, t->length);
    size_t n = (size_t)(f->base.info.channels * t->samples);
    if (!t->planes) t->planes = mem_alloc(n * sizeof *t->planes);
    return t->planes ? OK : err_set(e, ERR_OOM, "no memory for the sound of a stem");
}

// A GPU without memory for this leaves it to the CPU, which makes the same samples.
static status decode(musicgen_family *f, const sound_stem *stems, size_t n, err *e) {
    sound_codec d = {f->base.c, NULL, f->gpu_codec};
    status rc = d.gpu ? sound_decode_stems(&f->p, &d, stems, n, e) : OK;
    if (d.gpu && rc != ERR_OOM) return rc;
    rc = f->codec ? OK : encodec_decoder_create(&f->codec, f->p.codec, ENCODEC_STREAMS_MAX, e);
    d = (sound_codec){f->base.c, f->codec, NULL};
    return rc ? rc : sound_decode_stems(&f->p, &d, stems, n, e);
}

static status finish(family *base, take *const *list, size_t n, err *e) {
    musicgen_family *f = (musicgen_family *)base;
    sound_stem stems[FAMILY_TOGETHER];
    for (size_t i = 0; i < n; i++) {
        seq *s = run_seq(((musicgen_take *)list[i])->run);
        const int32_t *codes;
        seq_rest(s);
        status rc = seq_codes(s, &codes, e);
        if (!rc) rc = seq_check(s, e);
        if (!rc) rc = make_room(f, list[i], e);
        if (rc) return rc;
        stems[i] = (sound_stem){codes, list[i]->length, list[i]->planes};
    }
    return decode(f, stems, n, e);
}

static void end(take *base) {
    musicgen_take *t = (musicgen_take *)base;
    run_free(t->run);
    t->run = NULL;
    for (int i = 0; i < DENSITIES; i++) {
        mem_free(t->text[i].states);
        t->text[i].states = NULL;
    }
}

static size_t tensors(const family *f, const st_file *sets[FAMILY_SETS_MAX]) {
    sets[0] = f->files.files;
    return 1;
}

static status leave_gpu(family *base, err *e) {
    musicgen_family *f = (musicgen_family *)base;
    const decoder_limits limits = limits_of(f);
    on_gpu_close(f);
    return decoder_open(&f->decoder, NULL, f->p.lm, base->c, &limits, e);
}

static status pack_texts(const family *f, packing *out, err *e) {
    static const char *const documents[][2] = {
        {"config", "config.json"},
        {"generation_config", "generation_config.json"},
        {"preprocessor_config", "preprocessor_config.json"},
    };
    const char *dir = f->files.path;
    char path[OS_PATH_MAX];
    status rc = OK;
    for (size_t i = 0; i < ARRAY_LEN(documents) && !rc; i++)
        rc = packing_add_file(out, documents[i][0], dir, documents[i][1], i == 0, e);
    if (!rc) rc = os_path_join(path, sizeof path, dir, "tokenizer.json", e);
    const tokenizer *t = ((const musicgen_family *)f)->p.tokenizer;
    return rc ? rc : packing_add_tokenizer(out, t, path, e);
}

const family_ops musicgen_family_ops = {
    .key = "musicgen",
    .title = "MusicGen",
    .expects = "\"musicgen\" or \"musicgen_melody\"",
    .size = sizeof(musicgen_family),
    .recognise = recognise,
    .open = open_model,
    .close = close_model,
    .plan = musicgen_plan_create,
    .plan_free = musicgen_plan_free,
    .take = musicgen_take_create,
    .take_free = musicgen_take_free,
    .begin = begin,
    .prefill = prefill,
    .step = step,
    .finish = finish,
    .end = end,
    .leave_gpu = leave_gpu,
    .tensors = tensors,
    .pack_texts = pack_texts,
    .trace = musicgen_trace,
    .describe = musicgen_describe,
};

status musicgen_pipeline(const pipeline **out, const family *f, err *e) {
    if (f->ops != &musicgen_family_ops)
        return err_set(e, ERR_ARG, "%s: expected a MusicGen model, found one of %s", f->files.name,
                       f->ops->title);
    *out = &((const musicgen_family *)f)->p;
    return OK;
}
_Static_assert(SOUND_TOGETHER >= FAMILY_TOGETHER, "one call of the codec finishes a group");
