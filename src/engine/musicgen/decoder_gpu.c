// decoder_gpu.c - decoder.h on an NVIDIA GPU: sequences in gpu/decoder.h's caches and tables.
//
// The host knows each step in advance: positions, columns, how many there are. So it never waits
// for a result: it keeps a copy of the device's table as the steps move it on, sends the entries
// that differ from what it wants, and launches the step. Codes are read when a stem is done.
#include <assert.h>
#include <string.h>

#include "engine/musicgen/decoder_inside.h"
#include "gpu/decoder.h"

#define AHEAD 3 // steps that are launched before the first of them is waited for

typedef struct gpu_seq gpu_seq;

// One branch of a sequence.
typedef struct {
    uint8_t *self, *text; // on the device
    int64_t len, cap;     // positions in use, room
    int64_t unread;       // positions in front that the upper layers do not keep
    int64_t text_n;
} branch;

struct gpu_seq {
    seq base;
    branch branch[2];           // conditional; null, whose self is NULL when unguided
    int32_t *codes;             // [K][frames]
    int32_t *there, *broken;    // the codes on the device; see gpu_seq_entry
    float *first, *first_there; // [K, vocab] or NULL
    int32_t broken_frame;       // as it was when the codes were read
    int64_t stepped;            // steps so far
    // The window under way.
    int64_t index, start, window, known;
    int64_t column; // the next one to make
};

typedef struct {
    decoder base;
    const musicgen *m;
    compute *c;
    device *dev;
    gpu_decoder *gpu;
    int64_t feed, positions;
    // The table of steps as the device has it, and as it shall be.
    gpu_row *rows, *want_rows;       // [2 * sequences]
    gpu_seq_entry *seqs, *want_seqs; // [sequences]
    gpu_counts counts;
    gpu_row *fed; // [feed]
    int64_t steps;
    arena work; // of one prefill
} gpu_decoder_table;

// ---- open and close

static void gpu_close(decoder *base) {
    gpu_decoder_table *d = (gpu_decoder_table *)base;
    gpu_decoder_close(d->gpu);
    arena_deinit(&d->work);
    mem_free(d->rows);
    mem_free(d->want_rows);
    mem_free(d->seqs);
    mem_free(d->want_seqs);
    mem_free(d->fed);
    mem_free(d);
}

// ---- sequences

static void gpu_rest(seq *base) {
    gpu_seq *s = (gpu_seq *)base;
    device *dev = ((gpu_decoder_table *)base->d)->dev;
    for (int i = 0; i < 2; i++) {
        device_free(dev, s->branch[i].self);
        device_free(dev, s->branch[i].text);
        s->branch[i] = (branch){0};
    }
}

static void gpu_free(seq *base) {
    gpu_seq *s = (gpu_seq *)base;
    device *dev = ((gpu_decoder_table *)base->d)->dev;
    gpu_rest(base);
    device_free(dev, s->there);
    device_free(dev, s->broken);
    device_free(dev, s->first_there);
    mem_free(s->codes);
    mem_free(s->first);
    mem_free(s);
}

static size_t codes_size(const gpu_seq *s) {
    return (size_t)(s->base.d->cfg->codebooks * s->base.p.frames) * sizeof *s->codes;
}

static size_t first_size(const gpu_seq *s) {
    return (size_t)(s->base.d->cfg->codebooks * s->base.d->cfg->vocab) * sizeof *s->first;
}

static status allocate_seq(gpu_decoder_table *d, gpu_seq *s, err *e) {
    void *there = NULL, *broken = NULL, *first = NULL;
    bool keep = s->base.p.keep_first;
    s->codes = mem_calloc(1, codes_size(s));
    if (keep) s->first = mem_calloc(1, first_size(s));
    if (!s->codes || (keep && !s->first))
        return err_set(e, ERR_OOM, "no memory for the codes of a stem");
    status rc = device_alloc(d->dev, &there, codes_size(s), e);
    s->there = there;
    if (!rc) rc = device_alloc(d->dev, &broken, sizeof *s->broken, e);
    s->broken = broken;
    if (!rc && keep) rc = device_alloc(d->dev, &first, first_size(s), e);
    s->first_there = first;
    return rc;
}

static status gpu_create(seq **out, decoder *base, const seq_params *p, err *e) {
    gpu_decoder_table *d = (gpu_decoder_table *)base;
    *out = NULL;
    gpu_seq *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "no memory for a stem");
    s->base = (seq){base, *p};
    status rc = allocate_seq(d, s, e);
    for (int64_t k = 0; !rc && k < base->cfg->codebooks && p->given_n; k++) {
        memcpy(s->codes + k * p->frames, p->given + k * p->given_n,
               (size_t)p->given_n * sizeof *s->codes);
    }
    if (!rc) rc = device_upload(d->dev, s->there, s->codes, codes_size(s), e);
    if (!rc) rc = device_zero(d->dev, s->broken, sizeof *s->broken, e);
    s->base.p.given = NULL; // borrowed for this call only
    if (rc)
        gpu_free(&s->base);
    else
        *out = &s->base;
    return rc;
}

static status gpu_codes(seq *base, const int32_t **out, err *e) {
    gpu_seq *s = (gpu_seq *)base;
    device *dev = ((gpu_decoder_table *)base->d)->dev;
    *out = s->codes;
    status rc = device_download(dev, s->codes, s->there, codes_size(s), e);
    if (!rc && s->first && s->stepped)
        rc = device_download(dev, s->first, s->first_there, first_size(s), e);
    if (!rc) rc = device_download(dev, &s->broken_frame, s->broken, sizeof s->broken_frame, e);
    return rc;
}

static const float *gpu_first(const seq *base) {
    const gpu_seq *s = (const gpu_seq *)base;
    return s->stepped ? s->first : NULL;
}

static status gpu_check(const seq *base, err *e) {
    const gpu_seq *s = (const gpu_seq *)base;
    return s->broken_frame ? decoder_broken(s->broken_frame - 1, e) : OK;
}

// ---- prefill

static gpu_row row_of(const branch *b, int64_t index) {
    return (gpu_row){.self = b->self,
                     .text = b->text,
                     .cap = (int32_t)b->cap,
                     .text_cap = (int32_t)b->text_n,
                     .pos = (int32_t)b->len,
                     .text_n = (int32_t)b->text_n,
                     .seq = (int32_t)index,
                     .unread = (int32_t)b->unread};
}

static gpu_seq_entry entry_of(const gpu_seq *s) {
    const seq_params *p = &s->base.p;
    return (gpu_seq_entry){.codes = s->there,
                           .broken = s->broken,
                           .first = s->stepped ? NULL : s->first_there,
                           .seed = p->seed,
                           .stream = p->stream,
                           .index = (int32_t)s->index,
                           .frames = (int32_t)p->frames,
                           .start = (int32_t)s->start,
                           .window = (int32_t)s->window,
                           .known = (int32_t)s->known,
                           .column = (int32_t)s->column,
                           .null = -1,
                           .parallel = p->parallel,
                           .top_k = p->sampling.top_k,
                           .temperature = p->sampling.temperature,
                           .top_p = p->sampling.top_p,
                           .guidance = sampler_guidance(&p->sampling, false),
                           .fine_guidance = sampler_guidance(&p->sampling, true)};
}

static status create_branch(gpu_decoder_table *d, gpu_seq *s, branch *b, int64_t text, err *e) {
    const mg_config *cfg = d->base.cfg;
    dtype type = s->base.p.cache_type;
    void *p;
    b->cap = decoder_cache_len(cfg, &s->base.p);
    b->unread = mg_unread_rows(cfg);
    assert(text <= DECODER_TEXT_MAX);
    status rc = device_alloc(d->dev, &p, mg_cache_bytes(cfg, b->cap, 0, type), e);
    b->self = p;
    if (rc || cfg->melody || !text) return rc;
    rc = device_alloc(d->dev, &p, mg_cache_bytes(cfg, text, 0, type), e);
    b->text = p;
    if (rc) return rc;
    float *rows = arena_f32(&d->work, (size_t)text, (size_t)cfg->d);
    if (!rows) return err_set(e, ERR_OOM, "no memory for the text");
    mg_project_text(d->m, d->c, rows, s->base.p.text, text);
    b->text_n = text;
    return gpu_decoder_text(d->gpu, type, b->text, rows, text, e);
}

static status create_caches(gpu_decoder_table *d, gpu_seq *s, err *e) {
    const seq_params *p = &s->base.p;
    status rc = OK;
    if (!s->branch[0].self)
        rc = create_branch(d, s, &s->branch[0], p->text_null ? 0 : p->text_n, e);
    if (!rc && decoder_guided(p) && !s->branch[1].self)
        rc = create_branch(d, s, &s->branch[1], 0, e);
    if (rc) gpu_rest(&s->base); // a text may be missing
    return rc;
}

// Feeds n rows into a cache, some at a time: x [n, d], or x NULL and the columns from `column` on,
// whose frames from `known` on are special.
typedef struct {
    const float *x;
    int64_t column, known, n;
    float *logits; // or NULL
} feed;
static status feed_rows(gpu_decoder_table *d, const gpu_seq *s, branch *b, const feed *f, err *e) {
    status rc = OK;
    int64_t width = d->base.cfg->d, size = d->base.cfg->codebooks * d->base.cfg->vocab;
    for (int64_t i = 0, part; i < f->n && !rc; i += part) {
        bool unread = b->len < b->unread;
        part = MIN(d->feed, unread ? MIN(f->n - i, b->unread - b->len) : f->n - i);
        const gpu_counts counts = {
            .rows = (int32_t)part, .texts = b->text_n ? (int32_t)part : 0, .seqs = 1};
        for (int64_t j = 0; j < part; j++) {
            d->fed[j] = row_of(b, 0);
            d->fed[j].pos = (int32_t)(b->len + j);
            d->fed[j].column = f->x ? -1 : (int32_t)(f->column + i + j);
            d->fed[j].known = (int32_t)f->known;
        }
        b->len += part;
        assert(b->len <= d->positions);
        rc = gpu_put_rows(d->gpu, GPU_FEED, d->fed, 0, part, &counts, e);
        const gpu_feed now = {.cache = s->base.p.cache_type,
                              .n = part,
                              .x = f->x ? f->x + i * width : NULL,
                              .logits = f->logits ? f->logits + i * size : NULL,
                              .unread = unread};
        if (!rc) rc = gpu_decoder_feed(d->gpu, &now, e);
    }
    return rc;
}

// Feeds the prefix of a branch; chroma rows that another sequence has are copied from there.
static status feed_prefix(gpu_decoder_table *d, gpu_seq *s, const seq_window *w, int null, err *e) {
    int64_t n = decoder_prefix_rows(d->base.cfg, &s->base.p), width = d->base.cfg->d;
    const gpu_seq *like = (const gpu_seq *)(null ? w->like_null : w->like);
    branch *b = &s->branch[null];
    status rc = OK;
    float *x = arena_f32(&d->work, (size_t)n, (size_t)width);
    if (!x) return err_set(e, ERR_OOM, "no memory for a prefix of %lld rows", (long long)n);
    decoder_prefix(d->m, d->c, &s->base.p, w, null, x);
    if (like) {
        const gpu_cache_copy copy = {.cache = s->base.p.cache_type,
                                     .to = b->self,
                                     .from = like->branch[null].self,
                                     .to_cap = b->cap,
                                     .from_cap = like->branch[null].cap,
                                     .n = d->base.cfg->chroma_length};
        rc = gpu_decoder_copy(d->gpu, &copy, e);
        b->len = copy.n;
    }
    const feed rest = {.x = x + b->len * width, .n = n - b->len};
    return rc ? rc : feed_rows(d, s, b, &rest, e);
}

// Feeds columns `from` to `to` - 1 to both branches, of frames from `start` on.
static status feed_columns(gpu_decoder_table *d, gpu_seq *s, int64_t start, int64_t from,
                           int64_t to, err *e) {
    gpu_seq_entry entry = entry_of(s);
    entry.start = (int32_t)start;
    const feed columns = {.column = from, .known = s->known, .n = to - from};
    status rc = gpu_put_seqs(d->gpu, GPU_FEED, &entry, 0, 1, e);
    for (int null = 0; null < 2 && !rc; null++)
        if (s->branch[null].self) rc = feed_rows(d, s, &s->branch[null], &columns, e);
    return rc;
}

static status feed_prefixes(gpu_decoder_table *d, gpu_seq *s, const seq_window *w, err *e) {
    const gpu_seq_entry entry = entry_of(s);
    status rc = gpu_put_seqs(d->gpu, GPU_FEED, &entry, 0, 1, e);
    for (int null = 0; null < 2 && !rc; null++) {
        s->branch[null].len = 0;
        if (d->base.cfg->melody && s->branch[null].self) rc = feed_prefix(d, s, w, null, e);
    }
    return rc;
}

// Feeds what stands before the first column that a step feeds: the prefix, and columns 0 to known -
// 1 of the window.
static status prefill(gpu_decoder_table *d, gpu_seq *s, const seq_window *w, err *e) {
    int64_t head = w->anchored ? w->anchored + 1 : 0;
    status rc = create_caches(d, s, e);
    if (!rc) rc = feed_prefixes(d, s, w, e);
    if (!rc && head) rc = feed_columns(d, s, w->anchor, 0, head, e);
    return rc ? rc : feed_columns(d, s, s->start, head, s->known, e);
}

static status gpu_begin(decoder *base, seq *sequence, const seq_window *w, err *e) {
    gpu_decoder_table *d = (gpu_decoder_table *)base;
    gpu_seq *s = (gpu_seq *)sequence;
    s->index = w->index;
    s->start = w->start;
    s->window = w->frames;
    s->known = w->known;
    s->column = w->known + 1;
    status rc = prefill(d, s, w, e);
    arena_reset(&d->work);
    return rc;
}

// ---- steps

// Lists the rows of all branches of all sequences, those with a text first, and the sequences.
static gpu_counts gather(gpu_decoder_table *d, gpu_seq *const *list, size_t count) {
    gpu_counts n = {.seqs = (int32_t)count};
    for (size_t i = 0; i < count; i++) d->want_seqs[i] = entry_of(list[i]);
    for (int with_text = 1; with_text >= 0; with_text--) {
        for (size_t i = 0; i < count; i++) {
            for (int null = 0; null < 2; null++) {
                const branch *b = &list[i]->branch[null];
                if (!b->self || (b->text_n > 0) != (with_text == 1)) continue;
                gpu_row *row = &d->want_rows[n.rows];
                *row = row_of(b, (int64_t)i);
                row->column = (int32_t)list[i]->column - 1;
                row->known = (int32_t)list[i]->window; // all of the columns before is written
                *(null ? &d->want_seqs[i].null : &d->want_seqs[i].cond) = n.rows++;
            }
        }
        if (with_text) n.texts = n.rows;
    }
    return n;
}

// The first and the last place where two lists of n differ; false: nowhere.
static bool differ(const void *a, const void *b, size_t size, int64_t n, span *out) {
    const uint8_t *x = a, *y = b;
    *out = (span){0, n};
    while (out->from < n &&
           !memcmp(x + out->from * (int64_t)size, y + out->from * (int64_t)size, size))
        out->from++;
    while (out->to > out->from &&
           !memcmp(x + (out->to - 1) * (int64_t)size, y + (out->to - 1) * (int64_t)size, size))
        out->to--;
    return out->from < out->to;
}

// Makes the device's table what it shall be.
static status send_table(gpu_decoder_table *d, gpu_counts n, err *e) {
    span s;
    status rc = OK;
    bool other = memcmp(&n, &d->counts, sizeof n) != 0;
    if (differ(d->rows, d->want_rows, sizeof *d->rows, n.rows, &s) || other)
        rc = gpu_put_rows(d->gpu, GPU_STEP, d->want_rows + s.from, s.from, s.to - s.from,
                          other ? &n : NULL, e);
    if (!rc && differ(d->seqs, d->want_seqs, sizeof *d->seqs, n.seqs, &s))
        rc = gpu_put_seqs(d->gpu, GPU_STEP, d->want_seqs + s.from, s.from, s.to - s.from, e);
    return rc;
}

// What table_advance does on the device.
static void advance(gpu_decoder_table *d, gpu_counts n) {
    d->counts = n;
    memcpy(d->rows, d->want_rows, (size_t)n.rows * sizeof *d->rows);
    memcpy(d->seqs, d->want_seqs, (size_t)n.seqs * sizeof *d->seqs);
    for (int32_t i = 0; i < n.rows; i++) d->rows[i].pos++, d->rows[i].column++;
    for (int32_t i = 0; i < n.seqs; i++) d->seqs[i].column++, d->seqs[i].first = NULL;
}

static status gpu_step(decoder *base, seq *const *list, size_t count, err *e) {
    gpu_decoder_table *d = (gpu_decoder_table *)base;
    gpu_seq *const *s = (gpu_seq *const *)list;
    gpu_counts n = gather(d, s, count);
    int mark = (int)(d->steps % AHEAD);
    status rc = d->steps >= AHEAD ? device_wait_for(d->dev, mark, e) : OK;
    if (!rc) rc = send_table(d, n, e);
    if (!rc) rc = gpu_decoder_step(d->gpu, s[0]->base.p.cache_type, n.rows, e);
    if (!rc) rc = device_mark(d->dev, mark, e);
    if (rc) return rc;
    d->steps++;
    advance(d, n);
    for (size_t i = 0; i < count; i++) {
        s[i]->column++;
        s[i]->stepped++;
        for (int null = 0; null < 2; null++) s[i]->branch[null].len++;
        assert(s[i]->branch[0].len <= d->positions);
    }
    return OK;
}

// ---- teacher forcing

// As mg_cache_set_bare.
static void set_bare(branch *b) {
    b->cap -= b->unread;
    b->unread = 0;
}

static status force(gpu_decoder_table *d, gpu_seq *s, const seq_window *w, const seq_forced *f,
                    int32_t *codes, err *e) {
    int null = f->null && s->branch[1].self ? 1 : 0;
    size_t size = (size_t)(d->base.cfg->codebooks * f->cols) * sizeof *codes;
    // The columns stand one frame earlier than their codes, without a delay.
    const gpu_seq_entry entry = {
        .codes = codes, .frames = (int32_t)f->cols, .window = (int32_t)f->cols, .parallel = 1};
    const feed columns = {.column = 1, .known = f->cols, .n = f->cols, .logits = f->logits};
    status rc = device_upload(d->dev, codes, f->codes, size, e);
    if (!rc) rc = gpu_put_seqs(d->gpu, GPU_FEED, &entry, 0, 1, e);
    if (f->bare) set_bare(&s->branch[null]);
    if (!rc && d->base.cfg->melody && !f->bare) rc = feed_prefix(d, s, w, null, e);
    return rc ? rc : feed_rows(d, s, &s->branch[null], &columns, e);
}

static status gpu_force(decoder *base, seq *sequence, const seq_window *w, const seq_forced *f,
                        err *e) {
    gpu_decoder_table *d = (gpu_decoder_table *)base;
    gpu_seq *s = (gpu_seq *)sequence;
    void *codes = NULL;
    size_t size = (size_t)(base->cfg->codebooks * f->cols) * sizeof *f->codes;
    status rc = create_caches(d, s, e);
    if (!rc) rc = device_alloc(d->dev, &codes, size, e);
    if (!rc) rc = force(d, s, w, f, codes, e);
    device_free(d->dev, codes);
    arena_reset(&d->work);
    return rc;
}

static const decoder_ops decoder_gpu = {
    .close = gpu_close,
    .seq_create = gpu_create,
    .seq_free = gpu_free,
    .begin = gpu_begin,
    .step = gpu_step,
    .force = gpu_force,
    .check = gpu_check,
    .rest = gpu_rest,
    .codes = gpu_codes,
    .first = gpu_first,
};

static status allocate(gpu_decoder_table *d, const decoder_limits *l, err *e) {
    size_t n = (size_t)l->sequences;
    d->rows = mem_calloc(2 * n, sizeof *d->rows);
    d->want_rows = mem_calloc(2 * n, sizeof *d->rows);
    d->seqs = mem_calloc(n, sizeof *d->seqs);
    d->want_seqs = mem_calloc(n, sizeof *d->seqs);
    d->fed = mem_calloc((size_t)d->feed, sizeof *d->fed);
    if (!d->rows || !d->want_rows || !d->seqs || !d->want_seqs || !d->fed)
        return err_set(e, ERR_OOM, "no memory for steps of %zu stems", n);
    // The scores of a text have room too.
    const gpu_decoder_limits limits = {l->sequences, d->feed, MAX(l->positions, DECODER_TEXT_MAX)};
    return gpu_decoder_open(&d->gpu, d->dev, d->m, d->c, &limits, e);
}

status decoder_gpu_open(decoder **out, device *dev, const musicgen *m, compute *c,
                        const decoder_limits *l, err *e) {
    *out = NULL;
    gpu_decoder_table *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "no memory for a decoder");
    *d = (gpu_decoder_table){.base = {&decoder_gpu, mg_get_config(m), l->sequences},
                             .m = m,
                             .c = c,
                             .dev = dev,
                             .feed = l->prefill ? l->prefill : DECODER_PREFILL,
                             .positions = l->positions};
    status rc = allocate(d, l, e);
    if (rc)
        gpu_close(&d->base);
    else
        *out = &d->base;
    return rc;
}
