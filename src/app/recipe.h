// recipe.h - recipe.json: a request written down, so that the same bytes can be made again.
#pragma once
#include "base/json.h"
#include "request/fieldjson.h"
#include "stemforge.h"

// What -1 in a request stands for: the model's own, as stemforge_info has them. A recipe says the
// numbers, so that it makes the same bytes after the model's changed. guidance 0: not known.
typedef struct {
    int top_k;
    double guidance;
} recipe_defaults;

typedef struct {
    const stemforge_request *request;
    const char *model, *format, *weights, *name; // name: stem_name.h's pattern
    const json *drawn;    // object: a stem -> the temperature that it was drawn with; NULL: none
    const json *warnings; // array of {code, field, detail}; empty: left out
    recipe_defaults model_own;
} recipe;

// Writes it atomically. Paths are written from the root, so that it works from any folder; the
// shipped model and one of a hub cache keep their names, which do. The seed is a string: JSON
// numbers do not hold 64 bits everywhere.
status recipe_write(const char *path, const recipe *r, err *e);

// A recipe read back; the request's strings and lists live in it until recipe_deinit.
typedef struct {
    stemforge_request request;
    const char *model, *format, *weights, *name; // name: stem_name.h's pattern
    recipe_defaults model_own;
    json *doc;
    field_lists lists;
} recipe_file;

// ERR_FORMAT names a wrong member. The request itself is stemforge_request_check's to check.
status recipe_read(recipe_file *out, const char *path, err *e);
void recipe_deinit(recipe_file *r); // zeroed is fine
