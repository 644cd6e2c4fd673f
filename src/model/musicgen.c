// musicgen.c - see musicgen.h: its configuration, weights and conditions, and what a step costs.
#include "model/musicgen_inside.h"

// --- config

static status read_ints(mg_config *cfg, const json *j, err *e) {
    struct {
        const char *key;
        int64_t lo, hi, *to;
    } const ints[] = {
        {"hidden_size", 4, 16384, &cfg->d},
        {"num_hidden_layers", 1, 200, &cfg->layers},
        {"num_attention_heads", 1, 256, &cfg->heads},
        {"ffn_dim", 1, 65536, &cfg->ffn},
        {"vocab_size", 2, 65536, &cfg->vocab},
        {"num_codebooks", 1, MG_CODEBOOKS_MAX, &cfg->codebooks},
        {"max_position_embeddings", 16, MG_POSITIONS_MAX, &cfg->positions},
    };
    for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
        status rc = json_get_int(j, ints[i].key, ints[i].lo, ints[i].hi, ints[i].to, e);
        if (rc) return rc;
    }
    return OK;
}

// The special code stands before the first column and where a codebook has not begun; its embedding
// is the row behind the codes. A file may name it, but no other row would be it.
status mg_check_special(const json *j, int64_t vocab, err *e) {
    static const char *const keys[] = {"bos_token_id", "pad_token_id", "decoder_start_token_id"};
    for (size_t i = 0; j && i < ARRAY_LEN(keys); i++) {
        int64_t id = vocab;
        status rc = json_opt_int(j, keys[i], INT32_MIN, INT32_MAX, &id, e);
        if (rc) return rc;
        if (id == vocab) continue;
        return err_set(e, ERR_FORMAT, "%s: expected vocab_size %lld (the special code), found %lld",
                       keys[i], (long long)vocab, (long long)id);
    }
    return OK;
}

static status expect_type(const json *j, const char *want, err *e) {
    const char *type = want;
    status rc = json_opt_str(j, "model_type", &type, e);
    if (rc || strcmp(type, want) == 0) return rc;
    return err_set(e, ERR_FORMAT, "model_type: expected \"%s\", found \"%.40s\"", want, type);
}

// What changes the network without changing a shape.
static status read_kind(mg_config *cfg, const json *j, err *e) {
    const char *act = "gelu";
    bool tied = false;
    status rc = expect_type(j, cfg->melody ? "musicgen_melody_decoder" : "musicgen_decoder", e);
    if (!rc) rc = json_opt_str(j, "activation_function", &act, e);
    if (!rc) rc = json_opt_bool(j, "tie_word_embeddings", &tied, e);
    if (!rc) rc = mg_check_special(j, cfg->vocab, e);
    if (rc) return rc;
    if (tied) {
        return err_set(e, ERR_FORMAT,
                       "tie_word_embeddings: expected false (heads of their own), found true");
    }
    cfg->act = ACT_GELU;
    if (strcmp(act, "gelu") == 0) return OK;
    cfg->act = ACT_RELU;
    if (strcmp(act, "relu") == 0) return OK;
    return err_set(e, ERR_FORMAT,
                   "activation_function: expected \"gelu\" or \"relu\", found \"%.40s\"", act);
}

static status read_decoder(mg_config *cfg, const json *j, err *e) {
    status rc = read_ints(cfg, j, e);
    cfg->channels = 1; // absent in the first mono configs
    if (!rc) rc = json_opt_int(j, "audio_channels", 1, 2, &cfg->channels, e);
    if (!rc) rc = read_kind(cfg, j, e);
    if (rc) return rc;
    if (cfg->d % cfg->heads || cfg->d % 2) {
        return err_set(e, ERR_FORMAT,
                       "hidden_size: expected an even multiple of %lld heads, found %lld",
                       (long long)cfg->heads, (long long)cfg->d);
    }
    if (cfg->codebooks % cfg->channels) {
        return err_set(e, ERR_FORMAT,
                       "num_codebooks: expected a multiple of %lld channels, found %lld",
                       (long long)cfg->channels, (long long)cfg->codebooks);
    }
    cfg->dh = cfg->d / cfg->heads;
    return OK;
}

static status read_chroma(mg_config *cfg, const json *root, err *e) {
    cfg->chroma_bins = 12;
    cfg->chroma_length = 235;
    status rc = json_opt_int(root, "num_chroma", 1, MG_CHROMA_MAX, &cfg->chroma_bins, e);
    if (!rc) rc = json_opt_int(root, "chroma_length", 1, 16384, &cfg->chroma_length, e);
    if (rc || !json_find(root, "stemforge")) return rc;
    return json_opt_int(root, "stemforge.control_layers", 1, cfg->layers, &cfg->control_layers, e);
}

// States that are as wide as the decoder have no projection. The text model leaves it out as well
// when the file names the width that it attends across to, which must then be the decoder's.
static status read_text_width(mg_config *cfg, const json *root, err *e) {
    status rc = json_get_int(root, "text_encoder.d_model", 1, 16384, &cfg->text_dim, e);
    cfg->text_projected = cfg->text_dim != cfg->d;
    const json *across = json_find(root, "decoder.cross_attention_hidden_size");
    if (rc || cfg->melody || !across || json_is_null(across)) return rc;
    int64_t width = 0;
    rc = json_get_int(root, "decoder.cross_attention_hidden_size", 1, 65536, &width, e);
    if (rc || (width == cfg->text_dim && width == cfg->d)) return rc;
    return err_set(e, ERR_FORMAT,
                   "decoder.cross_attention_hidden_size: expected null, or the width of both the "
                   "text encoder (%lld) and the decoder (%lld), found %lld",
                   (long long)cfg->text_dim, (long long)cfg->d, (long long)width);
}

static status read_family(mg_config *cfg, const json *root, err *e) {
    const char *type = NULL;
    bool tied = false;
    status rc = json_get_str(root, "model_type", &type, e);
    if (!rc) rc = json_opt_bool(root, "tie_encoder_decoder", &tied, e);
    if (rc) return rc;
    if (tied) return err_set(e, ERR_FORMAT, "tie_encoder_decoder: expected false, found true");
    cfg->melody = strcmp(type, "musicgen_melody") == 0;
    if (cfg->melody || strcmp(type, "musicgen") == 0) return OK;
    return err_set(
        e, ERR_FORMAT,
        "model_type: expected \"musicgen\" or \"musicgen_melody\", found \"%.40s\": this "
        "program does not run that family",
        type);
}

static status read_config(mg_config *cfg, const json *root, err *e) {
    const json *decoder = NULL;
    status rc = read_family(cfg, root, e);
    if (!rc) rc = json_get_object(root, "decoder", &decoder, e);
    if (rc) return rc;
    rc = read_decoder(cfg, decoder, e);
    if (rc) return err_within(e, rc, "decoder");
    cfg->control_layers = cfg->layers;
    if (cfg->melody) rc = read_chroma(cfg, root, e);
    return rc ? rc : read_text_width(cfg, root, e);
}

// --- weights

#define DECODER "decoder.model.decoder."

static void bind_layer(weights *w, mg_layer *l, const mg_config *cfg, int64_t i) {
    int64_t d = cfg->d;
    const weight_spec own[] = {
        {"self_attn.q_proj.weight", BIND_MATRIX, &l->q, {d, d}},
        {"self_attn.k_proj.weight", BIND_MATRIX, &l->k, {d, d}},
        {"self_attn.v_proj.weight", BIND_MATRIX, &l->v, {d, d}},
        {"self_attn.out_proj.weight", BIND_MATRIX, &l->o, {d, d}},
        {"self_attn_layer_norm.weight", BIND_VECTOR, &l->attn.w, {d}},
        {"self_attn_layer_norm.bias", BIND_VECTOR, &l->attn.b, {d}},
        {"fc1.weight", BIND_MATRIX, &l->fc1, {cfg->ffn, d}},
        {"fc2.weight", BIND_MATRIX, &l->fc2, {d, cfg->ffn}},
        {"final_layer_norm.weight", BIND_VECTOR, &l->ffn.w, {d}},
        {"final_layer_norm.bias", BIND_VECTOR, &l->ffn.b, {d}},
    };
    const weight_spec cross[] = {
        {"encoder_attn.q_proj.weight", BIND_MATRIX, &l->cq, {d, d}},
        {"encoder_attn.k_proj.weight", BIND_MATRIX, &l->ck, {d, d}},
        {"encoder_attn.v_proj.weight", BIND_MATRIX, &l->cv, {d, d}},
        {"encoder_attn.out_proj.weight", BIND_MATRIX, &l->co, {d, d}},
        {"encoder_attn_layer_norm.weight", BIND_VECTOR, &l->cross.w, {d}},
        {"encoder_attn_layer_norm.bias", BIND_VECTOR, &l->cross.b, {d}},
    };
    weights_bind(w, own, ARRAY_LEN(own), DECODER "layers.%lld.", (long long)i);
    if (!cfg->melody)
        weights_bind(w, cross, ARRAY_LEN(cross), DECODER "layers.%lld.", (long long)i);
}

static void bind_top(weights *w, musicgen *m) {
    const mg_config *cfg = &m->cfg;
    weights_type layers = w->type;
    if (layers == WEIGHTS_Q4) w->type = WEIGHTS_Q8; // what is lost in the scores is not made up for
    for (int64_t k = 0; k < cfg->codebooks; k++) {
        const weight_spec spec[] = {
            {"weight", BIND_TABLE, &m->embed[k], {cfg->vocab + 1, cfg->d}},
        };
        const weight_spec head[] = {
            {"weight", BIND_MATRIX, &m->head[k], {cfg->vocab, cfg->d}},
        };
        weights_bind(w, spec, 1, DECODER "embed_tokens.%lld.", (long long)k);
        weights_bind(w, head, 1, "decoder.lm_heads.%lld.", (long long)k);
    }
    w->type = layers;
    const weight_spec norm[] = {
        {DECODER "layer_norm.weight", BIND_VECTOR, &m->norm.w, {cfg->d}},
        {DECODER "layer_norm.bias", BIND_VECTOR, &m->norm.b, {cfg->d}},
    };
    weights_bind(w, norm, ARRAY_LEN(norm), "%s", "");
    const weight_spec text[] = {
        {"enc_to_dec_proj.weight", BIND_TABLE, &m->text_proj, {cfg->d, cfg->text_dim}},
        {"enc_to_dec_proj.bias", BIND_VECTOR, &m->text_bias, {cfg->d}},
    };
    if (cfg->text_projected) weights_bind(w, text, ARRAY_LEN(text), "%s", "");
    const weight_spec chroma[] = {
        {"audio_enc_to_dec_proj.weight", BIND_TABLE, &m->chroma_proj, {cfg->d, cfg->chroma_bins}},
        {"audio_enc_to_dec_proj.bias", BIND_VECTOR, &m->chroma_bias, {cfg->d}},
    };
    if (cfg->melody && cfg->chroma_bins != cfg->d)
        weights_bind(w, chroma, ARRAY_LEN(chroma), "%s", "");
}

status mg_open(musicgen **out, weights *w, const json *root, arena *own, err *e) {
    *out = NULL;
    musicgen *m = arena_alloc(own, sizeof *m);
    if (!m) return err_set(e, ERR_OOM, "no memory for the decoder");
    status rc = read_config(&m->cfg, root, e);
    if (rc) return rc;
    m->layer = arena_alloc(own, (size_t)m->cfg.layers * sizeof *m->layer);
    if (!m->layer) return err_set(e, ERR_OOM, "no memory for the decoder");
    bind_top(w, m);
    for (int64_t i = 0; i < m->cfg.layers; i++) bind_layer(w, &m->layer[i], &m->cfg, i);
    *out = m;
    return OK;
}

const mg_config *mg_get_config(const musicgen *m) {
    return &m->cfg;
}

// --- conditioning

// out [n, w->rows] = x [n, width] w^T + bias; without a matrix the rows themselves.
static void project(const weight *w, const float *bias, compute *c, float *out, const float *x,
                    int64_t n, int64_t width) {
    if (!w->data) {
        memcpy(out, x, (size_t)(n * width) * sizeof *out);
        return;
    }
    op_linear(c, &(linear_args){
                     .y = out, .ldy = w->rows, .x = x, .ldx = width, .n = n, .w = w, .bias = bias});
}

void mg_project_text(const musicgen *m, compute *c, float *out, const float *states, int64_t n) {
    project(&m->text_proj, m->text_bias, c, out, states, n, m->cfg.text_dim);
}

void mg_project_chroma(const musicgen *m, compute *c, float *out, const float *chroma,
                       int64_t rows) {
    int64_t bins = m->cfg.chroma_bins, length = m->cfg.chroma_length, d = m->cfg.d;
    float silence[MG_CHROMA_MAX] = {1}; // what the reference makes of silence: bin 0
    if (!chroma || rows < 1) {
        chroma = silence;
        rows = 1;
    }
    int64_t n = MIN(rows, length);
    project(&m->chroma_proj, m->chroma_bias, c, out, chroma, n, bins);
    for (int64_t i = n; i < length; i++)
        memcpy(out + i * d, out + (i % n) * d, (size_t)d * sizeof *out);
}

// --- what a step costs

size_t mg_step_bytes(const musicgen *m, bool with_text) {
    size_t n = 0;
    for (int64_t i = 0; i < m->cfg.layers; i++) {
        const mg_layer *l = &m->layer[i];
        n += weight_size(&l->q) + weight_size(&l->k) + weight_size(&l->v) + weight_size(&l->o);
        n += weight_size(&l->fc1) + weight_size(&l->fc2);
        if (with_text && !m->cfg.melody) n += weight_size(&l->cq) + weight_size(&l->co);
    }
    for (int64_t k = 0; k < m->cfg.codebooks; k++) n += weight_size(&m->head[k]);
    return n;
}

int64_t mg_step_values(const musicgen *m) {
    const mg_config *cfg = &m->cfg;
    int64_t layer = (cfg->melody ? 4 : 6) * cfg->d * cfg->d + 2 * cfg->d * cfg->ffn;
    return cfg->layers * layer + cfg->codebooks * cfg->vocab * cfg->d;
}

const weight *mg_widest(const musicgen *m) {
    return &m->layer[0].fc1;
}

// A position within the unread rows reads nothing of the upper layers.
size_t mg_row_bytes(const mg_config *cfg, int64_t p, dtype cache_type) {
    return mg_cache_bytes(cfg, p, 0, cache_type);
}
