// charsmap.c - see charsmap.h.
#include "format/charsmap.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

struct charsmap {
    uint32_t *units;
    size_t unit_count;
    char *pool; // NUL behind it
    size_t pool_len;
};

static uint32_t u32_le(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

status charsmap_create(charsmap **out, bytes blob, err *e) {
    *out = NULL;
    size_t n = blob.n >= 4 ? u32_le(blob.p) : 0;
    if (n < 4 || n % 4 || n > blob.n - 4) {
        return err_set(e, ERR_FORMAT, "character map of %zu bytes claims an array of %zu", blob.n,
                       n);
    }
    bytes pool = {blob.p + 4 + n, blob.n - 4 - n};
    size_t good = utf8_valid(pool);
    if (good < pool.n) {
        return err_set(e, ERR_FORMAT, "character map: replacements are not UTF-8 at byte %zu",
                       good);
    }
    charsmap *m = mem_calloc(1, sizeof *m);
    if (m) m->units = mem_alloc(n);
    if (m) m->pool = mem_strndup((const char *)pool.p, pool.n);
    if (!m || !m->units || !m->pool) {
        charsmap_free(m);
        return err_set(e, ERR_OOM, "no memory for a character map");
    }
    m->unit_count = n / 4;
    m->pool_len = pool.n;
    for (size_t i = 0; i < m->unit_count; i++) m->units[i] = u32_le(blob.p + 4 + 4 * i);
    *out = m;
    return OK;
}

void charsmap_free(charsmap *m) {
    if (!m) return;
    mem_free(m->units);
    mem_free(m->pool);
    mem_free(m);
}

// A unit: bits 0-7 label, bit 8 "a key ends here", bit 9 scales the offset by 256, bits 10-30
// offset to the children (to be XORed), bit 31 marks a value.
static size_t unit_offset(uint32_t u) {
    return (size_t)(u >> 10) << ((u & 0x200) >> 6);
}

static bool pool_at(const charsmap *m, uint32_t value, bytes *to) {
    if (value >= m->pool_len || (m->pool[value] & 0xC0) == 0x80) return false;
    const char *s = m->pool + value;
    *to = (bytes){(const uint8_t *)s, strlen(s)};
    return true;
}

bool charsmap_find(const charsmap *m, bytes text, bytes *to) {
    size_t at = unit_offset(m->units[0]);
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        at ^= c;
        if (c == 0 || at >= m->unit_count) return false;
        uint32_t u = m->units[at];
        if ((u & 0x800000FF) != c) return false;
        at ^= unit_offset(u);
        if (!(u & 0x100)) continue;
        return at < m->unit_count && pool_at(m, m->units[at] & 0x7FFFFFFF, to);
    }
    return false;
}
