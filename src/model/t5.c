// t5.c - see t5.h.
//
//     x = shared[token]
//     each block:
//         h = rms_norm(x)                                     self-attention
//         x += softmax(q k^T + bias[bucket(j - i)]) v Wo      q, k, v = h Wq, h Wk, h Wv
//         h = rms_norm(x)                                     feed-forward
//         x += relu(h Wi) Wo
//     states = rms_norm(x)
//
// The bias of query i and key j is the same in every block: block 0 has the table.
#include "model/t5.h"

#include <math.h>

#include "compute/math.h"
#include "model/finite.h"
#include "model/t5_weights.h"

// What changes the network without changing a shape. transformers derives dense_act_fn and
// is_gated_act from feed_forward_proj, but the file's own values win where it has them.
static status read_kind(t5_config *cfg, const json *j, err *e) {
    const char *type = "t5", *ff = "relu";
    status rc = json_opt_str(j, "model_type", &type, e);
    if (!rc) rc = json_opt_str(j, "feed_forward_proj", &ff, e);
    if (rc) return rc;
    const char *gate = "gated-", *act = ff;
    bool gated = strncmp(ff, gate, strlen(gate)) == 0;
    rc = json_opt_str(j, "dense_act_fn", &act, e);
    if (!rc) rc = json_opt_bool(j, "is_gated_act", &gated, e);
    if (rc) return rc;
    if (strcmp(type, "t5") != 0)
        return err_set(e, ERR_FORMAT, "model_type: expected \"t5\", found \"%.40s\"", type);
    if (gated)
        return err_set(e, ERR_FORMAT,
                       "feed_forward_proj: expected \"relu\" or \"gelu\" without a gate, found "
                       "\"%.40s\"%s",
                       ff, strncmp(ff, gate, strlen(gate)) ? " with is_gated_act true" : "");
    cfg->act = ACT_RELU;
    if (strcmp(act, "relu") == 0) return OK;
    cfg->act = ACT_GELU;
    if (strcmp(act, "gelu") == 0) return OK;
    return err_set(e, ERR_FORMAT, "%s: expected \"relu\" or \"gelu\", found \"%.40s\"",
                   act == ff ? "feed_forward_proj" : "dense_act_fn", act);
}

static status read_config(t5_config *cfg, const json *j, err *e) {
    struct {
        const char *key;
        int64_t lo, hi, *to;
    } const ints[] = {
        {"d_model", 1, 16384, &cfg->d_model}, {"d_kv", 1, 1024, &cfg->d_kv},
        {"d_ff", 1, 65536, &cfg->d_ff},       {"num_layers", 1, 200, &cfg->layers},
        {"num_heads", 1, 256, &cfg->heads},   {"vocab_size", 2, 1 << 24, &cfg->vocab},
    };
    for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
        status rc = json_get_int(j, ints[i].key, ints[i].lo, ints[i].hi, ints[i].to, e);
        if (rc) return rc;
    }
    cfg->buckets = 32;
    cfg->max_distance = 128;
    cfg->eps = 1e-6;
    status rc =
        json_opt_int(j, "relative_attention_num_buckets", 4, T5_BUCKETS_MAX, &cfg->buckets, e);
    if (!rc)
        rc = json_opt_int(j, "relative_attention_max_distance", 1, 1 << 20, &cfg->max_distance, e);
    if (!rc) rc = json_opt_num(j, "layer_norm_epsilon", 0, 1, &cfg->eps, e);
    return rc ? rc : read_kind(cfg, j, e);
}

static void bind_block(weights *w, t5_block *b, const t5_config *cfg, const char *prefix,
                       int64_t i) {
    int64_t inner = cfg->heads * cfg->d_kv, d = cfg->d_model;
    const weight_spec spec[] = {
        {"0.SelfAttention.q.weight", BIND_MATRIX, &b->q, {inner, d}},
        {"0.SelfAttention.k.weight", BIND_MATRIX, &b->k, {inner, d}},
        {"0.SelfAttention.v.weight", BIND_MATRIX, &b->v, {inner, d}},
        {"0.SelfAttention.o.weight", BIND_MATRIX, &b->o, {d, inner}},
        {"0.layer_norm.weight", BIND_VECTOR, &b->norm_attn, {d}},
        {"1.DenseReluDense.wi.weight", BIND_MATRIX, &b->wi, {cfg->d_ff, d}},
        {"1.DenseReluDense.wo.weight", BIND_MATRIX, &b->wo, {d, cfg->d_ff}},
        {"1.layer_norm.weight", BIND_VECTOR, &b->norm_ffn, {d}},
    };
    weights_bind(w, spec, ARRAY_LEN(spec), "%sencoder.block.%lld.layer.", prefix, (long long)i);
}

static void bind_top(weights *w, t5 *m, const char *prefix) {
    const t5_config *cfg = &m->cfg;
    const weight_spec spec[] = {
        // Tied: writers keep one of the two names or both.
        {"shared.weight|encoder.embed_tokens.weight",
         BIND_TABLE,
         &m->shared,
         {cfg->vocab, cfg->d_model}},
        {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
         BIND_TABLE,
         &m->bias,
         {cfg->buckets, cfg->heads}},
        {"encoder.final_layer_norm.weight", BIND_VECTOR, &m->norm_final, {cfg->d_model}},
    };
    weights_bind(w, spec, ARRAY_LEN(spec), "%s", prefix);
}

status t5_open(t5 **out, weights *w, const json *config, const char *prefix, arena *own, err *e) {
    *out = NULL;
    t5 *m = arena_alloc(own, sizeof *m);
    if (!m) return err_set(e, ERR_OOM, "no memory for the text encoder");
    status rc = read_config(&m->cfg, config, e);
    if (rc) return err_within(e, rc, "text_encoder");
    m->block = arena_alloc(own, (size_t)m->cfg.layers * sizeof *m->block);
    if (!m->block) return err_set(e, ERR_OOM, "no memory for the text encoder");
    bind_top(w, m, prefix);
    for (int64_t i = 0; i < m->cfg.layers; i++) bind_block(w, &m->block[i], &m->cfg, prefix, i);
    *out = m;
    return OK;
}

const t5_config *t5_get_config(const t5 *m) {
    return &m->cfg;
}

int64_t t5_bucket(int64_t r, int64_t buckets, int64_t max_distance) {
    int64_t half = buckets / 2, exact = half / 2, base = r > 0 ? half : 0, n = r < 0 ? -r : r;
    if (n < exact) return base + n;
    // The other half of the buckets divides the distances from exact to max_distance on a
    // logarithmic scale, in f32 as the reference does. With max_distance at or under exact the
    // scale runs backwards or has no length, and soon leads out of the table.
    float ratio = math_log((float)n / (float)exact) / math_log((float)max_distance / (float)exact);
    float steps = ratio * (float)(half - exact);
    if (!(fabsf(steps) < (float)T5_BUCKETS_MAX)) return max_distance > exact ? base + half - 1 : -1;
    return base + MIN(exact + (int64_t)steps, half - 1);
}

// The memory of one t5_encode, for n tokens.
typedef struct {
    float *x, *norm, *q, *k, *v, *ctx, *hidden;
    float *kc, *vc;    // keys, values [heads, n, d_kv]
    float *distance;   // [heads, 2n - 1]: bias of key - query = column - (n - 1)
    attend_item *item; // [n]
} scratch;

static bool scratch_init(scratch *s, const t5_config *cfg, int64_t n, arena *a) {
    size_t rows = (size_t)n, inner = (size_t)(cfg->heads * cfg->d_kv);
    s->x = arena_f32(a, rows, (size_t)cfg->d_model);
    s->norm = arena_f32(a, rows, (size_t)cfg->d_model);
    s->q = arena_f32(a, rows, inner);
    s->k = arena_f32(a, rows, inner);
    s->v = arena_f32(a, rows, inner);
    s->ctx = arena_f32(a, rows, inner);
    s->hidden = arena_f32(a, rows, (size_t)cfg->d_ff);
    s->kc = arena_f32(a, rows, inner);
    s->vc = arena_f32(a, rows, inner);
    s->distance = arena_f32(a, (size_t)cfg->heads, 2 * rows - 1);
    s->item = arena_alloc(a, rows * sizeof *s->item);
    return s->item != NULL; // the arena stays NULL once it has failed
}

status t5_distances(const t5 *m, float *out, int64_t n, err *e) {
    const tensor table = {.type = m->bias.type, .dims = 2, .data = m->bias.data};
    const t5_config *cfg = &m->cfg;
    int64_t heads = cfg->heads, width = 2 * n - 1;
    for (int64_t i = 0; i < width; i++) {
        int64_t b = t5_bucket(i - (n - 1), cfg->buckets, cfg->max_distance);
        if (b < 0 || b >= cfg->buckets) {
            return err_set(e, ERR_FORMAT,
                           "text of %lld tokens: text_encoder.relative_attention_max_distance is "
                           "%lld, expected over %lld (a quarter of the %lld buckets) for a text as "
                           "long as this",
                           (long long)n, (long long)cfg->max_distance,
                           (long long)(cfg->buckets / 4), (long long)cfg->buckets);
        }
        for (int64_t h = 0; h < heads; h++)
            tensor_read_f32(&out[h * width + i], &table, b * heads + h, 1);
    }
    return OK;
}

// RMS norm of the n rows of x into y.
static void norm(compute *c, const t5 *m, float *y, const float *x, const float *w, int64_t n) {
    float eps = (float)m->cfg.eps;
    op_rms_norm(c, &(norm_args){.y = y, .x = x, .w = w, .n = n, .d = m->cfg.d_model, .eps = eps});
}

static void attention(const t5 *m, const t5_block *b, compute *c, scratch *s, int64_t n) {
    int64_t d = m->cfg.d_model, inner = m->cfg.heads * m->cfg.d_kv;
    const attend_shape shape = {.heads = m->cfg.heads,
                                .dh = m->cfg.d_kv,
                                .kv_type = DT_F32,
                                .scale = 1,
                                .bias_stride = 2 * n - 1};
    norm(c, m, s->norm, s->x, b->norm_attn, n);
    const linear_args qkv[] = {
        {.y = s->q, .ldy = inner, .x = s->norm, .ldx = d, .n = n, .w = &b->q},
        {.y = s->k, .ldy = inner, .x = s->norm, .ldx = d, .n = n, .w = &b->k},
        {.y = s->v, .ldy = inner, .x = s->norm, .ldx = d, .n = n, .w = &b->v},
    };
    op_linear_many(c, qkv, 3);
    for (int64_t i = 0; i < n; i++) {
        const kv_row row = {{s->kc, s->vc, n}, s->k + i * inner, s->v + i * inner, i};
        op_cache_put(c, &shape, &row, 1);
        s->item[i] = (attend_item){.q = s->q + i * inner,
                                   .out = s->ctx + i * inner,
                                   .k = s->kc,
                                   .v = s->vc,
                                   .len = n,
                                   .kv_stride = attend_stride(&shape, n),
                                   .bias = s->distance + (n - 1 - i)};
    }
    op_attend(c, &shape, s->item, n);
    op_linear(c,
              &(linear_args){
                  .y = s->x, .ldy = d, .x = s->ctx, .ldx = inner, .n = n, .w = &b->o, .add = true});
}

static void feed_forward(const t5 *m, const t5_block *b, compute *c, scratch *s, int64_t n) {
    int64_t d = m->cfg.d_model, ff = m->cfg.d_ff;
    norm(c, m, s->norm, s->x, b->norm_ffn, n);
    op_linear(c, &(linear_args){.y = s->hidden,
                                .ldy = ff,
                                .x = s->norm,
                                .ldx = d,
                                .n = n,
                                .w = &b->wi,
                                .act = m->cfg.act});
    op_linear(
        c, &(linear_args){
               .y = s->x, .ldy = d, .x = s->hidden, .ldx = ff, .n = n, .w = &b->wo, .add = true});
}

status t5_check_ids(const t5 *m, const int32_t *ids, int64_t n, err *e) {
    if (n < 1 || n > T5_TOKENS_MAX) {
        return err_set(e, ERR_LIMIT, "text of %lld tokens, expected 1 to %d", (long long)n,
                       T5_TOKENS_MAX);
    }
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= m->cfg.vocab) {
            return err_set(e, ERR_FORMAT, "token id %d, the text encoder knows 0 to %lld",
                           (int)ids[i], (long long)m->cfg.vocab - 1);
        }
    }
    return OK;
}

status t5_check_states(const t5 *m, const float *x, const float *states, int64_t n, err *e) {
    if (finite_f32(x, n * m->cfg.d_model) && finite_f32(states, n * m->cfg.d_model)) return OK;
    return err_set(e, ERR_FORMAT,
                   "text encoder: the states of the text are not finite numbers: its "
                   "weights are too large or damaged");
}

status t5_encode(const t5 *m, compute *c, float *out, const int32_t *ids, int64_t n, arena *work,
                 err *e) {
    status rc = t5_check_ids(m, ids, n, e);
    if (rc) return rc;
    scratch s;
    if (!scratch_init(&s, &m->cfg, n, work))
        return err_set(e, ERR_OOM, "no memory to encode a text");
    rc = compute_reserve(c, n, e);
    if (!rc) rc = t5_distances(m, s.distance, n, e);
    if (rc) return rc;
    op_embed(s.x, &m->shared, ids, n, false);
    for (int64_t i = 0; i < m->cfg.layers; i++) {
        attention(m, &m->block[i], c, &s, n);
        feed_forward(m, &m->block[i], c, &s, n);
    }
    norm(c, m, out, s.x, m->norm_final, n);
    return t5_check_states(m, s.x, out, n, e);
}

size_t t5_bytes(const t5 *m) {
    size_t n = 0;
    for (int64_t i = 0; i < m->cfg.layers; i++) {
        const t5_block *b = &m->block[i];
        const weight *const all[] = {&b->q, &b->k, &b->v, &b->o, &b->wi, &b->wo};
        for (size_t j = 0; j < ARRAY_LEN(all); j++) n += weight_size(all[j]);
    }
    return n;
}

int64_t t5_values(const t5 *m) {
    const t5_config *cfg = &m->cfg;
    return cfg->layers * cfg->d_model * (4 * cfg->heads * cfg->d_kv + 2 * cfg->d_ff);
}

const weight *t5_widest(const t5 *m) {
    return &m->block[0].wi;
}
