// tokenizer.c - see tokenizer.h.
//
//     text -> added tokens are cut out of it
//          -> the rest is normalised -> added tokens are cut out of that
//          -> the rest is split into words -> each word is segmented
//          -> ids -> truncation, padding
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "format/tokenizer_inside.h"
#include "format/unicode.h"

// The memory of one call of tok_encode.
typedef struct {
    const tokenizer *t;
    bytes original;
    tok_ids *out;
    norm_text text, spare, word;
    unigram_node *nodes;
    size_t node_cap;
} job;

static status ids_room(tok_ids *ids, size_t more, err *e) {
    if (more <= ids->cap - ids->n) return OK;
    size_t cap = MAX(2 * ids->cap, ids->n + more); // texts and padding are bounded: no overflow
    int32_t *p = mem_realloc(ids->ids, cap * sizeof *p);
    if (!p) return err_set(e, ERR_OOM, "no memory for %zu token ids", cap);
    ids->ids = p;
    ids->cap = cap;
    return OK;
}

static status id_add(tok_ids *ids, int32_t id, err *e) {
    status rc = ids_room(ids, 1, e);
    if (!rc) ids->ids[ids->n++] = id;
    return rc;
}

static status encode_piece(job *w, bytes text, err *e) {
    if (text.n + 1 > w->node_cap) {
        size_t cap = MAX(2 * w->node_cap, text.n + 1);
        unigram_node *nodes = mem_realloc(w->nodes, cap * sizeof *nodes);
        if (!nodes) return err_set(e, ERR_OOM, "no memory for a text of %zu bytes", text.n);
        w->nodes = nodes;
        w->node_cap = cap;
    }
    status rc = ids_room(w->out, text.n, e);
    return rc ? rc : unigram_encode(w->t->model, text, w->nodes, w->out->ids, &w->out->n, e);
}

static bool begins_with(bytes text, const char *s) {
    size_t n = strlen(s);
    return text.n >= n && memcmp(text.p, s, n) == 0;
}

// Turns blanks into the mark, puts a mark in front, and encodes the pieces that begin with marks.
static status encode_marked(job *w, bytes text, bool first, err *e) {
    const splitter *s = &w->t->split;
    bytes mark = bytes_of(s->mark);
    bool marked = begins_with(text, s->mark) || text.p[0] == ' ';
    bool prepend = s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && first);
    norm_text_clear(&w->word);
    if (prepend && !marked) norm_text_add(&w->word, mark, 0);
    for (size_t i = 0, kept = 0; i <= text.n; i++) {
        if (i < text.n && text.p[i] != ' ') continue;
        norm_text_add(&w->word, (bytes){text.p + kept, i - kept}, 0);
        if (i < text.n) norm_text_add(&w->word, mark, 0);
        kept = i + 1;
    }
    status rc = norm_text_status(&w->word, e);
    bytes all = norm_text_bytes(&w->word);
    for (size_t lo = 0; !rc && lo < all.n;) {
        size_t hi = s->split ? lo + 1 : all.n;
        while (hi < all.n && !begins_with((bytes){all.p + hi, all.n - hi}, s->mark)) hi++;
        rc = encode_piece(w, (bytes){all.p + lo, hi - lo}, e);
        lo = hi;
    }
    return rc;
}

// text[lo, hi) of the normalised text, without added tokens.
static status encode_span(job *w, size_t lo, size_t hi, err *e) {
    if (lo == hi) return OK;
    bytes span = {w->text.p + lo, hi - lo};
    if (!w->t->split.metaspace) return encode_piece(w, span, e);
    return encode_marked(w, span, w->text.from[lo] == 0, e);
}

static status encode_words(job *w, size_t lo, size_t hi, err *e) {
    status rc = OK;
    size_t kept = lo;
    while (!rc && w->t->split.whitespace && lo < hi) {
        uint32_t cp;
        size_t len = utf8_next(&cp, w->text.p + lo, hi - lo);
        if (unicode_is_space(cp)) {
            rc = encode_span(w, kept, lo, e);
            kept = lo + len;
        }
        lo += len;
    }
    return rc ? rc : encode_span(w, kept, hi, e);
}

static bool word_before(bytes text, size_t at) {
    uint32_t cp;
    if (at == 0) return false;
    size_t start = utf8_prev(text, at);
    utf8_next(&cp, text.p + start, at - start);
    return unicode_is_word(cp);
}

static bool word_after(bytes text, size_t at) {
    uint32_t cp;
    if (at == text.n) return false;
    utf8_next(&cp, text.p + at, text.n - at);
    return unicode_is_word(cp);
}

static size_t blanks_before(bytes text, size_t at, size_t least) {
    while (at > least) {
        uint32_t cp;
        size_t start = utf8_prev(text, at);
        utf8_next(&cp, text.p + start, at - start);
        if (!unicode_is_space(cp)) break;
        at = start;
    }
    return MAX(at, least);
}

// The last run of blanks that was walked. Without it a token that is a blank itself would walk the
// run again from each place in it.
typedef struct {
    size_t from, end;
} blank_run;

static size_t blanks_after(bytes text, size_t at, blank_run *known) {
    if (at >= known->from && at < known->end) return known->end;
    size_t end = at;
    while (end < text.n) {
        uint32_t cp;
        size_t len = utf8_next(&cp, text.p + end, text.n - end);
        if (!unicode_is_space(cp)) break;
        end += len;
    }
    *known = (blank_run){at, end};
    return end;
}

typedef status (*span_encode)(job *w, size_t lo, size_t hi, err *e);

// Cuts the added tokens of set out of text, leftmost and longest first, and calls f for the spans
// between them.
static status encode_around(job *w, const trie *set, bytes text, span_encode f, err *e) {
    size_t kept = 0;
    blank_run run = {0, 0};
    status rc = OK;
    for (size_t i = 0; !rc && i < text.n;) {
        size_t n = 0;
        int32_t found = trie_longest(set, (bytes){text.p + i, text.n - i}, &n);
        if (found < 0) {
            i++;
            continue;
        }
        const added_token *a = &w->t->added[found];
        size_t lo = i, hi = i + n;
        i = hi;
        if (a->single_word && (word_before(text, lo) || word_after(text, hi))) continue;
        if (a->lstrip) lo = blanks_before(text, lo, kept);
        if (a->rstrip) hi = blanks_after(text, hi, &run);
        if (kept < lo) rc = f(w, kept, lo, e);
        if (!rc) rc = id_add(w->out, a->id, e);
        kept = hi;
    }
    return rc || kept >= text.n ? rc : f(w, kept, text.n, e);
}

static status encode_raw_span(job *w, size_t lo, size_t hi, err *e) {
    norm_text_clear(&w->text);
    norm_text_copy(&w->text, (bytes){w->original.p + lo, hi - lo});
    for (size_t i = 0; i < w->text.n; i++) w->text.from[i] += (uint32_t)lo;
    status rc = norm_text_status(&w->text, e);
    if (!rc) rc = normalizer_run(w->t->norm, &w->text, &w->spare, e);
    if (rc) return rc;
    return encode_around(w, w->t->normed, norm_text_bytes(&w->text), encode_words, e);
}

static void truncate_ids(const tokenizer *t, tok_ids *out) {
    if (!t->truncates || out->n <= t->truncate_max) return;
    out->cut = out->n - t->truncate_max;
    if (t->truncates_left) {
        memmove(out->ids, out->ids + out->cut, t->truncate_max * sizeof *out->ids);
    }
    out->n = t->truncate_max;
}

// Moves the ids up by n places and fills the front.
static void put_in_front(tok_ids *out, const int32_t *ids, size_t n, int32_t same) {
    if (!n) return;
    memmove(out->ids + n, out->ids, out->n * sizeof *out->ids);
    for (size_t i = 0; i < n; i++) out->ids[i] = ids ? ids[i] : same;
    out->n += n;
}

static status finish_ids(const tokenizer *t, tok_ids *out, err *e) {
    truncate_ids(t, out);
    size_t want = out->n + t->before_count + t->after_count;
    size_t total = t->pad == PAD_NONE ? want : MAX(want, t->pad_to);
    if (t->pad != PAD_NONE)
        total = (total + t->pad_multiple - 1) / t->pad_multiple * t->pad_multiple;
    status rc = ids_room(out, total - out->n, e);
    if (rc) return rc;
    put_in_front(out, t->before, t->before_count, 0);
    for (size_t i = 0; i < t->after_count; i++) out->ids[out->n++] = t->after[i];
    assert(out->n == want);
    out->count = want;
    out->first = t->pad_left ? total - want : 0;
    put_in_front(out, NULL, out->first, t->pad_id);
    while (out->n < total) out->ids[out->n++] = t->pad_id;
    return OK;
}

status tok_encode(const tokenizer *t, bytes text, tok_ids *out, err *e) {
    out->n = out->first = out->count = out->cut = 0;
    if (text.n > TOK_TEXT_MAX) {
        return err_set(e, ERR_LIMIT, "text of %zu bytes, expected at most %zu", text.n,
                       TOK_TEXT_MAX);
    }
    size_t good = utf8_valid(text);
    if (good < text.n) return err_set(e, ERR_ARG, "text is not UTF-8 at byte %zu", good);
    job w = {.t = t, .original = text, .out = out};
    // Marks can treble a text of blanks.
    norm_text_init(&w.text, TOK_TEXT_MAX);
    norm_text_init(&w.spare, TOK_TEXT_MAX);
    norm_text_init(&w.word, 4 * TOK_TEXT_MAX + sizeof t->split.mark);
    status rc = encode_around(&w, t->raw, text, encode_raw_span, e);
    if (!rc) rc = finish_ids(t, out, e);
    norm_text_deinit(&w.text);
    norm_text_deinit(&w.spare);
    norm_text_deinit(&w.word);
    mem_free(w.nodes);
    if (rc) out->n = out->first = out->count = 0;
    return rc;
}

void tok_ids_deinit(tok_ids *t) {
    mem_free(t->ids);
    *t = (tok_ids){0};
}

int32_t tok_vocab_size(const tokenizer *t) {
    return t->size;
}

int32_t tok_find(const tokenizer *t, const char *piece) {
    for (size_t i = 0; i < t->added_count; i++) {
        if (strcmp(t->added[i].content, piece) == 0) return t->added[i].id;
    }
    return unigram_find(t->model, bytes_of(piece));
}
