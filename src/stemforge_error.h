// stemforge_error.h - why a call failed: the part of stemforge.h that the code inside shares.
//
// Users include stemforge.h. base/err.h gives these two types their short names.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    STEMFORGE_OK = 0,
    STEMFORGE_ERR_ARG,       // the request is wrong
    STEMFORGE_ERR_NOT_FOUND, // no such model or file
    STEMFORGE_ERR_LIMIT,     // a stated limit was reached
    STEMFORGE_ERR_BUSY,      // try again later
    STEMFORGE_ERR_CONFLICT,  // the name is taken by something else
    STEMFORGE_ERR_CANCELED,  // asked to stop, and did
    STEMFORGE_ERR_FORMAT,    // a file is not what it claims to be
    STEMFORGE_ERR_IO,        // the system or a peer refused
    STEMFORGE_ERR_OOM,       // no memory
    STEMFORGE_ERR_DEVICE,    // the device failed; only a restart is safe
} stemforge_status;

typedef struct {
    stemforge_status code;
    // What it is about: a field of the request ("bpm", "stems[1]", "chords[2]"), or the name of the
    // stem that failed ("bass"). Empty when it is about neither.
    char where[48];
    char text[508]; // one line: what was expected and what was found; of a failed stem: why
} stemforge_error;

#ifdef __cplusplus
}
#endif
