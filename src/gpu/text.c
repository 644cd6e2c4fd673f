// text.c - see text.h.
#include "gpu/text.h"

#include "base/mem.h"
#include "gpu/product.h"
#include "model/t5_weights.h"

typedef struct {
    gpu_matrix qkv, o, wi, wo;
    float *norm_attn, *norm_ffn;
} text_block;

struct gpu_text {
    device *dev;
    const t5 *m;
    text_block *block;
    float *norm;
};

// The memory of one text of n tokens.
typedef struct {
    float *x, *qkv, *ctx, *hidden; // [n, d], [n, 3 * inner], [n, inner], [n, ff]
    float *scores, *distance;      // [n, heads, lds], [heads, 2n - 1]
    float *cache;                  // keys and values [2][heads, n, d_kv]
    gpu_row *rows;                 // [n]
    float *states;                 // [n, d]
    product_scratch wide;
    int64_t n, lds;
} text_work;

// ---- weights

static status upload_block(gpu_text *t, text_block *to, const t5_block *b, err *e) {
    const weight *const qkv[] = {&b->q, &b->k, &b->v}, *const one[] = {&b->o, &b->wi, &b->wo};
    int64_t d = t->m->cfg.d_model;
    status rc = upload_matrices(t->dev, &to->qkv, qkv, 3, e);
    if (!rc) rc = upload_matrices(t->dev, &to->o, &one[0], 1, e);
    if (!rc) rc = upload_matrices(t->dev, &to->wi, &one[1], 1, e);
    if (!rc) rc = upload_matrices(t->dev, &to->wo, &one[2], 1, e);
    if (!rc) rc = upload_floats(t->dev, &to->norm_attn, b->norm_attn, d, e);
    return rc ? rc : upload_floats(t->dev, &to->norm_ffn, b->norm_ffn, d, e);
}

status gpu_text_open(gpu_text **out, device *dev, const t5 *m, err *e) {
    *out = NULL;
    gpu_text *t = mem_calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_OOM, "no memory for a text encoder on the GPU");
    t->dev = dev;
    t->m = m;
    t->block = mem_calloc((size_t)m->cfg.layers, sizeof *t->block);
    status rc = t->block ? upload_floats(dev, &t->norm, m->norm_final, m->cfg.d_model, e)
                         : err_set(e, ERR_OOM, "no memory for a text encoder on the GPU");
    for (int64_t i = 0; i < m->cfg.layers && !rc; i++)
        rc = upload_block(t, &t->block[i], &m->block[i], e);
    if (rc)
        gpu_text_close(t);
    else
        *out = t;
    return rc;
}

void gpu_text_close(gpu_text *t) {
    if (!t) return;
    for (int64_t i = 0; t->block && i < t->m->cfg.layers; i++) {
        const text_block *b = &t->block[i];
        void *const all[] = {b->qkv.data, b->o.data,    b->wi.data,
                             b->wo.data,  b->norm_attn, b->norm_ffn};
        for (size_t j = 0; j < ARRAY_LEN(all); j++) device_free(t->dev, all[j]);
    }
    device_free(t->dev, t->norm);
    mem_free(t->block);
    mem_free(t);
}

// ---- memory of one text

static void work_free(gpu_text *t, text_work *w) {
    void *const all[] = {w->x,     w->qkv,  w->ctx,    w->hidden,    w->scores, w->distance,
                         w->cache, w->rows, w->states, w->wide.norm, w->wide.q};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) device_free(t->dev, all[i]);
}

static status floats(gpu_text *t, float **out, int64_t n, err *e) {
    void *p;
    status rc = device_alloc(t->dev, &p, (size_t)n * sizeof(float), e);
    *out = p;
    return rc;
}

static status work_init(gpu_text *t, text_work *w, int64_t n, err *e) {
    const t5_config *c = &t->m->cfg;
    int64_t inner = c->heads * c->d_kv, widest = MAX(MAX(c->d_model, c->d_ff), inner);
    *w = (text_work){.n = n, .lds = (n + 15) / 16 * 16};
    const struct {
        float **to;
        int64_t n;
    } list[] = {{&w->x, n * c->d_model},
                {&w->qkv, 3 * n * inner},
                {&w->ctx, n * inner},
                {&w->hidden, n * c->d_ff},
                {&w->scores, n * c->heads * w->lds},
                {&w->distance, c->heads * (2 * n - 1)},
                {&w->cache, 2 * n * inner},
                {&w->states, n * c->d_model},
                {&w->wide.norm, n * widest}};
    status rc = OK;
    void *q = NULL, *rows = NULL;
    for (size_t i = 0; i < ARRAY_LEN(list) && !rc; i++) rc = floats(t, list[i].to, list[i].n, e);
    size_t blocks = (size_t)(n * ((widest + GPU_QBLOCK - 1) / GPU_QBLOCK));
    if (!rc) rc = device_alloc(t->dev, &q, blocks * sizeof(gpu_qblock), e);
    w->wide.q = q;
    if (!rc) rc = device_alloc(t->dev, &rows, (size_t)n * sizeof(gpu_row), e);
    w->rows = rows;
    return rc;
}

// Tokens, distances and the table of rows to the device.
static status work_fill(gpu_text *t, text_work *w, const int32_t *ids, err *e) {
    const t5_config *c = &t->m->cfg;
    size_t d = (size_t)c->d_model, n = (size_t)w->n;
    size_t width = (size_t)c->heads * (2 * n - 1);
    float *host = mem_calloc(MAX(n * d, width), sizeof *host);
    gpu_row *rows = mem_calloc(n, sizeof *rows);
    status rc = host && rows ? OK : err_set(e, ERR_OOM, "no memory to encode a text");
    if (!rc) {
        op_embed(host, &t->m->shared, ids, w->n, false);
        rc = device_upload(t->dev, w->x, host, n * d * sizeof *host, e);
    }
    if (!rc) rc = t5_distances(t->m, host, w->n, e);
    if (!rc) rc = device_upload(t->dev, w->distance, host, width * sizeof *host, e);
    for (size_t i = 0; i < n && !rc; i++)
        rows[i] = (gpu_row){.self = (uint8_t *)w->cache,
                            .cap = (int32_t)n,
                            .pos = (int32_t)i,
                            .text_n = (int32_t)n};
    if (!rc) rc = device_upload(t->dev, w->rows, rows, n * sizeof *rows, e);
    mem_free(host);
    mem_free(rows);
    return rc;
}

// ---- the network

static status product(gpu_text *t, const text_work *w, product_args *a, err *e) {
    a->fixed = (int32_t)w->n;
    return product_run(t->dev, a, w->n, &w->wide, e);
}

static gpu_input normed(const gpu_text *t, const text_work *w, const float *by) {
    return (gpu_input){.x = w->x, .ldx = t->m->cfg.d_model, .w = by, .eps = (float)t->m->cfg.eps};
}

static status add_product(gpu_text *t, const text_work *w, const gpu_matrix *m, const float *in,
                          err *e) {
    product_args a = product_of(m, (gpu_input){.x = in, .ldx = m->cols}, w->x, NULL);
    a.add = 1;
    return product(t, w, &a, e);
}

static status attention(gpu_text *t, const text_work *w, err *e) {
    const t5_config *c = &t->m->cfg;
    int64_t inner = c->heads * c->d_kv;
    const attend_args a = {.rows = w->rows,
                           .q = w->qkv,
                           .k = w->qkv + inner,
                           .v = w->qkv + 2 * inner,
                           .out = w->ctx,
                           .scores = w->scores,
                           .bias = w->distance + (w->n - 1),
                           .ld = 3 * inner,
                           .lds = w->lds,
                           .bias_step = 2 * w->n - 1,
                           .type = GPU_F32,
                           .heads = (int32_t)c->heads,
                           .dh = (int32_t)c->d_kv,
                           .which = ATTEND_ALL,
                           .scale = 1};
    status rc = device_launch(t->dev, &(device_run){GPU_put_rows, c->heads, w->n, 128, &a}, e);
    return rc ? rc : device_launch(t->dev, &(device_run){GPU_attend, c->heads, w->n, 256, &a}, e);
}

static status run_block(gpu_text *t, const text_work *w, const text_block *b, err *e) {
    product_args a = product_of(&b->qkv, normed(t, w, b->norm_attn), w->qkv, NULL);
    status rc = product(t, w, &a, e);
    if (!rc) rc = attention(t, w, e);
    if (!rc) rc = add_product(t, w, &b->o, w->ctx, e);
    a = product_of(&b->wi, normed(t, w, b->norm_ffn), w->hidden, NULL);
    a.act = (int32_t)t->m->cfg.act;
    if (!rc) rc = product(t, w, &a, e);
    return rc ? rc : add_product(t, w, &b->wo, w->hidden, e);
}

// Runs the network on a text and reads what it makes.
static status run(gpu_text *t, text_work *w, float *out, const int32_t *ids, err *e) {
    size_t size = (size_t)(w->n * t->m->cfg.d_model) * sizeof(float);
    status rc = work_fill(t, w, ids, e);
    for (int64_t i = 0; i < t->m->cfg.layers && !rc; i++) rc = run_block(t, w, &t->block[i], e);
    const norm_rows_args last = {
        .in = normed(t, w, t->norm), .y = w->states, .d = t->m->cfg.d_model};
    if (!rc) rc = device_launch(t->dev, &(device_run){GPU_norm_rows, w->n, 1, 128, &last}, e);
    if (!rc) rc = device_download(t->dev, out, w->states, size, e);
    float *x = rc ? NULL : mem_alloc(size);
    if (!rc && !x) rc = err_set(e, ERR_OOM, "no memory to encode a text");
    if (!rc) rc = device_download(t->dev, x, w->x, size, e);
    if (!rc) rc = t5_check_states(t->m, x, out, w->n, e);
    mem_free(x);
    return rc;
}

status gpu_text_encode(gpu_text *t, float *out, const int32_t *ids, int64_t n, err *e) {
    text_work w = {0};
    status rc = t5_check_ids(t->m, ids, n, e);
    if (!rc) rc = work_init(t, &w, n, e);
    if (!rc) rc = run(t, &w, out, ids, e);
    work_free(t, &w);
    return rc;
}
