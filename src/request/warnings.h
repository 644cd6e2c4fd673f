// warnings.h - what of a request is assumed or not used: one list, from the request to its answer.
//
// A warning is no fault: the request is good, but not all of it is heard, or something was put in
// place of what it does not say. The family adds what its model does (engine/family.h), the service
// adds members that nobody knows. stemforge_events and the API show them with the same members.
#pragma once
#include "base/base.h"

#define WARNINGS_MAX 32
#define WARNING_TEXT 400 // bytes
#define WARNING_FIELD 64

// Codes.
#define WARNING_ASSUMED "assumed"        // the model needs it and the request does not say it
#define WARNING_NOT_USED "not_used"      // the request says it and the model cannot use it
#define WARNING_TEXT_CUT "text_cut"      // the model reads less text than there is
#define WARNING_UNMET "not_met"          // a stem was asked for it, and it is not heard in it
#define WARNING_UNKNOWN "unknown_member" // nobody knows the member
#define WARNING_UNCHECKED "not_checked"  // there was no model to ask

typedef struct {
    const char *code;          // one of the above
    char field[WARNING_FIELD]; // a member of stemforge_request; of WARNING_UNKNOWN, the stranger
    char text[WARNING_TEXT];   // a sentence
    bool at_root;              // of WARNING_UNKNOWN: beside "parameters", not in it
} warning;

typedef struct {
    warning item[WARNINGS_MAX];
    size_t n;
} warnings; // zeroed: empty

// One more; past WARNINGS_MAX it is dropped. A text that is too long is cut, at a character.
void warnings_add(warnings *w, const char *code, const char *field, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
