// original.c - see original.h.
#include "engine/stableaudio/original.h"

#include <stdio.h>
#include <string.h>

#define ANY "*" // the value is read elsewhere, or means nothing to inference

// --- which keys, with which values

typedef struct {
    const char *key;
    const char *values; // "a|b": those that are done here
    const char *absent; // what an absent key means; NULL: it may be absent
} key_rule;

typedef struct {
    const char *path; // of the object
    const key_rule *rules;
    size_t count;
} key_check;

// The value as a word: what the rules compare.
static void word_of(char out[40], const json *v) {
    const char *s = json_str_value(v);
    if (s)
        snprintf(out, 40, "%s", s);
    else if (json_is_bool(v))
        snprintf(out, 40, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_num(v))
        snprintf(out, 40, "%g", json_num_value(v));
    else
        snprintf(out, 40, "%s", json_is_null(v) ? "null" : json_kind(v));
}

static bool one_of(const char *values, const char *word) {
    size_t n = strlen(word);
    for (const char *p = values; p && *p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == '|' || !p[n])) return true;
    return strcmp(values, ANY) == 0;
}

static status check_value(const key_check *k, const key_rule *r, const char *word, err *e) {
    if (one_of(r->values, word)) return OK;
    return err_set(e, ERR_FORMAT, "%s.%s: expected %s, found %s", k->path, r->key, r->values, word);
}

static status check_key(void *arg, const char *key, const json *value, err *e) {
    const key_check *k = arg;
    char word[40];
    word_of(word, value);
    for (size_t i = 0; i < k->count; i++)
        if (strcmp(k->rules[i].key, key) == 0) return check_value(k, &k->rules[i], word, e);
    return err_set(e, ERR_FORMAT, "%s.%.60s: expected a key that is known here, found this one",
                   k->path, key);
}

// The object may be absent: then all its keys are.
static status check_keys(const json *config, const key_check *k, err *e) {
    const json *object = json_find(config, k->path);
    if (object && !json_is_null(object) && !json_is_object(object))
        return err_set(e, ERR_FORMAT, "%s: expected an object, found %s", k->path,
                       json_kind(object));
    status rc = OK;
    if (json_is_object(object)) rc = json_each(object, check_key, (void *)(uintptr_t)k, e);
    for (size_t i = 0; i < k->count && !rc; i++) {
        const key_rule *r = &k->rules[i];
        if (!r->absent || json_member_of(object, r->key) || one_of(r->values, r->absent)) continue;
        rc = err_set(e, ERR_FORMAT, "%s.%s: expected %s, found nothing, which means %s", k->path,
                     r->key, r->values, r->absent);
    }
    return rc;
}

static const key_rule diffusion_keys[] = {{"type", "dit", "nothing"},
                                          {"config", ANY, NULL},
                                          {"cross_attention_cond_ids", ANY, NULL},
                                          {"global_cond_ids", ANY, NULL},
                                          {"diffusion_objective", ANY, NULL},
                                          {"distribution_shift_options", ANY, NULL},
                                          {"prepend_cond_ids", "null", NULL},
                                          {"input_concat_ids", "null", NULL}};
static const key_rule net_keys[] = {{"io_channels", ANY, NULL},
                                    {"embed_dim", ANY, NULL},
                                    {"depth", ANY, NULL},
                                    {"num_heads", ANY, NULL},
                                    {"cond_token_dim", ANY, NULL},
                                    {"global_cond_dim", ANY, NULL},
                                    {"project_cond_tokens", "true|false", NULL},
                                    {"diffusion_objective", ANY, NULL},
                                    {"zero_init_branch_outputs", ANY, NULL},
                                    {"abs_pos_emb_max_length", ANY, NULL},
                                    {"attn_kwargs", ANY, NULL},
                                    {"ff_kwargs", ANY, NULL},
                                    {"norm_kwargs", ANY, NULL},
                                    {"project_global_cond", "true", NULL},
                                    {"global_cond_type", "prepend", NULL},
                                    {"timestep_cond_type", "global", NULL},
                                    {"timestep_embed_dim", "null", NULL},
                                    {"transformer_type", "continuous_transformer", NULL},
                                    {"patch_size", "1", NULL},
                                    {"input_concat_dim", "0", NULL},
                                    {"prepend_cond_dim", "0", NULL},
                                    {"remove_norms", "false", NULL},
                                    {"conformer", "false", NULL},
                                    {"num_memory_tokens", "0", NULL},
                                    {"use_sinusoidal_emb", "false", NULL},
                                    {"use_abs_pos_emb", "false", NULL},
                                    {"rotary_pos_emb", "true", NULL},
                                    {"sliding_window", "null", NULL},
                                    {"causal", "false", NULL},
                                    {"final_cross_attn_ix", "-1", NULL},
                                    {"layer_scale", "false", NULL},
                                    {"add_rope", "false", NULL}};
static const key_rule attn_keys[] = {
    {"qk_norm", "none|ln", NULL}, {"differential", "false", NULL}, {"feat_scale", "false", NULL}};
static const key_rule ff_keys[] = {
    {"mult", "4", NULL}, {"glu", "true", NULL}, {"no_bias", "false", NULL}};
static const key_rule norm_keys[] = {{"eps", "1e-05", NULL},
                                     {"bias", ANY, NULL},
                                     {"fix_scale", ANY, NULL},
                                     {"force_fp32", ANY, NULL}};
static const key_rule pre_keys[] = {
    {"type", "autoencoder", "nothing"}, {"config", ANY, NULL},        {"scale", ANY, NULL},
    {"model_half", ANY, NULL},          {"iterate_batch", ANY, NULL}, {"chunked", ANY, NULL},
    {"enable_grad", ANY, NULL}};
static const key_rule coder_keys[] = {
    {"type", "oobleck", "nothing"}, {"config", ANY, NULL}, {"soft_clip", "true|false", NULL}};
static const key_rule codec_keys[] = {{"in_channels", "2", NULL},
                                      {"out_channels", "2", NULL},
                                      {"channels", ANY, NULL},
                                      {"c_mults", ANY, NULL},
                                      {"strides", ANY, NULL},
                                      {"latent_dim", ANY, NULL},
                                      {"use_snake", "true", "false"},
                                      {"antialias_activation", "false", NULL},
                                      {"use_nearest_upsample", "false", NULL},
                                      {"final_tanh", "true|false", NULL}};
static const key_rule bottleneck_keys[] = {{"type", "vae", "nothing"}, {"config", ANY, NULL}};

#define PRE "model.pretransform"
#define NET "model.diffusion.config"

static status check_all_keys(const json *config, err *e) {
    static const key_check checks[] = {
        {"model.diffusion", diffusion_keys, ARRAY_LEN(diffusion_keys)},
        {NET, net_keys, ARRAY_LEN(net_keys)},
        {NET ".attn_kwargs", attn_keys, ARRAY_LEN(attn_keys)},
        {NET ".ff_kwargs", ff_keys, ARRAY_LEN(ff_keys)},
        {NET ".norm_kwargs", norm_keys, ARRAY_LEN(norm_keys)},
        {PRE, pre_keys, ARRAY_LEN(pre_keys)},
        {PRE ".config.encoder", coder_keys, ARRAY_LEN(coder_keys)},
        {PRE ".config.decoder", coder_keys, ARRAY_LEN(coder_keys)},
        {PRE ".config.encoder.config", codec_keys, ARRAY_LEN(codec_keys)},
        {PRE ".config.decoder.config", codec_keys, ARRAY_LEN(codec_keys)},
        {PRE ".config.bottleneck", bottleneck_keys, ARRAY_LEN(bottleneck_keys)}};
    const char *type;
    status rc = json_get_str(config, "model_type", &type, e);
    if (!rc && strcmp(type, "diffusion_cond") != 0)
        rc = err_set(e, ERR_FORMAT, "model_type: expected \"diffusion_cond\", found \"%.40s\"",
                     type);
    for (size_t i = 0; i < ARRAY_LEN(checks) && !rc; i++) rc = check_keys(config, &checks[i], e);
    return rc;
}

// --- conditions

// Whether a list of names is `first` (or NULL), then "seconds_start" where with_start, then
// "seconds_total".
static bool list_is(const json *list, const char *first, bool with_start) {
    const char *const want[] = {first, with_start ? "seconds_start" : NULL, "seconds_total"};
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        if (!want[i]) continue;
        const char *found = json_str_value(json_at(list, at++));
        if (!found || strcmp(found, want[i]) != 0) return false;
    }
    return json_len(list) == at;
}

static status read_ids(bool *with_start, const json *config, err *e) {
    const json *cross, *whole;
    status rc = json_get_array(config, "model.diffusion.cross_attention_cond_ids", &cross, e);
    if (!rc) rc = json_get_array(config, "model.diffusion.global_cond_ids", &whole, e);
    if (rc) return rc;
    for (int k = 0; k < 2; k++) {
        *with_start = k;
        if (list_is(cross, "prompt", k) && list_is(whole, NULL, k)) return OK;
    }
    return err_set(
        e, ERR_FORMAT,
        "model.diffusion: expected cross_attention_cond_ids prompt, (seconds_start,) "
        "seconds_total and global_cond_ids (seconds_start,) seconds_total, found others");
}

static const json *condition_of(const json *config, const char *id) {
    const json *list = json_find(config, "model.conditioning.configs");
    for (size_t i = 0; i < json_len(list); i++) {
        const char *found = json_str_value(json_find(json_at(list, i), "id"));
        if (found && strcmp(found, id) == 0) return json_at(list, i);
    }
    return NULL;
}

static status expect_type(const json *condition, const char *id, const char *want, err *e) {
    const char *type = json_str_value(json_find(condition, "type"));
    if (type && strcmp(type, want) == 0) return OK;
    return err_set(e, ERR_FORMAT, "model.conditioning: %s: expected type \"%s\", found \"%.40s\"",
                   id, want, type ? type : "nothing");
}

static status read_text(sa_original *o, const json *config, err *e) {
    const json *text = condition_of(config, "prompt");
    const char *name = "t5-base";
    o->tokens = 128;
    status rc = expect_type(text, "prompt", "t5", e);
    if (!rc) rc = json_opt_int(text, "config.max_length", 1, 2048, &o->tokens, e);
    if (!rc) rc = json_opt_str(text, "config.t5_model_name", &name, e);
    snprintf(o->text_model, sizeof o->text_model, "%s", name);
    return rc;
}

typedef struct {
    double lo, hi;
} range;

static status read_range(range *out, const json *config, const char *id, err *e) {
    const json *number = condition_of(config, id);
    *out = (range){0, 1};
    status rc = expect_type(number, id, "number", e);
    if (!rc) rc = json_opt_num(number, "config.min_val", -1e6, 1e6, &out->lo, e);
    return rc ? rc : json_opt_num(number, "config.max_val", -1e6, 1e6, &out->hi, e);
}

static status read_conditions(sa_original *o, const json *config, err *e) {
    bool with_start = false;
    int64_t dim = 768;
    range end, start;
    status rc = read_ids(&with_start, config, e);
    if (!rc) rc = read_text(o, config, e);
    if (!rc) rc = json_get_int(config, "model.conditioning.cond_dim", 1, 16384, &dim, e);
    if (!rc) rc = read_range(&end, config, "seconds_total", e);
    if (!rc && with_start) rc = read_range(&start, config, "seconds_start", e);
    if (rc) return rc;
    if (with_start &&
        (start.lo < end.lo || start.lo > end.lo || start.hi < end.hi || start.hi > end.hi))
        return err_set(e, ERR_FORMAT,
                       "model.conditioning: expected one range for seconds_start and "
                       "seconds_total, found %g to %g and %g to %g",
                       start.lo, start.hi, end.lo, end.hi);
    json *j = o->projection = json_new_object();
    bool ok = json_set_int(j, "conditioning_dim", dim) && json_set_num(j, "min_value", end.lo) &&
              json_set_num(j, "max_value", end.hi) && json_set_bool(j, "seconds_start", with_start);
    return ok ? OK : err_set(e, ERR_OOM, "no memory for a configuration");
}

// --- networks

static status read_net(sa_original *o, const json *config, double frames, err *e) {
    int64_t channels = 32, width = 768, depth = 12, heads = 8, token = 0, whole = 0;
    bool project = true;
    const char *norm = "none";
    const struct {
        const char *key;
        int64_t *to;
    } ints[] = {{NET ".io_channels", &channels}, {NET ".embed_dim", &width},
                {NET ".depth", &depth},          {NET ".num_heads", &heads},
                {NET ".cond_token_dim", &token}, {NET ".global_cond_dim", &whole}};
    status rc = OK;
    for (size_t i = 0; i < ARRAY_LEN(ints) && !rc; i++)
        rc = json_opt_int(config, ints[i].key, 1, 16384, ints[i].to, e);
    if (!rc) rc = json_opt_bool(config, NET ".project_cond_tokens", &project, e);
    if (!rc) rc = json_opt_str(config, NET ".attn_kwargs.qk_norm", &norm, e);
    if (rc) return rc;
    int64_t head = width / heads, cross = project ? width : token;
    if (width % heads || !token || !whole || cross % head)
        return err_set(e, ERR_FORMAT,
                       NET ": expected num_heads %lld to divide embed_dim %lld, a cond_token_dim "
                           "in whole heads and a global_cond_dim, found %lld and %lld",
                       (long long)heads, (long long)width, (long long)token, (long long)whole);
    json *j = o->transformer = json_new_object();
    bool ok = json_set_num(j, "sample_size", frames) && json_set_int(j, "in_channels", channels) &&
              json_set_int(j, "out_channels", channels) && json_set_int(j, "num_layers", depth) &&
              json_set_int(j, "num_attention_heads", heads) &&
              json_set_int(j, "attention_head_dim", head) &&
              json_set_int(j, "num_key_value_attention_heads", cross / head) &&
              json_set_int(j, "cross_attention_dim", cross) &&
              json_set_int(j, "cross_attention_input_dim", token) &&
              json_set_int(j, "global_states_input_dim", whole) &&
              json_set_int(j, "time_proj_dim", 256) &&
              json_set_int(j, "rotary_dim", MAX(head / 2, 32)) &&
              json_set_bool(j, "qk_norm", strcmp(norm, "ln") == 0);
    return ok ? OK : err_set(e, ERR_OOM, "no memory for a configuration");
}

#define DECODER PRE ".config.decoder.config"
#define ENCODER PRE ".config.encoder.config"

// The encoder mirrors the decoder.
static status check_mirror(const json *config, int64_t latent, err *e) {
    int64_t both = 2 * latent;
    status rc = json_opt_int(config, ENCODER ".latent_dim", 1, 8192, &both, e);
    if (rc) return rc;
    if (both != 2 * latent)
        return err_set(e, ERR_FORMAT, ENCODER ".latent_dim: expected %lld, found %lld",
                       (long long)(2 * latent), (long long)both);
    static const char *const lists[] = {"strides", "c_mults"};
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        char path[2][80];
        snprintf(path[0], sizeof path[0], DECODER ".%s", lists[k]);
        snprintf(path[1], sizeof path[1], ENCODER ".%s", lists[k]);
        const json *a = json_find(config, path[0]), *b = json_find(config, path[1]);
        bool same = !b || json_len(a) == json_len(b);
        for (size_t i = 0; i < json_len(a) && b && same; i++)
            same = json_int_value(json_at(a, i)) == json_int_value(json_at(b, i));
        if (!same)
            return err_set(e, ERR_FORMAT, "%s: expected the list of the decoder, found another",
                           path[1]);
    }
    return OK;
}

static status read_codec(sa_original *o, const json *config, int64_t *hop, err *e) {
    int64_t latent = 64, width = 128, rate, encoder = 128;
    bool tanh = true, clip = false;
    double scale = 1;
    const json *strides, *times;
    status rc = json_get_array(config, DECODER ".strides", &strides, e);
    if (!rc) rc = json_get_array(config, DECODER ".c_mults", &times, e);
    if (!rc) rc = json_opt_int(config, DECODER ".latent_dim", 1, 4096, &latent, e);
    if (!rc) rc = json_opt_int(config, DECODER ".channels", 1, 4096, &width, e);
    if (!rc) rc = json_opt_int(config, ENCODER ".channels", 1, 4096, &encoder, e);
    if (!rc) rc = json_opt_bool(config, DECODER ".final_tanh", &tanh, e);
    if (!rc) rc = json_opt_bool(config, PRE ".config.decoder.soft_clip", &clip, e);
    if (!rc) rc = json_opt_num(config, PRE ".scale", 1e-6, 1e6, &scale, e);
    if (!rc) rc = json_get_int(config, "sample_rate", 1000, 384000, &rate, e);
    if (!rc) rc = check_mirror(config, latent, e);
    if (rc) return rc;
    *hop = 1;
    for (size_t i = 0; i < json_len(strides); i++)
        *hop = MIN(1 << 20, *hop * MAX(1, MIN(64, json_int_value(json_at(strides, i)))));
    json *j = o->vae = json_new_object();
    bool ok = json_set(j, "downsampling_ratios", json_copy_of(strides)) &&
              json_set(j, "channel_multiples", json_copy_of(times)) &&
              json_set_int(j, "decoder_channels", width) &&
              json_set_int(j, "encoder_hidden_size", encoder) &&
              json_set_int(j, "decoder_input_channels", latent) &&
              json_set_int(j, "audio_channels", 2) && json_set_int(j, "sampling_rate", rate) &&
              json_set_bool(j, "final_tanh", tanh || clip) && json_set_num(j, "scale", scale);
    return ok ? OK : err_set(e, ERR_OOM, "no memory for a configuration");
}

// What the original program does when it is told nothing else.
static status read_schedule(sa_schedule *s, const json *config, err *e) {
    const char *kind = "v";
    *s = sa_schedule_diffusers();
    s->unit = false;
    s->sampler = SA_3M_SDE;
    status rc = json_opt_str(config, "model.diffusion.diffusion_objective", &kind, e);
    if (!rc) rc = json_opt_str(config, NET ".diffusion_objective", &kind, e);
    if (rc || strcmp(kind, "v") == 0) return rc;
    s->flow = true;
    s->steps = strcmp(kind, "rf_denoiser") == 0 ? 8 : 50;
    s->sampler = strcmp(kind, "rf_denoiser") == 0 ? SA_PINGPONG : SA_EULER;
    if (strcmp(kind, "rf_denoiser") == 0) s->guidance = 1;
    if (strcmp(kind, "rf_denoiser") == 0 || strcmp(kind, "rectified_flow") == 0) return OK;
    return err_set(e, ERR_FORMAT,
                   "model.diffusion.diffusion_objective: expected v, rectified_flow or "
                   "rf_denoiser, found \"%.40s\"",
                   kind);
}

status sa_original_read(sa_original *out, const json *config, err *e) {
    *out = (sa_original){0};
    int64_t samples = 0, hop = 1;
    status rc = check_all_keys(config, e);
    if (!rc) rc = json_get_int(config, "sample_size", 1, (int64_t)1 << 32, &samples, e);
    if (!rc) rc = read_codec(out, config, &hop, e);
    if (!rc) rc = read_net(out, config, (double)(samples / hop), e);
    if (!rc) rc = read_conditions(out, config, e);
    return rc ? rc : read_schedule(&out->schedule, config, e);
}

void sa_original_close(sa_original *o) {
    json_free(o->transformer);
    json_free(o->vae);
    json_free(o->projection);
    *o = (sa_original){0};
}
