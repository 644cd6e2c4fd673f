// request.h - POST /generate's body: a checked request, or the list of all that is wrong with it.
//
// The rules are the contract's (docs/OPERATIONS.md, "POST /generate"). null counts as absent, since
// .NET serializers write it; members that nobody knows are ignored, whatever is in them. After
// request_parse nothing is checked again.
#pragma once
#include "base/err.h"
#include "base/json.h"
#include "request/fieldjson.h"
#include "request/warnings.h"
#include "stemforge.h"

#define REQUEST_ID_MAX 128

typedef struct {
    char id[REQUEST_ID_MAX + 1], audio_file_id[REQUEST_ID_MAX + 1];
    const char *callback_url; // NULL: not given
    const char *model;        // which is to make it, as the request says; NULL: not said
    int priority;             // -1 low, 0 normal, 1 high
    double progress_seconds;  // between callbacks of progress; 0: none, below 0: not said
    stemforge_request ask;    // what the engine is to make
    bool seed_given;
    double work; // seconds of audio in all
    json *tree;  // what the strings above borrow from
    field_lists lists;
} request;

typedef struct {
    double seconds_max; // longest stem accepted
    size_t body_max;    // bytes
    // Judges callback_url: ERR_ARG and why. NULL: any http or https URL.
    status (*url_check)(const void *arg, const char *url, err *e);
    const void *url_arg;
} request_limits;

// OK: *out is filled, the caller's (request_deinit); it points into itself, so it must not be
// moved. A request without a seed gets one. ERR_FORMAT: not JSON, e says where. ERR_ARG: *faults is
// an array of {"pointer", "detail"}, the caller's; it names each wrong field and each wrong item
// of a list. ERR_OOM.
status request_parse(request *out, bytes text, const request_limits *l, json **faults, err *e);
void request_deinit(request *r); // zeroed is fine

// The same for a text that was accepted before: limits may have changed since, the job stays good.
// What the text does not name was settled then: the length of its stems follows from the job's
// work, and the seed is the job's to know (ask.seed is 0).
status request_reparse(request *out, bytes text, double work, err *e);

// Canonical text, what "the same body" means: keys sorted, no blanks, no members that are null,
// 120.0 as 120. Appended to out.
status request_canonical(const request *r, buf *out, err *e);
// Whether a text that was stored is the same body as one in canonical form. Its digest cannot tell:
// an earlier version may have made it by other rules.
bool request_is_same(bytes stored, bytes canonical);

// Adds the members of parameters that nobody knows.
void request_warn_unknown(const request *r, warnings *w);
// Adds what the model assumes and does not use. ERR_ARG: the model cannot take it, *faults says why
// as request_parse does.
status request_check_model(request *r, stemforge_engine *g, warnings *w, json **faults, err *e);
// ERR_ARG, and *faults says e's text of the member at pointer, as request_parse does; or ERR_OOM.
status request_refuse(json **faults, const char *pointer, err *e);
// An array of {"code", "pointer", "detail"}, the caller's. NULL: no memory.
json *request_warnings_json(const warnings *w);
// One of them, of a code but WARNING_UNKNOWN.
json *request_warning_json(const char *code, const char *name, const char *text);

// The contract's rule for ids: 1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, no
// "..", no dot at the end.
bool request_id_ok(const char *s);

#define REQUEST_FILE_NAME_MAX 100
// The name of the file of r's stem, without its end, by r's pattern: of the characters of ids, a
// sharp written out. ERR_ARG: the pattern makes no such name.
status request_file_name(char out[REQUEST_FILE_NAME_MAX + 1], const stemforge_request *r,
                         const char *stem, err *e);
