// stem_name.c - see stem_name.h.
#include "request/stem_name.h"

#include <stdio.h>
#include <string.h>

#include "request/chords.h"

#define PLACES "{stem}, {style}, {bpm}, {key} or {seed}"

typedef struct {
    char *out;
    size_t n;
} name;

static bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("#.-_", c));
}

static status add(name *to, const char *text, size_t n, err *e) {
    if (to->n + n > STEM_NAME_MAX)
        return err_set(e, ERR_ARG, "expected a name of at most %d characters, found more",
                       STEM_NAME_MAX);
    for (size_t i = 0; i < n; i++) to->out[to->n++] = is_plain(text[i]) ? text[i] : '-';
    to->out[to->n] = 0;
    return OK;
}

// "Am", "Eb"
static void short_key(char *out, size_t cap, const char *text) {
    key k;
    char whole[CHORDS_KEY_TEXT];
    out[0] = 0;
    if (!text || chords_parse_key(&k, text, NULL)) return;
    chords_key_text(whole, k);
    snprintf(out, cap, "%.*s%s", (int)strcspn(whole, " "), whole, k.minor ? "m" : "");
}

static bool is_place(const char *place, size_t n, const char *word) {
    return n == strlen(word) && memcmp(place, word, n) == 0;
}

static status add_place(name *to, const char *place, size_t n, const stemforge_request *r,
                        const char *stem, err *e) {
    char text[32] = "";
    const char *value = text;
    if (is_place(place, n, "stem"))
        value = stem;
    else if (is_place(place, n, "style"))
        value = r->style ? r->style : "";
    else if (is_place(place, n, "key"))
        short_key(text, sizeof text, r->key);
    else if (is_place(place, n, "seed"))
        snprintf(text, sizeof text, "%llu", (unsigned long long)r->seed);
    else if (is_place(place, n, "bpm"))
        r->bpm > 0 ? snprintf(text, sizeof text, "%g", r->bpm) : 0;
    else
        return err_set(e, ERR_ARG, "expected " PLACES ", found {%.*s}", (int)MIN(n, 40), place);
    if (!*value)
        return err_set(e, ERR_ARG, "{%.*s} is not given; give it, or leave it out of the name",
                       (int)n, place);
    return add(to, value, strlen(value), e);
}

status stem_name(char out[STEM_NAME_MAX + 1], const stemforge_request *r, const char *stem,
                 err *e) {
    const char *pattern = r->name ? r->name : STEM_NAME_PLAIN;
    name to = {.out = out};
    status rc = OK;
    if (!strstr(pattern, STEM_NAME_PLAIN))
        return err_set(e, ERR_ARG, "expected {stem} in it, found \"%.60s\"", pattern);
    for (const char *p = pattern; *p && !rc;) {
        size_t n = strcspn(p, "{"), place = p[n] ? strcspn(p + n, "}") : 0;
        rc = add(&to, p, n, e);
        p += n;
        if (rc || !*p) continue;
        if (!p[place]) return err_set(e, ERR_ARG, "expected a } behind %.40s", p);
        rc = add_place(&to, p + 1, place - 1, r, stem, e);
        p += place + 1;
    }
    if (!rc && out[0] == '.')
        rc = err_set(e, ERR_ARG, "expected a name, found one that begins with a dot");
    return rc;
}
