// check.h - all that is wrong with a request, field by field.
#pragma once
#include "request/fields.h"

// Called for each fault. item: which of a list, or -1 for the field as a whole. detail: what was
// expected and what was found, without the field's name.
typedef void (*check_fault)(void *arg, const field *f, int64_t item, const char *detail);

// seconds_max: the longest stem accepted here; 0: as long as the engine takes.
// Needs no model: what a model can do is asked of it later.
void check_request(const stemforge_request *r, double seconds_max, check_fault fault, void *arg);
void check_field(const field *f, const stemforge_request *r, double seconds_max, check_fault fault,
                 void *arg);
// What fields ask of one another: a length in bars needs a tempo, a loop needs bars.
void check_together(const stemforge_request *r, double seconds_max, check_fault fault, void *arg);

// The first fault as an error: ERR_ARG, "chords[1]: ...".
status check_first(const stemforge_request *r, err *e);
