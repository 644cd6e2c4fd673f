// unicode.h - the few Unicode 16.0 properties that a tokenizer asks for.
#pragma once
#include "base/base.h"

bool unicode_is_space(uint32_t cp); // White_Space
bool unicode_is_word(uint32_t cp);  // \w of UTS #18

// Bytes of the extended grapheme cluster that text starts with (UAX #29, GB3 to GB13). text is
// UTF-8 and not empty.
size_t unicode_grapheme(bytes text);
