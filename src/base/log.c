// log.c - see log.h.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

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

// Copies msg as the inside of a JSON string. Control characters are gone already.
static void escape(char *to, size_t cap, const char *msg) {
    size_t n = 0;
    for (; *msg && n + 3 < cap; msg++) {
        if (*msg == '"' || *msg == '\\') to[n++] = '\\';
        to[n++] = *msg;
    }
    to[n] = 0;
}

void log_write(log_level level, const char *module, const char *fmt, ...) {
    if (level > cfg.most) return;
    char msg[1600], esc[3200], when[OS_TIME_SIZE], line[3500];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    clean(msg);
    os_time_text(when, os_time_ms(), true);
    int n;
    if (cfg.json) {
        escape(esc, sizeof esc, msg);
        n = snprintf(line, sizeof line,
                     "{\"ts\":\"%s\",\"level\":\"%s\",\"module\":\"%s\",\"msg\":\"%s\"}\n", when,
                     level_names[level], module, esc);
    } else {
        n = snprintf(line, sizeof line, "%s %s %s %s\n", when, level_names[level], module, msg);
    }
    if (n > 0) (void)!write(STDERR_FILENO, line, MIN((size_t)n, sizeof line - 1));
}
