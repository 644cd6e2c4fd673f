// err.h - how every function reports failure.
//
// A function that can fail returns status and takes err *e last. e may be NULL. The text is one
// line, fit to show an operator: what was expected and what was found. What a program needs to know
// is in code and where. No errno above base.
#pragma once
#include "base/base.h"
#include "stemforge_error.h"

// The library's own types: what a function says here reaches the library's user as it is.
typedef stemforge_status status;
typedef stemforge_error err;

#define OK STEMFORGE_OK
#define ERR_ARG STEMFORGE_ERR_ARG             // the caller's input is wrong           HTTP 400
#define ERR_NOT_FOUND STEMFORGE_ERR_NOT_FOUND // the thing named does not exist        HTTP 404
#define ERR_LIMIT STEMFORGE_ERR_LIMIT         // a stated limit was reached            HTTP 413, 429
#define ERR_BUSY STEMFORGE_ERR_BUSY           // try again later                       HTTP 503
#define ERR_CONFLICT STEMFORGE_ERR_CONFLICT   // the name is taken by something else   HTTP 409
#define ERR_CANCELED STEMFORGE_ERR_CANCELED   // asked to stop, and did
#define ERR_FORMAT STEMFORGE_ERR_FORMAT       // bytes from outside are not what they claim to be
#define ERR_IO STEMFORGE_ERR_IO               // the OS or a peer refused; text carries errno
#define ERR_OOM STEMFORGE_ERR_OOM
#define ERR_DEVICE                                                                                 \
    STEMFORGE_ERR_DEVICE // the GPU failed, or a model's file changed; only a restart is safe

// Fills e (when there is one) and returns code, so that a failure is one statement:
//     return err_set(e, ERR_FORMAT, "header claims %zu bytes, file has %zu", want, have);
// A newline or control character in the text becomes a blank.
status err_set(err *e, status code, const char *fmt, ...) PRINTF_LIKE(3, 4);

// As err_set with ERR_IO, and ": " and the text of errno behind it. ENOMEM becomes ERR_OOM.
status err_errno(err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

// Puts "what: " in front of the text already in e; where stays. Returns code, the failure's own:
// when e is NULL nobody but the caller knows it.
status err_within(err *e, status code, const char *fmt, ...) PRINTF_LIKE(3, 4);

// ERR_ARG about one field of what the caller asked for: where is the field ("bpm", "stems[1]"), the
// text is "field: " and the rest.
status err_field(err *e, const char *field, const char *fmt, ...) PRINTF_LIKE(3, 4);

// Says what the failure in e is about: a field, or a stem's name. A program reads where, never the
// text. e may be NULL.
void err_about(err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

// A short name for logs: "format", "io", ...
const char *status_name(status s);
