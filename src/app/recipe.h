// recipe.h - recipe.json: a request written down, so that the same bytes can be made again.
#pragma once
#include "base/json.h"
#include "request/fieldjson.h"
#include "stemforge.h"

// What a request leaves to the model, as stemforge_info has them. A recipe says the numbers, so
// that it makes the same bytes after the model's changed.
typedef struct {
    bool known;
    int top_k;
    double guidance;
    int steps;
} recipe_defaults;

// Which model it is: its name and stemforge_engine_digest. "" where nobody knows.
typedef struct {
    const char *name;
    char digest[STEMFORGE_DIGEST_SIZE];
} recipe_model;

typedef struct {
    const stemforge_request *request;
    const char *model, *format, *weights;
    const json *drawn;    // object: a stem -> the temperature that it was drawn with; NULL: none
    const json *taken;    // object: a stem -> the number of its chosen take; empty: left out
    const json *measured; // object: a stem -> what was heard in it (request/measured.h); NULL: none
    const json *warnings; // array of {code, field, detail}; empty: left out
    recipe_defaults model_own;
    recipe_model identity; // name NULL: not opened yet
} recipe;

// Writes it atomically. Paths are written from the root, so that it works from any folder; the
// shipped model and one of a hub cache keep their names, which do. The seed is a string: JSON
// numbers do not hold 64 bits everywhere.
status recipe_write(const char *path, const recipe *r, err *e);

// A recipe read back; the request's strings and lists live in it until recipe_deinit.
typedef struct {
    stemforge_request request;
    const char *model, *format, *weights;
    recipe_defaults model_own;
    recipe_model identity;          // name NULL: an older recipe
    int takes[STEMFORGE_STEMS_MAX]; // the numbers of its stems' chosen takes; request.take or NULL
    double temperatures[STEMFORGE_STEMS_MAX]; // that its stems were drawn with; -1: not said
    json *doc;
    field_lists lists;
} recipe_file;

// ERR_FORMAT names a wrong member. The request itself is stemforge_request_check's to check.
status recipe_read(recipe_file *out, const char *path, err *e);
void recipe_deinit(recipe_file *r); // zeroed is fine
