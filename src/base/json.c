// json.c - the only file that includes jansson; see json.h.
#include "base/json.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/pretender.h"

#define JSON_PRINT_MAX ((size_t)64 << 20)

// jansson reports some failed allocations of its parser as bad JSON. This remembers them.
static _Thread_local bool alloc_failed;

static void *alloc_noted(size_t n) {
    void *p = mem_alloc(n);
    if (!p) alloc_failed = true;
    return p;
}

// So that a test can fail jansson's allocations too. Runs before main: the hook must be set before
// the first value is made.
__attribute__((constructor)) static void use_our_memory(void) {
    json_set_alloc_funcs(alloc_noted, mem_free);
}

static status check_depth(bytes text, err *e) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX) {
                return err_set(e, ERR_FORMAT, "JSON is nested deeper than %d", JSON_DEPTH_MAX);
            }
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return OK;
}

static status parse(json **out, bytes text, size_t size_max, size_t flags, err *e) {
    *out = NULL;
    if (text.n > size_max) {
        return err_set(e, ERR_LIMIT, "JSON of %zu bytes, expected at most %zu", text.n, size_max);
    }
    status rc = check_depth(text, e);
    if (rc) return rc;
    json_error_t why;
    alloc_failed = false;
    json_t *j =
        json_loadb(text.n ? (const char *)text.p : "", text.n, flags | JSON_DECODE_ANY, &why);
    if (j) {
        *out = j;
        return OK;
    }
    if (alloc_failed || json_error_code(&why) == json_error_out_of_memory)
        return err_set(e, ERR_OOM, "no memory for JSON");
    return err_set(e, ERR_FORMAT, "JSON line %d column %d: %s", why.line, why.column, why.text);
}

status json_parse(json **out, bytes text, size_t size_max, err *e) {
    return parse(out, text, size_max, JSON_REJECT_DUPLICATES, e);
}

static bytes without_mark(bytes text) {
    bool mark = text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0;
    return mark ? (bytes){text.p + 3, text.n - 3} : text;
}

// The number at the end of `to`, from `from`: is it JSON, and too large for what a tree can hold?
static bool is_too_large(const buf *to, size_t from) {
    const char *s = to->p + from, *digits = s + (*s == '-'), *point = strchr(s, '.');
    char *end;
    if (*digits < '0' || *digits > '9' || (*digits == '0' && digits[1] >= '0' && digits[1] <= '9'))
        return false;
    if (point && (point[1] < '0' || point[1] > '9')) return false;
    errno = 0;
    bool whole = !s[strcspn(s, ".eE")];
    if (whole)
        (void)strtoll(s, &end, 10);
    else if (isfinite(strtod(s, &end)))
        errno = 0;
    return !*end && errno == ERANGE;
}

// Copies the number at text.p[i]; returns where it ends.
static size_t tame_number(buf *to, bytes text, size_t i) {
    size_t from = to->n, end = i;
    while (end < text.n && text.p[end] && strchr("+-.eE0123456789", text.p[end])) end++;
    buf_add(to, text.p + i, end - i);
    if (!to->failed && is_too_large(to, from)) {
        to->n = from;
        buf_add_str(to, text.p[i] == '-' ? "-1e308" : "1e308");
    }
    return end;
}

// The value of "\uXXXX" at i; -1 when there is none.
static int escape_at(bytes text, size_t i) {
    char hex[5] = {0}, *end;
    if (i + 6 > text.n || text.p[i] != '\\' || text.p[i + 1] != 'u') return -1;
    memcpy(hex, text.p + i + 2, 4);
    if (strspn(hex, "0123456789abcdefABCDEF") != 4) return -1;
    return (int)strtol(hex, &end, 16);
}

// Copies the escape at i, or what stands for it; returns where it ends.
static size_t tame_escape(buf *to, bytes text, size_t i) {
    int one = escape_at(text, i), two = escape_at(text, i + 6);
    bool high = one >= 0xD800 && one <= 0xDBFF, low = two >= 0xDC00 && two <= 0xDFFF;
    size_t n = high && low ? 12 : one >= 0 ? 6 : 2;
    if (one == 0 || (high && !low) || (one >= 0xDC00 && one <= 0xDFFF))
        buf_add_str(to, JSON_NO_TEXT);
    else
        buf_add(to, text.p + i, MIN(n, text.n - i));
    return i + n;
}

static void tame(buf *to, bytes text) {
    bool in_string = false;
    for (size_t i = 0; i < text.n && !to->failed;) {
        uint8_t c = text.p[i];
        if (in_string && c == '\\') {
            i = tame_escape(to, text, i);
        } else if (!in_string && (c == '-' || (c >= '0' && c <= '9'))) {
            i = tame_number(to, text, i);
        } else {
            in_string ^= c == '"';
            buf_add_char(to, (char)c);
            i++;
        }
    }
}

status json_parse_any(json **out, bytes text, size_t size_max, err *e) {
    buf tamed;
    *out = NULL;
    if (text.n > size_max) return parse(out, text, size_max, 0, e);
    buf_init(&tamed, 2 * text.n + 16);
    tame(&tamed, without_mark(text));
    status rc = buf_status(&tamed, e);
    if (!rc) rc = parse(out, buf_bytes(&tamed), SIZE_MAX, 0, e);
    buf_deinit(&tamed);
    return rc;
}

status json_parse_file(json **out, const char *path, size_t size_max, err *e) {
    *out = NULL;
    os_file_map map;
    status rc = os_map_open(&map, path, e);
    if (rc) return rc;
    rc = pretender_check(map.data, path, e);
    if (!rc) {
        rc = json_parse(out, map.data, size_max, e);
        if (rc) err_within(e, rc, "%s", path);
    }
    os_map_close(&map);
    return rc;
}

void json_free(json *j) {
    json_decref(j);
}

const json *json_find(const json *obj, const char *path) {
    while (obj && path) {
        const char *dot = strchr(path, '.');
        if (!dot) return json_is_object(obj) ? json_object_get(obj, path) : NULL;
        char key[128];
        size_t n = (size_t)(dot - path);
        if (n >= sizeof key) return NULL;
        memcpy(key, path, n);
        key[n] = 0;
        obj = json_is_object(obj) ? json_object_get(obj, key) : NULL;
        path = dot + 1;
    }
    return obj;
}

// jansson defines json_is_object and friends as macros of other names we want: undo the clash.
#undef json_is_object
#undef json_is_array
#undef json_is_null
#undef json_is_true
bool json_is_object(const json *j) {
    return j && json_typeof(j) == JSON_OBJECT;
}
bool json_is_array(const json *j) {
    return j && json_typeof(j) == JSON_ARRAY;
}
bool json_is_null(const json *j) {
    return j && json_typeof(j) == JSON_NULL;
}
bool json_is_bool(const json *j) {
    return j && (json_typeof(j) == JSON_TRUE || json_typeof(j) == JSON_FALSE);
}
bool json_is_true(const json *j) {
    return j && json_typeof(j) == JSON_TRUE;
}
bool json_is_str(const json *j) {
    return j && json_typeof(j) == JSON_STRING;
}
bool json_is_int(const json *j) {
    return j && json_typeof(j) == JSON_INTEGER;
}
bool json_is_num(const json *j) {
    return json_is_int(j) || (j && json_typeof(j) == JSON_REAL);
}

const json *json_member_of(const json *obj, const char *key) {
    return json_is_object(obj) ? json_object_get(obj, key) : NULL;
}

const char *json_kind(const json *j) {
    static const char *const names[] = {
        [JSON_OBJECT] = "object",   [JSON_ARRAY] = "array", [JSON_STRING] = "string",
        [JSON_INTEGER] = "integer", [JSON_REAL] = "number", [JSON_TRUE] = "boolean",
        [JSON_FALSE] = "boolean",   [JSON_NULL] = "null",
    };
    return j ? names[json_typeof(j)] : "nothing";
}

size_t json_len(const json *array) {
    if (json_is_array(array)) return json_array_size(array);
    return json_is_object(array) ? json_object_size(array) : 0;
}

const json *json_at(const json *array, size_t i) {
    return json_is_array(array) ? json_array_get(array, i) : NULL;
}
const char *json_str_value(const json *j) {
    return json_string_value(j);
}
size_t json_str_len(const json *j) {
    return json_string_length(j);
}
double json_num_value(const json *j) {
    return json_is_num(j) ? json_number_value(j) : 0;
}
int64_t json_int_value(const json *j) {
    return json_integer_value(j);
}

status json_each(const json *obj, json_member f, void *arg, err *e) {
    if (!json_is_object(obj)) return OK;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)obj, key, value) {
        status rc = f(arg, key, value, e);
        if (rc) return rc;
    }
    return OK;
}

static status wrong(const char *path, const char *want, const json *found, err *e) {
    return err_set(e, ERR_FORMAT, "%s: expected %s, found %s", path, want, json_kind(found));
}

status json_get_int(const json *obj, const char *path, int64_t lo, int64_t hi, int64_t *out,
                    err *e) {
    const json *j = json_find(obj, path);
    if (!json_is_int(j)) return wrong(path, "an integer", j, e);
    int64_t v = json_integer_value(j);
    if (v < lo || v > hi) {
        return err_set(e, ERR_FORMAT, "%s: expected %lld to %lld, found %lld", path, (long long)lo,
                       (long long)hi, (long long)v);
    }
    *out = v;
    return OK;
}

status json_get_num(const json *obj, const char *path, double lo, double hi, double *out, err *e) {
    const json *j = json_find(obj, path);
    if (!json_is_num(j)) return wrong(path, "a number", j, e);
    double v = json_number_value(j);
    if (!(v >= lo && v <= hi)) {
        return err_set(e, ERR_FORMAT, "%s: expected %g to %g, found %g", path, lo, hi, v);
    }
    *out = v;
    return OK;
}

status json_get_str(const json *obj, const char *path, const char **out, err *e) {
    const json *j = json_find(obj, path);
    if (!json_is_str(j)) return wrong(path, "a string", j, e);
    *out = json_string_value(j);
    return OK;
}

status json_get_bool(const json *obj, const char *path, bool *out, err *e) {
    const json *j = json_find(obj, path);
    if (!j || !json_is_boolean(j)) return wrong(path, "true or false", j, e);
    *out = json_typeof(j) == JSON_TRUE;
    return OK;
}

status json_get_array(const json *obj, const char *path, const json **out, err *e) {
    const json *j = json_find(obj, path);
    if (!json_is_array(j)) return wrong(path, "an array", j, e);
    *out = j;
    return OK;
}

status json_get_object(const json *obj, const char *path, const json **out, err *e) {
    const json *j = json_find(obj, path);
    if (!json_is_object(j)) return wrong(path, "an object", j, e);
    *out = j;
    return OK;
}

static bool absent(const json *obj, const char *path) {
    const json *j = json_find(obj, path);
    return !j || json_is_null(j);
}

status json_opt_int(const json *obj, const char *path, int64_t lo, int64_t hi, int64_t *out,
                    err *e) {
    return absent(obj, path) ? OK : json_get_int(obj, path, lo, hi, out, e);
}

status json_opt_num(const json *obj, const char *path, double lo, double hi, double *out, err *e) {
    return absent(obj, path) ? OK : json_get_num(obj, path, lo, hi, out, e);
}

status json_opt_str(const json *obj, const char *path, const char **out, err *e) {
    return absent(obj, path) ? OK : json_get_str(obj, path, out, e);
}

status json_opt_bool(const json *obj, const char *path, bool *out, err *e) {
    return absent(obj, path) ? OK : json_get_bool(obj, path, out, e);
}

json *json_new_object(void) {
    return json_object();
}
json *json_new_array(void) {
    return json_array();
}
json *json_new_str(const char *s) {
    return json_string(s);
}
json *json_new_int(int64_t v) {
    return json_integer(v);
}
json *json_new_num(double v) {
    return isfinite(v) ? json_real(v) : NULL;
}
json *json_new_bool(bool v) {
    return json_boolean(v);
}
json *json_new_null(void) {
    return json_null();
}
json *json_copy_of(const json *j) {
    return json_deep_copy(j);
}

bool json_set(json *obj, const char *key, json *child) {
    return json_object_set_new(obj, key, child) == 0;
}
bool json_set_str(json *obj, const char *key, const char *s) {
    return json_set(obj, key, json_string(s));
}
bool json_set_int(json *obj, const char *key, int64_t v) {
    return json_set(obj, key, json_integer(v));
}
bool json_set_num(json *obj, const char *key, double v) {
    return json_set(obj, key, json_new_num(v));
}
bool json_set_bool(json *obj, const char *key, bool v) {
    return json_set(obj, key, json_boolean(v));
}
bool json_add(json *array, json *child) {
    return json_array_append_new(array, child) == 0;
}

static int to_buf(const char *p, size_t n, void *arg) {
    buf *b = arg;
    buf_add(b, p, n);
    return b->failed ? -1 : 0;
}

status json_write(buf *to, const json *j, json_style style, err *e) {
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(15);
    if (style == JSON_PRETTY)
        flags |= JSON_INDENT(2);
    else
        flags |= JSON_COMPACT;
    if (style == JSON_CANONICAL) flags |= JSON_SORT_KEYS;
    if (j && json_dump_callback(j, to_buf, to, flags) == 0) return OK;
    status rc = buf_status(to, e);
    return rc ? rc : err_set(e, ERR_OOM, "no memory to write JSON");
}

status json_print(const json *j, json_style style, err *e) {
    buf b;
    buf_init(&b, JSON_PRINT_MAX);
    status rc = json_write(&b, j, style, e);
    if (!rc && (printf("%s\n", buf_str(&b)) < 0 || fflush(stdout))) {
        rc = err_errno(e, "standard output");
    }
    buf_deinit(&b);
    return rc;
}

// The end of the JSON value or string that begins at i.
static size_t value_end(bytes t, size_t i) {
    size_t depth = 0;
    for (; i < t.n; i++) {
        uint8_t ch = t.p[i];
        if (ch == '"') {
            for (i++; i < t.n && t.p[i] != '"'; i++) i += t.p[i] == '\\';
            if (!depth) return MIN(i + 1, t.n);
        } else if (ch == '{' || ch == '[') {
            depth++;
        } else if (ch == '}' || ch == ']') {
            if (depth <= 1) return depth ? i + 1 : i;
            depth--;
        } else if (!depth && (ch == ',' || ch <= ' ')) {
            return i;
        }
    }
    return t.n;
}

static size_t skip_blank(bytes t, size_t i, uint8_t also) {
    while (i < t.n && (t.p[i] <= ' ' || t.p[i] == also)) i++;
    return i;
}

// The value of the `which`th member of that name, from 0. Empty: there are not so many.
static bytes member_text(bytes t, const char *name, size_t which) {
    t = without_mark(t);
    size_t want = strlen(name), i = skip_blank(t, 0, '{');
    while (i < t.n && t.p[i] == '"') {
        size_t key_end = value_end(t, i);
        // A key written with escapes is not recognised; ours are plain words.
        bool found = key_end - i == want + 2 && memcmp(t.p + i + 1, name, want) == 0;
        size_t from = skip_blank(t, key_end, ':');
        size_t to = value_end(t, from);
        if (found && which-- == 0) return (bytes){t.p + from, to - from};
        i = skip_blank(t, to, ',');
    }
    return (bytes){0};
}

bytes json_member_text(bytes text, const char *name) {
    return member_text(text, name, 0);
}

bytes json_item_text(bytes text, size_t which) {
    text = without_mark(text);
    size_t i = skip_blank(text, 0, '[');
    while (i < text.n && text.p[i] != ']') {
        size_t to = value_end(text, i);
        if (which-- == 0) return (bytes){text.p + i, to - i};
        i = skip_blank(text, to, ',');
    }
    return (bytes){0};
}

bool json_is_twice(bytes text, const char *name) {
    return member_text(text, name, 1).n > 0;
}
