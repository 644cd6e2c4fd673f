// musicgen.c - see musicgen.h: its configuration, weights and conditions, and what a step costs.
#include "model/musicgen_inside.h"

// --- config

static status read_ints(mg_config *c, const json *j, err *e) {
    struct {
        const char *key;
        int64_t lo, hi, *to;
    } const ints[] = {
        {"hidden_size", 4, 16384, &c->d},
        {"num_hidden_layers", 1, 200, &c->layers},
        {"num_attention_heads", 1, 256, &c->heads},
        {"ffn_dim", 1, 65536, &c->ffn},
        {"vocab_size", 2, 65536, &c->vocab},
        {"num_codebooks", 1, MG_CODEBOOKS_MAX, &c->codebooks},
        {"max_position_embeddings", 16, MG_POSITIONS_MAX, &c->positions},
    };
    for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
        status rc = json_get_int(j, ints[i].key, ints[i].lo, ints[i].hi, ints[i].to, e);
        if (rc) return rc;
    }
    return OK;
}

static status read_decoder(mg_config *c, const json *j, err *e) {
    status rc = read_ints(c, j, e);
    if (rc) return rc;
    c->channels = 1; // absent in the first mono configs
    const char *act = "gelu";
    bool scale = false;
    rc = json_opt_int(j, "audio_channels", 1, 2, &c->channels, e);
    if (!rc) rc = json_opt_str(j, "activation_function", &act, e);
    if (!rc) rc = json_opt_bool(j, "scale_embedding", &scale, e);
    if (rc) return rc;
    if (strcmp(act, "gelu") != 0) {
        return err_set(e, ERR_FORMAT, "activation_function: expected \"gelu\", found \"%.40s\"",
                       act);
    }
    if (scale) return err_set(e, ERR_FORMAT, "scale_embedding: expected false, found true");
    if (c->d % c->heads || c->d % 2) {
        return err_set(e, ERR_FORMAT,
                       "hidden_size: expected an even multiple of %lld heads, found %lld",
                       (long long)c->heads, (long long)c->d);
    }
    if (c->codebooks % c->channels) {
        return err_set(e, ERR_FORMAT,
                       "num_codebooks: expected a multiple of %lld channels, found %lld",
                       (long long)c->channels, (long long)c->codebooks);
    }
    c->dh = c->d / c->heads;
    return OK;
}

static status read_config(mg_config *c, const json *root, err *e) {
    const json *decoder = NULL;
    const char *type = NULL;
    status rc = json_get_object(root, "decoder", &decoder, e);
    if (!rc) rc = json_get_str(root, "model_type", &type, e);
    if (rc) return rc;
    rc = read_decoder(c, decoder, e);
    if (rc) return err_within(e, "decoder");
    rc = json_get_int(root, "text_encoder.d_model", 1, 16384, &c->text_dim, e);
    if (rc) return rc;
    c->melody = strcmp(type, "musicgen_melody") == 0;
    if (!c->melody && strcmp(type, "musicgen") != 0) {
        return err_set(e, ERR_FORMAT,
                       "model_type: expected \"musicgen\" or \"musicgen_melody\", found \"%.40s\"",
                       type);
    }
    if (!c->melody) return OK;
    c->chroma_bins = 12;
    c->chroma_length = 235;
    rc = json_opt_int(root, "num_chroma", 1, MG_CHROMA_MAX, &c->chroma_bins, e);
    return rc ? rc : json_opt_int(root, "chroma_length", 1, 16384, &c->chroma_length, e);
}

// --- weights

#define DECODER "decoder.model.decoder."

static void bind_layer(weights *w, mg_layer *l, const mg_config *c, int64_t i) {
    int64_t d = c->d;
    const weight_spec own[] = {
        {"self_attn.q_proj.weight", BIND_MATRIX, &l->q, {d, d}},
        {"self_attn.k_proj.weight", BIND_MATRIX, &l->k, {d, d}},
        {"self_attn.v_proj.weight", BIND_MATRIX, &l->v, {d, d}},
        {"self_attn.out_proj.weight", BIND_MATRIX, &l->o, {d, d}},
        {"self_attn_layer_norm.weight", BIND_VECTOR, &l->attn.w, {d}},
        {"self_attn_layer_norm.bias", BIND_VECTOR, &l->attn.b, {d}},
        {"fc1.weight", BIND_MATRIX, &l->fc1, {c->ffn, d}},
        {"fc2.weight", BIND_MATRIX, &l->fc2, {d, c->ffn}},
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
    if (!c->melody) weights_bind(w, cross, ARRAY_LEN(cross), DECODER "layers.%lld.", (long long)i);
}

static void bind_top(weights *w, musicgen *m) {
    const mg_config *c = &m->cfg;
    weights_type layers = w->type;
    if (layers == WEIGHTS_Q4) w->type = WEIGHTS_Q8; // what is lost in the scores is not made up for
    for (int64_t k = 0; k < c->codebooks; k++) {
        const weight_spec spec[] = {
            {"weight", BIND_TABLE, &m->embed[k], {c->vocab + 1, c->d}},
        };
        const weight_spec head[] = {
            {"weight", BIND_MATRIX, &m->head[k], {c->vocab, c->d}},
        };
        weights_bind(w, spec, 1, DECODER "embed_tokens.%lld.", (long long)k);
        weights_bind(w, head, 1, "decoder.lm_heads.%lld.", (long long)k);
    }
    w->type = layers;
    const weight_spec spec[] = {
        {DECODER "layer_norm.weight", BIND_VECTOR, &m->norm.w, {c->d}},
        {DECODER "layer_norm.bias", BIND_VECTOR, &m->norm.b, {c->d}},
        {"enc_to_dec_proj.weight", BIND_TABLE, &m->text_proj, {c->d, c->text_dim}},
        {"enc_to_dec_proj.bias", BIND_VECTOR, &m->text_bias, {c->d}},
        {"audio_enc_to_dec_proj.weight", BIND_TABLE, &m->chroma_proj, {c->d, c->chroma_bins}},
        {"audio_enc_to_dec_proj.bias", BIND_VECTOR, &m->chroma_bias, {c->d}},
    };
    weights_bind(w, spec, c->melody ? 6 : 4, "%s", "");
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

void mg_project_text(const musicgen *m, compute *c, float *out, const float *states, int64_t n) {
    op_linear(c, &(linear_args){.y = out,
                                .ldy = m->cfg.d,
                                .x = states,
                                .ldx = m->cfg.text_dim,
                                .n = n,
                                .w = &m->text_proj,
                                .bias = m->text_bias});
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
    op_linear(c, &(linear_args){.y = out,
                                .ldy = d,
                                .x = chroma,
                                .ldx = bins,
                                .n = n,
                                .w = &m->chroma_proj,
                                .bias = m->chroma_bias});
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
    const mg_config *c = &m->cfg;
    int64_t layer = (c->melody ? 4 : 6) * c->d * c->d + 2 * c->d * c->ffn;
    return c->layers * layer + c->codebooks * c->vocab * c->d;
}

const weight *mg_widest(const musicgen *m) {
    return &m->layer[0].fc1;
}

size_t mg_row_bytes(const mg_config *c, int64_t p, dtype cache_type) {
    return mg_cache_bytes(c, p, 0, cache_type);
}
