// err.h - how every function reports failure.
//
// A function that can fail returns status and takes err *e last. e may be NULL. The text is one
// line, fit to show an operator: what was expected and what was found. No errno above base.
#pragma once
#include "base/base.h"

typedef enum {
    OK = 0,
    ERR_ARG,       // the caller's input is wrong           HTTP 400
    ERR_NOT_FOUND, // the thing named does not exist        HTTP 404
    ERR_LIMIT,     // a stated limit was reached            HTTP 413, 429
    ERR_BUSY,      // try again later                       HTTP 503
    ERR_CONFLICT,  // the name is taken by something else   HTTP 409
    ERR_CANCELED,  // asked to stop, and did
    ERR_FORMAT,    // bytes from outside are not what they claim to be
    ERR_IO,        // the OS or a peer refused; text carries errno
    ERR_OOM,
    ERR_DEVICE, // the GPU failed; only a restart is safe
} status;

typedef struct {
    status code;
    char text[508]; // one line, NUL-terminated, no newline
} err;

// Fills e (when there is one) and returns code, so that a failure is one statement:
//     return err_set(e, ERR_FORMAT, "header claims %zu bytes, file has %zu", want, have);
// A newline or control character in the text becomes a blank.
status err_set(err *e, status code, const char *fmt, ...) PRINTF_LIKE(3, 4);

// As err_set with ERR_IO, and ": " and the text of errno behind it. ENOMEM becomes ERR_OOM.
status err_errno(err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

// Puts "what: " in front of the text already in e. Returns e's code.
status err_within(err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

// A short name for logs: "format", "io", ...
const char *status_name(status s);
