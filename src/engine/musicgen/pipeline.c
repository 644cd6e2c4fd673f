// pipeline.c - see pipeline.h.
#include "engine/musicgen/pipeline.h"

#include "compute/tune.h"
#include "engine/musicgen/sampler.h"
#include "request/timing.h"

// The type of keys and values in a model whose weights are of type `kept`.
static dtype cache_type_beside(weights_type kept, const mg_config *cfg) {
    if (kept >= WEIGHTS_Q8 && cfg->dh <= ATTEND_I8_DH) return DT_I8;
    return kept >= WEIGHTS_BF16 ? DT_BF16 : DT_F32;
}

static status bind(pipeline *p, checkpoint *files, weights_type lm_type, compute *c, err *e) {
    const json *text;
    status rc = json_get_object(files->config, "text_encoder", &text, e);
    if (rc) return rc;
    weights w = checkpoint_weights(files, &p->own, c);
    w.type = lm_type;
    w.copy = c && tune_huge(c) && !files->record;
    rc = mg_open(&p->lm, &w, files->config, &p->own, e);
    if (rc) return rc;
    w.copy = false; // the other networks run once a stem
    const mg_config *cfg = mg_get_config(p->lm);
    // Where narrow weights were asked for, the text encoder, which runs once a stem, is rounded to
    // bf16 only.
    weights_type kept = MAX(lm_type, checkpoint_packed_type(files));
    p->cache_type = cache_type_beside(kept, cfg);
    w.type = lm_type >= WEIGHTS_BF16 ? WEIGHTS_BF16 : WEIGHTS_AS_STORED;
    rc = t5_open(&p->text, &w, text, "text_encoder.", &p->own, e);
    if (kept >= WEIGHTS_BF16)
        w.type = WEIGHTS_BF16; // then the codec's decoder is bf16 too, packed or not
    if (!rc) {
        rc = encodec_open(&p->codec, &w, files->config, "audio_encoder.",
                          cfg->codebooks / cfg->channels, ENCODEC_DECODER | ENCODEC_ENCODER,
                          &p->own, e);
    }
    if (!rc) rc = weights_finish(&w, e);
    p->kept = w.kept;
    p->values = w.values;
    p->size = w.bytes;
    return rc;
}

static status check_shapes(const pipeline *p, err *e) {
    const mg_config *cfg = mg_get_config(p->lm);
    const encodec_config *audio = encodec_get_config(p->codec);
    if (t5_get_config(p->text)->d_model != cfg->text_dim) {
        return err_set(e, ERR_FORMAT, "text_encoder.d_model: expected %lld, found %lld",
                       (long long)cfg->text_dim, (long long)t5_get_config(p->text)->d_model);
    }
    if (audio->codes < cfg->vocab) {
        return err_set(
            e, ERR_FORMAT,
            "audio_encoder.codebook_size: expected at least the decoder's %lld, found %lld",
            (long long)cfg->vocab, (long long)audio->codes);
    }
    if (tok_vocab_size(p->tokenizer) > t5_get_config(p->text)->vocab) {
        return err_set(e, ERR_FORMAT, "tokenizer.json has %d ids, the text encoder knows %lld",
                       tok_vocab_size(p->tokenizer), (long long)t5_get_config(p->text)->vocab);
    }
    return OK;
}

// What the other documents say beside config.json. A text model's feature extractor prepares sound
// for the codec, so its rate and channels must be the model's; a melody model's one is chroma.h's.
static status check_documents(const pipeline *p, const json *generation, const json *preprocessor,
                              err *e) {
    const mg_config *cfg = mg_get_config(p->lm);
    int64_t rate = encodec_get_config(p->codec)->sample_rate, channels = cfg->channels;
    int64_t rate_said = rate, channels_said = channels;
    status rc = mg_check_special(generation, cfg->vocab, e);
    if (rc) return err_within(e, rc, "generation_config.json");
    if (cfg->melody || !preprocessor) return OK;
    rc = json_opt_int(preprocessor, "sampling_rate", 1, 1 << 24, &rate_said, e);
    if (!rc) rc = json_opt_int(preprocessor, "feature_size", 1, 1 << 16, &channels_said, e);
    if (rc) return err_within(e, rc, "preprocessor_config.json");
    if (rate_said != rate) {
        return err_set(e, ERR_FORMAT,
                       "preprocessor_config.json: sampling_rate: expected "
                       "audio_encoder.sampling_rate %lld, found %lld",
                       (long long)rate, (long long)rate_said);
    }
    if (channels_said == channels) return OK;
    return err_set(e, ERR_FORMAT,
                   "preprocessor_config.json: feature_size: expected decoder.audio_channels %lld, "
                   "found %lld",
                   (long long)channels, (long long)channels_said);
}

// What the model's grid was trained on besides 4/4 and one chord a bar: "meters": ["3/4", ...], and
// "chords_per_bar". A meter that is not one of ours is passed over.
static status read_trained(pipeline *p, const json *own, err *e) {
    const json *names = json_find(own, "meters");
    if (names && !json_is_array(names))
        return err_set(e, ERR_FORMAT, "meters: expected an array, found %s", json_kind(names));
    for (size_t i = 0; i < json_len(names); i++) {
        const char *name = json_str_value(json_at(names, i));
        const meter *m = name ? meter_find(name) : NULL;
        if (m) p->grid_meters |= 1u << (m - meters);
    }
    return json_opt_int(own, "chords_per_bar", 1, 16, &p->chords_per_bar, e);
}

// How much of the guidance fine codebooks get, by type of stem: {"vocals": 0.5}; what is not there
// is 1.
static status read_fine_guidance(pipeline *p, const json *own, err *e) {
    const json *given = json_find(own, "fine_guidance");
    status rc = OK;
    if (given && !json_is_object(given))
        rc = err_set(e, ERR_FORMAT, "expected an object, found %s", json_kind(given));
    for (int i = 0; i < STEMFORGE_STEMS_MAX && !rc; i++) {
        double share = 1;
        rc = json_opt_num(given, stem_types[i].name, 0, 1, &share, e);
        p->fine_less[i] = 1 - share;
    }
    return rc ? err_within(e, rc, "fine_guidance") : OK;
}

// Reads "stemforge" in config.json, which our own training adds (docs/MODELS.md); other models have
// none. Its control_layers is mg_open's.
static status read_own(pipeline *p, double *window_s, double *stride_s, err *e) {
    const json *own = json_find(p->files->config, "stemforge");
    p->grid_meters = 1, p->chords_per_bar = 1;
    if (!own) return OK;
    const char *control = "";
    int64_t columns = 0;
    status rc = json_opt_str(own, "control", &control, e);
    if (!rc) rc = json_opt_num(own, "window_seconds", 0.5, 600, window_s, e);
    if (!rc) rc = json_opt_num(own, "stride_seconds", 0.1, *window_s, stride_s, e);
    if (!rc) rc = read_fine_guidance(p, own, e);
    if (rc) return err_within(e, rc, "stemforge");
    p->own_captions = true;
    p->has_grid = strcmp(control, "grid") == 0;
    if (!p->has_grid) return OK;
    rc = json_get_num(own, "columns_per_second", 1, 1000, &p->grid.columns_per_second, e);
    if (!rc) rc = json_get_int(own, "columns", 1, 16384, &columns, e);
    if (!rc) rc = read_trained(p, own, e);
    if (rc) return err_within(e, rc, "stemforge");
    const mg_config *cfg = mg_get_config(p->lm);
    if (!cfg->melody || cfg->chroma_length != columns || cfg->chroma_bins != CONTROL_WIDTH) {
        return err_set(
            e, ERR_FORMAT,
            "stemforge.columns: %lld columns of %d, but the decoder's chroma is %lld x %lld",
            (long long)columns, CONTROL_WIDTH, (long long)cfg->chroma_length,
            (long long)cfg->chroma_bins);
    }
    p->grid.columns = (size_t)columns;
    return OK;
}

#define TEMPERATURE_MAX 2.0

// How boldly the model draws for a type of stem: {"bass": 0.6}; what is not there is 1.
static status read_temperatures(pipeline *p, const json *generation, err *e) {
    const json *given = json_find(generation, "temperature_by_stem");
    status rc = OK;
    if (given && !json_is_object(given))
        rc = err_set(e, ERR_FORMAT, "expected an object, found %s", json_kind(given));
    for (int i = 0; i < STEMFORGE_STEMS_MAX && !rc; i++)
        rc = json_opt_num(given, stem_types[i].name, 0, TEMPERATURE_MAX, &p->temperature[i], e);
    return rc ? err_within(e, rc, "temperature_by_stem") : OK;
}

// Rows of a prefix that are kept free for the text; a longer text shortens the window (plan.c).
#define TEXT_ROWS_RESERVED 24

static status read_windows(pipeline *p, const json *generation, err *e) {
    const mg_config *cfg = mg_get_config(p->lm);
    const encodec_config *audio = encodec_get_config(p->codec);
    p->frame_rate = (double)audio->sample_rate / (double)audio->hop;
    double window_s = 30, stride_s = 0;
    status rc = read_own(p, &window_s, &stride_s, e);
    if (rc) return rc;
    if (stride_s <= 0) stride_s = window_s * 18 / 30; // the reference's extend_stride
    int64_t lag = cfg->codebooks / cfg->channels;
    int64_t prefix = cfg->melody ? cfg->chroma_length + TEXT_ROWS_RESERVED : 0;
    p->window = (int64_t)(window_s * p->frame_rate + 0.5);
    p->window = MIN(p->window, cfg->positions - prefix - lag);
    if (p->window < 2) {
        return err_set(e, ERR_FORMAT,
                       "decoder.max_position_embeddings: %lld leave no room for audio",
                       (long long)cfg->positions);
    }
    p->stride = MAX(1, MIN((int64_t)(stride_s * p->frame_rate + 0.5), p->window * 18 / 30));
    int64_t top_k = 250; // the value that the model's authors use
    p->guidance = 3;
    rc = json_opt_int(generation, "top_k", 0, SAMPLER_CODES_MAX, &top_k, e);
    if (!rc) rc = json_opt_num(generation, "guidance_scale", 0, 100, &p->guidance, e);
    if (!rc) rc = read_temperatures(p, generation, e);
    p->top_k = (int)top_k;
    return rc ? err_within(e, rc, "generation_config.json") : OK;
}

static status open_chroma(pipeline *p, const json *preprocessor, err *e) {
    chroma_config cfg;
    status rc = chroma_config_read(&cfg, preprocessor, mg_get_config(p->lm)->chroma_bins, e);
    if (rc) return err_within(e, rc, "preprocessor_config.json");
    if (cfg.classes != mg_get_config(p->lm)->chroma_bins) {
        return err_set(e, ERR_FORMAT,
                       "preprocessor_config.json has %lld chroma bins, the decoder %lld",
                       (long long)cfg.classes, (long long)mg_get_config(p->lm)->chroma_bins);
    }
    return chroma_open(&p->chroma, &cfg, e);
}

// Opens the networks and reads their settings. Errors name the checkpoint, and a field or a tensor.
static status open_parts(pipeline *p, checkpoint *files, weights_type lm_type, compute *c,
                         const json *generation, const json *preprocessor, err *e) {
    status rc = bind(p, files, lm_type, c, e);
    if (!rc) rc = check_shapes(p, e);
    if (!rc) rc = check_documents(p, generation, preprocessor, e);
    if (!rc) rc = read_windows(p, generation, e);
    if (!rc && mg_get_config(p->lm)->melody && !p->has_grid) rc = open_chroma(p, preprocessor, e);
    return rc ? err_within(e, rc, "%.200s", files->path) : OK;
}

status pipeline_open(pipeline *out, checkpoint *files, weights_type lm_type, compute *c, err *e) {
    *out = (pipeline){.files = files};
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++) out->temperature[i] = 1;
    json *generation = NULL, *preprocessor = NULL;
    status rc = checkpoint_check_packed(files, lm_type, e);
    if (!rc) rc = checkpoint_document(&generation, files, "generation_config.json", false, e);
    if (!rc) rc = checkpoint_document(&preprocessor, files, "preprocessor_config.json", false, e);
    if (!rc) rc = checkpoint_open_tensors(files, e);
    if (!rc) rc = checkpoint_tokenizer(&out->tokenizer, files, e);
    if (!rc) rc = open_parts(out, files, lm_type, c, generation, preprocessor, e);
    json_free(generation);
    json_free(preprocessor);
    return rc;
}

void pipeline_close(pipeline *p) {
    chroma_close(p->chroma);
    tok_close(p->tokenizer);
    arena_deinit(&p->own);
    *p = (pipeline){0};
}

void pipeline_rest_text(const pipeline *p) {
    checkpoint_rest(p->files, "text_encoder.encoder.");
}
