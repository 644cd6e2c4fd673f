// stages.c - see stages.h.
#include "engine/musicgen/stages.h"

#include "engine/musicgen/family.h"
#include "engine/musicgen/run.h"
#include "engine/musicgen/sound.h"
#include "gpu/text.h"

struct stages {
    const pipeline *p;
    compute *c;
    device *gpu; // NULL: the CPU computes
    gpu_text *gpu_text;
    gpu_codec *gpu_codec;
    decoder *decoder;
    encodec_decoder *codec; // as an engine keeps one; NULL before the first sound
    float *text;            // states of the description, [text_n, text_dim]
    int64_t text_n;
    run *run[STAGES_STEMS_MAX];
    seq *seq[STAGES_STEMS_MAX];
    int64_t stems;
};

// A device's text encoder and codec; the CPU's are the pipeline's.
static status open_gpu(stages *s, err *e) {
    if (!s->gpu) return OK;
    status rc = gpu_text_open(&s->gpu_text, s->gpu, s->p->text, e);
    return rc ? rc : gpu_codec_open(&s->gpu_codec, s->gpu, s->p->codec, e);
}

status stages_open(stages **out, const family *f, device *gpu, int64_t stems, int64_t frames,
                   err *e) {
    *out = NULL;
    const pipeline *p;
    status rc = musicgen_pipeline(&p, f, e);
    if (rc) return rc;
    stages *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "no memory for a bench");
    s->p = p;
    s->c = f->c;
    s->gpu = gpu;
    const mg_config *cfg = mg_get_config(p->lm);
    int64_t prefix = cfg->melody ? cfg->chroma_length + 64 : 0;
    const decoder_limits limits = {.sequences = stems,
                                   .positions = MAX(frames, p->window) + prefix + 64};
    rc = decoder_open(&s->decoder, gpu, p->lm, s->c, &limits, e);
    if (!rc) rc = open_gpu(s, e);
    if (rc)
        stages_close(s);
    else
        *out = s;
    return rc;
}

void stages_close(stages *s) {
    if (!s) return;
    stages_stop(s);
    decoder_close(s->decoder);
    encodec_decoder_free(s->codec);
    gpu_text_close(s->gpu_text);
    gpu_codec_close(s->gpu_codec);
    mem_free(s->text);
    mem_free(s);
}

stages_info stages_get_info(const stages *s) {
    const pipeline *p = s->p;
    return (stages_info){.frame_rate = p->frame_rate,
                         .window = p->window,
                         .channels = mg_get_config(p->lm)->channels,
                         .codec_type = p->cache_type == DT_F32 ? DT_F32 : DT_BF16,
                         .text = t5_widest(p->text),
                         .decoder = mg_widest(p->lm)};
}

// --- text

static status encode(stages *s, const int32_t *ids, arena *work, err *e) {
    if (s->gpu) return gpu_text_encode(s->gpu_text, s->text, ids, s->text_n, e);
    return t5_encode(s->p->text, s->c, s->text, ids, s->text_n, work, e);
}

status stages_text(stages *s, const char *text, err *e) {
    tok_ids ids = {0};
    arena work = {0};
    status rc = tok_encode(s->p->tokenizer, bytes_of(text), &ids, e);
    size_t size = ids.count * (size_t)mg_get_config(s->p->lm)->text_dim * sizeof *s->text;
    if (!rc && (int64_t)ids.count != s->text_n) {
        mem_free(s->text);
        s->text = mem_alloc(size);
        s->text_n = s->text ? (int64_t)ids.count : 0;
        if (!s->text) rc = err_set(e, ERR_OOM, "no memory for the text");
    }
    if (!rc) rc = encode(s, ids.ids + ids.first, &work, e);
    pipeline_rest_text(s->p); // as the engine does
    arena_deinit(&work);
    tok_ids_deinit(&ids);
    return rc;
}

stages_cost stages_text_cost(const stages *s) {
    return (stages_cost){(double)t5_bytes(s->p->text),
                         (double)s->text_n * (double)t5_values(s->p->text)};
}

// --- stems under way

static run_params params_of(const stages *s, const stages_stems *k, const int32_t *given) {
    int64_t window = k->window ? k->window : s->p->window;
    int64_t stride = k->window ? k->window : s->p->stride;
    return (run_params){.seq = {.text = s->text,
                                .text_n = s->text_n,
                                .text_rows = s->text_n,
                                .sampling = {.temperature = 1, .top_k = 250, .guidance = 3},
                                .frames = k->frames,
                                .given = given,
                                .given_n = k->made,
                                .window = MIN(k->frames, window),
                                .cache_type = s->p->cache_type},
                        .stride = MIN(k->frames, stride)};
}

status stages_start(stages *s, const stages_stems *k, err *e) {
    int64_t books = mg_get_config(s->p->lm)->codebooks;
    int32_t *given = mem_calloc((size_t)(books * MAX(k->made, 1)), sizeof *given);
    status rc = given ? OK : err_set(e, ERR_OOM, "no memory for a bench");
    for (int64_t i = 0; !rc && i < k->stems; i++) {
        run_params p = params_of(s, k, given);
        p.seq.seed = (uint64_t)i;
        rc = run_create(&s->run[i], s->decoder, s->p->lm, &p, e);
        if (rc) break;
        s->seq[i] = run_seq(s->run[i]);
        s->stems = i + 1;
    }
    mem_free(given);
    return rc;
}

status stages_prefill(stages *s, err *e) {
    status rc = OK;
    for (int64_t i = 0; !rc && i < s->stems; i++)
        if (run_needs_window(s->run[i])) rc = run_begin_window(s->run[i], NULL, 0, e);
    return rc;
}

status stages_step(stages *s, err *e) {
    status rc = decoder_step(s->decoder, s->seq, (size_t)s->stems, e);
    for (int64_t i = 0; i < s->stems && !rc; i++) run_stepped(s->run[i]);
    return rc;
}

status stages_wait(stages *s, err *e) {
    if (!s->gpu) return OK;
    status rc = device_mark(s->gpu, DEVICE_MARKS - 1, e);
    return rc ? rc : device_wait_for(s->gpu, DEVICE_MARKS - 1, e);
}

bool stages_done(const stages *s) {
    return run_done(s->run[0]);
}

int64_t stages_steps_total(const stages *s) {
    return run_steps_total(s->run[0]);
}

void stages_stop(stages *s) {
    for (int64_t i = 0; i < s->stems; i++) run_free(s->run[i]);
    s->stems = 0;
}

stages_cost stages_prefill_cost(const stages *s, const stages_stems *k) {
    const mg_config *cfg = mg_get_config(s->p->lm);
    int64_t read = cfg->chroma_length - mg_unread_rows(cfg); // what all layers read
    int64_t rows = 2 * (k->made + (cfg->melody ? read + s->text_n : 0));
    if (!rows) return (stages_cost){0};
    return (stages_cost){(double)mg_step_bytes(s->p->lm, true),
                         (double)rows * (double)mg_step_values(s->p->lm)};
}

stages_cost stages_step_cost(const stages *s, int64_t stems, int64_t position) {
    const mg_config *cfg = mg_get_config(s->p->lm);
    double rows = (double)(2 * stems);
    int64_t at = position + (cfg->melody ? cfg->chroma_length : 0);
    return (stages_cost){(double)mg_step_bytes(s->p->lm, true) +
                             rows * (double)mg_row_bytes(cfg, at, s->p->cache_type),
                         rows * (double)mg_step_values(s->p->lm)};
}

// --- the codec

status stages_sound(stages *s, int64_t frames, double *spent, err *e) {
    const mg_config *cfg = mg_get_config(s->p->lm);
    size_t samples = (size_t)(cfg->channels * sound_samples(s->p, frames));
    int32_t *codes = mem_calloc((size_t)(cfg->codebooks * frames), sizeof *codes);
    float *wave = mem_alloc(samples * sizeof *wave);
    status rc = codes && wave ? OK : err_set(e, ERR_OOM, "no memory for the codec");
    if (!rc && !s->codec && !s->gpu)
        rc = encodec_decoder_create(&s->codec, s->p->codec, (int)cfg->channels, e);
    for (int64_t i = 0; !rc && i < cfg->codebooks * frames; i++)
        codes[i] = (int32_t)(i * 2654435761u % (uint64_t)cfg->vocab);
    double from = os_seconds();
    if (!rc)
        rc = sound_decode_stems(s->p, &(sound_codec){s->c, s->codec, s->gpu_codec},
                                &(sound_stem){codes, frames, wave}, 1, e);
    *spent = os_seconds() - from;
    mem_free(codes);
    mem_free(wave);
    return rc;
}

double stages_sound_products(const stages *s, int64_t frames) {
    double each = (double)encodec_products(s->p->codec);
    return (double)(frames * mg_get_config(s->p->lm)->channels) * each;
}
