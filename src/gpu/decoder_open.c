// decoder_open.c - see decoder.h: weights to the device, and memory for its passes.
#include "gpu/decoder_inside.h"

static status upload_norm(device *dev, gpu_norm *to, const mg_norm *n, int64_t d, err *e) {
    status rc = upload_floats(dev, &to->w, n->w, d, e);
    return rc ? rc : upload_floats(dev, &to->b, n->b, d, e);
}

static status upload_layer(device *dev, gpu_layer *to, const mg_layer *l, const mg_config *cfg,
                           err *e) {
    const weight *const qkv[] = {&l->q, &l->k, &l->v}, *const ckv[] = {&l->ck, &l->cv};
    const weight *const one[] = {&l->o, &l->fc1, &l->fc2, &l->cq, &l->co};
    gpu_matrix *const as[] = {&to->o, &to->fc1, &to->fc2, &to->cq, &to->co};
    status rc = upload_matrices(dev, &to->qkv, qkv, 3, e);
    for (size_t i = 0; !rc && i < ARRAY_LEN(one) - (cfg->melody ? 2 : 0); i++)
        rc = upload_matrices(dev, as[i], &one[i], 1, e);
    if (!rc) rc = upload_norm(dev, &to->attn, &l->attn, cfg->d, e);
    if (!rc) rc = upload_norm(dev, &to->ffn, &l->ffn, cfg->d, e);
    if (rc || cfg->melody) return rc;
    rc = upload_matrices(dev, &to->ckv, ckv, 2, e);
    return rc ? rc : upload_norm(dev, &to->cross, &l->cross, cfg->d, e);
}

static status upload_top(gpu_decoder *d, const musicgen *m, err *e) {
    const weight *embed[MG_CODEBOOKS_MAX], *head[MG_CODEBOOKS_MAX];
    int books = (int)d->cfg.codebooks;
    for (int k = 0; k < books; k++) embed[k] = &m->embed[k], head[k] = &m->head[k];
    status rc = upload_tables(d->dev, &d->embed, embed, books, e);
    if (!rc) rc = upload_matrices(d->dev, &d->head, head, books, e);
    return rc ? rc : upload_norm(d->dev, &d->norm, &m->norm, d->cfg.d, e);
}

// ---- positions

typedef struct {
    float *to;
    int64_t d, n;
} position_job;

static void position_part(void *arg, int part, int parts) {
    const position_job *j = arg;
    for (int64_t p = j->n * part / parts; p < j->n * (part + 1) / parts; p++)
        mg_position_row(j->to + p * j->d, j->d, p);
}

static status upload_positions(gpu_decoder *d, compute *c, int64_t n, err *e) {
    position_job j = {mem_calloc((size_t)n, (size_t)d->cfg.d * sizeof(float)), d->cfg.d, n};
    if (!j.to) return err_set(e, ERR_OOM, "no memory for %lld positions", (long long)n);
    op_parallel(c, 4 * compute_threads(c), position_part, &j);
    status rc = upload_floats(d->dev, &d->position, j.to, n * d->cfg.d, e);
    mem_free(j.to);
    return rc;
}

// ---- memory

static status floats(gpu_decoder *d, float **out, int64_t rows, int64_t cols, err *e) {
    void *p;
    status rc = device_alloc(d->dev, &p, (size_t)rows * (size_t)cols * sizeof(float), e);
    *out = p;
    return rc;
}

static status make_tables(gpu_decoder *d, int64_t feed, err *e) {
    status rc = OK;
    for (int t = 0; t < GPU_TABLES && !rc; t++) {
        size_t rows = (size_t)(t == GPU_STEP ? 2 * d->sequences : feed);
        size_t seqs = (size_t)(t == GPU_STEP ? d->sequences : 1);
        void *p = NULL;
        rc = device_alloc(d->dev, &p, rows * sizeof(gpu_row), e);
        d->table[t].rows = p;
        if (!rc) rc = device_alloc(d->dev, &p, seqs * sizeof(gpu_seq_entry), e);
        d->table[t].seqs = rc ? NULL : p;
        if (!rc) rc = device_alloc(d->dev, &p, sizeof(gpu_counts), e);
        d->table[t].counts = rc ? NULL : p;
    }
    return rc;
}

static status make_scratch(gpu_decoder *d, int64_t positions, err *e) {
    const mg_config *cfg = &d->cfg;
    int64_t draws = d->sequences * cfg->codebooks;
    d->lds = (positions + 15) / 16 * 16;
    int64_t widest = MAX(cfg->d, cfg->ffn), blocks = (widest + GPU_QBLOCK - 1) / GPU_QBLOCK;
    void *drawn = NULL, *q = NULL;
    status rc = floats(d, &d->x, d->rows, cfg->d, e);
    if (!rc) rc = floats(d, &d->qkv, d->rows, 3 * cfg->d, e);
    if (!rc) rc = floats(d, &d->ctx, d->rows, cfg->d, e);
    if (!rc) rc = floats(d, &d->hidden, d->rows, cfg->ffn, e);
    if (!rc) rc = floats(d, &d->logits, d->rows, cfg->codebooks * cfg->vocab, e);
    if (!rc) rc = floats(d, &d->scores, d->rows * cfg->heads, d->lds, e);
    if (!rc) rc = floats(d, &d->wide.norm, d->rows, widest, e);
    if (!rc) rc = device_alloc(d->dev, &q, (size_t)(d->rows * blocks) * sizeof *d->wide.q, e);
    d->wide.q = q;
    if (!rc) rc = floats(d, &d->guided, draws, cfg->vocab, e);
    size_t most = (size_t)(draws * cfg->vocab) * sizeof *d->weights;
    if (!rc) rc = device_alloc(d->dev, &drawn, most, e);
    d->weights = drawn;
    return rc;
}

static status check_shape(const mg_config *cfg, const gpu_decoder_limits *l, err *e) {
    int64_t most = (int64_t)1 << (GPU_BUCKETS - 1);
    if (2 * l->sequences > most) {
        return err_set(e, ERR_LIMIT, "GPU: expected at most %lld stems at a time, found %lld",
                       (long long)(most / 2), (long long)l->sequences);
    }
    if (cfg->dh > GPU_DH_MAX) {
        return err_set(e, ERR_LIMIT, "GPU: expected heads of at most %d, found %lld", GPU_DH_MAX,
                       (long long)cfg->dh);
    }
    return OK;
}

static status fill(gpu_decoder *d, const musicgen *m, compute *c, const gpu_decoder_limits *l,
                   err *e) {
    status rc = check_shape(&d->cfg, l, e);
    d->layer = mem_calloc((size_t)d->cfg.layers, sizeof *d->layer);
    d->list = mem_calloc((size_t)d->feed, sizeof *d->list);
    if (!rc && (!d->layer || !d->list))
        rc = err_set(e, ERR_OOM, "no memory for a decoder on the GPU");
    if (!rc) rc = upload_top(d, m, e);
    for (int64_t i = 0; i < d->cfg.layers && !rc; i++)
        rc = upload_layer(d->dev, &d->layer[i], &m->layer[i], &d->cfg, e);
    if (!rc) rc = upload_positions(d, c, l->positions, e);
    if (!rc) rc = make_scratch(d, l->positions, e);
    return rc ? rc : make_tables(d, l->feed, e);
}

status gpu_decoder_open(gpu_decoder **out, device *dev, const musicgen *m, compute *c,
                        const gpu_decoder_limits *l, err *e) {
    *out = NULL;
    gpu_decoder *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "no memory for a decoder on the GPU");
    d->dev = dev;
    d->cfg = *mg_get_config(m);
    d->sequences = l->sequences;
    d->feed = l->feed;
    d->rows = MAX(2 * l->sequences, l->feed);
    status rc = fill(d, m, c, l, e);
    if (rc)
        gpu_decoder_close(d);
    else
        *out = d;
    return rc;
}

static void free_layer(device *dev, const gpu_layer *l) {
    void *const all[] = {l->qkv.data, l->o.data,   l->cq.data, l->ckv.data, l->co.data,
                         l->fc1.data, l->fc2.data, l->attn.w,  l->attn.b,   l->cross.w,
                         l->cross.b,  l->ffn.w,    l->ffn.b};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) device_free(dev, all[i]);
}

void gpu_decoder_close(gpu_decoder *d) {
    if (!d) return;
    gpu_decoder_forget(d);
    for (int64_t i = 0; d->layer && i < d->cfg.layers; i++) free_layer(d->dev, &d->layer[i]);
    void *const all[] = {d->embed.data, d->head.data, d->norm.w, d->norm.b, d->position,
                         d->x,          d->qkv,       d->ctx,    d->hidden, d->logits,
                         d->scores,     d->wide.norm, d->wide.q, d->guided, d->weights};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) device_free(d->dev, all[i]);
    for (int t = 0; t < GPU_TABLES; t++) {
        device_free(d->dev, d->table[t].rows);
        device_free(d->dev, d->table[t].seqs);
        device_free(d->dev, d->table[t].counts);
    }
    mem_free(d->list);
    mem_free(d->layer);
    mem_free(d);
}
