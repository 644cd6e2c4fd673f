// near.h - the word that was probably meant: for "did you mean".
#pragma once
#include "base/base.h"

// near n = {.word = "sede"}; near_try(&n, "seed"); ... n.best is "seed".
typedef struct {
    const char *word; // what was written
    size_t n;         // its bytes; 0: all
    const char *best; // the nearest candidate so far, borrowed; NULL: none is near
    size_t distance;  // private
} near;

// A candidate is near when at most 2 letters, and at most half of the word, have to change. Upper
// and lower case are the same letter, '_' is '-'.
void near_try(near *n, const char *candidate);

// ", did you mean WORD?" with `before` in front of the word, or "" when none is near.
#define NEAR_TEXT 96
void near_text(char out[NEAR_TEXT], const near *n, const char *before);
