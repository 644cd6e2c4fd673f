// request.h - POST /generate's body: a checked request, or the list of all that is wrong with it.
//
// The rules are the contract's (docs/OPERATIONS.md, "POST /generate"). null counts as absent, since
// .NET serializers write it; members that nobody knows are ignored. After request_parse nothing is
// checked again.
#pragma once
#include "base/err.h"
#include "base/json.h"
#include "stemforge.h"

#define REQUEST_ID_MAX 128
#define REQUEST_STEMS_MAX 7
#define REQUEST_CHORDS_MAX 256
#define REQUEST_PROMPT_MAX 4096 // characters

typedef struct request {
    char id[REQUEST_ID_MAX + 1], audio_file_id[REQUEST_ID_MAX + 1];
    const char *stems[REQUEST_STEMS_MAX]; // the contract's names, constants
    size_t stem_count;
    const char *prompt, *style, *key, *callback_url; // NULL: not given
    const char *chords[REQUEST_CHORDS_MAX];
    size_t chord_count;
    double bpm; // 0: not given
    double seconds, temperature;
    uint64_t seed; // drawn by request_parse when the request has none
    bool seed_given;
    double work; // seconds of audio in all
    json *tree;  // what the strings above borrow from
} request;

typedef struct {
    double seconds_max; // longest stem accepted
    size_t body_max;    // bytes
    // Judges callback_url: ERR_ARG and why. NULL: any http or https URL.
    status (*url_check)(const void *arg, const char *url, err *e);
    const void *url_arg;
    // The engine's own check, asked when all else is right; e->where is the engine's field. NULL:
    // none.
    status (*engine_check)(const struct request *r, err *e);
} request_limits;

// OK: *out is filled, the caller's (request_deinit). ERR_FORMAT: not JSON, e says where. ERR_ARG:
// *faults is an array of {"pointer", "detail"}, the caller's. ERR_OOM.
status request_parse(request *out, bytes text, const request_limits *l, json **faults, err *e);
void request_deinit(request *r); // zeroed is fine

// The same for a text that was accepted before: limits may have changed since, the job stays good.
status request_reparse(request *out, bytes text, err *e);

// Puts what r asks for into *q, which has the engine's defaults. Borrows from r.
void request_for_engine(const request *r, stemforge_request *q);

// Canonical text: keys sorted, no blanks; what "the same body" means. Appended to out.
status request_canonical(const request *r, buf *out, err *e);

// The contract's rule for ids: 1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, no
// "..", no dot at the end.
bool request_id_ok(const char *s);
