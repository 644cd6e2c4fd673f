// normalize.c - see normalize.h.
#include "format/normalize.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "format/charsmap.h"
#include "format/unicode.h"

void norm_text_init(norm_text *t, size_t max) {
    *t = (norm_text){.max = max};
}

void norm_text_deinit(norm_text *t) {
    mem_free(t->p);
    mem_free(t->from);
    *t = (norm_text){0};
}

void norm_text_clear(norm_text *t) {
    t->n = 0;
    t->failed = OK;
}

static bool text_grow(norm_text *t, size_t more) {
    if (t->failed) return false;
    if (more > t->max - t->n) {
        t->failed = ERR_LIMIT;
        return false;
    }
    if (t->n + more <= t->cap) return true;
    size_t cap = MAX(MIN(2 * t->cap, t->max), MAX(t->n + more, 256));
    uint8_t *p = mem_realloc(t->p, cap);
    if (p) t->p = p;
    uint32_t *from = mem_realloc(t->from, cap * sizeof *from);
    if (from) t->from = from;
    if (!p || !from) {
        t->failed = ERR_OOM;
        return false;
    }
    t->cap = cap;
    return true;
}

void norm_text_add(norm_text *t, bytes s, uint32_t from) {
    if (!s.n || !text_grow(t, s.n)) return;
    memcpy(t->p + t->n, s.p, s.n);
    for (size_t i = 0; i < s.n; i++) t->from[t->n + i] = from;
    t->n += s.n;
}

void norm_text_copy(norm_text *t, bytes s) {
    if (!s.n || !text_grow(t, s.n)) return;
    memcpy(t->p + t->n, s.p, s.n);
    for (size_t i = 0; i < s.n; i++) t->from[t->n + i] = (uint32_t)i;
    t->n += s.n;
}

bytes norm_text_bytes(const norm_text *t) {
    return (bytes){t->p, t->n};
}

status norm_text_status(const norm_text *t, err *e) {
    if (t->failed == ERR_LIMIT) {
        return err_set(e, ERR_LIMIT, "text grows past %zu bytes when normalised", t->max);
    }
    return t->failed ? err_set(e, ERR_OOM, "no memory to normalise a text") : OK;
}

// Appends in[lo, hi) with its origins.
static void text_keep(norm_text *out, const norm_text *in, size_t lo, size_t hi) {
    if (lo == hi || !text_grow(out, hi - lo)) return;
    memcpy(out->p + out->n, in->p + lo, hi - lo);
    memcpy(out->from + out->n, in->from + lo, (hi - lo) * sizeof *in->from);
    out->n += hi - lo;
}

typedef enum { STEP_MAP, STEP_STRIP, STEP_REPLACE, STEP_SPACES, STEP_PREPEND } step_type;

typedef struct {
    step_type type;
    bool left, right;        // STEP_STRIP
    charsmap *map;           // STEP_MAP
    char *pattern, *content; // STEP_REPLACE; STEP_SPACES and STEP_PREPEND: content
    size_t pattern_len;
} step;

struct normalizer {
    step steps[NORM_STEPS_MAX];
    size_t count;
};

// A cluster of up to this many bytes is looked up whole; a longer one code point by code point.
#define CLUSTER_WHOLE_MAX 5

// Replaces in[lo, lo + n) when the map has it. Each new character takes its origin from the old one
// in the same place, surplus ones from the last.
static bool map_take(norm_text *out, const norm_text *in, const charsmap *m, size_t lo, size_t n) {
    bytes to;
    if (!charsmap_find(m, (bytes){in->p + lo, n}, &to)) return false;
    size_t old = lo, end = lo + n;
    while (to.n && !out->failed) {
        uint32_t cp;
        size_t len = MAX(utf8_next(&cp, to.p, to.n), 1);
        norm_text_add(out, (bytes){to.p, len}, in->from[old]);
        to = (bytes){to.p + len, to.n - len};
        size_t next = old + MAX(utf8_next(&cp, in->p + old, end - old), 1);
        if (next < end) old = next;
    }
    return true;
}

static void run_map(norm_text *out, const norm_text *in, const charsmap *m) {
    for (size_t lo = 0; lo < in->n && !out->failed;) {
        size_t n = unicode_grapheme((bytes){in->p + lo, in->n - lo});
        size_t end = lo + n;
        if (n <= CLUSTER_WHOLE_MAX && map_take(out, in, m, lo, n)) {
            lo = end;
            continue;
        }
        while (lo < end && !out->failed) {
            uint32_t cp;
            size_t len = MAX(utf8_next(&cp, in->p + lo, end - lo), 1);
            if (!map_take(out, in, m, lo, len)) text_keep(out, in, lo, lo + len);
            lo += len;
        }
    }
    // The first character that is left takes the origin of those dropped before it.
    for (size_t i = 0; i < out->n && (i == 0 || (out->p[i] & 0xC0) == 0x80); i++) {
        out->from[i] = in->from[0];
    }
}

static void run_strip(norm_text *out, const norm_text *in, bool left, bool right) {
    size_t lo = 0, hi = in->n;
    uint32_t cp;
    while (left && lo < hi) {
        size_t len = utf8_next(&cp, in->p + lo, hi - lo);
        if (!unicode_is_space(cp)) break;
        lo += len;
    }
    while (right && hi > lo) {
        size_t at = utf8_prev((bytes){in->p, hi}, hi);
        utf8_next(&cp, in->p + at, hi - at);
        if (!unicode_is_space(cp)) break;
        hi = at;
    }
    text_keep(out, in, lo, hi);
}

// Length of the match at lo: the pattern, or a run of at least two blanks. 0: no match.
static size_t match_at(const norm_text *in, size_t lo, const step *s) {
    if (s->type == STEP_REPLACE) {
        size_t n = s->pattern_len;
        return n <= in->n - lo && memcmp(in->p + lo, s->pattern, n) == 0 ? n : 0;
    }
    size_t n = 0;
    while (lo + n < in->n && in->p[lo + n] == ' ') n++;
    return n >= 2 ? n : 0;
}

static void run_replace(norm_text *out, const norm_text *in, const step *s) {
    size_t kept = 0;
    for (size_t lo = 0; lo < in->n && !out->failed;) {
        size_t n = match_at(in, lo, s);
        if (!n) {
            lo++;
            continue;
        }
        text_keep(out, in, kept, lo);
        norm_text_add(out, bytes_of(s->content), in->from[lo + n - 1]);
        kept = lo += n;
    }
    text_keep(out, in, kept, in->n);
}

static void run_step(norm_text *out, const norm_text *in, const step *s) {
    switch (s->type) {
    case STEP_MAP: run_map(out, in, s->map); break;
    case STEP_STRIP: run_strip(out, in, s->left, s->right); break;
    case STEP_REPLACE:
    case STEP_SPACES: run_replace(out, in, s); break;
    case STEP_PREPEND:
        if (in->n) norm_text_add(out, bytes_of(s->content), in->from[0]);
        text_keep(out, in, 0, in->n);
        break;
    }
}

status normalizer_run(const normalizer *z, norm_text *text, norm_text *spare, err *e) {
    for (size_t i = 0; i < z->count; i++) {
        norm_text_clear(spare);
        run_step(spare, text, &z->steps[i]);
        status rc = norm_text_status(spare, e);
        if (rc) return rc;
        norm_text swap = *text;
        *text = *spare;
        *spare = swap;
    }
    return OK;
}

static status read_map(step *s, const json *spec, err *e) {
    const char *text;
    s->type = STEP_MAP;
    status rc = json_get_str(spec, "precompiled_charsmap", &text, e);
    if (rc) return rc;
    size_t n = strlen(text) / 4 * 3 + 3;
    uint8_t *blob = mem_alloc(n);
    if (!blob) return err_set(e, ERR_OOM, "no memory for a character map");
    rc = base64_decode(blob, &n, bytes_of(text), e);
    if (!rc) rc = charsmap_create(&s->map, (bytes){blob, n}, e);
    if (rc) err_within(e, rc, "precompiled_charsmap");
    mem_free(blob);
    return rc;
}

static status read_strip(step *s, const json *spec, err *e) {
    s->type = STEP_STRIP;
    status rc = json_get_bool(spec, "strip_left", &s->left, e);
    return rc ? rc : json_get_bool(spec, "strip_right", &s->right, e);
}

static status read_content(step *s, const json *spec, const char *key, err *e) {
    const char *text;
    status rc = json_get_str(spec, key, &text, e);
    if (rc) return rc;
    s->content = mem_strdup(text);
    return s->content ? OK : err_set(e, ERR_OOM, "no memory for a normaliser");
}

static status read_replace(step *s, const json *spec, err *e) {
    const char *string = json_str_value(json_find(spec, "pattern.String"));
    const char *regex = json_str_value(json_find(spec, "pattern.Regex"));
    if (regex && strcmp(regex, " {2,}") == 0) {
        s->type = STEP_SPACES;
        return read_content(s, spec, "content", e);
    }
    if (!string || !*string) {
        return err_set(e, ERR_FORMAT, "Replace: cannot do pattern %s: only a string, or \" {2,}\"",
                       regex ? regex : json_kind(json_find(spec, "pattern")));
    }
    s->type = STEP_REPLACE;
    s->pattern_len = strlen(string);
    if (s->pattern_len > NORM_PATTERN_MAX) {
        return err_set(e, ERR_FORMAT, "Replace: pattern of %zu bytes, expected at most %d",
                       s->pattern_len, NORM_PATTERN_MAX);
    }
    s->pattern = mem_strdup(string);
    if (!s->pattern) return err_set(e, ERR_OOM, "no memory for a normaliser");
    return read_content(s, spec, "content", e);
}

static status read_step(step *s, const char *type, const json *spec, err *e) {
    if (strcmp(type, "Precompiled") == 0) return read_map(s, spec, e);
    if (strcmp(type, "Strip") == 0) return read_strip(s, spec, e);
    if (strcmp(type, "Replace") == 0) return read_replace(s, spec, e);
    if (strcmp(type, "Prepend") == 0) {
        s->type = STEP_PREPEND;
        return read_content(s, spec, "prepend", e);
    }
    return err_set(e, ERR_FORMAT, "normalizer of type %s is not supported", type);
}

// JSON_DEPTH_MAX bounds the recursion.
static status read_steps(normalizer *z, const json *spec, err *e) {
    const char *type;
    status rc = json_get_str(spec, "type", &type, e);
    if (rc) return rc;
    if (strcmp(type, "Sequence") == 0) {
        const json *list;
        rc = json_get_array(spec, "normalizers", &list, e);
        for (size_t i = 0; !rc && i < json_len(list); i++) rc = read_steps(z, json_at(list, i), e);
        return rc;
    }
    if (z->count == NORM_STEPS_MAX) {
        return err_set(e, ERR_FORMAT, "more than %d steps", NORM_STEPS_MAX);
    }
    return read_step(&z->steps[z->count++], type, spec, e);
}

status normalizer_create(normalizer **out, const json *spec, err *e) {
    *out = NULL;
    normalizer *z = mem_calloc(1, sizeof *z);
    if (!z) return err_set(e, ERR_OOM, "no memory for a normaliser");
    status rc = spec && !json_is_null(spec) ? read_steps(z, spec, e) : OK;
    if (rc) {
        err_within(e, rc, "normalizer");
        normalizer_free(z);
        return rc;
    }
    *out = z;
    return OK;
}

void normalizer_free(normalizer *z) {
    if (!z) return;
    for (size_t i = 0; i < z->count; i++) {
        charsmap_free(z->steps[i].map);
        mem_free(z->steps[i].pattern);
        mem_free(z->steps[i].content);
    }
    mem_free(z);
}
