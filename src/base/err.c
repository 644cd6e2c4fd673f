// err.c - formats error texts; see err.h.
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

// What came from outside may hold anything, and what is too long is cut anywhere.
static void one_line(char *s) {
    utf8_mend(s);
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = ' ';
    }
}

static void set(err *e, status code, const char *fmt, va_list ap) {
    e->code = code;
    e->where[0] = 0;
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    one_line(e->text);
}

status err_set(err *e, status code, const char *fmt, ...) {
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        set(e, code, fmt, ap);
        va_end(ap);
    }
    return code;
}

status err_errno(err *e, const char *fmt, ...) {
    int no = errno;
    status code = no == ENOMEM ? ERR_OOM : no == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        set(e, code, fmt, ap);
        va_end(ap);
        size_t n = strlen(e->text);
        char why[128];
        // The XSI strerror_r: returns int and fills the buffer.
        if (strerror_r(no, why, sizeof why)) snprintf(why, sizeof why, "errno %d", no);
        snprintf(e->text + n, sizeof e->text - n, ": %s", why);
        one_line(e->text);
    }
    return code;
}

status err_within(err *e, status code, const char *fmt, ...) {
    if (!e) return code;
    const err inner = *e;
    va_list ap;
    va_start(ap, fmt);
    set(e, code, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->text);
    snprintf(e->text + n, sizeof e->text - n, ": %s", inner.text);
    one_line(e->text);
    memcpy(e->where, inner.where, sizeof e->where);
    return code;
}

status err_field(err *e, const char *field, const char *fmt, ...) {
    if (!e) return ERR_ARG;
    va_list ap;
    va_start(ap, fmt);
    set(e, ERR_ARG, fmt, ap);
    va_end(ap);
    err_about(e, "%s", field);
    return err_within(e, ERR_ARG, "%s", field);
}

void err_about(err *e, const char *fmt, ...) {
    if (!e) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->where, sizeof e->where, fmt, ap);
    va_end(ap);
    one_line(e->where);
}

const char *status_name(status s) {
    static const char *const names[] = {
        [OK] = "ok",           [ERR_ARG] = "argument",      [ERR_NOT_FOUND] = "not_found",
        [ERR_LIMIT] = "limit", [ERR_BUSY] = "busy",         [ERR_CONFLICT] = "conflict",
        [ERR_IO] = "io",       [ERR_CANCELED] = "canceled", [ERR_FORMAT] = "format",
        [ERR_OOM] = "oom",     [ERR_DEVICE] = "device",
    };
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "unknown";
}
