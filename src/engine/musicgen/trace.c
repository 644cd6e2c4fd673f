// trace.c - see trace.h.
#include "engine/musicgen/trace.h"

#include <stdio.h>

#include "audio/file.h"
#include "engine/musicgen/condition.h"
#include "engine/musicgen/plan.h"
#include "engine/musicgen/run.h"
#include "engine/musicgen/sound.h"
#include "gpu/text.h"

// What the stages of one run share.
typedef struct {
    trace_result *out;
    const pipeline *p;
    compute *c;
    trace_input in;
    bool has_text;
    int32_t *ids;
    int64_t text_n, text_rows;
    float *text;   // [text_n, text_dim]
    float *chroma; // [chroma_n, bins] or NULL
    int64_t chroma_n;
    double guidance;
    sampler_params sampling; // of the stage "greedy"; temperature 0 unless the run gives one
    uint64_t seed;
} tracer;

#define ADD(t, type, name, ...)                                                                    \
    trace_add((t)->out, (name), (type), (int)ARRAY_LEN(((const int64_t[]){__VA_ARGS__})),          \
              (const int64_t[]){__VA_ARGS__})
#define ADD_F32(t, name, ...) ((float *)ADD((t), DT_F32, (name), __VA_ARGS__))
#define ADD_I32(t, name, ...) ((int32_t *)ADD((t), DT_I32, (name), __VA_ARGS__))

// Copies a JSON array [rows][cols] of integers below limit into the arena.
static status read_codes(tracer *t, const char *member, int64_t rows, int64_t limit, int32_t **out,
                         int64_t *cols, err *e) {
    const json *a = json_find(t->in.run, member);
    *out = NULL;
    *cols = 0;
    if (!a) return OK;
    *cols = (int64_t)json_len(json_at(a, 0));
    if ((int64_t)json_len(a) != rows || *cols < 1) {
        return err_set(e, ERR_FORMAT, "%s: expected %lld rows, found %zu", member, (long long)rows,
                       json_len(a));
    }
    int32_t *codes = arena_alloc(&t->out->own, (size_t)(rows * *cols) * sizeof *codes);
    if (!codes) return trace_no_memory(e);
    for (int64_t i = 0; i < rows * *cols; i++) {
        const json *v = json_at(json_at(a, (size_t)(i / *cols)), (size_t)(i % *cols));
        int64_t code = json_is_int(v) ? json_int_value(v) : -1;
        if (code < 0 || code >= limit) {
            return err_set(e, ERR_FORMAT, "%s[%lld][%lld]: expected a code from 0 to %lld", member,
                           (long long)(i / *cols), (long long)(i % *cols), (long long)limit - 1);
        }
        codes[i] = (int32_t)code;
    }
    *out = codes;
    return OK;
}

static status read_wav(tracer *t, const char *member, int channels, float **planes, int64_t *n,
                       err *e) {
    char path[OS_PATH_MAX];
    *planes = NULL;
    *n = 0;
    status rc = trace_find_file(&t->in, member, path, e);
    if (rc || !*path) return rc;
    file_clip clip = {0};
    const file_limits limits = file_limits_default();
    rc = file_read(&clip, path, &limits, e);
    if (!rc)
        rc = file_clip_planes(planes, n, &clip, (int)encodec_get_config(t->p->codec)->sample_rate,
                              channels, e);
    file_clip_deinit(&clip);
    return rc;
}

// --- text

static status tokenize(tracer *t, err *e) {
    const json *given = json_find(t->in.run, "ids");
    const char *prompt = NULL;
    status rc = json_opt_str(t->in.run, "prompt", &prompt, e);
    if (rc || (!given && !prompt)) return rc;
    t->has_text = true;
    tok_ids ids = {0};
    if (!given) rc = tok_encode(t->p->tokenizer, bytes_of(prompt), &ids, e);
    if (rc) goto done;
    t->text_n = given ? (int64_t)json_len(given) : (int64_t)ids.count;
    t->text_rows = given ? t->text_n : (int64_t)ids.n;
    t->ids = ADD_I32(t, "ids", t->text_n);
    if (!t->ids || t->text_n < 1) rc = trace_no_memory(e);
    for (int64_t i = 0; !rc && i < t->text_n; i++) {
        t->ids[i] = given ? (int32_t)json_int_value(json_at(given, (size_t)i))
                          : ids.ids[ids.first + (size_t)i];
    }
done:
    tok_ids_deinit(&ids);
    return rc;
}

static status encode_text(tracer *t, err *e) {
    gpu_text *text = NULL;
    if (!t->in.gpu) return t5_encode(t->p->text, t->c, t->text, t->ids, t->text_n, &t->out->own, e);
    status rc = gpu_text_open(&text, t->in.gpu, t->p->text, e);
    if (!rc) rc = gpu_text_encode(text, t->text, t->ids, t->text_n, e);
    gpu_text_close(text);
    return rc;
}

static status trace_text(tracer *t, err *e) {
    status rc = tokenize(t, e);
    if (rc || !t->has_text) return rc;
    int64_t pad = t->text_rows;
    rc = json_opt_int(t->in.run, "text_rows", t->text_n, 4096, &pad,
                      e); // the padding of a batch; our own member
    if (rc) return rc;
    t->text_rows = pad;
    const mg_config *cfg = mg_get_config(t->p->lm);
    t->text = ADD_F32(t, "t5", t->text_n, cfg->text_dim);
    float *proj = ADD_F32(t, "proj", t->text_n, cfg->d);
    if (!t->text || !proj) return trace_no_memory(e);
    rc = encode_text(t, e);
    if (!rc) mg_project_text(t->p->lm, t->c, proj, t->text, t->text_n);
    return rc;
}

// --- chroma

// The rows of the first window, as a request with this melody hears them.
static status chroma_of_wav(tracer *t, err *e) {
    char path[OS_PATH_MAX];
    const mg_config *cfg = mg_get_config(t->p->lm);
    condition k;
    status rc = trace_find_file(&t->in, "melody_wav", path, e);
    if (rc || !*path) return rc;
    rc = condition_open(&k, t->p, &(condition_wish){.melody = path}, e);
    if (rc) return rc;
    t->chroma_n = condition_melody_rows(&k);
    t->chroma = ADD_F32(t, "chroma", t->chroma_n, cfg->chroma_bins);
    float *raw = ADD_F32(t, "chroma_raw", t->chroma_n, cfg->chroma_bins);
    chroma_rows to = {.onehot = t->chroma, .raw = raw};
    rc = t->chroma && raw ? condition_melody(&k, &to, 0, e) : trace_no_memory(e);
    condition_close(&k);
    return rc;
}

// The chroma rows of the first window, for a request with these chords and this tempo.
static status chroma_of_chords(tracer *t, const json *list, err *e) {
    const mg_config *cfg = mg_get_config(t->p->lm);
    const char *names[CHORDS_MAX];
    condition_wish wish = {.chords = names, .chord_count = json_len(list)};
    if (wish.chord_count > CHORDS_MAX)
        return err_set(e, ERR_FORMAT, "chords: expected at most %d", CHORDS_MAX);
    for (size_t i = 0; i < wish.chord_count; i++) {
        names[i] = json_str_value(json_at(list, i));
        if (!names[i]) return err_set(e, ERR_FORMAT, "chords[%zu]: expected a string", i);
    }
    condition k;
    status rc = json_opt_num(t->in.run, "bpm", 20, 400, &wish.time.bpm, e);
    if (!rc) rc = condition_open(&k, t->p, &wish, e);
    if (rc) return rc;
    t->chroma = arena_f32(&t->out->own, (size_t)cfg->chroma_length, (size_t)cfg->chroma_bins);
    rc = t->chroma ? condition_chroma(&k, t->chroma, 0, &t->chroma_n, e) : trace_no_memory(e);
    condition_close(&k);
    return rc;
}

static status trace_chroma(tracer *t, err *e) {
    const mg_config *cfg = mg_get_config(t->p->lm);
    if (!cfg->melody) return OK;
    const json *chords = json_find(t->in.run, "chords");
    status rc = chords ? chroma_of_chords(t, chords, e) : chroma_of_wav(t, e);
    if (rc) return rc;
    const json *rows = json_find(t->in.run, "chroma");
    if (rows) {
        t->chroma_n = (int64_t)json_len(rows);
        t->chroma = arena_f32(&t->out->own, (size_t)t->chroma_n, (size_t)cfg->chroma_bins);
        if (!t->chroma) return trace_no_memory(e);
        for (int64_t i = 0; i < t->chroma_n * cfg->chroma_bins; i++) {
            const json *row = json_at(rows, (size_t)(i / cfg->chroma_bins));
            t->chroma[i] = (float)json_num_value(json_at(row, (size_t)(i % cfg->chroma_bins)));
        }
    }
    float *proj = ADD_F32(t, "audio_proj", cfg->chroma_length, cfg->d);
    if (!proj) return trace_no_memory(e);
    mg_project_chroma(t->p->lm, t->c, proj, t->chroma, t->chroma_n);
    return OK;
}

static status given_chroma(void *arg, float *out, int64_t start_frame, int64_t *rows, err *e) {
    (void)start_frame;
    (void)e;
    const tracer *t = arg;
    const mg_config *cfg = mg_get_config(t->p->lm);
    *rows = MIN(t->chroma_n, cfg->chroma_length);
    memcpy(out, t->chroma, (size_t)(*rows * cfg->chroma_bins) * sizeof *out);
    return OK;
}

// --- decoder

static run_params params(tracer *t, int64_t frames) {
    return (run_params){.seq = {.text = t->text,
                                .text_n = t->text_n,
                                // Without a text the reference's null branch has one zero row.
                                .text_rows = t->has_text ? t->text_rows : 1,
                                .text_null = !t->has_text,
                                .sampling = t->sampling,
                                .seed = t->seed,
                                .frames = frames,
                                .window = frames,
                                .cache_type = t->p->cache_type},
                        .stride = frames,
                        .chroma = t->chroma ? given_chroma : NULL,
                        .chroma_arg = t};
}

// Teacher forcing: feeds codes [K][cols] as they are behind the prefix of one branch.
static status forced(tracer *t, const int32_t *codes, int64_t cols, bool null, float *logits,
                     err *e) {
    const mg_config *cfg = mg_get_config(t->p->lm);
    int64_t prefix = cfg->melody ? cfg->chroma_length + MAX(t->text_rows, 1) : 0;
    const seq_forced f = {.codes = codes, .cols = cols, .null = null, .logits = logits};
    const decoder_limits limits = {
        .sequences = 1, .positions = prefix + cols + cfg->codebooks + 1, .prefill = MAX(cols, 64)};
    seq_params p = params(t, cols).seq;
    p.sampling.guidance = 3; // so that there is a null branch
    seq_window w = {.frames = cols};
    if (!p.text_null && t->chroma) w.chroma = t->chroma, w.chroma_rows = t->chroma_n;
    decoder *d = NULL;
    seq *s = NULL;
    status rc = decoder_open(&d, t->in.gpu, t->p->lm, t->c, &limits, e);
    if (!rc) rc = seq_create(&s, d, &p, e);
    if (!rc) rc = decoder_force(d, s, &w, &f, e);
    seq_free(s);
    decoder_close(d);
    return rc;
}

static status trace_forced(tracer *t, err *e) {
    const mg_config *cfg = mg_get_config(t->p->lm);
    int32_t *codes;
    int64_t cols;
    status rc = read_codes(t, "codes", cfg->codebooks, cfg->vocab + 1, &codes, &cols, e);
    if (rc || !codes) return rc;
    float *cond = t->has_text ? ADD_F32(t, "logits", cols, cfg->codebooks, cfg->vocab) : NULL;
    float *null = ADD_F32(t, "logits_null", cols, cfg->codebooks, cfg->vocab);
    if (!null || (t->has_text && !cond)) return trace_no_memory(e);
    rc = forced(t, codes, cols, true, null, e);
    if (rc || !cond) return rc;
    rc = forced(t, codes, cols, false, cond, e);
    if (rc || t->guidance == 1) return rc;
    float *guided = ADD_F32(t, "logits_guided", cols, cfg->codebooks, cfg->vocab);
    if (!guided) return trace_no_memory(e);
    sampler_guide(guided, cond, null, (float)t->guidance, cols * cfg->codebooks * cfg->vocab);
    return OK;
}

// The codec of the device, which the caller closes; its gpu is NULL on the CPU.
static status open_codec(const tracer *t, sound_codec *d, err *e) {
    *d = (sound_codec){.c = t->c};
    return t->in.gpu ? gpu_codec_open(&d->gpu, t->in.gpu, t->p->codec, e) : OK;
}

static status encode_sound(const tracer *t, const float *planes, int64_t n, int32_t *codes,
                           err *e) {
    sound_codec d;
    status rc = open_codec(t, &d, e);
    if (!rc) rc = sound_encode(t->p, &d, planes, n, codes, e);
    gpu_codec_close(d.gpu);
    return rc;
}

// The codes to continue from: the run gives them, or a WAV file.
static status prompt_codes(tracer *t, int32_t **codes, int64_t *frames, err *e) {
    const mg_config *cfg = mg_get_config(t->p->lm);
    status rc = read_codes(t, "prompt_codes", cfg->codebooks, cfg->vocab, codes, frames, e);
    if (rc || *codes) return rc;
    float *planes;
    int64_t n;
    rc = read_wav(t, "continue_wav", (int)cfg->channels, &planes, &n, e);
    if (rc || !planes) return rc;
    *frames = encodec_frame_count(t->p->codec, n);
    *codes = ADD_I32(t, "prompt_codes", cfg->codebooks, *frames);
    rc = *codes ? encode_sound(t, planes, n, *codes, e) : trace_no_memory(e);
    mem_free(planes);
    return rc;
}

static status trace_greedy(tracer *t, err *e) {
    const mg_config *cfg = mg_get_config(t->p->lm);
    int64_t frames = 0, given_n = 0;
    int32_t *given = NULL;
    bool delay = true;
    status rc = json_opt_int(t->in.run, "greedy_frames", 1, 100000, &frames, e);
    if (!rc) rc = json_opt_bool(t->in.run, "delay", &delay, e);
    if (!rc && frames) rc = prompt_codes(t, &given, &given_n, e);
    if (rc || !frames) return rc;
    if (given_n >= frames)
        return err_set(e, ERR_FORMAT, "greedy_frames: expected over %lld", (long long)given_n);
    run_params p = params(t, frames);
    p.seq.given = given;
    p.seq.given_n = given_n;
    p.seq.keep_first = true;
    p.seq.parallel = !delay;
    int32_t *codes = ADD_I32(t, "greedy", cfg->codebooks, frames);
    float *first = ADD_F32(t, "first", cfg->codebooks, cfg->vocab);
    return codes && first ? run_alone(t->p->lm, t->in.gpu, t->c, &p, codes, first, e)
                          : trace_no_memory(e);
}

// --- codec

static status decode_sound(const tracer *t, const int32_t *codes, int64_t frames, float *wave,
                           err *e) {
    sound_codec d;
    if (!t->in.gpu) return sound_decode(t->p, t->c, codes, frames, wave, e);
    status rc = open_codec(t, &d, e);
    if (!rc) rc = sound_decode_stems(t->p, &d, &(sound_stem){codes, frames, wave}, 1, e);
    gpu_codec_close(d.gpu);
    return rc;
}

static status trace_decode(tracer *t, err *e) {
    const mg_config *cfg = mg_get_config(t->p->lm);
    int32_t *codes;
    int64_t frames;
    status rc = read_codes(t, "decode_codes", cfg->codebooks, cfg->vocab, &codes, &frames, e);
    if (rc || !codes) return rc;
    float *wave = ADD_F32(t, "wave", cfg->channels, sound_samples(t->p, frames));
    return wave ? decode_sound(t, codes, frames, wave, e) : trace_no_memory(e);
}

// Adds latents [frames, dim] as a tensor [dim, frames].
static status latents_out(tracer *t, const char *name, const float *x, int64_t frames, err *e) {
    int64_t dim = encodec_get_config(t->p->codec)->dim;
    float *y = ADD_F32(t, name, dim, frames);
    if (!y) return trace_no_memory(e);
    for (int64_t i = 0; i < dim * frames; i++) y[i] = x[i % frames * dim + i / frames];
    return OK;
}

static status trace_encode(tracer *t, err *e) {
    const mg_config *cfg = mg_get_config(t->p->lm);
    const encodec_config *a = encodec_get_config(t->p->codec);
    int64_t n, channels = cfg->channels;
    float *planes;
    status rc = read_wav(t, "encode_wav", (int)channels, &planes, &n, e);
    if (rc || !planes) return rc;
    int64_t frames = encodec_frame_count(t->p->codec, n);
    int32_t *codes = ADD_I32(t, "enc_codes", cfg->codebooks, frames);
    int32_t *one = arena_alloc(&t->out->own, (size_t)(a->quantizers * frames) * sizeof *one);
    float *latents = arena_f32(&t->out->own, (size_t)frames, (size_t)a->dim);
    if (!codes || !one || !latents) rc = trace_no_memory(e);
    sound_codec d = {0};
    if (!rc) rc = open_codec(t, &d, e);
    for (int64_t ch = 0; !rc && ch < channels; ch++) {
        static const char *const stereo[] = {"latents_left", "latents_right"};
        const encodec_encoded to = {.codes = one, .latents = latents};
        rc = d.gpu ? gpu_codec_encode(d.gpu, planes + ch * n, n, &to, e)
                   : encodec_encode(t->p->codec, t->c, planes + ch * n, n, &to, e);
        for (int64_t q = 0; !rc && q < a->quantizers; q++) {
            memcpy(codes + (q * channels + ch) * frames, one + q * frames,
                   (size_t)frames * sizeof *one);
        }
        if (!rc) rc = latents_out(t, channels == 1 ? "latents" : stereo[ch], latents, frames, e);
    }
    gpu_codec_close(d.gpu);
    mem_free(planes);
    return rc;
}

static status read_sampling(tracer *t, err *e) {
    double temperature = 0;
    int64_t top_k = t->p->top_k, seed = 0;
    t->guidance = 1;
    status rc = json_opt_num(t->in.run, "guidance", 0, 1000, &t->guidance, e);
    if (!rc) rc = json_opt_num(t->in.run, "temperature", 0, 2, &temperature, e);
    if (!rc) rc = json_opt_int(t->in.run, "top_k", 0, SAMPLER_CODES_MAX, &top_k, e);
    if (!rc) rc = json_opt_int(t->in.run, "seed", 0, INT64_MAX, &seed, e);
    t->seed = (uint64_t)seed;
    t->sampling = (sampler_params){
        .temperature = (float)temperature, .top_k = (int)top_k, .guidance = (float)t->guidance};
    return rc;
}

status musicgen_trace(trace_result *out, family *f, const trace_input *in, err *e) {
    tracer t = {.out = out, .p = &((const musicgen_family *)f)->p, .c = f->c, .in = *in};
    status rc = read_sampling(&t, e);
    if (!rc) rc = trace_text(&t, e);
    if (!rc) rc = trace_chroma(&t, e);
    if (!rc) rc = trace_forced(&t, e);
    if (!rc) rc = trace_greedy(&t, e);
    if (!rc) rc = trace_decode(&t, e);
    return rc ? rc : trace_encode(&t, e);
}
