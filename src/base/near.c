// near.c - see near.h.
#include "base/near.h"

#include <stdio.h>
#include <string.h>

#define LETTERS_MAX 62

static char folded(char c) {
    if (c >= 'A' && c <= 'Z') return (char)(c + 32);
    return c == '_' ? '-' : c;
}

// Edit distance.
static size_t distance(const char *a, size_t an, const char *b, size_t bn) {
    size_t row[LETTERS_MAX + 1];
    for (size_t j = 0; j <= bn; j++) row[j] = j;
    for (size_t i = 0; i < an; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= bn; j++) {
            size_t up = row[j];
            size_t changed = diagonal + (folded(a[i]) != folded(b[j - 1]));
            row[j] = MIN(MIN(up, row[j - 1]) + 1, changed);
            diagonal = up;
        }
    }
    return row[bn];
}

void near_try(near *n, const char *candidate) {
    size_t an = n->n ? n->n : strlen(n->word), bn = strlen(candidate);
    if (an > LETTERS_MAX || bn > LETTERS_MAX) return;
    if (an > bn + 2 || bn > an + 2) return; // so is their distance
    size_t d = distance(n->word, an, candidate, bn);
    if (d > 2 || 2 * d > an || (n->best && d >= n->distance)) return;
    n->best = candidate;
    n->distance = d;
}

void near_text(char out[NEAR_TEXT], const near *n, const char *before) {
    out[0] = 0;
    if (n->best) snprintf(out, NEAR_TEXT, ", did you mean %s%s?", before, n->best);
}
