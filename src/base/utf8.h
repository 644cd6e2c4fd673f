// utf8.h - UTF-8: one character at a time, how much of a text is valid, how many characters it has.
#pragma once
#include "base/base.h"

// The code point at p, of n bytes, n > 0. Returns its length, 1 to 4; 0 when p is not UTF-8 (cut
// short, overlong, a surrogate, past U+10FFFF): *cp is then U+FFFD.
size_t utf8_next(uint32_t *cp, const uint8_t *p, size_t n);
// How many bytes from the start are UTF-8: text.n when all are.
size_t utf8_valid(bytes text);
// Start of the code point that ends at end, 0 < end. text up to end must be UTF-8.
size_t utf8_prev(bytes text, size_t end);
// Characters of a text that is UTF-8.
size_t utf8_length(bytes text);
// Makes a text UTF-8 in place: what is none, such as a character that was cut, becomes one '?'.
void utf8_mend(char *s);
