// musicgen.c - see musicgen.h. The layout of a cache: per layer the keys [heads, cap, dh], then the
// values, so that one head's keys are read in one run.
#include "model/musicgen.h"

#include <assert.h>
#include <math.h>

#include "base/num.h"
#include "compute/quant.h"

typedef struct {
    weight q, k, v, o;     // self-attention [d, d]
    weight cq, ck, cv, co; // cross-attention [d, d]; unused in melody models
    weight fc1, fc2;       // [ffn, d], [d, ffn]
    const float *attn_w, *attn_b, *cross_w, *cross_b, *ffn_w,
        *ffn_b; // the norms in front of each [d]
} mg_layer;

struct musicgen {
    mg_config cfg;
    weight embed[MG_CODEBOOKS_MAX]; // [vocab + 1, d]
    weight head[MG_CODEBOOKS_MAX];  // [vocab, d]
    mg_layer *layer;
    const float *norm_w, *norm_b;
    weight text_proj, chroma_proj; // [d, text_dim], [d, bins]
    const float *text_bias, *chroma_bias;
};

#define NORM_EPS 1e-5f

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
    rc = json_opt_int(root, "num_chroma", 1, 256, &c->chroma_bins, e);
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
        {"self_attn_layer_norm.weight", BIND_VECTOR, &l->attn_w, {d}},
        {"self_attn_layer_norm.bias", BIND_VECTOR, &l->attn_b, {d}},
        {"fc1.weight", BIND_MATRIX, &l->fc1, {c->ffn, d}},
        {"fc2.weight", BIND_MATRIX, &l->fc2, {d, c->ffn}},
        {"final_layer_norm.weight",
         BIND_VECTOR,
         &l->ffn_w,
         {d}}, // the norm before the feed-forward
        {"final_layer_norm.bias", BIND_VECTOR, &l->ffn_b, {d}},
    };
    const weight_spec cross[] = {
        {"encoder_attn.q_proj.weight", BIND_MATRIX, &l->cq, {d, d}},
        {"encoder_attn.k_proj.weight", BIND_MATRIX, &l->ck, {d, d}},
        {"encoder_attn.v_proj.weight", BIND_MATRIX, &l->cv, {d, d}},
        {"encoder_attn.out_proj.weight", BIND_MATRIX, &l->co, {d, d}},
        {"encoder_attn_layer_norm.weight", BIND_VECTOR, &l->cross_w, {d}},
        {"encoder_attn_layer_norm.bias", BIND_VECTOR, &l->cross_b, {d}},
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
        {DECODER "layer_norm.weight", BIND_VECTOR, &m->norm_w, {c->d}},
        {DECODER "layer_norm.bias", BIND_VECTOR, &m->norm_b, {c->d}},
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
    float silence[256] = {1}; // what the reference makes of silence: bin 0
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

// --- caches

struct mg_cache {
    dtype type;
    int64_t layers, heads, dh;
    int64_t len, cap; // positions in use, room
    int64_t text_n, text_cap;
    uint8_t *self, *across; // [layers][2: keys, values][heads, cap, dh]
};

static attend_shape cache_shape(const mg_cache *k, float scale) {
    return (attend_shape){.heads = k->heads, .dh = k->dh, .kv_type = k->type, .scale = scale};
}

static int64_t block_stride(const mg_cache *k, int64_t cap) {
    const attend_shape shape = cache_shape(k, 1);
    return attend_stride(&shape, cap);
}

static size_t block_bytes(const mg_cache *k, int64_t cap) {
    return (size_t)(k->heads * block_stride(k, cap)) * dtype_size(k->type);
}

static kv_cache cache_at(const mg_cache *k, uint8_t *base, int64_t cap, int64_t layer) {
    size_t size = block_bytes(k, cap);
    uint8_t *keys = base + 2 * (size_t)layer * size;
    return (kv_cache){keys, keys + size, cap};
}
static kv_cache self_cache(const mg_cache *k, int64_t layer) {
    return cache_at(k, k->self, k->cap, layer);
}
static kv_cache text_cache(const mg_cache *k, int64_t layer) {
    return cache_at(k, k->across, k->text_cap, layer);
}

size_t mg_cache_bytes(const mg_config *c, int64_t len_max, int64_t text_max, dtype type) {
    const mg_cache k = {.type = type, .heads = c->heads, .dh = c->dh};
    int64_t cross = c->melody ? 0 : text_max;
    return 2 * (size_t)c->layers * block_bytes(&k, len_max + cross);
}

status mg_cache_create(mg_cache **out, const musicgen *m, int64_t len_max, int64_t text_max,
                       dtype type, err *e) {
    const mg_config *c = &m->cfg;
    *out = NULL;
    assert(len_max > 0 && len_max <= 4 * (int64_t)MG_POSITIONS_MAX && text_max >= 0);
    mg_cache *k = mem_calloc(1, sizeof *k);
    if (!k) return err_set(e, ERR_OOM, "no memory for a cache");
    *k = (mg_cache){.type = type,
                    .layers = c->layers,
                    .heads = c->heads,
                    .dh = c->dh,
                    .cap = len_max,
                    .text_cap = c->melody ? 0 : text_max};
    k->self = mem_aligned(2 * (size_t)k->layers * block_bytes(k, k->cap));
    if (k->self && k->text_cap)
        k->across = mem_aligned(2 * (size_t)k->layers * block_bytes(k, k->text_cap));
    if (!k->self || (k->text_cap && !k->across)) {
        size_t size = mg_cache_bytes(c, len_max, text_max, type);
        mg_cache_free(k);
        return err_set(e, ERR_OOM, "no memory for a cache of %zu bytes", size);
    }
    *out = k;
    return OK;
}

void mg_cache_free(mg_cache *k) {
    if (!k) return;
    mem_free(k->self);
    mem_free(k->across);
    mem_free(k);
}

void mg_cache_reset(mg_cache *k) {
    k->len = 0;
}

int64_t mg_cache_len(const mg_cache *k) {
    return k->len;
}

bool mg_cache_has_text(const mg_cache *k) {
    return k->text_n > 0;
}

void mg_cache_copy(mg_cache *to, const mg_cache *from, int64_t n) {
    const attend_shape shape = cache_shape(to, 1);
    assert(to->type == from->type && to->len == 0 && n <= to->cap && n <= from->len);
    for (int64_t i = 0; i < to->layers; i++) {
        op_cache_copy(self_cache(to, i), self_cache(from, i), &shape, n);
    }
    to->len = n;
}

status mg_cache_set_text(mg_cache *k, const musicgen *m, compute *c, const float *text, int64_t n,
                         arena *work, err *e) {
    int64_t d = m->cfg.d;
    assert(!m->cfg.melody && n <= k->text_cap);
    float *row[2] = {arena_f32(work, (size_t)n, (size_t)d), arena_f32(work, (size_t)n, (size_t)d)};
    if (!row[0] || !row[1]) return err_set(e, ERR_OOM, "no memory for the text's keys and values");
    const attend_shape shape = cache_shape(k, 1);
    for (int64_t i = 0; i < k->layers; i++) {
        const linear_args kv[] = {
            {.y = row[0], .ldy = d, .x = text, .ldx = d, .n = n, .w = &m->layer[i].ck},
            {.y = row[1], .ldy = d, .x = text, .ldx = d, .n = n, .w = &m->layer[i].cv},
        };
        op_linear_many(c, kv, 2);
        for (int64_t t = 0; t < n; t++) {
            const kv_row put = {text_cache(k, i), row[0] + t * d, row[1] + t * d, t};
            op_cache_put(c, &shape, &put, 1);
        }
    }
    k->text_n = n;
    return OK;
}

// --- forward

struct mg_scratch {
    int64_t rows_max, positions_max;
    float *x, *norm, *q, *k, *v, *ctx; // [rows_max, d]
    float *hidden;                     // [rows_max, ffn]
    qblock *norm_q, *ctx_q, *hidden_q; // the same in 8 bits; NULL where nothing multiplies them so
    attend_item *item;                 // [rows_max]
    kv_row *put;                       // [rows_max]
    int64_t *pos;                      // [rows_max] where each row stands in its cache
    float *position;                   // [positions_max, d], a row is filled when first needed
    uint8_t *position_ready;           // [positions_max]
    arena own;
};

// Whether every product of a step is one of packed weights.
static bool all_packed(const musicgen *m) {
    bool packed = true;
    for (int64_t k = 0; k < m->cfg.codebooks; k++) packed &= quant_is(m->head[k].type);
    for (int64_t i = 0; i < m->cfg.layers; i++) {
        const mg_layer *l = &m->layer[i];
        const weight *w[] = {&l->q, &l->k, &l->v, &l->o, &l->fc1, &l->fc2, &l->cq, &l->co};
        size_t count = ARRAY_LEN(w) - (m->cfg.melody ? 2 : 0);
        for (size_t j = 0; j < count; j++) packed &= quant_is(w[j]->type);
    }
    return packed;
}

// Rows that are made piece by piece must be whole blocks in each.
static void scratch_8_bits(mg_scratch *s, const mg_config *c) {
    size_t row = (size_t)quant_blocks(c->d) * sizeof(qblock), n = (size_t)s->rows_max;
    s->norm_q = arena_alloc(&s->own, n * row);
    if (c->dh % QUANT_BLOCK == 0) s->ctx_q = arena_alloc(&s->own, n * row);
    if (c->ffn % QUANT_BLOCK == 0)
        s->hidden_q = arena_alloc(&s->own, n * (size_t)quant_blocks(c->ffn) * sizeof(qblock));
}

status mg_scratch_create(mg_scratch **out, const musicgen *m, compute *c, int64_t rows_max,
                         int64_t positions_max, err *e) {
    *out = NULL;
    status rc = compute_reserve(c, positions_max, e);
    if (rc) return rc;
    mg_scratch *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "no memory for the decoder's scratch");
    size_t n = (size_t)rows_max, d = (size_t)m->cfg.d;
    s->rows_max = rows_max;
    s->positions_max = positions_max;
    float **const rows[] = {&s->x, &s->norm, &s->q, &s->k, &s->v, &s->ctx};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) *rows[i] = arena_f32(&s->own, n, d);
    s->hidden = arena_f32(&s->own, n, (size_t)m->cfg.ffn);
    if (all_packed(m)) scratch_8_bits(s, &m->cfg);
    s->item = arena_alloc(&s->own, n * sizeof *s->item);
    s->put = arena_alloc(&s->own, n * sizeof *s->put);
    s->pos = arena_alloc(&s->own, n * sizeof *s->pos);
    s->position = arena_f32(&s->own, (size_t)positions_max, d);
    s->position_ready = arena_alloc(&s->own, (size_t)positions_max);
    if (!s->position_ready) {
        mg_scratch_free(s);
        return err_set(e, ERR_OOM, "no memory for the decoder's scratch of %zu rows", n);
    }
    *out = s;
    return OK;
}

void mg_scratch_free(mg_scratch *s) {
    if (!s) return;
    arena_deinit(&s->own);
    mem_free(s);
}

int64_t mg_scratch_rows(const mg_scratch *s) {
    return s->rows_max;
}

// Columns from..to-1 of both halves of the row.
static void position_columns(float *out, int64_t d, int64_t p, int64_t from, int64_t to) {
    int64_t half = d / 2;
    // The reference rounds the exponent and the angle to f32; at position 1500 that shows.
    const double ln_10000 = 9.2103403719761827;
    float step = (float)(-ln_10000 / (double)(half - 1));
    for (int64_t i = from; i < to; i++) {
        float w = (float)num_exp((double)((float)i * step));
        double turns = (double)((float)p * w) / (2 * NUM_PI);
        out[i] = (float)num_cos_turns(turns);
        out[half + i] = (float)num_sin_turns(turns);
    }
}

void mg_position_row(float *out, int64_t d, int64_t p) {
    position_columns(out, d, p, 0, d / 2);
}

typedef struct {
    float *row;
    int64_t d, p;
} position_job;

static void position_part(void *arg, int part, int parts) {
    const position_job *j = arg;
    int64_t half = j->d / 2;
    position_columns(j->row, j->d, j->p, half * part / parts, half * (part + 1) / parts);
}

#define POSITION_PART 64 // columns of a half: some microseconds

static const float *position_row(mg_scratch *s, compute *c, int64_t d, int64_t p) {
    assert(p < s->positions_max);
    position_job j = {s->position + p * d, d, p};
    if (!s->position_ready[p]) {
        op_parallel(c, (int)MAX(1, MIN(compute_threads(c), d / 2 / POSITION_PART)), position_part,
                    &j);
        s->position_ready[p] = 1;
    }
    return j.row;
}

// x = sum of the codes' embeddings (or the given row) + the position's row.
static void enter(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows, int64_t n) {
    int64_t d = m->cfg.d;
    for (int64_t i = 0; i < n; i++) {
        float *x = s->x + i * d;
        mg_cache *cache = rows[i].cache;
        assert(cache->len < cache->cap);
        s->pos[i] = cache->len++;
        if (rows[i].codes) {
            for (int64_t k = 0; k < m->cfg.codebooks; k++)
                op_embed(x, &m->embed[k], &rows[i].codes[k], 1, k > 0);
        } else {
            memcpy(x, rows[i].embed, (size_t)d * sizeof *x);
        }
        const float *p = position_row(s, c, d, s->pos[i]);
        for (int64_t j = 0; j < d; j++) x[j] += p[j];
    }
}

// Rows that are multiplied with weights, and the same in 8 bits or NULL.
typedef struct {
    float *x;
    qblock *q;
    int64_t n;
} factors;

static factors normed(compute *c, mg_scratch *s, int64_t from, int64_t n, int64_t d, const float *w,
                      const float *b) {
    op_layer_norm(c, &(layer_norm_args){.y = s->norm,
                                        .yq = s->norm_q,
                                        .x = s->x + from * d,
                                        .w = w,
                                        .b = b,
                                        .n = n,
                                        .d = d,
                                        .eps = NORM_EPS});
    return (factors){s->norm, s->norm_q, n};
}

// next: what is read after w.
static linear_args product(float *y, const weight *w, const factors *f, const weight *next) {
    return (linear_args){.y = y,
                         .ldy = w->rows,
                         .x = f->x,
                         .xq = f->q,
                         .ldx = w->cols,
                         .n = f->n,
                         .w = w,
                         .next = next};
}

static void product_add(compute *c, float *y, const weight *w, const factors *f,
                        const weight *next) {
    linear_args a = product(y, w, f, next);
    a.add = true;
    op_linear(c, &a);
}

// Row r's place among those that attention gives.
static attend_item attended(const mg_scratch *s, const mg_config *c, int64_t r) {
    return (attend_item){.q = s->q + r * c->d,
                         .out = s->ctx + r * c->d,
                         .outq = s->ctx_q ? s->ctx_q + r * quant_blocks(c->d) : NULL};
}

static void self_attention(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows,
                           int64_t n, int64_t i) {
    const mg_layer *l = &m->layer[i];
    int64_t d = m->cfg.d;
    const factors x = normed(c, s, 0, n, d, l->attn_w, l->attn_b), ctx = {s->ctx, s->ctx_q, n};
    const linear_args qkv[] = {product(s->q, &l->q, &x, &l->o), product(s->k, &l->k, &x, &l->o),
                               product(s->v, &l->v, &x, &l->o)};
    op_linear_many(c, qkv, 3);
    const attend_shape shape = cache_shape(rows[0].cache, 1 / sqrtf((float)m->cfg.dh));
    for (int64_t r = 0; r < n; r++) {
        const mg_cache *cache = rows[r].cache;
        const kv_cache kv = self_cache(cache, i);
        s->put[r] = (kv_row){kv, s->k + r * d, s->v + r * d, s->pos[r]};
        attend_item *it = &s->item[r];
        *it = attended(s, &m->cfg, r);
        it->k = kv.k, it->v = kv.v, it->len = s->pos[r] + 1;
        it->kv_stride = attend_stride(&shape, cache->cap);
    }
    op_cache_put(c, &shape, s->put, n);
    op_attend(c, &shape, s->item, n);
    product_add(c, s->x, &l->o, &ctx, m->cfg.melody ? &l->fc1 : &l->cq);
}

// n: the rows with a text, which stand first. For the others the block adds exactly nothing.
static void cross_attention(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows,
                            int64_t n, int64_t i) {
    const mg_layer *l = &m->layer[i];
    int64_t d = m->cfg.d;
    const factors x = normed(c, s, 0, n, d, l->cross_w, l->cross_b), ctx = {s->ctx, s->ctx_q, n};
    const linear_args q = product(s->q, &l->cq, &x, &l->co);
    op_linear(c, &q);
    const attend_shape shape = cache_shape(rows[0].cache, 1 / sqrtf((float)m->cfg.dh));
    for (int64_t r = 0; r < n; r++) {
        const mg_cache *cache = rows[r].cache;
        const kv_cache text = text_cache(cache, i);
        attend_item *it = &s->item[r];
        *it = attended(s, &m->cfg, r);
        it->k = text.k, it->v = text.v, it->len = cache->text_n;
        it->kv_stride = attend_stride(&shape, cache->text_cap);
    }
    op_attend(c, &shape, s->item, n);
    product_add(c, s->x, &l->co, &ctx, &l->fc1);
}

static void feed_forward(const musicgen *m, compute *c, mg_scratch *s, int64_t n, int64_t i) {
    const mg_layer *l = &m->layer[i];
    const factors x = normed(c, s, 0, n, m->cfg.d, l->ffn_w, l->ffn_b);
    const factors hidden = {s->hidden, s->hidden_q, n};
    linear_args up = product(s->hidden, &l->fc1, &x, &l->fc2);
    up.act = ACT_GELU;
    up.yq = s->hidden_q;
    op_linear(c, &up);
    product_add(c, s->x, &l->fc2, &hidden, i + 1 < m->cfg.layers ? &l[1].q : &m->head[0]);
}

static void heads(const musicgen *m, compute *c, mg_scratch *s, int64_t from, int64_t n,
                  float *logits) {
    int64_t d = m->cfg.d, vocab = m->cfg.vocab, codebooks = m->cfg.codebooks;
    linear_args a[MG_CODEBOOKS_MAX];
    const factors x = normed(c, s, from, n, d, m->norm_w, m->norm_b);
    for (int64_t k = 0; k < codebooks; k++) {
        a[k] = product(logits + k * vocab, &m->head[k], &x, &m->layer[0].q);
        a[k].ldy = codebooks * vocab;
    }
    op_linear_many(c, a, (int)codebooks);
}

void mg_forward(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows, int64_t n,
                float *logits, int64_t n_logits) {
    assert(n > 0 && n <= s->rows_max && n_logits <= n);
    int64_t with_text = 0;
    while (with_text < n && mg_cache_has_text(rows[with_text].cache)) with_text++;
    enter(m, c, s, rows, n);
    for (int64_t i = 0; i < m->cfg.layers; i++) {
        self_attention(m, c, s, rows, n, i);
        if (with_text) cross_attention(m, c, s, rows, with_text, i);
        feed_forward(m, c, s, n, i);
    }
    if (n_logits) heads(m, c, s, n - n_logits, n_logits, logits);
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
