// normalize.h - the "normalizer" of a tokenizer.json: a list of steps that rewrite a text.
//
// Precompiled, Strip, Replace (of a string, or of the regular expression " {2,}"), Prepend, and
// Sequence of those. Each does what Hugging Face's does.
#pragma once
#include "base/err.h"
#include "base/json.h"

#define NORM_STEPS_MAX 16
#define NORM_PATTERN_MAX 256 // bytes of a Replace pattern: looked for at every place of a text

// UTF-8 text that remembers where it came from.
typedef struct {
    uint8_t *p;
    uint32_t *from; // [n] for each byte: where in the original text what it stands for began
    size_t n, cap, max;
    status failed; // OK, ERR_LIMIT or ERR_OOM; sticks until the text is cleared
} norm_text;

void norm_text_init(norm_text *t, size_t max);
void norm_text_deinit(norm_text *t);
void norm_text_clear(norm_text *t);
void norm_text_add(norm_text *t, bytes s, uint32_t from); // every byte from the same place
void norm_text_copy(norm_text *t, bytes s);               // appends s, byte i from place i
bytes norm_text_bytes(const norm_text *t);                // borrowed until the next append
status norm_text_status(const norm_text *t, err *e);

typedef struct normalizer normalizer;

// spec: the object, or NULL or JSON null for none; may be freed after.
status normalizer_create(normalizer **out, const json *spec, err *e);
void normalizer_free(normalizer *z); // NULL is fine
// Rewrites text, which is UTF-8. spare is scratch.
status normalizer_run(const normalizer *z, norm_text *text, norm_text *spare, err *e);
