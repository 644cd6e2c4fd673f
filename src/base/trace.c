// trace.c - see trace.h.
#include "base/trace.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

#define ID_AT 3
#define PARENT_AT (ID_AT + TRACE_ID_LEN + 1)
#define PARENT_LEN 16
#define FLAGS_AT (PARENT_AT + PARENT_LEN + 1)

static bool is_hex(const char *s, size_t n) {
    return strspn(s, "0123456789abcdef") >= n;
}

static bool is_zero(const char *s, size_t n) {
    return strspn(s, "0") >= n;
}

bool trace_ok(const char *text) {
    if (!text || strnlen(text, TRACE_PARENT_LEN) < TRACE_PARENT_LEN) return false;
    const char end = text[TRACE_PARENT_LEN];
    bool first = strncmp(text, "00", 2) == 0;
    return is_hex(text, 2) && strncmp(text, "ff", 2) != 0 && text[ID_AT - 1] == '-' &&
           is_hex(text + ID_AT, TRACE_ID_LEN) && !is_zero(text + ID_AT, TRACE_ID_LEN) &&
           text[PARENT_AT - 1] == '-' && is_hex(text + PARENT_AT, PARENT_LEN) &&
           !is_zero(text + PARENT_AT, PARENT_LEN) && text[FLAGS_AT - 1] == '-' &&
           is_hex(text + FLAGS_AT, 2) && (!end || (!first && end == '-'));
}

void trace_id(char out[TRACE_ID_LEN + 1], const char *text) {
    snprintf(out, TRACE_ID_LEN + 1, "%.*s", TRACE_ID_LEN, trace_ok(text) ? text + ID_AT : "");
}

status trace_child(char out[TRACE_PARENT_LEN + 1], const char *text, err *e) {
    uint8_t random[PARENT_LEN / 2];
    char parent[PARENT_LEN + 1];
    status rc = random_bytes(random, sizeof random, e);
    if (rc) return rc;
    random[0] |= 1; // a parent of zeros is none
    hex_encode(parent, random, sizeof random);
    snprintf(out, TRACE_PARENT_LEN + 1, "00-%.*s-%s-%.2s", TRACE_ID_LEN, text + ID_AT, parent,
             text + FLAGS_AT);
    return OK;
}
