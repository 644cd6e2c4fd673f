// checkpoint.c - see checkpoint.h.
#include "engine/checkpoint.h"

#include <stdio.h>

#include "base/hubdir.h"
#include "engine/musicgen/sampler.h"

#define CONFIG_MAX ((size_t)4 << 20)

// A packed file says its name; else the way the model was asked for does.
static void set_name(checkpoint *m, const char *model) {
    bytes own = m->packed ? pack_model_name(m->packed) : (bytes){0};
    if (own.n)
        snprintf(m->name, sizeof m->name, "%.*s", (int)MIN(own.n, (size_t)120),
                 (const char *)own.p);
    else
        hubdir_short_name(m->name, sizeof m->name, model);
}

// name: "config.json". A packed file has the same document without the suffix.
static status parse(json **out, const checkpoint *m, const char *name, bool required, err *e) {
    char path[OS_PATH_MAX];
    *out = NULL;
    if (m->packed) {
        snprintf(path, sizeof path, "%.*s", (int)strcspn(name, "."), name);
        bytes text = pack_document(m->packed, path);
        status rc = text.n || required ? json_parse(out, text, CONFIG_MAX, e) : OK;
        if (rc) err_within(e, "%.200s: %s", m->path, path);
        return rc;
    }
    status rc = os_path_join(path, sizeof path, m->path, name, e);
    if (rc) return rc;
    if (!required && !os_exists(path)) return OK;
    return json_parse_file(out, path, CONFIG_MAX, e);
}

static pack_entry *record_find(checkpoint_record *r, const char *name) {
    for (size_t i = r->count; i-- > 0;) {
        if (strcmp(r->list[i].name, name) == 0) return &r->list[i];
    }
    return NULL;
}

static void record_add(checkpoint_record *r, const char *name, const tensor *t) {
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 256;
        pack_entry *list = mem_realloc(r->list, cap * sizeof *list);
        if (list)
            r->list = list;
        else
            r->failed = true;
        if (!list) return;
        r->cap = cap;
    }
    char *kept = arena_strdup(&r->own, name);
    if (!kept)
        r->failed = true;
    else
        r->list[r->count++] = (pack_entry){.name = kept, .t = *t};
}

static void record_drop(checkpoint_record *r, const char *name) {
    pack_entry *en = record_find(r, name);
    if (en) *en = r->list[--r->count];
}

// What a matrix became stands in for what the file has.
static void record_bound(void *arg, const char *name, const weight *m) {
    record_drop(arg, name);
    if (!m) return;
    record_add(arg, name,
               &(tensor){.type = m->type, .dims = 2, .shape = {m->rows, m->cols}, .data = m->data});
}

void checkpoint_record_deinit(checkpoint_record *r) {
    mem_free(r->list);
    arena_deinit(&r->own);
    *r = (checkpoint_record){0};
}

static const tensor *find_tensor(const void *file, const char *name) {
    const checkpoint *m = file;
    const tensor *t = m->packed ? pack_find(m->packed, name) : st_find(m->files, name);
    if (t && m->record && !record_find(m->record, name)) record_add(m->record, name, t);
    return t;
}

static void forget_tensor(const void *file, const tensor *t) {
    const checkpoint *m = file;
    if (m->files) st_forget(m->files, t);
}

// Errors name the file.
static status open_words(checkpoint *m, err *e) {
    char path[OS_PATH_MAX];
    status rc = os_path_join(path, sizeof path, m->path, "tokenizer.json", e);
    if (rc) return rc;
    if (!m->packed) return tok_open(&m->words, path, e);
    rc = tok_open_packed(&m->words, pack_document(m->packed, "tokenizer"),
                         pack_vocabulary(m->packed), e);
    if (rc) err_within(e, "%.200s: tokenizer", m->path);
    return rc;
}

// Of keys and values beside weights of that type.
static dtype cache_type_beside(weights_type kept, const mg_config *lm) {
    if (kept >= WEIGHTS_Q8 && lm->dh <= ATTEND_I8_DH) return DT_I8;
    return kept >= WEIGHTS_BF16 ? DT_BF16 : DT_F32;
}

static status bind(checkpoint *m, const checkpoint_options *o, err *e) {
    const json *text;
    status rc = json_get_object(m->config, "text_encoder", &text, e);
    if (rc) return rc;
    weights w;
    weights_init(&w, (weights_source){find_tensor, m, forget_tensor}, &m->own, WEIGHTS_AS_STORED);
    w.c = o->c;
    m->record = o->record;
    w.bound = o->record ? record_bound : NULL;
    w.bound_arg = o->record;
    w.type = o->lm_type;
    rc = mg_open(&m->lm, &w, m->config, &m->own, e);
    if (rc) return rc;
    const mg_config *lm = mg_get_config(m->lm);
    // Narrow weights were asked for: the text encoder, run once a stem, is rounded to bf16 only.
    // A packed file's matrices stay as they are, whatever is asked for.
    weights_type packed = m->packed ? pack_weights(m->packed) : WEIGHTS_AS_STORED;
    weights_type kept = MAX(o->lm_type, packed);
    m->cache_type = cache_type_beside(kept, lm);
    w.type = o->lm_type >= WEIGHTS_BF16 ? WEIGHTS_BF16 : WEIGHTS_AS_STORED;
    rc = t5_open(&m->text, &w, text, "text_encoder.", &m->own, e);
    if (kept >= WEIGHTS_BF16) w.type = WEIGHTS_BF16; // the codec's decoder too, packed or not
    unsigned parts = o->need_encoder ? ENCODEC_DECODER | ENCODEC_ENCODER : ENCODEC_DECODER;
    if (!rc) {
        rc = encodec_open(&m->codec, &w, m->config, "audio_encoder.", lm->codebooks / lm->channels,
                          parts, &m->own, e);
    }
    if (!rc) rc = weights_finish(&w, e);
    m->values = w.values;
    m->size = w.bytes;
    return rc;
}

static status check(const checkpoint *m, err *e) {
    const mg_config *lm = mg_get_config(m->lm);
    const encodec_config *audio = encodec_get_config(m->codec);
    if (t5_get_config(m->text)->d_model != lm->text_dim) {
        return err_set(e, ERR_FORMAT, "text_encoder.d_model: expected %lld, found %lld",
                       (long long)lm->text_dim, (long long)t5_get_config(m->text)->d_model);
    }
    if (audio->codes < lm->vocab) {
        return err_set(
            e, ERR_FORMAT,
            "audio_encoder.codebook_size: expected at least the decoder's %lld, found %lld",
            (long long)lm->vocab, (long long)audio->codes);
    }
    if (tok_vocab_size(m->words) > t5_get_config(m->text)->vocab) {
        return err_set(e, ERR_FORMAT, "tokenizer.json has %d ids, the text encoder knows %lld",
                       tok_vocab_size(m->words), (long long)t5_get_config(m->text)->vocab);
    }
    return OK;
}

// "stemforge" in config.json: what our own training adds (docs/MODELS.md). Absent for other models.
static status read_own(checkpoint *m, double *window_s, double *stride_s, err *e) {
    const json *own = json_find(m->config, "stemforge");
    if (!own) return OK;
    const char *control = "";
    int64_t columns = 0, beats = 4;
    status rc = json_opt_str(own, "control", &control, e);
    if (!rc) rc = json_opt_num(own, "window_seconds", 0.5, 600, window_s, e);
    if (!rc) rc = json_opt_num(own, "stride_seconds", 0.1, *window_s, stride_s, e);
    if (rc) return err_within(e, "stemforge");
    m->own_captions = true;
    m->has_grid = strcmp(control, "grid") == 0;
    if (!m->has_grid) return OK;
    rc = json_get_num(own, "columns_per_second", 1, 1000, &m->grid.columns_per_second, e);
    if (!rc) rc = json_get_int(own, "columns", 1, 16384, &columns, e);
    if (!rc) rc = json_opt_int(own, "beats_per_bar", 1, 32, &beats, e);
    if (rc) return err_within(e, "stemforge");
    const mg_config *lm = mg_get_config(m->lm);
    if (!lm->melody || lm->chroma_length != columns || lm->chroma_bins != CONTROL_WIDTH) {
        return err_set(
            e, ERR_FORMAT,
            "stemforge.columns: %lld columns of %d, but the decoder's chroma is %lld x %lld",
            (long long)columns, CONTROL_WIDTH, (long long)lm->chroma_length,
            (long long)lm->chroma_bins);
    }
    m->grid.columns = (size_t)columns;
    m->grid.beats_per_bar = (double)beats;
    return OK;
}

// Rows of a prefix that are for the text; a longer text takes more from the window (engine.c).
#define TEXT_ROWS_RESERVED 24

static status read_windows(checkpoint *m, const json *generation, err *e) {
    const mg_config *lm = mg_get_config(m->lm);
    const encodec_config *audio = encodec_get_config(m->codec);
    m->frame_rate = (double)audio->sample_rate / (double)audio->hop;
    double window_s = 30, stride_s = 0;
    status rc = read_own(m, &window_s, &stride_s, e);
    if (rc) return rc;
    if (stride_s <= 0) stride_s = window_s * 18 / 30; // the reference's extend_stride
    int64_t lag = lm->codebooks / lm->channels;
    int64_t prefix = lm->melody ? lm->chroma_length + TEXT_ROWS_RESERVED : 0;
    m->window = (int64_t)(window_s * m->frame_rate + 0.5);
    m->window = MIN(m->window, lm->positions - prefix - lag);
    if (m->window < 2) {
        return err_set(e, ERR_FORMAT,
                       "decoder.max_position_embeddings: %lld leave no room for audio",
                       (long long)lm->positions);
    }
    m->stride = MAX(1, MIN((int64_t)(stride_s * m->frame_rate + 0.5), m->window * 18 / 30));
    int64_t top_k = 250; // what the model's authors sample with
    m->guidance = 3;
    rc = json_opt_int(generation, "top_k", 0, SAMPLER_CODES_MAX, &top_k, e);
    if (!rc) rc = json_opt_num(generation, "guidance_scale", 0, 100, &m->guidance, e);
    m->top_k = (int)top_k;
    return rc ? err_within(e, "generation_config.json") : OK;
}

static status open_chroma(checkpoint *m, const json *preprocessor, err *e) {
    chroma_config c;
    status rc = chroma_config_read(&c, preprocessor, e);
    if (rc) return err_within(e, "preprocessor_config.json");
    if (c.classes != mg_get_config(m->lm)->chroma_bins) {
        return err_set(e, ERR_FORMAT,
                       "preprocessor_config.json has %lld chroma bins, the decoder %lld",
                       (long long)c.classes, (long long)mg_get_config(m->lm)->chroma_bins);
    }
    return chroma_open(&m->chroma, &c, e);
}

// The networks and what goes with them. Errors name a field or a tensor.
static status understand(checkpoint *m, const checkpoint_options *o, const json *generation,
                         const json *preprocessor, err *e) {
    status rc = bind(m, o, e);
    if (!rc) rc = check(m, e);
    if (!rc) rc = read_windows(m, generation, e);
    if (!rc && mg_get_config(m->lm)->melody && !m->has_grid) rc = open_chroma(m, preprocessor, e);
    if (rc) err_within(e, "%.200s", m->path);
    return rc;
}

static status load(checkpoint *m, const checkpoint_options *o, err *e) {
    json *generation = NULL, *preprocessor = NULL;
    status rc = pack_is(m->path) ? pack_open(&m->packed, m->path, e) : OK;
    if (!rc) rc = parse(&m->config, m, "config.json", true, e);
    if (!rc) rc = parse(&generation, m, "generation_config.json", false, e);
    if (!rc) rc = parse(&preprocessor, m, "preprocessor_config.json", false, e);
    if (!rc && !m->packed) rc = st_open_model(&m->files, m->path, e);
    if (!rc) rc = open_words(m, e);
    if (!rc) rc = understand(m, o, generation, preprocessor, e);
    json_free(generation);
    json_free(preprocessor);
    return rc;
}

status checkpoint_open(checkpoint *out, const checkpoint_options *o, err *e) {
    *out = (checkpoint){0};
    status rc = hubdir_find_model(out->path, o->model, e);
    if (rc) return rc;
    rc = load(out, o, e);
    set_name(out, o->model);
    if (!rc) return OK;
    checkpoint_close(out);
    return rc;
}

void checkpoint_close(checkpoint *m) {
    chroma_close(m->chroma);
    tok_close(m->words);
    st_close(m->files);
    pack_close(m->packed);
    json_free(m->config);
    arena_deinit(&m->own);
    *m = (checkpoint){0};
}

void checkpoint_rest_text(const checkpoint *m) {
    if (m->packed) pack_forget(m->packed, "text_encoder.encoder.");
}

status checkpoint_encode(const checkpoint *m, compute *c, const float *planes, int64_t n,
                         int32_t *codes, err *e) {
    const mg_config *lm = mg_get_config(m->lm);
    int64_t books = lm->codebooks / lm->channels, frames = encodec_frame_count(m->codec, n);
    int32_t *one = mem_alloc((size_t)(books * frames) * sizeof *one);
    if (!one) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)frames);
    status rc = OK;
    for (int64_t ch = 0; !rc && ch < lm->channels; ch++) {
        rc = encodec_encode(m->codec, c, planes + ch * n, n, &(encodec_encoded){.codes = one}, e);
        // The rows of the channels interleave.
        for (int64_t q = 0; !rc && q < books; q++) {
            memcpy(codes + (q * lm->channels + ch) * frames, one + q * frames,
                   (size_t)frames * sizeof *one);
        }
    }
    mem_free(one);
    return rc;
}

static status copy_codes(const checkpoint *m, const tensor *t, int32_t **codes, int64_t *frames,
                         err *e) {
    const mg_config *lm = mg_get_config(m->lm);
    if (!t || t->type != DT_I32 || t->dims != 2 || t->shape[0] != lm->codebooks ||
        t->shape[1] < 1) {
        return err_set(e, ERR_FORMAT, "expected a tensor \"codes\" [%lld, frames] of I32",
                       (long long)lm->codebooks);
    }
    int64_t n = tensor_count(t);
    int32_t *copy = mem_alloc((size_t)n * sizeof *copy); // aligned, unlike the file
    if (!copy) return err_set(e, ERR_OOM, "no memory for %lld codes", (long long)n);
    memcpy(copy, t->data, (size_t)n * sizeof *copy);
    for (int64_t i = 0; i < n; i++) {
        if (copy[i] >= 0 && copy[i] < lm->vocab) continue;
        status rc = err_set(e, ERR_FORMAT, "code %lld is %d, expected 0 to %lld", (long long)i,
                            copy[i], (long long)lm->vocab - 1);
        mem_free(copy);
        return rc;
    }
    *codes = copy;
    *frames = t->shape[1];
    return OK;
}

status checkpoint_read_codes(const checkpoint *m, const char *path, int32_t **codes,
                             int64_t *frames, err *e) {
    st_file *f;
    *codes = NULL;
    *frames = 0;
    status rc = st_open(&f, path, e);
    if (rc) return rc;
    rc = copy_codes(m, st_find(f, "codes"), codes, frames, e);
    if (rc) err_within(e, "%s", path);
    st_close(f);
    return rc;
}
