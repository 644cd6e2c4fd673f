// config.c - see config.h.
#include "app/config.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/config_table.h"
#include "app/config_value.h"
#include "base/mem.h"
#include "base/near.h"
#include "base/os.h"

#define SECRET_FILE_MAX ((size_t)64 << 10)
#define VALUE_MAX ((size_t)256 << 10)
#define REPORT_MAX ((size_t)256 << 10)

// ---- what is wrong

void config_report_init(config_report *r) {
    buf_init(&r->faults, REPORT_MAX);
    buf_init(&r->warnings, REPORT_MAX);
    r->count = 0;
}

void config_report_deinit(config_report *r) {
    buf_deinit(&r->faults);
    buf_deinit(&r->warnings);
}

static void add_line(buf *to, const char *fmt, va_list ap) {
    char text[1024];
    vsnprintf(text, sizeof text, fmt, ap);
    buf_printf(to, "%s\n", text);
}

void config_fault(config_report *r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    add_line(&r->faults, fmt, ap);
    va_end(ap);
    r->count++;
}

void config_warning(config_report *r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    add_line(&r->warnings, fmt, ap);
    va_end(ap);
}

// ---- one value

static status set_text(char **to, const char *text, err *e) {
    char *copy = mem_strdup(text);
    if (!copy) return err_set(e, ERR_OOM, "no memory for it");
    mem_free(*to);
    *to = copy;
    return OK;
}

static status set_bool(bool *to, const char *text, err *e) {
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no",
                                                                                "off"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcasecmp(text, yes[i]) == 0) return *to = true, OK;
        if (strcasecmp(text, no[i]) == 0) return *to = false, OK;
    }
    return err_set(e, ERR_ARG, "expected true or false, found \"%s\"", text);
}

static status set_number(const option *o, void *to, const char *text, err *e) {
    char *end;
    double v = strtod(text, &end);
    bool whole = o->kind != INT || v == (double)(int64_t)v;
    if (end == text || *end || !(v >= o->lo && v <= o->hi) || !whole) {
        return err_set(e, ERR_ARG, "expected a%s number from %g to %g, found \"%s\"",
                       o->kind == INT ? " whole" : "", o->lo, o->hi, text);
    }
    if (o->kind == INT)
        *(int64_t *)to = (int64_t)v;
    else
        *(double *)to = v;
    return OK;
}

static status check_word(const option *o, const char *text, err *e) {
    size_t n = strlen(text);
    for (const char *p = o->preset; p; p = strchr(p, '|'), p = p ? p + 1 : NULL)
        if (strcspn(p, "|") == n && strncmp(p, text, n) == 0) return OK;
    char words[OPTION_WORDS_MAX];
    option_words(o, words);
    return err_set(e, ERR_ARG, "expected %s, found \"%s\"", words, text);
}

static status set_option(config *c, const option *o, const char *text, err *e) {
    void *to = (char *)c + o->field;
    if (o->kind == WORD && check_word(o, text, e)) return e->code;
    if (option_is_text(o)) return set_text(to, text, e);
    if (o->kind == BOOL) return set_bool(to, text, e);
    return o->kind == TITLE ? OK : set_number(o, to, text, e);
}

// A value that somebody gave. where: "PORT" or "API_KEYS_FILE (PATH)".
static void take(config *c, const option *o, bytes text, config_place place, const char *where,
                 config_report *r) {
    err e;
    buf value;
    buf_init(&value, VALUE_MAX);
    bool list = o->kind == LIST || o->kind == KEYS;
    status rc =
        list ? config_value_clean_list(&value, text, &e) : config_value_clean(&value, text, &e);
    if (!rc && o->kind == KEYS) rc = config_value_check_keys(buf_str(&value), &e);
    if (!rc) rc = set_option(c, o, buf_str(&value), &e);
    if (rc) config_fault(r, "%s: %s", where, e.text);
    c->from[o - config_table] = (uint8_t)place;
    buf_deinit(&value);
}

// ---- the environment

static void from_file(config *c, const option *o, const char *path, config_report *r) {
    err e;
    char where[CONFIG_NAME_MAX + 300];
    os_file_map map;
    snprintf(where, sizeof where, "%s_FILE", o->name);
    if (os_map_open(&map, path, &e)) {
        config_fault(r, "%s: %s", where, path[0] ? e.text : "expected a path, found nothing");
        return;
    }
    snprintf(where, sizeof where, "%s_FILE (%.200s)", o->name, path);
    if (map.data.n > SECRET_FILE_MAX) {
        config_fault(r, "%s: expected at most %zu bytes, found %zu", where, SECRET_FILE_MAX,
                     map.data.n);
    } else {
        take(c, o, map.data, FROM_FILE, where, r);
    }
    os_map_close(&map);
}

static void from_environment(config *c, const option *o, config_report *r) {
    char file[CONFIG_NAME_MAX + 8];
    snprintf(file, sizeof file, "%s_FILE", o->name);
    const char *value = getenv(o->name);
    const char *path = option_is_secret(o) ? getenv(file) : NULL;
    if (value && path)
        config_fault(r, "%s and %s are both set; expected one of them", o->name, file);
    else if (value)
        take(c, o, bytes_of(value), FROM_ENVIRONMENT, o->name, r);
    else if (path)
        from_file(c, o, path, r);
}

// ---- flags

static const option *find_flag(const char *name, size_t n) {
    char flag[CONFIG_NAME_MAX];
    for (size_t i = 0; i < config_table_len; i++) {
        if (config_table[i].kind == TITLE) continue;
        option_flag(&config_table[i], flag);
        if (strlen(flag) == n && strncmp(flag, name, n) == 0) return &config_table[i];
    }
    return NULL;
}

static void unknown_flag(const char *name, size_t n, config_report *r) {
    char flags[CONFIG_ROWS_MAX][CONFIG_NAME_MAX], maybe[NEAR_TEXT];
    near meant = {.word = name, .n = n};
    for (size_t i = 0; i < config_table_len && n; i++) {
        if (config_table[i].kind == TITLE) continue;
        option_flag(&config_table[i], flags[i]);
        near_try(&meant, flags[i]);
    }
    near_text(maybe, &meant, "--");
    config_fault(r, "unknown flag --%.*s%s; see --help", (int)MIN(n, (size_t)60), name, maybe);
}

static void from_flags(config *c, int argc, char **argv, config_report *r) {
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--check-config") == 0) {
            c->check = true;
            continue;
        }
        if (strncmp(a, "--", 2) != 0) {
            config_fault(r, "expected a flag, found \"%.100s\"; see --help", a);
            continue;
        }
        const char *name = a + 2, *equal = strchr(name, '=');
        size_t n = equal ? (size_t)(equal - name) : strlen(name);
        const option *o = find_flag(name, n);
        const char *value = equal ? equal + 1 : i + 1 < argc && o ? argv[++i] : NULL;
        char where[CONFIG_NAME_MAX + 4];
        snprintf(where, sizeof where, "--%.*s", (int)MIN(n, (size_t)CONFIG_NAME_MAX), name);
        if (!o)
            unknown_flag(name, n, r);
        else if (!value)
            config_fault(r, "%s: expected a value", where);
        else
            take(c, o, bytes_of(value), FROM_FLAG, o->name, r);
    }
}

// ---- all

// What follows from other settings.
static status derive(config *c, err *e) {
    char text[OS_PATH_MAX];
    status rc = OK;
    if (!c->database[0]) {
        rc = os_path_join(text, sizeof text, c->data_dir, "jobs.db", e);
        if (!rc) rc = set_text(&c->database, text, e);
    }
    c->storage_dir_guessed = !c->storage_dir[0];
    if (!rc && c->storage_dir_guessed) {
        rc = os_path_join(text, sizeof text, c->data_dir, "files", e);
        if (!rc) rc = set_text(&c->storage_dir, text, e);
    }
    c->public_url_guessed = !c->public_url[0];
    if (!rc && c->public_url_guessed) {
        snprintf(text, sizeof text, "http://127.0.0.1:%lld", (long long)c->port);
        rc = set_text(&c->public_url, text, e);
    }
    size_t n = rc ? 0 : strlen(c->public_url);
    while (n && c->public_url[n - 1] == '/') c->public_url[--n] = 0;
    return rc;
}

static void set_defaults(config *c, config_report *r) {
    assert(config_table_len <= CONFIG_ROWS_MAX);
    err e;
    *c = (config){0};
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        char preset[CONFIG_NAME_MAX];
        option_preset(o, preset);
        if (set_option(c, o, preset, &e)) config_fault(r, "%s: %s", o->name, e.text);
    }
}

void config_load(config *c, int argc, char **argv, config_report *r) {
    err e;
    set_defaults(c, r);
    for (size_t i = 0; i < config_table_len; i++) {
        if (config_table[i].kind != TITLE) from_environment(c, &config_table[i], r);
    }
    from_flags(c, argc, argv, r);
    if (derive(c, &e)) config_fault(r, "%s", e.text);
}

void config_load_listening(config *c, config_report *r) {
    set_defaults(c, r);
    bool inside = false;
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        if (o->kind == TITLE)
            inside = strcmp(o->name, CONFIG_LISTENING) == 0;
        else if (inside)
            from_environment(c, o, r);
    }
}

void config_deinit(config *c) {
    for (size_t i = 0; i < config_table_len; i++) {
        if (!option_is_text(&config_table[i])) continue;
        char **s = (char **)(void *)((char *)c + config_table[i].field);
        mem_free(*s);
        *s = NULL;
    }
}
