// fields.h - the fields of a request: one row each, from which all else that knows them is made.
//
// A row says what a field is called in stemforge_request, over HTTP, on the command line and in a
// recipe, which values it takes, and what it means. Flags and their help, recipes, the parsing of
// POST /generate, the API document, the page's form, the manual pages and the checks of the engine
// are made from the rows. To add a field: docs/howto/a-parameter.md.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "stemforge.h"

typedef enum {
    FIELD_TEXT,     // const char *: at most hi characters
    FIELD_KEY,      // the same, a key as chords_parse_key reads it
    FIELD_METER,    // the same, one of timing.h's meters
    FIELD_PATH,     // the same, an audio file of the caller
    FIELD_NUMBER,   // double, lo to hi
    FIELD_INTEGER,  // int, lo to hi
    FIELD_FLAG,     // bool
    FIELD_SEED,     // uint64_t
    FIELD_STEMS,    // const char *const *, lo to hi of stems.h's names, and how many
    FIELD_FOLLOW,   // the same, of "tempo", "chords" and "melody"
    FIELD_CHORDS,   // the same, lo to hi names that chords_parse_chord reads
    FIELD_SECTIONS, // the same, lo to hi texts that section_parse reads; over HTTP objects
} field_kind;

typedef struct {
    const char *name;   // in stemforge_request
    const char *wire;   // in POST /generate, dotted; NULL: not to be set over HTTP
    const char *flag;   // of `generate`
    const char *recipe; // in recipe.json
    field_kind kind;
    size_t at, count_at; // in stemforge_request, in bytes; count_at: of a list
    double lo, hi;
    double
        absent; // the number that is there when none is given; outside lo to hi it says just that
    bool draws; // it steers how the model draws: a group of its own in help
    const char *value;           // what help calls the value: "SECONDS"; NULL: a flag has none
    const char *help;            // one line
    const char *otherwise;       // what happens when it is not given; NULL: it is left out
    const char *label, *example; // in the page's form
} field;

extern const field field_rows[];
extern const size_t field_count;

// The row of a wire name in full ("parameters.target_bpm"). NULL: none.
const field *fields_find_wire(const char *wire);
// The row of a member of stemforge_request ("bpm"). NULL: none.
const field *fields_find(const char *name);
// The last part of the wire name: "target_bpm".
const char *field_wire_name(const field *f);

// A field of a request: read one kind, or write it. field_number is of numbers, integers and flags.
double field_number(const field *f, const stemforge_request *r);
const char *field_text(const field *f, const stemforge_request *r);
uint64_t field_seed(const field *f, const stemforge_request *r);
const char *const *field_list(const field *f, const stemforge_request *r, size_t *count);
void field_set_number(const field *f, stemforge_request *r, double v);
void field_set_text(const field *f, stemforge_request *r, const char *s);
void field_set_seed(const field *f, stemforge_request *r, uint64_t v);
void field_set_list(const field *f, stemforge_request *r, const char *const *list, size_t count);
bool field_is_text(const field *f);
bool field_is_list(const field *f);
// A number whose `absent` is a value like any other: what a request has that does not say.
bool field_has_default(const field *f);
// False when the field is not to be used. A seed, and a number with a default, always are.
bool field_is_given(const field *f, const stemforge_request *r);

// Help in one line: what it is and, in parentheses, what happens otherwise.
void field_add_help(buf *out, const field *f);

// Seeds that nobody chose have 53 bits, so that they survive a reader whose numbers are doubles.
status fields_draw_seed(uint64_t *out, err *e);
