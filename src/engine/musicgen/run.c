// run.c - see run.h.
#include "engine/musicgen/run.h"

#include <assert.h>
#include <string.h>

#include "compute/rng.h"
#include "engine/musicgen/delay.h"

struct run {
    const musicgen *m;
    run_params p;
    mg_cache *cond, *null;
    int32_t *codes; // [K][frames]
    // The window under way, or the next one.
    int64_t index, start, known; // its number, first frame, frames of it that are given
    delay_pattern delay;
    int64_t column; // the one to make next
    bool open;      // a window is under way
    bool done;
    int64_t steps_done, steps_total;
    int32_t feed[MG_CODEBOOKS_MAX];
    float *scores, *scratch; // [K, vocab]
    float *first;            // [K, vocab] or NULL
    bool first_kept;
};

static int64_t lag(const mg_config *c) {
    return c->codebooks / c->channels;
}

static int64_t prefix_rows(const mg_config *c, const run_params *p) {
    return c->melody ? c->chroma_length + p->text_rows : 0;
}

static int64_t cache_len(const mg_config *c, const run_params *p) {
    return prefix_rows(c, p) + MIN(p->window, p->frames) + lag(c);
}

static bool guided(const run_params *p) {
    return p->sampling.guidance != 1 && !p->text_null;
}

size_t run_cache_bytes(const musicgen *m, const run_params *p) {
    const mg_config *c = mg_get_config(m);
    size_t one = mg_cache_bytes(c, cache_len(c, p), p->text_n, p->cache_type);
    return guided(p) ? one + mg_cache_bytes(c, cache_len(c, p), 0, p->cache_type) : one;
}

static int64_t window_frames(const run *r, int64_t start) {
    return MIN(r->p.window, r->p.frames - start);
}

static int64_t count_steps(const run *r) {
    int64_t total = 0, known = r->known;
    for (int64_t start = r->start;; start += r->p.stride, known = r->p.window - r->p.stride) {
        total +=
            window_frames(r, start) - known + (r->p.parallel ? 0 : lag(mg_get_config(r->m)) - 1);
        if (start + r->p.window >= r->p.frames) return total;
    }
}

static status allocate(run *r, err *e) {
    const mg_config *c = mg_get_config(r->m);
    r->codes = mem_calloc((size_t)(c->codebooks * r->p.frames), sizeof *r->codes);
    r->scores = mem_calloc((size_t)(c->codebooks * c->vocab), sizeof *r->scores);
    r->scratch = mem_calloc((size_t)(c->codebooks * c->vocab), sizeof *r->scratch);
    bool ok = r->codes && r->scores && r->scratch;
    if (r->p.keep_first) {
        r->first = mem_calloc((size_t)(c->codebooks * c->vocab), sizeof *r->first);
        ok = ok && r->first;
    }
    return ok ? OK : err_set(e, ERR_OOM, "no memory for the codes of a stem");
}

// What was given may fill whole windows already.
static void skip_given_windows(run *r) {
    r->known = r->p.given_n;
    while (r->known >= window_frames(r, r->start)) {
        r->start += r->p.stride;
        r->known -= r->p.stride;
        r->index++;
    }
}

status run_create(run **out, const musicgen *m, const run_params *p, err *e) {
    *out = NULL;
    const mg_config *c = mg_get_config(m);
    assert(p->frames > 0 && p->given_n < p->frames && p->window > 0 && p->stride > 0 &&
           p->stride <= p->window);
    assert(p->given_n == 0 || p->given);
    run *r = mem_calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_OOM, "no memory for a stem");
    r->m = m;
    r->p = *p;
    status rc = allocate(r, e);
    if (rc) {
        run_free(r);
        return rc;
    }
    for (int64_t k = 0; k < c->codebooks && p->given_n; k++) {
        memcpy(r->codes + k * p->frames, p->given + k * p->given_n,
               (size_t)p->given_n * sizeof *r->codes);
    }
    r->p.given = NULL; // borrowed for this call only
    skip_given_windows(r);
    r->steps_total = count_steps(r);
    *out = r;
    return OK;
}

void run_drop_caches(run *r) {
    mg_cache_free(r->cond);
    mg_cache_free(r->null);
    r->cond = r->null = NULL;
}

void run_free(run *r) {
    if (!r) return;
    run_drop_caches(r);
    mem_free(r->codes);
    mem_free(r->scores);
    mem_free(r->scratch);
    mem_free(r->first);
    mem_free(r);
}

bool run_guided(const run *r) {
    return guided(&r->p);
}
bool run_needs_window(const run *r) {
    return !r->open && !r->done;
}
bool run_done(const run *r) {
    return r->done;
}
int64_t run_steps_done(const run *r) {
    return r->steps_done;
}
int64_t run_steps_total(const run *r) {
    return r->steps_total;
}
int64_t run_frames(const run *r) {
    return r->p.frames;
}
const int32_t *run_codes(const run *r) {
    return r->codes;
}
const float *run_first(const run *r) {
    return r->first_kept ? r->first : NULL;
}

// --- prefill

// Text rows as the decoder wants them: projected, padding rows zero after the projection.
static float *text_rows(const run *r, compute *c, arena *work) {
    const mg_config *cfg = mg_get_config(r->m);
    float *rows = arena_f32(work, (size_t)MAX(r->p.text_rows, 1), (size_t)cfg->d); // zeroed
    if (rows && r->p.text_n && !r->p.text_null)
        mg_project_text(r->m, c, rows, r->p.text, r->p.text_n);
    return rows;
}

static status create_caches(run *r, compute *c, arena *work, err *e) {
    const mg_config *cfg = mg_get_config(r->m);
    int64_t len = cache_len(cfg, &r->p), text = r->p.text_null ? 0 : r->p.text_n;
    status rc = mg_cache_create(&r->cond, r->m, len, text, r->p.cache_type, e);
    if (!rc && run_guided(r)) rc = mg_cache_create(&r->null, r->m, len, 0, r->p.cache_type, e);
    if (rc || cfg->melody || !text) return rc;
    float *rows = text_rows(r, c, work);
    if (!rows) return err_set(e, ERR_OOM, "no memory for the text");
    return mg_cache_set_text(r->cond, r->m, c, rows, text, work, e);
}

// Feeds embedding rows x [n, d] into one cache, as many at a time as the scratch has room for.
static void feed_rows(const run *r, compute *c, mg_scratch *s, mg_cache *cache, mg_row *rows,
                      const float *x, int64_t n) {
    int64_t d = mg_get_config(r->m)->d, most = mg_scratch_rows(s);
    for (int64_t i = 0; i < n; i += most) {
        int64_t part = MIN(most, n - i);
        for (int64_t j = 0; j < part; j++)
            rows[j] = (mg_row){.cache = cache, .embed = x + (i + j) * d};
        mg_forward(r->m, c, s, rows, part, NULL, 0);
    }
}

void run_compare(run_likes *l, const run *r, const run *other) {
    const run_params *p = &r->p, *q = &other->p;
    if (other == r || !other->open || !mg_get_config(r->m)->melody) return;
    if (!p->text_null && !q->text_null && p->chroma == q->chroma &&
        p->chroma_arg == q->chroma_arg && r->start == other->start)
        l->cond = other;
    if (other->null) l->null = other;
}

// Rows x [n, d] into an empty cache, of which the first `same` are in `like` already.
static void feed_like(const run *r, compute *c, mg_scratch *s, mg_cache *cache,
                      const mg_cache *like, int64_t same, mg_row *rows, const float *x, int64_t n) {
    if (like) mg_cache_copy(cache, like, same);
    int64_t done = mg_cache_len(cache);
    feed_rows(r, c, s, cache, rows, x + done * mg_get_config(r->m)->d, n - done);
}

static status feed_prefix(const run *r, const run_likes *l, compute *c, mg_scratch *s, mg_row *rows,
                          arena *work, err *e) {
    const mg_config *cfg = mg_get_config(r->m);
    int64_t n = prefix_rows(cfg, &r->p), d = cfg->d, text = r->p.text_rows;
    float *x = arena_f32(work, (size_t)n, (size_t)d);
    float *chroma = arena_f32(work, (size_t)cfg->chroma_length, (size_t)cfg->chroma_bins);
    float *words = text_rows(r, c, work);
    if (!x || !chroma || !words)
        return err_set(e, ERR_OOM, "no memory for a prefix of %lld rows", (long long)n);
    int64_t have =
        r->p.chroma && !r->p.text_null ? r->p.chroma(r->p.chroma_arg, chroma, r->start) : 0;
    mg_project_chroma(r->m, c, x, have ? chroma : NULL, have);
    float *tail = x + cfg->chroma_length * d;
    memcpy(tail, words, (size_t)(text * d) * sizeof *x);
    feed_like(r, c, s, r->cond, l->cond ? l->cond->cond : NULL, cfg->chroma_length, rows, x, n);
    if (!r->null) return OK;
    // The null branch: null chroma, and as many text rows, all zero.
    mg_project_chroma(r->m, c, x, NULL, 0);
    memset(tail, 0, (size_t)(text * d) * sizeof *x);
    feed_like(r, c, s, r->null, l->null ? l->null->null : NULL, cfg->chroma_length, rows, x, n);
    return OK;
}

// Columns 0 to known - 1 of the window; column known is fed by the first step.
static status feed_prompt(const run *r, compute *c, mg_scratch *s, mg_row *rows, arena *work,
                          err *e) {
    int64_t most = mg_scratch_rows(s), books = mg_get_config(r->m)->codebooks;
    if (!r->known) return OK;
    int32_t *columns = arena_alloc(work, (size_t)(r->known * books) * sizeof *columns);
    if (!columns)
        return err_set(e, ERR_OOM, "no memory for a prompt of %lld frames", (long long)r->known);
    for (int64_t p = 0; p < r->known; p++) {
        delay_column(&r->delay, columns + p * books, r->codes + r->start, r->p.frames, r->known, p);
    }
    mg_cache *const caches[] = {r->cond, r->null};
    for (int which = 0; which < 2 && caches[which]; which++) {
        for (int64_t i = 0; i < r->known; i += most) {
            int64_t part = MIN(most, r->known - i);
            for (int64_t j = 0; j < part; j++) {
                rows[j] = (mg_row){.cache = caches[which], .codes = columns + (i + j) * books};
            }
            mg_forward(r->m, c, s, rows, part, NULL, 0);
        }
    }
    return OK;
}

status run_begin_window(run *r, const run_likes *l, compute *c, mg_scratch *s, arena *work,
                        err *e) {
    const mg_config *cfg = mg_get_config(r->m);
    assert(run_needs_window(r));
    status rc = r->cond ? OK : create_caches(r, c, work, e);
    if (rc) return rc;
    mg_cache_reset(r->cond);
    if (r->null) mg_cache_reset(r->null);
    r->delay = (delay_pattern){.codebooks = cfg->codebooks,
                               .channels = cfg->channels,
                               .frames = window_frames(r, r->start),
                               .special = (int32_t)cfg->vocab,
                               .parallel = r->p.parallel};
    mg_row *rows = arena_alloc(work, (size_t)mg_scratch_rows(s) * sizeof *rows);
    if (!rows) return err_set(e, ERR_OOM, "no memory to begin a window");
    if (cfg->melody) rc = feed_prefix(r, l, c, s, rows, work, e);
    if (!rc) rc = feed_prompt(r, c, s, rows, work, e);
    if (rc) return rc;
    r->column = r->known + 1;
    r->open = true;
    return OK;
}

// --- steps

void run_rows(run *r, mg_row *cond, mg_row *null) {
    assert(r->open);
    // Every frame of the columns before the one to make has been written.
    delay_column(&r->delay, r->feed, r->codes + r->start, r->p.frames, r->delay.frames,
                 r->column - 1);
    *cond = (mg_row){.cache = r->cond, .codes = r->feed};
    if (r->null) *null = (mg_row){.cache = r->null, .codes = r->feed};
}

static void next_window(run *r) {
    r->open = false;
    r->done = r->start + r->delay.frames >= r->p.frames;
    if (r->done) return;
    r->start += r->p.stride;
    r->known = r->p.window - r->p.stride;
    r->index++;
}

// Codebook k of the next column. Codebooks share nothing, so they are drawn side by side.
static void draw(const run_scores *s, int64_t k) {
    run *r = s->r;
    int64_t n = mg_get_config(r->m)->vocab, t = delay_frame(&r->delay, k, r->column);
    bool keep = r->first && !r->first_kept;
    bool free = t >= r->known; // else the special code or the prompt's
    if (!free && !keep) return;
    float *scores = r->scores + k * n;
    sampler_guide(scores, s->cond + k * n, s->null ? s->null + k * n : NULL, r->p.sampling.guidance,
                  n);
    if (keep) memcpy(r->first + k * n, scores, (size_t)n * sizeof *scores);
    if (!free) return;
    uint64_t number = (uint64_t)r->index << 40 | (uint64_t)r->column << 8 | (uint64_t)k;
    rng_u32x4 u = rng_draw(r->p.seed, r->p.stream, number);
    r->codes[k * r->p.frames + r->start + t] =
        sampler_draw(scores, n, &r->p.sampling, rng_f64(u.v[0], u.v[1]), r->scratch + k * n);
}

static void draw_part(void *arg, int part, int parts) {
    const run_scores *s = arg;
    int64_t books = mg_get_config(s->r->m)->codebooks;
    (void)parts;
    draw(&s[part / books], part % books);
}

static void move_on(run *r) {
    r->first_kept = r->first != NULL;
    r->steps_done++;
    if (++r->column >= delay_columns(&r->delay)) next_window(r);
}

void run_accept(compute *c, const run_scores *s, int64_t n) {
    op_parallel(c, (int)(n * mg_get_config(s->r->m)->codebooks), draw_part, (void *)(uintptr_t)s);
    for (int64_t i = 0; i < n; i++) move_on(s[i].r);
}

// --- a run on its own

static status steps_alone(run *r, compute *c, mg_scratch *s, float *logits, err *e) {
    const mg_config *cfg = mg_get_config(r->m);
    int64_t size = cfg->codebooks * cfg->vocab;
    arena work = {0};
    while (!run_done(r)) {
        status rc = run_needs_window(r) ? run_begin_window(r, &(run_likes){0}, c, s, &work, e) : OK;
        arena_reset(&work);
        if (rc) return rc;
        mg_row rows[2];
        run_rows(r, &rows[0], &rows[1]);
        int64_t n = run_guided(r) ? 2 : 1;
        mg_forward(r->m, c, s, rows, n, logits, n);
        run_accept(c, &(run_scores){r, logits, n == 2 ? logits + size : NULL}, 1);
    }
    return OK;
}

status run_alone(const musicgen *m, compute *c, const run_params *p, int32_t *codes, float *first,
                 err *e) {
    const mg_config *cfg = mg_get_config(m);
    size_t size = (size_t)(cfg->codebooks * cfg->vocab);
    run *r = NULL;
    mg_scratch *s = NULL;
    float *logits = mem_calloc(2 * size, sizeof *logits);
    status rc = logits ? run_create(&r, m, p, e) : err_set(e, ERR_OOM, "no memory for scores");
    if (!rc) rc = mg_scratch_create(&s, m, c, 64, cache_len(cfg, p) + 1, e);
    if (!rc) rc = steps_alone(r, c, s, logits, e);
    if (!rc) memcpy(codes, r->codes, (size_t)(cfg->codebooks * p->frames) * sizeof *codes);
    if (!rc && first) memcpy(first, r->first, size * sizeof *first);
    mg_scratch_free(s);
    run_free(r);
    mem_free(logits);
    return rc;
}

status run_force(run *r, compute *c, mg_scratch *s, arena *work, const run_forced *f, err *e) {
    int64_t books = mg_get_config(r->m)->codebooks;
    mg_row *rows = arena_alloc(work, (size_t)mg_scratch_rows(s) * sizeof *rows);
    int32_t *columns = arena_alloc(work, (size_t)(f->cols * books) * sizeof *columns);
    if (!rows || !columns)
        return err_set(e, ERR_OOM, "no memory for %lld columns", (long long)f->cols);
    status rc = create_caches(r, c, work, e);
    if (!rc && mg_get_config(r->m)->melody)
        rc = feed_prefix(r, &(run_likes){0}, c, s, rows, work, e);
    if (rc) return rc;
    mg_cache *cache = f->null && r->null ? r->null : r->cond;
    for (int64_t i = 0; i < f->cols; i++) {
        for (int64_t k = 0; k < books; k++) columns[i * books + k] = f->codes[k * f->cols + i];
        rows[i] = (mg_row){.cache = cache, .codes = columns + i * books};
    }
    mg_forward(r->m, c, s, rows, f->cols, f->logits, f->cols);
    return OK;
}
