// decoder.c - see decoder.h: what one pass over the layers launches.
//
// A layer is eight launches: norm, q, k, v in one; put and attend; o and sum; the same three for
// the text; norm and fc1 with its activation; fc2 and sum.
#include "gpu/decoder.h"

#include <assert.h>
#include <math.h>

#include "gpu/decoder_inside.h"

// The launches of one pass. After a failure the others are left out.
typedef struct {
    gpu_decoder *d;
    gpu_table table;
    int64_t rows; // at most
    int32_t cache;
    status rc;
    err *e;
} pass;

static int32_t cache_type(dtype t) {
    return t == DT_I8 ? GPU_I8 : t == DT_BF16 ? GPU_BF16 : GPU_F32;
}

static const int32_t *rows_of(const pass *p) {
    return &p->d->table[p->table].counts->rows;
}
static const int32_t *texts_of(const pass *p) {
    return &p->d->table[p->table].counts->texts;
}

static void launch(pass *p, gpu_kernel k, int64_t x, int64_t y, int64_t threads, const void *args) {
    if (!p->rc) p->rc = device_launch(p->d->dev, &(device_run){k, x, y, threads, args}, p->e);
}

static void product(pass *p, const product_args *a) {
    if (!p->rc) p->rc = product_run(p->d->dev, a, p->rows, &p->d->wide, p->e);
}

static gpu_input plain(const float *x, int64_t ldx) {
    return (gpu_input){.x = x, .ldx = ldx};
}

static gpu_input normed(const pass *p, const gpu_norm *n) {
    const gpu_decoder *d = p->d;
    return (gpu_input){.x = d->x, .ldx = d->cfg.d, .w = n->w, .b = n->b, .eps = MG_NORM_EPS};
}

// x += in w^T
static void add_product(pass *p, const gpu_matrix *w, const float *in, const int32_t *n) {
    product_args a = product_of(w, plain(in, w->cols), p->d->x, n);
    a.add = 1;
    product(p, &a);
}

static attend_args attention_args(const pass *p, int64_t layer, int32_t which) {
    const gpu_decoder *d = p->d;
    const mg_config *cfg = &d->cfg;
    bool text = which == ATTEND_TEXT;
    return (attend_args){.rows = d->table[p->table].rows,
                         .n = text ? texts_of(p) : rows_of(p),
                         .q = d->qkv,
                         .k = d->qkv + cfg->d,
                         .v = d->qkv + 2 * cfg->d,
                         .ld = text ? cfg->d : 3 * cfg->d,
                         .out = d->ctx,
                         .scores = d->scores,
                         .lds = d->lds,
                         .type = p->cache,
                         .heads = (int32_t)cfg->heads,
                         .dh = (int32_t)cfg->dh,
                         .layer = (int32_t)layer,
                         .which = which,
                         .scale = 1 / sqrtf((float)cfg->dh),
                         .whole = (int32_t)cfg->control_layers};
}

static void put_rows(pass *p, int64_t layer) {
    const attend_args a = attention_args(p, layer, ATTEND_SELF);
    launch(p, GPU_put_rows, p->d->cfg.heads, p->rows, 128, &a);
}

static void attention(pass *p, int64_t layer, int32_t which) {
    attend_args a = attention_args(p, layer, which);
    a.put = which == ATTEND_SELF && p->table == GPU_STEP;
    gpu_kernel k = p->cache == GPU_I8 ? GPU_attend8 : GPU_attend;
    launch(p, k, p->d->cfg.heads, p->rows, 256, &a);
}

static void queries_and_keys(pass *p, int64_t i) {
    gpu_decoder *d = p->d;
    const gpu_layer *l = &d->layer[i];
    const product_args a = product_of(&l->qkv, normed(p, &l->attn), d->qkv, rows_of(p));
    product(p, &a);
}

static void run_layer(pass *p, int64_t i) {
    gpu_decoder *d = p->d;
    const gpu_layer *l = &d->layer[i];
    product_args a;
    queries_and_keys(p, i);
    // Rows of one cache stand side by side when they are fed: all are put before any attends.
    if (p->table == GPU_FEED) put_rows(p, i);
    attention(p, i, ATTEND_SELF);
    add_product(p, &l->o, d->ctx, rows_of(p));
    if (!d->cfg.melody) {
        a = product_of(&l->cq, normed(p, &l->cross), d->qkv, texts_of(p));
        product(p, &a);
        attention(p, i, ATTEND_TEXT);
        add_product(p, &l->co, d->ctx, texts_of(p));
    }
    a = product_of(&l->fc1, normed(p, &l->ffn), d->hidden, rows_of(p));
    a.act = (int32_t)d->cfg.act;
    product(p, &a);
    add_product(p, &l->fc2, d->hidden, rows_of(p));
}

static void embed(pass *p) {
    gpu_decoder *d = p->d;
    const mg_config *cfg = &d->cfg;
    const embed_rows_args a = {.x = d->x,
                               .rows = d->table[p->table].rows,
                               .seqs = d->table[p->table].seqs,
                               .n = rows_of(p),
                               .table = d->embed.data,
                               .position = d->position,
                               .type = d->embed.type,
                               .d = (int32_t)cfg->d,
                               .vocab = (int32_t)cfg->vocab,
                               .codebooks = (int32_t)cfg->codebooks,
                               .channels = (int32_t)cfg->channels};
    launch(p, GPU_embed_rows, p->rows, 1, 256, &a);
}

static void run_layers(pass *p) {
    embed(p);
    for (int64_t i = 0; i < p->d->cfg.layers; i++) run_layer(p, i);
}

// Rows that no layer from control_layers on reads: the last layer below makes their keys alone.
static void run_unread(pass *p) {
    int64_t last = p->d->cfg.control_layers - 1;
    embed(p);
    for (int64_t i = 0; i < last; i++) run_layer(p, i);
    queries_and_keys(p, last);
    put_rows(p, last);
}

static void score(pass *p) {
    gpu_decoder *d = p->d;
    const product_args a = product_of(&d->head, normed(p, &d->norm), d->logits, rows_of(p));
    product(p, &a);
}

static void draw_codes(pass *p) {
    gpu_decoder *d = p->d;
    const mg_config *cfg = &d->cfg;
    const draw_args a = {.seqs = d->table[p->table].seqs,
                         .n = &d->table[p->table].counts->seqs,
                         .logits = d->logits,
                         .scores = d->guided,
                         .weights = d->weights,
                         .vocab = (int32_t)cfg->vocab,
                         .codebooks = (int32_t)cfg->codebooks,
                         .channels = (int32_t)cfg->channels};
    launch(p, GPU_draw, cfg->codebooks, MIN(p->rows, d->sequences), 256, &a);
    const table_advance_args next = {.rows = d->table[p->table].rows,
                                     .seqs = d->table[p->table].seqs,
                                     .counts = d->table[p->table].counts};
    launch(p, GPU_table_advance, 1, 1, 256, &next);
}

// ---- tables

status gpu_put_rows(gpu_decoder *d, gpu_table t, const gpu_row *rows, int64_t first, int64_t n,
                    const gpu_counts *counts, err *e) {
    status rc = OK;
    for (int64_t i = 0; (i < n || (counts && i == 0)) && !rc; i += GPU_PUT_ROWS) {
        table_rows_args a = {.to = d->table[t].rows, .first = (int32_t)(first + i)};
        a.n = (int32_t)MIN(GPU_PUT_ROWS, n - i);
        if (counts) a.counts = d->table[t].counts, a.value = *counts;
        for (int32_t j = 0; j < a.n; j++) a.row[j] = rows[i + j];
        rc = device_launch(d->dev, &(device_run){GPU_table_rows, 1, 1, 64, &a}, e);
    }
    return rc;
}

status gpu_put_seqs(gpu_decoder *d, gpu_table t, const gpu_seq_entry *seqs, int64_t first,
                    int64_t n, err *e) {
    status rc = OK;
    for (int64_t i = 0; i < n && !rc; i += GPU_PUT_SEQS) {
        table_seqs_args a = {.to = d->table[t].seqs, .first = (int32_t)(first + i)};
        a.n = (int32_t)MIN(GPU_PUT_SEQS, n - i);
        for (int32_t j = 0; j < a.n; j++) a.seq[j] = seqs[i + j];
        rc = device_launch(d->dev, &(device_run){GPU_table_seqs, 1, 1, 32, &a}, e);
    }
    return rc;
}

// ---- steps

// The launches of a step of so many rows at most, recorded.
static status record(gpu_decoder *d, int32_t cache, int64_t rows, device_graph **out, err *e) {
    status rc = device_graph_begin(d->dev, e);
    if (rc) return rc;
    pass p = {.d = d, .table = GPU_STEP, .rows = rows, .cache = cache, .e = e};
    run_layers(&p);
    score(&p);
    draw_codes(&p);
    rc = device_graph_end(d->dev, out, p.rc ? NULL : e);
    if (!p.rc) return rc;
    device_graph_free(d->dev, *out);
    *out = NULL;
    return p.rc;
}

static void forget_graphs(gpu_decoder *d) {
    for (int i = 0; i < GPU_BUCKETS; i++) {
        device_graph_free(d->dev, d->graph[i]);
        d->graph[i] = NULL;
    }
}

status gpu_decoder_step(gpu_decoder *d, dtype cache, int64_t rows, err *e) {
    int bucket = 0;
    status rc = OK;
    while ((int64_t)1 << bucket < rows) bucket++;
    assert(rows > 0 && rows <= 2 * d->sequences && bucket < GPU_BUCKETS);
    if (d->graph_cache != cache_type(cache)) forget_graphs(d);
    d->graph_cache = cache_type(cache);
    if (!d->graph[bucket]) {
        int64_t most = MIN((int64_t)1 << bucket, 2 * d->sequences);
        rc = record(d, d->graph_cache, most, &d->graph[bucket], e);
    }
    return rc ? rc : device_graph_launch(d->dev, d->graph[bucket], e);
}

status gpu_decoder_feed(gpu_decoder *d, const gpu_feed *f, err *e) {
    size_t x = (size_t)(f->n * d->cfg.d) * sizeof *f->x;
    size_t scores = (size_t)(f->n * d->cfg.codebooks * d->cfg.vocab) * sizeof *f->logits;
    assert(f->n <= d->feed && !(f->unread && f->logits));
    pass p = {.d = d, .table = GPU_FEED, .rows = f->n, .cache = cache_type(f->cache), .e = e};
    if (f->x) p.rc = device_upload(d->dev, d->x, f->x, x, e);
    if (f->unread)
        run_unread(&p);
    else
        run_layers(&p);
    if (f->logits) {
        score(&p);
        if (!p.rc) p.rc = device_download(d->dev, f->logits, d->logits, scores, e);
    }
    return p.rc;
}

// ---- caches

// Rows `from` to from + n - 1 of a text, of which x holds the projections.
static status put_text(gpu_decoder *d, dtype cache, void *to, int64_t from, int64_t n, int64_t cap,
                       err *e) {
    const gpu_counts counts = {.rows = (int32_t)n};
    const mg_config *cfg = &d->cfg;
    for (int64_t i = 0; i < n; i++)
        d->list[i] = (gpu_row){.text = to, .text_cap = (int32_t)cap, .pos = (int32_t)(from + i)};
    status rc = gpu_put_rows(d, GPU_FEED, d->list, 0, n, &counts, e);
    pass p = {.d = d, .table = GPU_FEED, .rows = n, .cache = cache_type(cache), .rc = rc, .e = e};
    for (int64_t i = 0; i < cfg->layers; i++) {
        product_args kv = product_of(&d->layer[i].ckv, plain(d->x, cfg->d), d->qkv, rows_of(&p));
        const attend_args put = {.rows = d->table[GPU_FEED].rows,
                                 .n = rows_of(&p),
                                 .k = d->qkv,
                                 .v = d->qkv + cfg->d,
                                 .ld = 2 * cfg->d,
                                 .type = p.cache,
                                 .heads = (int32_t)cfg->heads,
                                 .dh = (int32_t)cfg->dh,
                                 .layer = (int32_t)i,
                                 .which = ATTEND_TEXT};
        product(&p, &kv);
        launch(&p, GPU_put_rows, cfg->heads, n, 128, &put);
    }
    return p.rc;
}

status gpu_decoder_text(gpu_decoder *d, dtype cache, void *to, const float *text, int64_t n,
                        err *e) {
    int64_t width = d->cfg.d;
    status rc = OK;
    for (int64_t from = 0; from < n && !rc; from += d->feed) {
        int64_t part = MIN(d->feed, n - from);
        size_t size = (size_t)(part * width) * sizeof *text;
        rc = device_upload(d->dev, d->x, text + from * width, size, e);
        if (!rc) rc = put_text(d, cache, to, from, part, n, e);
    }
    return rc;
}

status gpu_decoder_copy(gpu_decoder *d, const gpu_cache_copy *c, err *e) {
    const copy_rows_args a = {.to = c->to,
                              .from = c->from,
                              .to_cap = (int32_t)c->to_cap,
                              .from_cap = (int32_t)c->from_cap,
                              .n = (int32_t)c->n,
                              .type = cache_type(c->cache),
                              .heads = (int32_t)d->cfg.heads,
                              .dh = (int32_t)d->cfg.dh,
                              .whole = (int32_t)d->cfg.control_layers,
                              .unread = (int32_t)mg_unread_rows(&d->cfg)};
    const device_run r = {GPU_copy_rows, d->cfg.heads, 2 * d->cfg.layers, 128, &a};
    return device_launch(d->dev, &r, e);
}

void gpu_decoder_forget(gpu_decoder *d) {
    forget_graphs(d);
}
