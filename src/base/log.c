// log.c - see log.h.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "base/utf8.h"

#define LINE_MAX_ 6000

static const char *const level_names[] = {"error", "warn", "info", "debug"};

// Written by log_setup before any thread starts, read-only afterwards.
static struct {
    log_level most;
    bool json;
} cfg = {LOG_INFO, false};

void log_setup(log_level most, bool json) {
    cfg.most = most;
    cfg.json = json;
}

bool log_level_parse(const char *name, log_level *out) {
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (log_level)i;
            return true;
        }
    }
    return false;
}

static void clean(char *s) {
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = ' ';
    }
}

static _Thread_local log_fields fields;

log_fields log_set_fields(log_fields f) {
    log_fields before = fields;
    fields = f;
    return before;
}

typedef struct {
    char text[LINE_MAX_];
    size_t n;
} line;

static void put(line *l, const char *s, size_t n) {
    n = MIN(n, sizeof l->text - l->n);
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

static void put_str(line *l, const char *s) {
    put(l, s, strlen(s));
}

// s as a JSON string, at most `most` bytes of it. A byte that is no UTF-8 becomes '?'.
static void put_quoted(line *l, const char *s, size_t most) {
    bytes t = {(const uint8_t *)s, MIN(strlen(s), most)};
    put_str(l, "\"");
    while (t.n) {
        uint32_t cp;
        size_t n = utf8_next(&cp, t.p, t.n);
        bool control = *t.p < 0x20 || *t.p == 0x7f;
        if (*t.p == '"' || *t.p == '\\') put_str(l, "\\");
        if (n && !control)
            put(l, (const char *)t.p, n);
        else
            put_str(l, control ? " " : "?");
        n = MAX(n, (size_t)1);
        t = (bytes){t.p + n, t.n - n};
    }
    put_str(l, "\"");
}

static void put_text(line *l, const char *name, const char *value) {
    if (!value) return;
    put_str(l, ",\"");
    put_str(l, name);
    put_str(l, "\":");
    put_quoted(l, value, 300);
}

static void put_number(line *l, const char *name, double value) {
    char text[80];
    if (value == 0) return;
    snprintf(text, sizeof text, ",\"%s\":%.10g", name, value);
    put_str(l, text);
}

static void put_fields(line *l) {
    put_text(l, "job", fields.job);
    put_text(l, "stem", fields.stem);
    put_text(l, "request", fields.request);
    put_text(l, "method", fields.method);
    put_text(l, "route", fields.route);
    put_text(l, "client", fields.client);
    put_text(l, "trace_id", fields.trace);
    put_number(l, "status", fields.status);
    put_number(l, "attempt", fields.attempt);
    put_number(l, "seconds", fields.seconds);
}

static void put_json(line *l, log_level level, const char *module, const char *when,
                     const char *msg) {
    put_str(l, "{\"ts\":\"");
    put_str(l, when);
    put_str(l, "\",\"level\":\"");
    put_str(l, level_names[level]);
    put_str(l, "\",\"module\":\"");
    put_str(l, module);
    put_str(l, "\",\"msg\":");
    put_quoted(l, msg, strlen(msg));
    put_fields(l);
    put_str(l, "}\n");
}

void log_write(log_level level, const char *module, const char *fmt, ...) {
    if (level > cfg.most) return;
    char msg[1600], when[OS_TIME_SIZE];
    line l = {.n = 0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    clean(msg);
    os_time_text(when, os_time_ms(), true);
    if (cfg.json) {
        put_json(&l, level, module, when, msg);
    } else {
        int n =
            snprintf(l.text, sizeof l.text, "%s %s %s %s\n", when, level_names[level], module, msg);
        l.n = n > 0 ? (size_t)n : 0;
    }
    (void)!write(STDERR_FILENO, l.text, l.n);
}
