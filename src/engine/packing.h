// packing.h - the texts of a packed file (pack.h), collected from a model's documents.
//
// A family says which documents its networks are opened from, and by which names it will ask for
// them (family.h: pack_texts). For `stemforge convert`.
#pragma once
#include "base/json.h"
#include "engine/pack.h"
#include "format/tokenizer.h"

typedef struct {
    pack_text list[PACK_TEXTS_MAX];
    buf text[PACK_TEXTS_MAX]; // what list shows, in the same order
    size_t n;
    buf vocabulary; // of the tokenizer
} packing;

// Adds the file DIR/FILE under that name. One that is absent and not required is left out.
status packing_add_file(packing *p, const char *name, const char *dir, const char *file,
                        bool required, err *e);
status packing_add_json(packing *p, const char *name, const json *j, err *e);
// t and the tokenizer.json that it was opened from: its text as "tokenizer", and its vocabulary.
status packing_add_tokenizer(packing *p, const tokenizer *t, const char *path, err *e);
void packing_deinit(packing *p); // zeroed is fine
