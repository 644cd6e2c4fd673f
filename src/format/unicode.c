// unicode.c - see unicode.h.
#include "format/unicode.h"

#include "base/utf8.h"
#include "format/unicode_tab.h"

bool unicode_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool unicode_is_word(uint32_t cp) {
    size_t lo = 0, hi = ARRAY_LEN(word_ranges);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > word_ranges[mid].hi)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < ARRAY_LEN(word_ranges) && cp >= word_ranges[lo].lo;
}

static grapheme_class class_of(uint32_t cp) {
    if (cp >= ' ' && cp < 0x7F) return G_OTHER; // nearly all there is
    if (cp == '\r') return G_CR;
    if (cp == '\n') return G_LF;
    if (cp >= 0xAC00 && cp <= 0xD7A3) return (cp - 0xAC00) % 28 ? G_LVT : G_LV;
    size_t lo = 0, hi = ARRAY_LEN(grapheme_ranges);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > grapheme_ranges[mid].hi)
            lo = mid + 1;
        else
            hi = mid;
    }
    bool found = lo < ARRAY_LEN(grapheme_ranges) && cp >= grapheme_ranges[lo].lo;
    return found ? grapheme_ranges[lo].type : G_OTHER;
}

// What a cluster's beginning says about where it ends.
typedef struct {
    grapheme_class last;
    bool linked;   // a consonant, then extenders with a linker among them (GB9c)
    bool conjunct; // a consonant, then extenders only
    bool pict;     // a pictograph, then extenders only (GB11)
    bool pict_zwj; // ... and a ZWJ behind them
    bool regional; // one regional indicator, unpaired (GB12, GB13)
} cluster;

static bool is_extend(grapheme_class c) {
    return c == G_EXTEND || c == G_LINKER || c == G_ZWNJ;
}

static bool hangul_joins(grapheme_class a, grapheme_class b) {
    if (a == G_L) return b == G_L || b == G_V || b == G_LV || b == G_LVT; // GB6
    if (a == G_LV || a == G_V) return b == G_V || b == G_T;               // GB7
    return (a == G_LVT || a == G_T) && b == G_T;                          // GB8
}

// No boundary between the cluster so far and a code point of class b?
static bool joins(const cluster *s, grapheme_class b) {
    grapheme_class a = s->last;
    if (a == G_CR) return b == G_LF; // GB3, GB4
    if (a == G_LF || a == G_CONTROL || b == G_CR || b == G_LF || b == G_CONTROL) return false;
    if (hangul_joins(a, b)) return true;
    if (is_extend(b) || b == G_ZWJ || b == G_SPACING || a == G_PREPEND) return true; // GB9, 9a, 9b
    if (b == G_CONSONANT) return s->linked;
    if (b == G_PICT) return s->pict_zwj;
    return b == G_REGIONAL && s->regional;
}

static void cluster_add(cluster *s, grapheme_class b) {
    bool indic = b == G_EXTEND || b == G_LINKER || b == G_ZWJ; // ZWNJ stops a conjunct
    s->linked = (s->linked && indic) || (s->conjunct && b == G_LINKER);
    s->conjunct = b == G_CONSONANT || (s->conjunct && indic);
    s->pict_zwj = s->pict && b == G_ZWJ;
    s->pict = b == G_PICT || (s->pict && is_extend(b));
    s->regional = b == G_REGIONAL && !(s->last == G_REGIONAL && s->regional);
    s->last = b;
}

size_t unicode_grapheme(bytes text) {
    cluster s = {0};
    size_t at = 0;
    while (at < text.n) {
        uint32_t cp;
        size_t len = utf8_next(&cp, text.p + at, text.n - at);
        grapheme_class b = class_of(cp);
        if (at && !joins(&s, b)) break;
        cluster_add(&s, b);
        at += len ? len : 1;
    }
    return at;
}
