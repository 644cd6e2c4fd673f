// config_value.c - see config_value.h.
#include "app/config_value.h"

#include <string.h>

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

static bool is_quote(uint8_t c) {
    return c == '"' || c == '\'';
}

static bytes trim(bytes t) {
    while (t.n && is_blank(t.p[0])) t.p++, t.n--;
    while (t.n && is_blank(t.p[t.n - 1])) t.n--;
    return t;
}

static bytes without_mark(bytes t) {
    bool mark = t.n >= 3 && memcmp(t.p, "\xef\xbb\xbf", 3) == 0;
    return mark ? (bytes){t.p + 3, t.n - 3} : t;
}

// Quotes that a word processor makes, and backticks: never dropped, since nobody agrees on them.
static bool is_other_quote(const uint8_t *p, size_t n) {
    if (*p == '`') return true;
    return n >= 3 && p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0x98 && p[2] <= 0x9f;
}

static bool has_quote_at_an_end(bytes t) {
    const uint8_t *last = t.p + t.n - 1;
    return is_quote(t.p[0]) || is_quote(*last) || is_other_quote(t.p, t.n) ||
           is_other_quote(t.n < 3 || *last == '`' ? last : last - 2, t.n < 3 ? 1 : 3);
}

// Without blanks, and without quotes around that have no third one of their kind between them.
static bytes bare(bytes t) {
    t = trim(t);
    bool quoted =
        t.n >= 2 && is_quote(t.p[0]) && t.p[t.n - 1] == t.p[0] && !memchr(t.p + 1, t.p[0], t.n - 2);
    return quoted ? trim((bytes){t.p + 1, t.n - 2}) : t;
}

// Bytes of a blank that does not show and comes along when text is copied: U+00A0, U+200B, U+3000,
// U+FEFF. 0: there is none.
static size_t hidden_blank(const uint8_t *p, size_t n) {
    static const char *const all[] = {"\xc2\xa0", "\xe2\x80\x8b", "\xe3\x80\x80", "\xef\xbb\xbf"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        size_t len = strlen(all[i]);
        if (len <= n && memcmp(p, all[i], len) == 0) return len;
    }
    return 0;
}

static bool has_hidden_blank(bytes t) {
    for (size_t i = 0; i < t.n; i++)
        if (hidden_blank(t.p + i, t.n - i)) return true;
    return false;
}

static bool says_something(bytes t) {
    for (size_t i = 0; i < t.n; i++) {
        size_t hidden = hidden_blank(t.p + i, t.n - i);
        if (hidden) {
            i += hidden - 1;
            continue;
        }
        if (!is_blank(t.p[i]) && !is_quote(t.p[i]) && t.p[i] != ',' && t.p[i] != ';') return true;
    }
    return false;
}

static status check_text(bytes t, err *e) {
    if (memchr(t.p, 0, t.n)) {
        return err_set(e, ERR_ARG,
                       "expected text, found a byte 0 (is it UTF-16? save it as UTF-8)");
    }
    if (memchr(t.p, '\n', t.n) || memchr(t.p, '\r', t.n)) {
        return err_set(e, ERR_ARG, "expected one line, found a line break in it");
    }
    if (has_hidden_blank(t)) {
        return err_set(
            e, ERR_ARG,
            "expected no blank that does not show (U+00A0 and the like), found one; type "
            "the value anew");
    }
    if (has_quote_at_an_end(t)) {
        return err_set(e, ERR_ARG,
                       "a quote at one end has no partner, or is none that a shell knows; remove "
                       "the quotes");
    }
    return OK;
}

static status found_nothing(err *e) {
    return err_set(e, ERR_ARG, "expected a value, found nothing; unset it if none is meant");
}

status config_value_clean(buf *out, bytes text, err *e) {
    bytes t = bare(without_mark(text));
    if (!says_something(t)) return found_nothing(e);
    status rc = check_text(t, e);
    if (rc) return rc;
    buf_add(out, t.p, t.n);
    return buf_status(out, e);
}

status config_value_clean_list(buf *out, bytes text, err *e) {
    bytes t = bare(without_mark(text));
    for (size_t from = 0, to; from < t.n; from = to + 1) {
        for (to = from; to < t.n && t.p[to] != ',' && t.p[to] != '\n' && t.p[to] != '\r';) to++;
        bytes item = bare((bytes){t.p + from, to - from});
        if (!says_something(item)) continue;
        status rc = check_text(item, e);
        if (rc) return rc;
        if (out->n) buf_add_char(out, ',');
        buf_add(out, item.p, item.n);
    }
    status rc = buf_status(out, e);
    return rc || out->n ? rc : found_nothing(e);
}

status config_value_check_keys(const char *list, err *e) {
    for (size_t key = 1; *list; key++) {
        size_t n = strcspn(list, ",");
        for (size_t i = 0; i < n; i++) {
            bool visible = list[i] > ' ' && list[i] < 0x7f;
            if (visible && !is_quote((uint8_t)list[i]) && list[i] != ';') continue;
            return err_set(e, ERR_ARG,
                           "key %zu: expected visible ASCII without quotes and semicolons, found "
                           "byte 0x%02x; write commas or line breaks between keys",
                           key, (unsigned char)list[i]);
        }
        list += n + (list[n] == ',');
    }
    return OK;
}
