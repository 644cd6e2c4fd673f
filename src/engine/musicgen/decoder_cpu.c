// decoder_cpu.c - decoder.h on the CPU: model/musicgen.h's rows and caches, and sampler.h's draws.
#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "compute/rng.h"
#include "engine/musicgen/decoder.h"
#include "model/finite.h"

// Matrix products are near their best speed from this many rows on.
#define PREFILL_ROWS 256

// The scores [K, vocab] of both branches of one sequence; null is NULL when it is unguided.
typedef struct {
    seq *s;
    const float *cond, *null;
} step_scores;

struct decoder {
    const musicgen *m;
    const mg_config *cfg;
    compute *c;
    int64_t sequences;
    mg_scratch *scratch;
    mg_row *rows;        // as many as the scratch has room for
    float *logits;       // [2 * sequences, K, vocab]
    step_scores *scores; // [sequences]
    arena work;          // of one prefill
};

struct seq {
    decoder *d;
    seq_params p;
    mg_cache *cond, *null;
    int32_t *codes; // [K][frames]
    int32_t feed[MG_CODEBOOKS_MAX];
    float *scores, *scratch; // [K, vocab]
    float *first;            // [K, vocab] or NULL
    bool first_kept;
    // The window under way.
    int64_t index, start, known;
    int64_t column; // the next one to make
    delay_pattern delay;
    atomic_bool broken; // see seq_check; set by whichever thread draws
};

// --- sizes

static int64_t lag(const mg_config *cfg) {
    return cfg->codebooks / cfg->channels;
}

static int64_t prefix_rows(const mg_config *cfg, const seq_params *p) {
    return cfg->melody ? cfg->chroma_length + p->text_rows : 0;
}

static int64_t cache_len(const mg_config *cfg, const seq_params *p) {
    return prefix_rows(cfg, p) + MIN(p->window, p->frames) + lag(cfg);
}

static bool guided(const seq_params *p) {
    return p->sampling.guidance != 1 && !p->text_null;
}

size_t seq_cache_bytes(const musicgen *m, const seq_params *p) {
    const mg_config *cfg = mg_get_config(m);
    size_t one = mg_cache_bytes(cfg, cache_len(cfg, p), p->text_n, p->cache_type);
    return guided(p) ? one + mg_cache_bytes(cfg, cache_len(cfg, p), 0, p->cache_type) : one;
}

int64_t decoder_columns(const musicgen *m, const seq_params *p, int64_t frames, int64_t known) {
    return frames - known + (p->parallel ? 0 : lag(mg_get_config(m)) - 1);
}

// --- open and close

static status allocate(decoder *d, const decoder_limits *l, err *e) {
    int64_t most = MAX(2 * l->sequences, l->prefill ? l->prefill : PREFILL_ROWS);
    size_t sequences = (size_t)l->sequences, size = (size_t)(d->cfg->codebooks * d->cfg->vocab);
    d->rows = mem_calloc((size_t)most, sizeof *d->rows);
    d->scores = mem_calloc(sequences, sizeof *d->scores);
    d->logits = mem_aligned(2 * sequences * size * sizeof *d->logits);
    if (!d->rows || !d->scores || !d->logits)
        return err_set(e, ERR_OOM, "no memory for steps of %zu stems", sequences);
    return mg_scratch_create(&d->scratch, d->m, d->c, most, l->positions, e);
}

status decoder_open(decoder **out, const musicgen *m, compute *c, const decoder_limits *l, err *e) {
    *out = NULL;
    decoder *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "no memory for a decoder");
    d->m = m;
    d->cfg = mg_get_config(m);
    d->c = c;
    d->sequences = l->sequences;
    status rc = allocate(d, l, e);
    if (rc)
        decoder_close(d);
    else
        *out = d;
    return rc;
}

void decoder_close(decoder *d) {
    if (!d) return;
    mg_scratch_free(d->scratch);
    arena_deinit(&d->work);
    mem_free(d->rows);
    mem_free(d->scores);
    mem_free(d->logits);
    mem_free(d);
}

// --- sequences

static status seq_allocate(seq *s, err *e) {
    size_t books = (size_t)s->d->cfg->codebooks, size = books * (size_t)s->d->cfg->vocab;
    s->codes = mem_calloc(books * (size_t)s->p.frames, sizeof *s->codes);
    s->scores = mem_calloc(size, sizeof *s->scores);
    s->scratch = mem_calloc(size, sizeof *s->scratch);
    bool ok = s->codes && s->scores && s->scratch;
    if (s->p.keep_first) {
        s->first = mem_calloc(size, sizeof *s->first);
        ok = ok && s->first;
    }
    return ok ? OK : err_set(e, ERR_OOM, "no memory for the codes of a stem");
}

status seq_create(seq **out, decoder *d, const seq_params *p, err *e) {
    *out = NULL;
    assert(p->frames > 0 && p->given_n < p->frames && (p->given_n == 0 || p->given));
    seq *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "no memory for a stem");
    s->d = d;
    s->p = *p;
    status rc = seq_allocate(s, e);
    if (rc) {
        seq_free(s);
        return rc;
    }
    for (int64_t k = 0; k < d->cfg->codebooks && p->given_n; k++) {
        memcpy(s->codes + k * p->frames, p->given + k * p->given_n,
               (size_t)p->given_n * sizeof *s->codes);
    }
    s->p.given = NULL; // borrowed for this call only
    *out = s;
    return OK;
}

void seq_rest(seq *s) {
    mg_cache_free(s->cond);
    mg_cache_free(s->null);
    s->cond = s->null = NULL;
}

void seq_free(seq *s) {
    if (!s) return;
    seq_rest(s);
    mem_free(s->codes);
    mem_free(s->scores);
    mem_free(s->scratch);
    mem_free(s->first);
    mem_free(s);
}

bool seq_guided(const seq *s) {
    return guided(&s->p);
}

const int32_t *seq_codes(const seq *s) {
    return s->codes;
}

const float *seq_first(const seq *s) {
    return s->first_kept ? s->first : NULL;
}

// --- prefill

// The text's rows as the decoder reads them: projected, and zero for padding.
static float *text_rows(decoder *d, const seq *s) {
    float *rows = arena_f32(&d->work, (size_t)MAX(s->p.text_rows, 1), (size_t)d->cfg->d); // zeroed
    if (rows && s->p.text_n && !s->p.text_null)
        mg_project_text(d->m, d->c, rows, s->p.text, s->p.text_n);
    return rows;
}

static status create_caches(decoder *d, seq *s, err *e) {
    int64_t len = cache_len(d->cfg, &s->p), text = s->p.text_null ? 0 : s->p.text_n;
    status rc = mg_cache_create(&s->cond, d->m, len, text, s->p.cache_type, e);
    if (!rc && guided(&s->p)) rc = mg_cache_create(&s->null, d->m, len, 0, s->p.cache_type, e);
    if (rc || d->cfg->melody || !text) return rc;
    float *rows = text_rows(d, s);
    if (!rows) return err_set(e, ERR_OOM, "no memory for the text");
    return mg_cache_set_text(s->cond, d->m, d->c, rows, text, &d->work, e);
}

static void reset_caches(seq *s) {
    mg_cache_reset(s->cond);
    if (s->null) mg_cache_reset(s->null);
}

// Feeds embedding rows x [n, d] into an empty cache; the first `same` are copied from `like`.
static void feed_rows(decoder *d, mg_cache *cache, const mg_cache *like, int64_t same,
                      const float *x, int64_t n) {
    if (like) mg_cache_copy(cache, like, same);
    int64_t most = mg_scratch_rows(d->scratch);
    for (int64_t i = mg_cache_len(cache); i < n; i += most) {
        int64_t part = MIN(most, n - i);
        for (int64_t j = 0; j < part; j++)
            d->rows[j] = (mg_row){.cache = cache, .embed = x + (i + j) * d->cfg->d};
        mg_forward(d->m, d->c, d->scratch, d->rows, part, NULL, 0);
    }
}

// The prefix of a melody model: chroma rows, then text rows. In the null branch the chroma is the
// null chroma and the text rows are zero.
static status feed_prefix(decoder *d, seq *s, const seq_window *w, err *e) {
    int64_t n = prefix_rows(d->cfg, &s->p), width = d->cfg->d, same = d->cfg->chroma_length;
    float *x = arena_f32(&d->work, (size_t)n, (size_t)width);
    float *text = text_rows(d, s);
    if (!x || !text)
        return err_set(e, ERR_OOM, "no memory for a prefix of %lld rows", (long long)n);
    size_t tail = (size_t)(s->p.text_rows * width) * sizeof *x;
    mg_project_chroma(d->m, d->c, x, w->chroma, w->chroma ? w->chroma_rows : 0);
    memcpy(x + same * width, text, tail);
    feed_rows(d, s->cond, w->like ? w->like->cond : NULL, same, x, n);
    if (!s->null) return OK;
    mg_project_chroma(d->m, d->c, x, NULL, 0);
    memset(x + same * width, 0, tail);
    feed_rows(d, s->null, w->like_null ? w->like_null->null : NULL, same, x, n);
    return OK;
}

static void feed_columns(decoder *d, mg_cache *cache, const int32_t *columns, int64_t n) {
    int64_t most = mg_scratch_rows(d->scratch), books = d->cfg->codebooks;
    for (int64_t i = 0; i < n; i += most) {
        int64_t part = MIN(most, n - i);
        for (int64_t j = 0; j < part; j++)
            d->rows[j] = (mg_row){.cache = cache, .codes = columns + (i + j) * books};
        mg_forward(d->m, d->c, d->scratch, d->rows, part, NULL, 0);
    }
}

// Feeds the columns 0 to known - 1 of the window; the first step feeds column `known`.
static status feed_known(decoder *d, seq *s, err *e) {
    int64_t books = d->cfg->codebooks;
    if (!s->known) return OK;
    int32_t *columns = arena_alloc(&d->work, (size_t)(s->known * books) * sizeof *columns);
    if (!columns)
        return err_set(e, ERR_OOM, "no memory for a window that goes on from %lld frames",
                       (long long)s->known);
    for (int64_t p = 0; p < s->known; p++)
        delay_column(&s->delay, columns + p * books, s->codes + s->start, s->p.frames, s->known, p);
    feed_columns(d, s->cond, columns, s->known);
    if (s->null) feed_columns(d, s->null, columns, s->known);
    return OK;
}

static status prefill(decoder *d, seq *s, const seq_window *w, err *e) {
    status rc = s->cond ? OK : create_caches(d, s, e);
    if (rc) return rc;
    reset_caches(s);
    if (d->cfg->melody) rc = feed_prefix(d, s, w, e);
    return rc ? rc : feed_known(d, s, e);
}

status decoder_begin(decoder *d, seq *s, const seq_window *w, err *e) {
    s->index = w->index;
    s->start = w->start;
    s->known = w->known;
    s->column = w->known + 1;
    s->delay = (delay_pattern){.codebooks = d->cfg->codebooks,
                               .channels = d->cfg->channels,
                               .frames = w->frames,
                               .special = (int32_t)d->cfg->vocab,
                               .parallel = s->p.parallel};
    status rc = prefill(d, s, w, e);
    arena_reset(&d->work);
    return rc;
}

// --- steps

static mg_row branch_row(seq *s, int null) {
    return (mg_row){.cache = null ? s->null : s->cond, .codes = s->feed};
}

// Lists the rows of all branches of all sequences, and where the scores of each will lie. Rows with
// a text come first, as mg_forward wants them.
static int64_t gather(decoder *d, seq *const *list, size_t count) {
    int64_t n = 0, size = d->cfg->codebooks * d->cfg->vocab;
    for (size_t i = 0; i < count; i++) {
        seq *s = list[i];
        // All frames of the columns before the next one are written.
        delay_column(&s->delay, s->feed, s->codes + s->start, s->p.frames, s->delay.frames,
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
    seq *s = in->s;
    int64_t n = s->d->cfg->vocab, t = delay_frame(&s->delay, k, s->column);
    bool keep = s->first && !s->first_kept;
    bool free = t >= s->known; // else the special code stands there, or a frame that is known
    if (!free && !keep) return;
    float *scores = s->scores + k * n;
    sampler_guide(scores, in->cond + k * n, in->null ? in->null + k * n : NULL,
                  s->p.sampling.guidance, n);
    if (keep) memcpy(s->first + k * n, scores, (size_t)n * sizeof *scores);
    bool finite = finite_f32(scores, n);
    if (!finite) s->broken = true;
    if (!free || !finite) return;
    uint64_t number = (uint64_t)s->index << 40 | (uint64_t)s->column << 8 | (uint64_t)k;
    rng_u32x4 u = rng_draw(s->p.seed, s->p.stream, number);
    s->codes[k * s->p.frames + s->start + t] =
        sampler_draw(scores, n, &s->p.sampling, rng_f64(u.v[0], u.v[1]), s->scratch + k * n);
}

static void draw_part(void *arg, int part, int parts) {
    const decoder *d = arg;
    int64_t books = d->cfg->codebooks;
    (void)parts;
    draw(&d->scores[part / books], part % books);
}

status decoder_step(decoder *d, seq *const *s, size_t n, err *e) {
    (void)e; // the CPU does not fail
    assert(n <= (size_t)d->sequences);
    int64_t rows = gather(d, s, n);
    mg_forward(d->m, d->c, d->scratch, d->rows, rows, d->logits, rows);
    op_parallel(d->c, (int)n * (int)d->cfg->codebooks, draw_part, d);
    for (size_t i = 0; i < n; i++) {
        s[i]->first_kept = s[i]->first != NULL;
        s[i]->column++;
    }
    return OK;
}

status seq_check(const seq *s, err *e) {
    if (!s->broken) return OK;
    return err_set(e, ERR_FORMAT,
                   "decoder: the scores of frame %lld are not finite numbers: its weights are too "
                   "large or damaged",
                   (long long)(s->start + s->column - 2));
}

static status force(decoder *d, seq *s, const seq_window *w, const seq_forced *f, err *e) {
    int64_t books = d->cfg->codebooks;
    int32_t *columns = arena_alloc(&d->work, (size_t)(f->cols * books) * sizeof *columns);
    if (!columns) return err_set(e, ERR_OOM, "no memory for %lld columns", (long long)f->cols);
    status rc = create_caches(d, s, e);
    if (!rc && d->cfg->melody) rc = feed_prefix(d, s, w, e);
    if (rc) return rc;
    mg_cache *cache = f->null && s->null ? s->null : s->cond;
    for (int64_t i = 0; i < f->cols; i++) {
        for (int64_t k = 0; k < books; k++) columns[i * books + k] = f->codes[k * f->cols + i];
        d->rows[i] = (mg_row){.cache = cache, .codes = columns + i * books};
    }
    mg_forward(d->m, d->c, d->scratch, d->rows, f->cols, f->logits, f->cols);
    return OK;
}

status decoder_force(decoder *d, seq *s, const seq_window *w, const seq_forced *f, err *e) {
    assert(f->cols <= mg_scratch_rows(d->scratch));
    status rc = force(d, s, w, f, e);
    arena_reset(&d->work);
    return rc;
}
