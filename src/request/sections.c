// sections.c - see sections.h.
#include "request/sections.h"

#include <stdio.h>
#include <string.h>

#include "request/stems.h"

#define PARTS 4

const char *const density_names[DENSITIES] = {
    [DENSITY_NORMAL] = "normal", [DENSITY_SPARSE] = "sparse", [DENSITY_DENSE] = "dense"};

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bytes trimmed(bytes b) {
    while (b.n && is_blank(b.p[0])) b.p++, b.n--;
    while (b.n && is_blank(b.p[b.n - 1])) b.n--;
    return b;
}

// Splits at semicolons. Returns how many parts there are, PARTS + 1 for more.
static size_t split(bytes part[PARTS], const char *text) {
    size_t n = 0;
    for (const char *from = text;; n++) {
        size_t len = strcspn(from, ";");
        if (n == PARTS) return PARTS + 1;
        part[n] = trimmed((bytes){(const uint8_t *)from, len});
        if (!from[len]) return n + 1;
        from += len + 1;
    }
}

static int read_bars(bytes b) {
    int v = 0;
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] < '0' || b.p[i] > '9' || v > CHORDS_MAX) return 0;
        v = 10 * v + b.p[i] - '0';
    }
    return v <= CHORDS_MAX ? v : 0;
}

bool section_next_stem(bytes *names, bytes *word) {
    size_t at = 0;
    while (at < names->n && (is_blank(names->p[at]) || names->p[at] == ',')) at++;
    word->p = names->p + at;
    size_t end = at;
    while (end < names->n && !is_blank(names->p[end]) && names->p[end] != ',') end++;
    word->n = end - at;
    names->p += end;
    names->n -= end;
    return word->n > 0;
}

static bool is_word(bytes word, const char *name) {
    return word.n == strlen(name) && memcmp(word.p, name, word.n) == 0;
}

static status check_stems(bytes names, err *e) {
    for (bytes word; section_next_stem(&names, &word);) {
        int i = 0;
        while (i < STEMFORGE_STEMS_MAX && !is_word(word, stem_types[i].name)) i++;
        if (i == STEMFORGE_STEMS_MAX)
            return err_set(e, ERR_ARG, "expected stems that play, found \"%.*s\"",
                           (int)MIN(word.n, 40), (const char *)word.p);
    }
    return OK;
}

static status read_density(density *out, bytes word, err *e) {
    *out = DENSITY_NORMAL;
    if (!word.n) return OK;
    for (int i = 0; i < DENSITIES; i++) {
        *out = (density)i;
        if (is_word(word, density_names[i])) return OK;
    }
    return err_set(e, ERR_ARG, "expected a density of sparse, normal or dense, found \"%.*s\"",
                   (int)MIN(word.n, 40), (const char *)word.p);
}

// The next chord of *names, which it moves behind, as a text. False: there is none.
static bool next_chord(bytes *names, char out[CHORDS_NAME_MAX + 2]) {
    const char *p = (const char *)names->p, *end = p ? p + names->n : p;
    size_t len;
    if (!names->n || !chords_next_name(&p, &len) || p - len >= end) return false;
    const char *from = p - len;
    len = MIN(len, (size_t)(end - from));
    snprintf(out, CHORDS_NAME_MAX + 2, "%.*s", (int)MIN(len, CHORDS_NAME_MAX + 1), from);
    *names = (bytes){(const uint8_t *)from + len, (size_t)(end - from) - len};
    return true;
}

static status check_chords(bytes names, err *e) {
    char name[CHORDS_NAME_MAX + 2];
    status rc = OK;
    while (!rc && next_chord(&names, name)) {
        chord c;
        rc = chords_parse_chord(&c, name, e);
        if (rc) err_within(e, rc, "chord %s", name);
    }
    return rc;
}

status section_parse(section *out, const char *text, err *e) {
    bytes part[PARTS] = {{0}};
    *out = (section){0};
    if (split(part, text) > PARTS)
        return err_set(e, ERR_ARG,
                       "expected \"BARS; CHORDS; STEMS; DENSITY\", found more than three ;");
    out->bars = read_bars(part[0]);
    if (!out->bars)
        return err_set(e, ERR_ARG, "expected 1 to %d bars, found \"%.*s\"", CHORDS_MAX,
                       (int)MIN(part[0].n, 40), (const char *)part[0].p);
    out->chords = part[1];
    out->stems = part[2];
    status rc = check_chords(out->chords, e);
    if (!rc) rc = check_stems(out->stems, e);
    return rc ? rc : read_density(&out->density, part[3], e);
}

bool section_plays(const section *s, const char *stem) {
    bytes names = s->stems;
    if (!names.n) return true;
    for (bytes word; section_next_stem(&names, &word);)
        if (is_word(word, stem)) return true;
    return false;
}

size_t sections_of(section out[SECTIONS_MAX], const stemforge_request *r) {
    size_t n = r->sections ? MIN(r->section_count, SECTIONS_MAX) : 0;
    for (size_t i = 0; i < n; i++)
        if (!r->sections[i] || section_parse(&out[i], r->sections[i], NULL)) out[i] = (section){0};
    if (!n) out[n++] = (section){.bars = r->bars};
    return n;
}

int sections_bars(const stemforge_request *r) {
    section s[SECTIONS_MAX];
    int bars = 0;
    if (!r->section_count) return 0;
    for (size_t i = 0, n = sections_of(s, r); i < n; i++) bars += s[i].bars;
    return bars;
}

size_t sections_densities(density_part out[SECTIONS_MAX], const stemforge_request *r) {
    section s[SECTIONS_MAX];
    size_t count = sections_of(s, r), n = 0;
    int bar = 0;
    for (size_t i = 0; i < count; bar += s[i++].bars)
        if (!n || out[n - 1].density != s[i].density) out[n++] = (density_part){bar, s[i].density};
    return n;
}

// --- chords

static void add(section_chords *to, const char *name) {
    if (to->n == CHORDS_MAX) return;
    size_t len = strnlen(name, CHORDS_NAME_MAX);
    char *text = to->text[to->n];
    memmove(text, name, len);
    text[len] = 0;
    to->name[to->n++] = text;
}

// The chords of the key, of which the first is the tonic.
static void default_names(char out[CHORDS_ASSUMED][CHORDS_KEY_TEXT], const stemforge_request *r) {
    key k = {0};
    progression p;
    if (r->key) (void)!chords_parse_key(&k, r->key, NULL);
    chords_default(&p, k, 120);
    for (size_t i = 0; i < CHORDS_ASSUMED; i++) chords_triad_text(out[i], &p.bars[i]);
}

// So many chords of a section, repeated from its first bar on.
static void add_section(section_chords *to, const section *s, size_t count,
                        const stemforge_request *r, char other[CHORDS_ASSUMED][CHORDS_KEY_TEXT]) {
    size_t first = to->n, own = 0;
    char name[CHORDS_NAME_MAX + 2];
    bytes names = s->chords;
    while (own < count && next_chord(&names, name)) add(to, name), own++;
    for (size_t i = own; i < count; i++) {
        if (own)
            add(to, to->text[first + i % own]);
        else
            add(to, r->chord_count ? r->chords[i % r->chord_count] : other[i % CHORDS_ASSUMED]);
    }
    to->named |= own || r->chord_count;
}

void sections_chords(section_chords *out, const stemforge_request *r) {
    section s[SECTIONS_MAX];
    char other[CHORDS_ASSUMED][CHORDS_KEY_TEXT];
    size_t a_bar = (size_t)MAX(r->chords_per_bar, 1);
    out->n = 0;
    out->named = false;
    default_names(other, r);
    for (size_t i = 0, n = sections_of(s, r); i < n; i++)
        add_section(out, &s[i], (size_t)s[i].bars * a_bar, r, other);
    if (!r->ending || out->n < a_bar) return;
    char last[CHORDS_NAME_MAX + 1];
    snprintf(last, sizeof last, "%s", r->key && *r->key ? other[0] : out->text[0]);
    out->n -= a_bar;
    for (size_t i = 0; i < a_bar; i++) add(out, last);
}
