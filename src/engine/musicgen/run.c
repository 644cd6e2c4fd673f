// run.c - see run.h.
#include "engine/musicgen/run.h"

#include <assert.h>
#include <string.h>

struct run {
    decoder *d;
    const musicgen *m;
    run_params p;
    seq *s;
    float *chroma; // [chroma_length, bins] of the window under way; NULL: the model has none
    float *head;   // [anchored, bins] of chroma where the anchor lies
    // The window under way, or the next one.
    int64_t index, start, known; // its number, its first frame, how many of its frames are made
    int64_t left;                // steps to its end
    bool open;                   // a window is under way
    bool done;
    int64_t steps_done, steps_total;
};

// A window: its first frame, and how many of its frames are made before it begins.
typedef struct {
    int64_t start, known;
} place;

// The part that a frame lies in; 0 without parts.
static size_t part_at(const run *r, int64_t frame) {
    size_t i = 0;
    while (i + 1 < r->p.part_count && r->p.parts[i + 1].from <= frame) i++;
    return i;
}

// The frame behind a part.
static int64_t part_end(const run *r, size_t i) {
    return i + 1 < r->p.part_count ? r->p.parts[i + 1].from : r->p.seq.frames;
}

// The frame behind a window.
static int64_t window_end(const run *r, place w) {
    int64_t end = part_end(r, part_at(r, w.start + w.known));
    return MIN(w.start + r->p.seq.window, end);
}

static int64_t window_steps(const run *r, place w) {
    return decoder_columns(r->m, &r->p.seq, window_end(r, w) - w.start, w.known);
}

// The window behind one that ends at that frame.
static place place_behind(const run *r, int64_t end) {
    int64_t known = MIN(end, r->p.seq.window - r->p.stride);
    return (place){end - known, known};
}

static int64_t count_steps(const run *r) {
    int64_t total = 0;
    for (place w = {r->start, r->known};; w = place_behind(r, window_end(r, w))) {
        total += window_steps(r, w);
        if (window_end(r, w) >= r->p.seq.frames) return total;
    }
}

// Skips the windows that the given frames fill already.
static void skip_given_windows(run *r) {
    r->known = r->p.seq.given_n;
    while (r->known >= MIN(r->p.seq.window, r->p.seq.frames - r->start)) {
        r->start += r->p.stride;
        r->known -= r->p.stride;
        r->index++;
    }
}

status run_create(run **out, decoder *d, const musicgen *m, const run_params *p, err *e) {
    *out = NULL;
    const mg_config *cfg = mg_get_config(m);
    assert(p->stride > 0 && p->stride <= p->seq.window);
    run *r = mem_calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_OOM, "no memory for a stem");
    r->d = d;
    r->m = m;
    r->p = *p;
    size_t rows = cfg->melody ? (size_t)(cfg->chroma_length * cfg->chroma_bins) : 0;
    size_t head = rows ? (size_t)(p->anchored * cfg->chroma_bins) : 0;
    if (rows) r->chroma = mem_calloc(rows, sizeof *r->chroma);
    if (head) r->head = mem_calloc(head, sizeof *r->head);
    status rc = (!rows || r->chroma) && (!head || r->head)
                    ? seq_create(&r->s, d, &p->seq, e)
                    : err_set(e, ERR_OOM, "no memory for the chroma of a stem");
    if (rc) {
        run_free(r);
        return rc;
    }
    skip_given_windows(r);
    r->steps_total = count_steps(r);
    *out = r;
    return OK;
}

void run_free(run *r) {
    if (!r) return;
    seq_free(r->s);
    mem_free(r->chroma);
    mem_free(r->head);
    mem_free(r);
}

// True when both runs hear the same chroma rows in their windows.
static bool same_chroma(const run *r, const run *other) {
    return !r->p.seq.text_null && !other->p.seq.text_null && r->p.chroma == other->p.chroma &&
           r->p.chroma_arg == other->p.chroma_arg && r->start == other->start;
}

static void find_alike(seq_window *w, const run *r, run *const *others, size_t n) {
    for (size_t i = 0; i < n && r->chroma; i++) {
        const run *other = others[i];
        if (other == r || !other->open) continue;
        if (same_chroma(r, other)) w->like = other->s;
        if (seq_guided(other->s)) w->like_null = other->s;
    }
}

// The first part with the text of that one.
static size_t first_alike(const run *r, size_t part) {
    size_t i = 0;
    while (i < part && r->p.parts[i].text != r->p.parts[part].text) i++;
    return i;
}

// What was given is heard as long as a window reaches it. The anchor comes from the first window
// that was made, or from the last window of what was given; where texts change, from the first part
// with the window's text, once enough of it is made.
static void set_anchor(seq_window *w, const run *r) {
    const run_params *p = &r->p;
    if (!r->head || !p->chroma || w->start == 0 || w->start < p->seq.given_n) return;
    if (w->known <= p->anchored) return;
    size_t first = first_alike(r, part_at(r, w->start + w->known));
    int64_t from = p->part_count ? p->parts[first].from : MAX(0, p->seq.given_n - p->seq.window),
            anchor = p->anchor(p->chroma_arg, w->start, from);
    int64_t made = MIN(part_end(r, first), w->start + w->known);
    if (p->part_count && (anchor > w->start || anchor + p->anchored > made)) return;
    w->anchored = p->anchored;
    w->anchor = anchor;
}

static status fill_chroma(run *r, seq_window *w, err *e) {
    size_t head = (size_t)(w->anchored * mg_get_config(r->m)->chroma_bins) * sizeof *r->head;
    status rc = OK;
    if (w->anchored) {
        rc = r->p.chroma(r->p.chroma_arg, r->chroma, w->anchor, &w->chroma_rows, e);
        memcpy(r->head, r->chroma, head);
    }
    if (!rc) rc = r->p.chroma(r->p.chroma_arg, r->chroma, w->start, &w->chroma_rows, e);
    if (w->anchored) memcpy(r->chroma, r->head, head);
    return rc;
}

// The text of the part that the next window makes.
static void set_text(run *r) {
    if (!r->p.part_count) return;
    const run_part *part = &r->p.parts[part_at(r, r->start + r->known)];
    seq_set_text(r->s, part->text, part->text_n, part->text_rows);
}

status run_begin_window(run *r, run *const *others, size_t n, err *e) {
    assert(run_needs_window(r));
    const place at = {r->start, r->known};
    seq_window w = {.index = r->index,
                    .start = r->start,
                    .frames = window_end(r, at) - r->start,
                    .known = r->known};
    set_text(r);
    find_alike(&w, r, others, n);
    status rc = OK;
    set_anchor(&w, r);
    if (r->chroma && r->p.chroma && !r->p.seq.text_null) rc = fill_chroma(r, &w, e);
    if (w.chroma_rows) w.chroma = r->chroma;
    if (!rc) rc = decoder_begin(r->d, r->s, &w, e);
    if (rc) return rc;
    r->left = window_steps(r, at);
    r->open = true;
    return OK;
}

static void next_window(run *r) {
    int64_t end = window_end(r, (place){r->start, r->known});
    r->open = false;
    r->done = end >= r->p.seq.frames;
    if (r->done) return;
    const place next = place_behind(r, end);
    r->start = next.start;
    r->known = next.known;
    r->index++;
}

void run_stepped(run *r) {
    assert(r->open);
    r->steps_done++;
    if (--r->left == 0) next_window(r);
}

seq *run_seq(const run *r) {
    return r->s;
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
    return r->p.seq.frames;
}

static status step_to_end(run *r, err *e) {
    while (!run_done(r)) {
        status rc = run_needs_window(r) ? run_begin_window(r, NULL, 0, e) : OK;
        if (!rc) rc = decoder_step(r->d, &r->s, 1, e);
        if (rc) return rc;
        run_stepped(r);
    }
    return OK;
}

status run_alone(const musicgen *m, device *gpu, compute *c, const run_params *p, int32_t *codes,
                 float *first, err *e) {
    const mg_config *cfg = mg_get_config(m);
    size_t size = (size_t)(cfg->codebooks * cfg->vocab);
    int64_t prefix = cfg->melody ? cfg->chroma_length + p->seq.text_rows : 0;
    const decoder_limits limits = {.sequences = 1,
                                   .positions = prefix + p->seq.window + cfg->codebooks + 1};
    decoder *d = NULL;
    run *r = NULL;
    status rc = decoder_open(&d, gpu, m, c, &limits, e);
    if (!rc) rc = run_create(&r, d, m, p, e);
    if (!rc) rc = step_to_end(r, e);
    const int32_t *made;
    if (!rc) rc = seq_codes(r->s, &made, e);
    if (!rc) memcpy(codes, made, (size_t)(cfg->codebooks * p->seq.frames) * sizeof *codes);
    if (!rc && first) memcpy(first, seq_first(r->s), size * sizeof *first);
    run_free(r);
    decoder_close(d);
    return rc;
}
