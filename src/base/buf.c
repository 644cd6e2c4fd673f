// buf.c - see buf.h. Growth doubles, up to the maximum.
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void buf_init(buf *b, size_t max) {
    *b = (buf){.max = max};
}

void buf_deinit(buf *b) {
    mem_free(b->p);
    *b = (buf){.max = b->max};
}

void buf_clear(buf *b) {
    b->n = 0;
    b->failed = OK;
    if (b->p) b->p[0] = 0;
}

// Room for n more bytes and a NUL.
static bool reserve(buf *b, size_t n) {
    if (b->failed) return false;
    if (n > b->max - b->n) {
        b->failed = ERR_LIMIT;
        return false;
    }
    size_t need = b->n + n + 1;
    if (need <= b->cap) return true;
    size_t cap = MIN(MAX(need, MAX(b->cap * 2, (size_t)64)), b->max + 1);
    char *p = mem_realloc(b->p, cap);
    if (!p) {
        b->failed = ERR_OOM;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void buf_add(buf *b, const void *p, size_t n) {
    if (!reserve(b, n)) return;
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_add_str(buf *b, const char *s) {
    buf_add(b, s, strlen(s));
}

void buf_add_char(buf *b, char c) {
    buf_add(b, &c, 1);
}

void buf_printf(buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !reserve(b, (size_t)n)) return;
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

status buf_status(const buf *b, err *e) {
    if (b->failed == ERR_LIMIT) return err_set(e, ERR_LIMIT, "text is over %zu bytes", b->max);
    if (b->failed) return err_set(e, ERR_OOM, "no memory for a text of %zu bytes", b->n);
    return OK;
}

bytes buf_bytes(const buf *b) {
    return (bytes){(const uint8_t *)b->p, b->n};
}

const char *buf_str(const buf *b) {
    return b->p ? b->p : "";
}

char *buf_take(buf *b) {
    if (!b->failed && !b->p) reserve(b, 0);
    char *p = b->failed ? NULL : b->p;
    if (!p)
        mem_free(b->p);
    else
        p[b->n] = 0;
    *b = (buf){.max = b->max};
    return p;
}
