// dit.c - configuration, weights and memory of the diffusion transformer; see dit.h.
#include "model/dit.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "compute/quant.h"
#include "model/dit_inside.h"

#define ROTARY_BASE 10000

// --- configuration

static status read_class(const json *j, err *e) {
    const char *name = "StableAudioDiTModel";
    status rc = json_opt_str(j, "_class_name", &name, e);
    if (rc || strcmp(name, "StableAudioDiTModel") == 0) return rc;
    return err_set(e, ERR_FORMAT, "_class_name: expected \"StableAudioDiTModel\", found \"%.60s\"",
                   name);
}

// sample_size may be no whole number: what is behind the point is cut off.
static status read_frames(dit_config *cfg, const json *j, err *e) {
    double frames = 1024;
    status rc = json_opt_num(j, "sample_size", 1, DIT_FRAMES_MAX, &frames, e);
    cfg->frames = (int64_t)frames;
    return rc;
}

static status expect_equal(const char *key, int64_t want, const char *why, int64_t found, err *e) {
    if (want == found) return OK;
    return err_set(e, ERR_FORMAT, "%s: expected %lld (%s), found %lld", key, (long long)want, why,
                   (long long)found);
}

static status check_widths(const dit_config *cfg, int64_t out, err *e) {
    status rc = expect_equal("out_channels", cfg->channels, "in_channels", out, e);
    if (!rc)
        rc = expect_equal("cross_attention_dim", cfg->kv_heads * cfg->dh,
                          "num_key_value_attention_heads * attention_head_dim", cfg->cross, e);
    if (rc) return rc;
    if (cfg->heads % cfg->kv_heads)
        return err_set(e, ERR_FORMAT,
                       "num_key_value_attention_heads: expected a divisor of num_attention_heads "
                       "%lld, found %lld",
                       (long long)cfg->heads, (long long)cfg->kv_heads);
    if (cfg->rotary % 2 || cfg->rotary > cfg->dh)
        return err_set(e, ERR_FORMAT,
                       "rotary_dim: expected an even number of at most attention_head_dim %lld, "
                       "found %lld",
                       (long long)cfg->dh, (long long)cfg->rotary);
    if (cfg->waves % 2)
        return err_set(e, ERR_FORMAT, "time_proj_dim: expected an even number, found %lld",
                       (long long)cfg->waves);
    return OK;
}

static status read_config(dit_config *cfg, const json *j, err *e) {
    int64_t out = 64; // absent keys mean the defaults of diffusers' class
    *cfg = (dit_config){.channels = 64,
                        .layers = 24,
                        .heads = 24,
                        .kv_heads = 12,
                        .dh = 64,
                        .context = 768,
                        .cross = 768,
                        .global = 1536,
                        .waves = 256};
    const struct {
        const char *key;
        int64_t hi, *to;
    } ints[] = {
        {"in_channels", 4096, &cfg->channels},
        {"out_channels", 4096, &out},
        {"num_layers", 200, &cfg->layers},
        {"attention_head_dim", 1024, &cfg->dh},
        {"num_attention_heads", 256, &cfg->heads},
        {"num_key_value_attention_heads", 256, &cfg->kv_heads},
        {"cross_attention_dim", 16384, &cfg->cross},
        {"cross_attention_input_dim", 16384, &cfg->context},
        {"global_states_input_dim", 16384, &cfg->global},
        {"time_proj_dim", 16384, &cfg->waves},
    };
    status rc = read_class(j, e);
    for (size_t i = 0; i < ARRAY_LEN(ints) && !rc; i++)
        rc = json_opt_int(j, ints[i].key, 1, ints[i].hi, ints[i].to, e);
    cfg->rotary = cfg->dh / 2;
    if (!rc) rc = json_opt_int(j, "rotary_dim", 2, 1024, &cfg->rotary, e);
    if (!rc) rc = json_opt_bool(j, "qk_norm", &cfg->norms, e);
    if (!rc) rc = read_frames(cfg, j, e);
    if (!rc) rc = check_widths(cfg, out, e);
    cfg->d = cfg->heads * cfg->dh;
    cfg->ff = 4 * cfg->d;
    return rc;
}

// --- weights

static void bind_norms(weights *w, dit_attention *a, int64_t dh, const char *name, int64_t i) {
    const weight_spec spec[] = {
        {"norm_q.weight", BIND_VECTOR, &a->q_norm_w, {dh}},
        {"norm_q.bias", BIND_VECTOR, &a->q_norm_b, {dh}},
        {"norm_k.weight", BIND_VECTOR, &a->k_norm_w, {dh}},
        {"norm_k.bias", BIND_VECTOR, &a->k_norm_b, {dh}},
    };
    weights_bind(w, spec, ARRAY_LEN(spec), "transformer_blocks.%lld.%s.", (long long)i, name);
}

static void bind_block(weights *w, dit_block *b, const dit_config *cfg, int64_t i) {
    int64_t d = cfg->d, cross = cfg->cross;
    const weight_spec spec[] = {
        {"norm1.weight", BIND_VECTOR, &b->self.norm_w, {d}},
        {"norm1.bias", BIND_VECTOR, &b->self.norm_b, {d}},
        {"attn1.to_q.weight", BIND_MATRIX, &b->self.q, {d, d}},
        {"attn1.to_k.weight", BIND_MATRIX, &b->self.k, {d, d}},
        {"attn1.to_v.weight", BIND_MATRIX, &b->self.v, {d, d}},
        {"attn1.to_out.0.weight", BIND_MATRIX, &b->self.o, {d, d}},
        {"norm2.weight", BIND_VECTOR, &b->cross.norm_w, {d}},
        {"norm2.bias", BIND_VECTOR, &b->cross.norm_b, {d}},
        {"attn2.to_q.weight", BIND_MATRIX, &b->cross.q, {d, d}},
        {"attn2.to_k.weight", BIND_MATRIX, &b->cross.k, {cross, cross}},
        {"attn2.to_v.weight", BIND_MATRIX, &b->cross.v, {cross, cross}},
        {"attn2.to_out.0.weight", BIND_MATRIX, &b->cross.o, {d, d}},
        {"norm3.weight", BIND_VECTOR, &b->norm_w, {d}},
        {"norm3.bias", BIND_VECTOR, &b->norm_b, {d}},
        {"ff.net.0.proj.weight", BIND_MATRIX, &b->up, {2 * cfg->ff, d}},
        {"ff.net.0.proj.bias", BIND_VECTOR, &b->up_b, {2 * cfg->ff}},
        {"ff.net.2.weight", BIND_MATRIX, &b->down, {d, cfg->ff}},
        {"ff.net.2.bias", BIND_VECTOR, &b->down_b, {d}},
    };
    weights_bind(w, spec, ARRAY_LEN(spec), "transformer_blocks.%lld.", (long long)i);
    if (!cfg->norms) return;
    bind_norms(w, &b->self, cfg->dh, "attn1", i);
    bind_norms(w, &b->cross, cfg->dh, "attn2", i);
}

// These stay as the file has them: they are small, and what they make goes everywhere.
static void bind_top(weights *w, dit *m) {
    const dit_config *cfg = &m->cfg;
    int64_t d = cfg->d, cross = cfg->cross, ch = cfg->channels;
    const weight_spec spec[] = {
        {"time_proj.weight", BIND_VECTOR, &m->waves, {cfg->waves / 2}},
        {"timestep_proj.0.weight", BIND_TABLE, &m->time0, {d, cfg->waves}},
        {"timestep_proj.0.bias", BIND_VECTOR, &m->time0_b, {d}},
        {"timestep_proj.2.weight", BIND_TABLE, &m->time2, {d, d}},
        {"timestep_proj.2.bias", BIND_VECTOR, &m->time2_b, {d}},
        {"global_proj.0.weight", BIND_TABLE, &m->global0, {d, cfg->global}},
        {"global_proj.2.weight", BIND_TABLE, &m->global2, {d, d}},
        {"cross_attention_proj.0.weight", BIND_TABLE, &m->context0, {cross, cfg->context}},
        {"cross_attention_proj.2.weight", BIND_TABLE, &m->context2, {cross, cross}},
        {"proj_in.weight", BIND_TABLE, &m->in, {d, ch}},
        {"proj_out.weight", BIND_TABLE, &m->out, {ch, d}},
    };
    weights_bind(w, spec, ARRAY_LEN(spec), "%s", "");
}

// A convolution of one tap is a matrix with a third axis of length 1.
static void bind_mix(weights *w, weight *out, const char *name, int64_t ch) {
    tensor t = {0};
    const weight_spec spec = {name, BIND_TENSOR, &t, {ch, ch, 1}};
    weights_bind(w, &spec, 1, "%s", "");
    *out = (weight){.type = t.type, .rows = ch, .cols = ch, .data = t.data};
    if (!t.data) return;
    weights_keep(w, out, "%s", name);
    weights_count(w, ch * ch, weight_size(out));
}

status dit_open(dit **out, weights *w, const json *config, arena *own, err *e) {
    *out = NULL;
    dit *m = arena_alloc(own, sizeof *m);
    if (!m) return err_set(e, ERR_OOM, "no memory for the transformer");
    status rc = read_config(&m->cfg, config, e);
    if (rc) return rc;
    m->block = arena_alloc(own, (size_t)m->cfg.layers * sizeof *m->block);
    if (!m->block) return err_set(e, ERR_OOM, "no memory for the transformer");
    bind_top(w, m);
    bind_mix(w, &m->before, "preprocess_conv.weight", m->cfg.channels);
    bind_mix(w, &m->after, "postprocess_conv.weight", m->cfg.channels);
    for (int64_t i = 0; i < m->cfg.layers; i++) bind_block(w, &m->block[i], &m->cfg, i);
    *out = m;
    return OK;
}

const dit_config *dit_get_config(const dit *m) {
    return &m->cfg;
}

double dit_products(const dit *m, int64_t frames, int64_t rows) {
    const dit_config *cfg = &m->cfg;
    double n = (double)frames + 1, d = (double)cfg->d;
    double matrices = 4 * d * d + 3 * (double)cfg->ff * d + (rows ? 2 * d * d : 0);
    double attention = 2 * d * (n + (double)rows);
    double ends = 2 * (double)frames * (double)cfg->channels * (double)(cfg->d + cfg->channels);
    return (double)cfg->layers * n * (matrices + attention) + ends;
}

const weight *dit_widest(const dit *m) {
    return &m->block[0].up;
}

// --- contexts

size_t dit_context_bytes(const dit *m, int64_t rows) {
    const attend_rows_shape s = dit_attention_shape(&m->cfg, true);
    return 2 * (size_t)m->cfg.layers * attend_rows_values(&s, rows) * sizeof(float);
}

static bool alloc_context(dit_context *x, const dit_config *cfg) {
    const attend_rows_shape s = dit_attention_shape(cfg, true);
    size_t values = attend_rows_values(&s, x->n);
    x->kv = arena_alloc(&x->own, (size_t)cfg->layers * sizeof *x->kv);
    for (int64_t i = 0; x->kv && i < cfg->layers; i++) {
        x->kv[i].k = arena_f32(&x->own, 1, values);
        x->kv[i].v = arena_f32(&x->own, 1, values);
    }
    return !x->own.failed;
}

// work: memory that is given back by the caller.
static status fill_context(dit_context *x, const dit *m, compute *c, const float *rows, arena *work,
                           err *e) {
    size_t n = (size_t)x->n, width = (size_t)m->cfg.cross;
    float *hidden = arena_f32(work, n, width), *y = arena_f32(work, n, width);
    float *k = arena_f32(work, n, width), *v = arena_f32(work, n, width);
    if (work->failed) return err_set(e, ERR_OOM, "no memory for a context");
    dit_run_mlp(c, &(dit_mlp){.y = y,
                              .x = rows,
                              .w0 = &m->context0,
                              .w2 = &m->context2,
                              .hidden = hidden,
                              .n = x->n});
    for (int64_t i = 0; i < m->cfg.layers; i++)
        dit_put_context(m, c, &m->block[i], y, x->n, k, v, x->kv[i]);
    return OK;
}

status dit_context_create(dit_context **out, const dit *m, compute *c, const float *rows, int64_t n,
                          err *e) {
    *out = NULL;
    if (n < 1 || n > DIT_ROWS_MAX)
        return err_set(e, ERR_LIMIT, "a context of %lld rows, expected 1 to %d", (long long)n,
                       DIT_ROWS_MAX);
    dit_context *x = mem_calloc(1, sizeof *x);
    if (!x) return err_set(e, ERR_OOM, "no memory for a context");
    x->n = n;
    arena work = {0};
    status rc = alloc_context(x, &m->cfg) ? OK : err_set(e, ERR_OOM, "no memory for a context");
    if (!rc) rc = fill_context(x, m, c, rows, &work, e);
    if (!rc) rc = compute_reserve(c, n, e);
    arena_deinit(&work);
    if (rc)
        dit_context_free(x);
    else
        *out = x;
    return rc;
}

void dit_context_free(dit_context *x) {
    if (!x) return;
    arena_deinit(&x->own);
    mem_free(x);
}

// --- memory

// Angle = position * frequency, each rounded to f32 as the reference has them.
static void fill_rotary(dit_room *s, const dit_config *cfg) {
    int64_t half = cfg->rotary / 2;
    for (int64_t p = 0; p <= s->cap; p++) {
        for (int64_t i = 0; i < half; i++) {
            double power = (double)(2 * i) / (double)cfg->rotary;
            float base = (float)num_exp(power * num_log2(ROTARY_BASE) / num_log2(NUM_E));
            float angle = (float)p * (1.0f / base);
            double turns = (double)angle / (2 * NUM_PI);
            s->cosines[p * half + i] = (float)num_cos_turns(turns);
            s->sines[p * half + i] = (float)num_sin_turns(turns);
        }
    }
}

// Whether every product of a block reads rows in 8 bits.
static bool all_packed(const dit *m) {
    bool packed = m->cfg.ff % QUANT_BLOCK == 0;
    for (int64_t i = 0; i < m->cfg.layers; i++) {
        const dit_block *b = &m->block[i];
        const weight *w[] = {&b->self.q, &b->self.k, &b->self.v, &b->cross.q, &b->up, &b->down};
        for (size_t j = 0; j < ARRAY_LEN(w); j++) packed &= quant_is(w[j]->type);
    }
    return packed;
}

static void alloc_hidden(dit_room *s, const dit *m) {
    size_t rows = (size_t)s->cap + 1, ff = (size_t)m->cfg.ff;
    if (all_packed(m)) {
        size_t blocks = (size_t)quant_blocks(m->cfg.d);
        s->norm_q = arena_alloc(&s->own, rows * blocks * sizeof(qblock));
        s->gated_q = arena_alloc(&s->own, rows * ff / QUANT_BLOCK * sizeof(qblock));
    } else {
        s->hidden = arena_f32(&s->own, rows, 2 * ff);
        s->gated = arena_f32(&s->own, rows, ff);
    }
}

static bool alloc_room(dit_room *s, const dit *m) {
    const dit_config *cfg = &m->cfg;
    size_t rows = (size_t)s->cap + 1, d = (size_t)cfg->d, ch = (size_t)cfg->channels;
    arena *a = &s->own;
    float **const wide[] = {&s->h, &s->norm, &s->q, &s->k, &s->v, &s->ctx};
    for (size_t i = 0; i < ARRAY_LEN(wide); i++) *wide[i] = arena_f32(a, rows, d);
    alloc_hidden(s, m);
    s->latent = arena_f32(a, rows, ch);
    s->back = arena_f32(a, rows, ch);
    s->waves = arena_f32(a, 1, (size_t)cfg->waves);
    s->wide = arena_f32(a, 1, d);
    s->cosines = arena_f32(a, rows, (size_t)cfg->rotary / 2);
    s->sines = arena_f32(a, rows, (size_t)cfg->rotary / 2);
    const attend_rows_shape frames = dit_attention_shape(cfg, false);
    size_t values = attend_rows_values(&frames, s->cap + 1);
    s->kv = (dit_kv){arena_f32(a, 1, values), arena_f32(a, 1, values)};
    return !a->failed;
}

status dit_room_create(dit_room **out, const dit *m, compute *c, int64_t frames, err *e) {
    *out = NULL;
    dit_room *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "no memory for the transformer");
    s->cap = frames;
    status rc = alloc_room(s, m) ? OK
                                 : err_set(e, ERR_OOM, "no memory for a canvas of %lld frames",
                                           (long long)frames);
    if (!rc) rc = compute_reserve(c, frames + 1, e);
    if (rc) {
        dit_room_free(s);
        return rc;
    }
    fill_rotary(s, &m->cfg);
    *out = s;
    return OK;
}

void dit_room_free(dit_room *s) {
    if (!s) return;
    arena_deinit(&s->own);
    mem_free(s);
}
