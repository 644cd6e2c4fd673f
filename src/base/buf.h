// buf.h - a growable byte buffer that is told its maximum when it is made.
//
// An append that does not fit, or finds no memory, marks the buffer failed and changes nothing;
// later appends do nothing. So a writer appends freely and asks buf_status once.
#pragma once
#include "base/err.h"

typedef struct {
    char *p; // always NUL-terminated once anything was appended; NULL before
    size_t n, cap, max;
    status failed; // OK, ERR_LIMIT or ERR_OOM
} buf;

void buf_init(buf *b, size_t max); // max: bytes, the NUL not counted
void buf_deinit(buf *b);
void buf_clear(buf *b); // empty again, memory kept, failure forgotten

void buf_add(buf *b, const void *p, size_t n);
void buf_add_str(buf *b, const char *s);
void buf_add_char(buf *b, char c);
void buf_printf(buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

// OK, or what went wrong on the way: ERR_LIMIT names the maximum.
status buf_status(const buf *b, err *e);
bytes buf_bytes(const buf *b);     // borrowed until the next append
const char *buf_str(const buf *b); // "" when empty; borrowed likewise
char *buf_take(buf *b); // the caller's now (mem_free); NULL when failed; b is empty after
