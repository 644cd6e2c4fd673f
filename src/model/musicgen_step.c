// musicgen_step.c - see musicgen.h: one column of each row through all layers.
//
//     x = sum over k of embed[k][code k], or a prefix row;  x += position row
//     each layer:
//         h = layer_norm(x)                                   self-attention
//         q, k, v = h Wq, h Wk, h Wv;  k and v join the cache
//         x += attend(q, keys and values so far) Wo
//         h = layer_norm(x)                                   cross-attention: text models alone
//         x += attend(h Wcq, keys and values of the text) Wco
//         h = layer_norm(x)                                   feed-forward
//         x += gelu(h W1) W2
//     scores[k] = layer_norm(x) head[k]
//
// The rows of all sequences share each product, so the weights are read once a step. Of chroma rows
// that no layer from control_layers on reads, the last layer below makes keys and values alone.
#include <assert.h>
#include <math.h>

#include "base/num.h"
#include "compute/quant.h"
#include "model/musicgen_inside.h"

// --- scratch

struct mg_scratch {
    int64_t rows_max, positions_max;
    float *x, *norm, *q, *k, *v, *ctx; // [rows_max, d]
    float *hidden;                     // [rows_max, ffn]
    qblock *norm_q, *ctx_q, *hidden_q; // the same rows in 8 bits; NULL when no product reads them
    attend_item *item;                 // [rows_max]
    kv_row *put;                       // [rows_max]
    int64_t *pos;                      // [rows_max] the position of each row in its cache
    float *position;                   // [positions_max, d]; position_row fills a row when needed
    uint8_t *position_ready;           // [positions_max]
    arena own;
};

// Whether the weights of every product of a step are packed.
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

// Memory for rows in 8 bits. An op that makes a row piece by piece must make whole blocks.
static void scratch_8_bits(mg_scratch *s, const mg_config *cfg) {
    size_t row = (size_t)quant_blocks(cfg->d) * sizeof(qblock), n = (size_t)s->rows_max;
    s->norm_q = arena_alloc(&s->own, n * row);
    if (QUANT_BLOCK % cfg->dh == 0) s->ctx_q = arena_alloc(&s->own, n * row);
    if (cfg->ffn % QUANT_BLOCK == 0)
        s->hidden_q = arena_alloc(&s->own, n * (size_t)quant_blocks(cfg->ffn) * sizeof(qblock));
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

// --- positions

// Values from to to-1 of both halves of position p's row: cosines, then sines.
static void position_columns(float *out, int64_t d, int64_t p, int64_t from, int64_t to) {
    int64_t half = d / 2;
    // The reference rounds the exponent and the angle to f32, which changes digits at position
    // 1500.
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

// --- forward

// x = the sum of the codes' embeddings, or the prefix row, plus the position's row.
static void embed_rows(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows,
                       int64_t n) {
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

// The input of a product: n rows of f32 and, for packed weights, the same rows in 8 bits (or NULL).
typedef struct {
    float *x;
    qblock *q;
    int64_t n;
} input_rows;

// The layer norm of the n rows of x, in the scratch.
static input_rows layer_norm(compute *c, mg_scratch *s, const float *x, int64_t n, int64_t d,
                             const mg_norm *norm) {
    norm_args a = {.y = s->norm, .yq = s->norm_q, .x = x, .n = n, .d = d, .eps = MG_NORM_EPS};
    a.w = norm->w, a.b = norm->b;
    op_layer_norm(c, &a);
    return (input_rows){s->norm, s->norm_q, n};
}

// y = in w^T. next: the weight that the following product reads; idle threads fetch its beginning.
static linear_args linear(float *y, const weight *w, const input_rows *in, const weight *next) {
    return (linear_args){.y = y,
                         .ldy = w->rows,
                         .x = in->x,
                         .xq = in->q,
                         .ldx = w->cols,
                         .n = in->n,
                         .w = w,
                         .next = next};
}

// y += in w^T
static void add_linear(compute *c, float *y, const weight *w, const input_rows *in,
                       const weight *next) {
    linear_args a = linear(y, w, in, next);
    a.add = true;
    op_linear(c, &a);
}

// The query of row r over the first len keys of kv.
static attend_item query_of_row(const mg_scratch *s, const mg_config *cfg, int64_t r, kv_cache kv,
                                int64_t len, const attend_shape *shape) {
    return (attend_item){.q = s->q + r * cfg->d,
                         .out = s->ctx + r * cfg->d,
                         .outq = s->ctx_q ? s->ctx_q + r * quant_blocks(cfg->d) : NULL,
                         .k = kv.k,
                         .v = kv.v,
                         .len = len,
                         .kv_stride = attend_stride(shape, kv.cap)};
}

static attend_shape shape_of(const musicgen *m, const mg_row *rows) {
    return mg_cache_shape(rows[0].cache, 1 / sqrtf((float)m->cfg.dh));
}

// Queries, keys and values of layer i; the keys and values join the caches. queries false: the rows
// make none.
static void keep_rows(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows, int64_t n,
                      int64_t i, bool queries) {
    const mg_layer *l = &m->layer[i];
    int64_t d = m->cfg.d;
    const input_rows x = layer_norm(c, s, s->x, n, d, &l->attn);
    const linear_args kvq[] = {linear(s->k, &l->k, &x, &l->o), linear(s->v, &l->v, &x, &l->o),
                               linear(s->q, &l->q, &x, &l->o)};
    op_linear_many(c, kvq, queries ? 3 : 2);
    const attend_shape shape = shape_of(m, rows);
    for (int64_t r = 0; r < n; r++) {
        int64_t at = s->pos[r] - mg_cache_unread(rows[r].cache, i);
        s->put[r] = (kv_row){mg_cache_self(rows[r].cache, i), s->k + r * d, s->v + r * d, at};
    }
    op_cache_put(c, &shape, s->put, n);
}

static void self_attention(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows,
                           int64_t n, int64_t i) {
    const mg_layer *l = &m->layer[i];
    const input_rows ctx = {s->ctx, s->ctx_q, n};
    const attend_shape shape = shape_of(m, rows);
    keep_rows(m, c, s, rows, n, i, true);
    for (int64_t r = 0; r < n; r++)
        s->item[r] = query_of_row(s, &m->cfg, r, s->put[r].to, s->put[r].pos + 1, &shape);
    op_attend(c, &shape, s->item, n);
    add_linear(c, s->x, &l->o, &ctx, m->cfg.melody ? &l->fc1 : &l->cq);
}

// Only the first n rows have a text. To the others the block would add exactly nothing.
static void cross_attention(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows,
                            int64_t n, int64_t i) {
    const mg_layer *l = &m->layer[i];
    int64_t d = m->cfg.d;
    const input_rows x = layer_norm(c, s, s->x, n, d, &l->cross), ctx = {s->ctx, s->ctx_q, n};
    const linear_args q = linear(s->q, &l->cq, &x, &l->co);
    op_linear(c, &q);
    const attend_shape shape = shape_of(m, rows);
    for (int64_t r = 0; r < n; r++) {
        const kv_cache text = mg_cache_text(rows[r].cache, i);
        s->item[r] = query_of_row(s, &m->cfg, r, text, rows[r].cache->text_n, &shape);
    }
    op_attend(c, &shape, s->item, n);
    add_linear(c, s->x, &l->co, &ctx, &l->fc1);
}

static void feed_forward(const musicgen *m, compute *c, mg_scratch *s, int64_t n, int64_t i) {
    const mg_layer *l = &m->layer[i];
    const input_rows x = layer_norm(c, s, s->x, n, m->cfg.d, &l->ffn);
    const input_rows hidden = {s->hidden, s->hidden_q, n};
    linear_args up = linear(s->hidden, &l->fc1, &x, &l->fc2);
    up.act = m->cfg.act;
    up.yq = s->hidden_q;
    op_linear(c, &up);
    add_linear(c, s->x, &l->fc2, &hidden, i + 1 < m->cfg.layers ? &l[1].q : &m->head[0]);
}

static void heads(const musicgen *m, compute *c, mg_scratch *s, int64_t from, int64_t n,
                  float *logits) {
    int64_t d = m->cfg.d, vocab = m->cfg.vocab, codebooks = m->cfg.codebooks;
    linear_args a[MG_CODEBOOKS_MAX];
    const input_rows x = layer_norm(c, s, s->x + from * d, n, d, &m->norm);
    for (int64_t k = 0; k < codebooks; k++) {
        a[k] = linear(logits + k * vocab, &m->head[k], &x, &m->layer[0].q);
        a[k].ldy = codebooks * vocab;
    }
    op_linear_many(c, a, (int)codebooks);
}

// Whether the rows are chroma rows that layers from control_layers on do not read: all or none.
static bool are_unread(const mg_scratch *s, const mg_row *rows, int64_t n) {
    bool unread = s->pos[0] < rows[0].cache->unread;
    for (int64_t r = 1; r < n; r++) assert((s->pos[r] < rows[r].cache->unread) == unread);
    return unread;
}

static void forward_unread(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows,
                           int64_t n) {
    int64_t last = m->cfg.control_layers - 1;
    for (int64_t i = 0; i < last; i++) {
        self_attention(m, c, s, rows, n, i);
        feed_forward(m, c, s, n, i);
    }
    keep_rows(m, c, s, rows, n, last, false);
}

void mg_forward(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows, int64_t n,
                float *logits, int64_t n_logits) {
    assert(n > 0 && n <= s->rows_max && n_logits <= n);
    int64_t with_text = 0;
    while (with_text < n && mg_cache_has_text(rows[with_text].cache)) with_text++;
    embed_rows(m, c, s, rows, n);
    if (are_unread(s, rows, n)) {
        assert(!n_logits);
        forward_unread(m, c, s, rows, n);
        return;
    }
    for (int64_t i = 0; i < m->cfg.layers; i++) {
        self_attention(m, c, s, rows, n, i);
        if (with_text) cross_attention(m, c, s, rows, with_text, i);
        feed_forward(m, c, s, n, i);
    }
    if (n_logits) heads(m, c, s, n - n_logits, n_logits, logits);
}
