// decoder_cpu.c - decoder.h on the CPU: model/musicgen.h's rows and caches, and sampler.h's draws.
#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "compute/rng.h"
#include "engine/musicgen/decoder_inside.h"
#include "model/finite.h"

typedef struct cpu_seq cpu_seq;

// The scores [K, vocab] of both branches of one sequence; null is NULL when it is unguided.
typedef struct {
    cpu_seq *s;
    const float *cond, *null;
} step_scores;

typedef struct {
    decoder base;
    const musicgen *m;
    compute *c;
    mg_scratch *scratch;
    mg_row *rows;        // as many as the scratch has room for
    float *logits;       // [2 * sequences, K, vocab]
    step_scores *scores; // [sequences]
    arena work;          // of one prefill
} cpu_decoder;

struct cpu_seq {
    seq base;
    mg_cache *cond, *null;
    int32_t *codes; // [K][frames]
    int32_t feed[MG_CODEBOOKS_MAX];
    float *scores;     // [K, vocab]
    uint32_t *scratch; // [K, 2 * vocab]
    float *first;      // [K, vocab] or NULL
    bool first_kept;
    // The window under way.
    int64_t index, start, known;
    int64_t column; // the next one to make
    delay_pattern delay;
    atomic_bool broken; // see seq_check; set by whichever thread draws
};

// --- open and close

static status allocate(cpu_decoder *d, const decoder_limits *l, err *e) {
    int64_t most = MAX(2 * l->sequences, l->prefill ? l->prefill : DECODER_PREFILL);
    size_t sequences = (size_t)l->sequences,
           size = (size_t)(d->base.cfg->codebooks * d->base.cfg->vocab);
    d->rows = mem_calloc((size_t)most, sizeof *d->rows);
    d->scores = mem_calloc(sequences, sizeof *d->scores);
    d->logits = mem_aligned(2 * sequences * size * sizeof *d->logits);
    if (!d->rows || !d->scores || !d->logits)
        return err_set(e, ERR_OOM, "no memory for steps of %zu stems", sequences);
    return mg_scratch_create(&d->scratch, d->m, d->c, most, l->positions, e);
}

static void cpu_close(decoder *base) {
    cpu_decoder *d = (cpu_decoder *)base;
    mg_scratch_free(d->scratch);
    arena_deinit(&d->work);
    mem_free(d->rows);
    mem_free(d->scores);
    mem_free(d->logits);
    mem_free(d);
}

// --- sequences

static status seq_allocate(cpu_seq *s, err *e) {
    const mg_config *cfg = s->base.d->cfg;
    size_t books = (size_t)cfg->codebooks, size = books * (size_t)cfg->vocab;
    s->codes = mem_calloc(books * (size_t)s->base.p.frames, sizeof *s->codes);
    s->scores = mem_calloc(size, sizeof *s->scores);
    s->scratch = mem_calloc(2 * size, sizeof *s->scratch);
    bool ok = s->codes && s->scores && s->scratch;
    if (s->base.p.keep_first) {
        s->first = mem_calloc(size, sizeof *s->first);
        ok = ok && s->first;
    }
    return ok ? OK : err_set(e, ERR_OOM, "no memory for the codes of a stem");
}

static void cpu_rest(seq *base) {
    cpu_seq *s = (cpu_seq *)base;
    mg_cache_free(s->cond);
    mg_cache_free(s->null);
    s->cond = s->null = NULL;
}

static void cpu_free(seq *base) {
    cpu_seq *s = (cpu_seq *)base;
    cpu_rest(base);
    mem_free(s->codes);
    mem_free(s->scores);
    mem_free(s->scratch);
    mem_free(s->first);
    mem_free(s);
}

static status cpu_create(seq **out, decoder *d, const seq_params *p, err *e) {
    *out = NULL;
    cpu_seq *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "no memory for a stem");
    s->base = (seq){d, *p};
    status rc = seq_allocate(s, e);
    if (rc) {
        cpu_free(&s->base);
        return rc;
    }
    for (int64_t k = 0; k < d->cfg->codebooks && p->given_n; k++) {
        memcpy(s->codes + k * p->frames, p->given + k * p->given_n,
               (size_t)p->given_n * sizeof *s->codes);
    }
    s->base.p.given = NULL; // borrowed for this call only
    *out = &s->base;
    return OK;
}

static status cpu_codes(seq *base, const int32_t **out, err *e) {
    (void)e;
    *out = ((cpu_seq *)base)->codes;
    return OK;
}

static const float *cpu_first(const seq *base) {
    const cpu_seq *s = (const cpu_seq *)base;
    return s->first_kept ? s->first : NULL;
}

// --- prefill

// bare: no prefix will be fed.
static status create_caches(cpu_decoder *d, cpu_seq *s, bool bare, err *e) {
    int64_t len = decoder_cache_len(d->base.cfg, &s->base.p),
            text = s->base.p.text_null ? 0 : s->base.p.text_n;
    status rc = mg_cache_create(&s->cond, d->m, len, text, s->base.p.cache_type, e);
    if (!rc && decoder_guided(&s->base.p))
        rc = mg_cache_create(&s->null, d->m, len, 0, s->base.p.cache_type, e);
    if (!rc && bare) mg_cache_set_bare(s->cond);
    if (!rc && bare && s->null) mg_cache_set_bare(s->null);
    if (rc || d->base.cfg->melody || !text) return rc;
    float *rows = arena_f32(&d->work, (size_t)text, (size_t)d->base.cfg->d);
    if (!rows) return err_set(e, ERR_OOM, "no memory for the text");
    mg_project_text(d->m, d->c, rows, s->base.p.text, text);
    return mg_cache_set_text(s->cond, d->m, d->c, rows, text, &d->work, e);
}

static void reset_caches(cpu_seq *s) {
    mg_cache_reset(s->cond);
    if (s->null) mg_cache_reset(s->null);
}

// Feeds embedding rows x [n, d] into an empty cache; the first `same` are copied from `like`. Rows
// that the upper layers do not read are fed by themselves.
static void feed_rows(cpu_decoder *d, mg_cache *cache, const mg_cache *like, int64_t same,
                      const float *x, int64_t n) {
    if (like) mg_cache_copy(cache, like, same);
    int64_t most = mg_scratch_rows(d->scratch), unread = mg_unread_rows(d->base.cfg);
    for (int64_t i = mg_cache_len(cache), part; i < n; i += part) {
        part = MIN(most, (i < unread ? unread : n) - i);
        for (int64_t j = 0; j < part; j++)
            d->rows[j] = (mg_row){.cache = cache, .embed = x + (i + j) * d->base.cfg->d};
        mg_forward(d->m, d->c, d->scratch, d->rows, part, NULL, 0);
    }
}

static status feed_prefix(cpu_decoder *d, cpu_seq *s, const seq_window *w, err *e) {
    const seq_params *p = &s->base.p;
    int64_t n = decoder_prefix_rows(d->base.cfg, p), same = d->base.cfg->chroma_length;
    float *x = arena_f32(&d->work, (size_t)n, (size_t)d->base.cfg->d);
    if (!x) return err_set(e, ERR_OOM, "no memory for a prefix of %lld rows", (long long)n);
    decoder_prefix(d->m, d->c, p, w, false, x);
    feed_rows(d, s->cond, w->like ? ((const cpu_seq *)w->like)->cond : NULL, same, x, n);
    if (!s->null) return OK;
    decoder_prefix(d->m, d->c, p, w, true, x);
    feed_rows(d, s->null, w->like_null ? ((const cpu_seq *)w->like_null)->null : NULL, same, x, n);
    return OK;
}

static void feed_columns(cpu_decoder *d, mg_cache *cache, const int32_t *columns, int64_t n) {
    int64_t most = mg_scratch_rows(d->scratch), books = d->base.cfg->codebooks;
    for (int64_t i = 0; i < n; i += most) {
        int64_t part = MIN(most, n - i);
        for (int64_t j = 0; j < part; j++)
            d->rows[j] = (mg_row){.cache = cache, .codes = columns + (i + j) * books};
        mg_forward(d->m, d->c, d->scratch, d->rows, part, NULL, 0);
    }
}

// Feeds the columns 0 to known - 1 of the window; the first step feeds column `known`.
static status feed_known(cpu_decoder *d, cpu_seq *s, const seq_window *w, err *e) {
    int64_t books = d->base.cfg->codebooks;
    if (!s->known) return OK;
    int32_t *columns = arena_alloc(&d->work, (size_t)(s->known * books) * sizeof *columns);
    if (!columns)
        return err_set(e, ERR_OOM, "no memory for a window that goes on from %lld frames",
                       (long long)s->known);
    for (int64_t p = 0; p < s->known; p++) {
        int64_t start = w->anchored && p <= w->anchored ? w->anchor : s->start;
        delay_column(&s->delay, columns + p * books, s->codes + start, s->base.p.frames, s->known,
                     p);
    }
    feed_columns(d, s->cond, columns, s->known);
    if (s->null) feed_columns(d, s->null, columns, s->known);
    return OK;
}

static status prefill(cpu_decoder *d, cpu_seq *s, const seq_window *w, err *e) {
    status rc = s->cond ? OK : create_caches(d, s, false, e);
    if (rc) return rc;
    reset_caches(s);
    if (d->base.cfg->melody) rc = feed_prefix(d, s, w, e);
    return rc ? rc : feed_known(d, s, w, e);
}

static status cpu_begin(decoder *base, seq *sequence, const seq_window *w, err *e) {
    cpu_decoder *d = (cpu_decoder *)base;
    cpu_seq *s = (cpu_seq *)sequence;
    s->index = w->index;
    s->start = w->start;
    s->known = w->known;
    s->column = w->known + 1;
    s->delay = (delay_pattern){.codebooks = d->base.cfg->codebooks,
                               .channels = d->base.cfg->channels,
                               .frames = w->frames,
                               .special = (int32_t)d->base.cfg->vocab,
                               .parallel = s->base.p.parallel};
    status rc = prefill(d, s, w, e);
    arena_reset(&d->work);
    return rc;
}

// --- steps

static mg_row branch_row(cpu_seq *s, int null) {
    return (mg_row){.cache = null ? s->null : s->cond, .codes = s->feed};
}

// Lists the rows of all branches of all sequences, and where the scores of each will lie. Rows with
// a text come first, as mg_forward wants them.
static int64_t gather(cpu_decoder *d, cpu_seq *const *list, size_t count) {
    int64_t n = 0, size = d->base.cfg->codebooks * d->base.cfg->vocab;
    for (size_t i = 0; i < count; i++) {
        cpu_seq *s = list[i];
        // All frames of the columns before the next one are written.
        delay_column(&s->delay, s->feed, s->codes + s->start, s->base.p.frames, s->delay.frames,
                     s->column - 1);
        d->scores[i] = (step_scores){.s = s};
    }
    for (int with_text = 1; with_text >= 0; with_text--) {
        for (size_t i = 0; i < count; i++) {
            for (int null = 0; null <= (list[i]->null != NULL); null++) {
                mg_row row = branch_row(list[i], null);
                if (mg_cache_has_text(row.cache) != (with_text == 1)) continue;
                const float *scores = d->logits + n * size;
                if (null)
                    d->scores[i].null = scores;
                else
                    d->scores[i].cond = scores;
                d->rows[n++] = row;
            }
        }
    }
    return n;
}

// Draws codebook k of the next column. Codebooks share nothing, so they are drawn side by side.
static void draw(const step_scores *in, int64_t k) {
    cpu_seq *s = in->s;
    int64_t n = s->base.d->cfg->vocab, t = delay_frame(&s->delay, k, s->column);
    bool keep = s->first && !s->first_kept;
    bool free = t >= s->known; // else the special code stands there, or a frame that is known
    if (!free && !keep) return;
    float *scores = s->scores + k * n;
    float guidance = sampler_guidance(&s->base.p.sampling, k >= s->base.d->cfg->channels);
    sampler_guide(scores, in->cond + k * n, in->null ? in->null + k * n : NULL, guidance, n);
    if (keep) memcpy(s->first + k * n, scores, (size_t)n * sizeof *scores);
    bool finite = finite_f32(scores, n);
    if (!finite) s->broken = true;
    if (!free || !finite) return;
    uint64_t number = (uint64_t)s->index << 40 | (uint64_t)s->column << 8 | (uint64_t)k;
    rng_u32x4 u = rng_draw(s->base.p.seed, s->base.p.stream, number);
    s->codes[k * s->base.p.frames + s->start + t] =
        sampler_draw(scores, n, &s->base.p.sampling, rng_u64(&u), s->scratch + k * 2 * n);
}

static void draw_part(void *arg, int part, int parts) {
    const cpu_decoder *d = arg;
    int64_t books = d->base.cfg->codebooks;
    (void)parts;
    draw(&d->scores[part / books], part % books);
}

static status cpu_step(decoder *base, seq *const *list, size_t n, err *e) {
    (void)e; // the CPU does not fail
    cpu_decoder *d = (cpu_decoder *)base;
    cpu_seq *const *s = (cpu_seq *const *)list;
    int64_t rows = gather(d, s, n);
    mg_forward(d->m, d->c, d->scratch, d->rows, rows, d->logits, rows);
    op_parallel(d->c, (int)n * (int)d->base.cfg->codebooks, draw_part, d);
    for (size_t i = 0; i < n; i++) {
        s[i]->first_kept = s[i]->first != NULL;
        s[i]->column++;
    }
    return OK;
}

static status cpu_check(const seq *base, err *e) {
    const cpu_seq *s = (const cpu_seq *)base;
    return s->broken ? decoder_broken(s->start + s->column - 2, e) : OK;
}

static status force(cpu_decoder *d, cpu_seq *s, const seq_window *w, const seq_forced *f, err *e) {
    int64_t books = d->base.cfg->codebooks;
    int32_t *columns = arena_alloc(&d->work, (size_t)(f->cols * books) * sizeof *columns);
    if (!columns) return err_set(e, ERR_OOM, "no memory for %lld columns", (long long)f->cols);
    status rc = create_caches(d, s, f->bare, e);
    if (!rc && d->base.cfg->melody && !f->bare) rc = feed_prefix(d, s, w, e);
    if (rc) return rc;
    mg_cache *cache = f->null && s->null ? s->null : s->cond;
    for (int64_t i = 0; i < f->cols; i++) {
        for (int64_t k = 0; k < books; k++) columns[i * books + k] = f->codes[k * f->cols + i];
        d->rows[i] = (mg_row){.cache = cache, .codes = columns + i * books};
    }
    mg_forward(d->m, d->c, d->scratch, d->rows, f->cols, f->logits, f->cols);
    return OK;
}

static status cpu_force(decoder *base, seq *s, const seq_window *w, const seq_forced *f, err *e) {
    cpu_decoder *d = (cpu_decoder *)base;
    assert(f->cols <= mg_scratch_rows(d->scratch));
    status rc = force(d, (cpu_seq *)s, w, f, e);
    arena_reset(&d->work);
    return rc;
}

static const decoder_ops decoder_cpu = {
    .close = cpu_close,
    .seq_create = cpu_create,
    .seq_free = cpu_free,
    .begin = cpu_begin,
    .step = cpu_step,
    .force = cpu_force,
    .check = cpu_check,
    .rest = cpu_rest,
    .codes = cpu_codes,
    .first = cpu_first,
};

status decoder_cpu_open(decoder **out, const musicgen *m, compute *c, const decoder_limits *l,
                        err *e) {
    *out = NULL;
    cpu_decoder *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "no memory for a decoder");
    *d = (cpu_decoder){.base = {&decoder_cpu, mg_get_config(m), l->sequences}, .m = m, .c = c};
    status rc = allocate(d, l, e);
    if (rc)
        cpu_close(&d->base);
    else
        *out = &d->base;
    return rc;
}
