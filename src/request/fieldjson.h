// fieldjson.h - a field's value from JSON, and into it.
#pragma once
#include "base/json.h"
#include "request/check.h"

// What the lists of a request that was read from JSON point to. Zeroed before the first field;
// it must stay where it is as long as the request lives.
typedef struct {
    const char *stems[STEMFORGE_STEMS_MAX], *follow[STEMFORGE_STEMS_MAX],
        *chords[STEMFORGE_CHORDS_MAX], *sections[STEMFORGE_SECTIONS_MAX];
    uint16_t chord_item[STEMFORGE_CHORDS_MAX]; // the item of the JSON array that chord i came from
    char *chord_text;                          // owned
    buf section_text;                          // each of its texts ends with a 0
} field_lists;

void field_lists_deinit(field_lists *l); // zeroed is fine

typedef enum {
    FIELDJSON_WIRE,   // a seed is an integer
    FIELDJSON_RECIPE, // a seed is a string of digits: JSON numbers do not hold 64 bits everywhere
} fieldjson_form;

// Takes value into r's field f; strings are borrowed from value. A type that is wrong is told to
// fault, and the field stays as it was; an item of a list that is no string becomes NULL. Ranges
// are check_field's to check. Each item of a list of chords may hold several names.
status fieldjson_read(const field *f, const json *value, fieldjson_form form, field_lists *lists,
                      stemforge_request *r, check_fault fault, void *arg, err *e);

// The value of a field for a recipe. NULL: no memory.
json *fieldjson_write(const field *f, const stemforge_request *r);
