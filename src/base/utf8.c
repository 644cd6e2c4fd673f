// utf8.c - see utf8.h; RFC 3629.
#include "base/utf8.h"

#include <string.h>

size_t utf8_next(uint32_t *cp, const uint8_t *p, size_t n) {
    *cp = p[0];
    if (p[0] < 0x80) return 1;
    size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = p[0] & (0x7Fu >> len);
    bool ok = p[0] >= 0xC2 && p[0] <= 0xF4 && len <= n;
    for (size_t i = 1; ok && i < len; i++) {
        ok = (p[i] & 0xC0) == 0x80;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    ok = ok && c >= least[len] && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
    *cp = ok ? c : 0xFFFD;
    return ok ? len : 0;
}

size_t utf8_valid(bytes text) {
    size_t i = 0;
    while (i < text.n) {
        uint32_t cp;
        size_t len = utf8_next(&cp, text.p + i, text.n - i);
        if (!len) break;
        i += len;
    }
    return i;
}

size_t utf8_prev(bytes text, size_t end) {
    size_t i = end - 1;
    while (i > 0 && (text.p[i] & 0xC0) == 0x80) i--;
    return i;
}

size_t utf8_length(bytes text) {
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) n += (text.p[i] & 0xC0) != 0x80;
    return n;
}

void utf8_mend(char *s) {
    size_t n = strlen(s), to = 0;
    bool none = false;
    for (size_t i = 0, len; i < n; i += len ? len : 1) {
        uint32_t cp;
        len = utf8_next(&cp, (const uint8_t *)s + i, n - i);
        if (!len && !none) s[to++] = '?';
        none = !len;
        memmove(s + to, s + i, len);
        to += len;
    }
    s[to] = 0;
}
