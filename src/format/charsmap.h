// charsmap.h - the precompiled character map of a sentencepiece normaliser ("nmt_nfkc").
//
// Layout: a little-endian length n, n bytes of 32-bit units of a darts-clone double array, then the
// replacements, each ending in NUL; a value of the array is an offset into them. The array
// is untrusted, but it is not checked at open: each step checks its index, and a walk takes at most
// one step a byte, so in a damaged array nothing is found.
#pragma once
#include "base/err.h"

typedef struct charsmap charsmap;

// blob is copied. ERR_FORMAT when its length is wrong or its replacements are not UTF-8.
status charsmap_create(charsmap **out, bytes blob, err *e);
void charsmap_free(charsmap *m); // NULL is fine

// The replacement of the SHORTEST prefix of text that has one, as Hugging Face takes it (it then
// replaces all of text by it). False when none has. *to is borrowed from m, UTF-8, maybe empty.
bool charsmap_find(const charsmap *m, bytes text, bytes *to);
