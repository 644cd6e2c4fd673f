// prompt.h - from what a request asks for to the one line of text a model is given for a stem.
//
// The user's words are added behind the stem's description (request/stems.h); they never replace
// it.
#pragma once
#include "base/buf.h"
#include "stemforge.h"

typedef enum {
    PROMPT_SENTENCE, // for Meta's models: "Isolated drum kit track, ..., rock style, 120 bpm, ..."
    PROMPT_LOOP,     // for Foundation-1, as trained: "bass, warm, A minor, 4 bars, 120BPM,"
    PROMPT_CAPTION,  // for our own, exactly as trained: "piano, jazz, 96.5 bpm, Eb major, sparse"
} prompt_form;

// Bytes of a finished line. Room for all that request/fields.h lets through: nothing is ever cut.
#define PROMPT_LINE_MAX ((size_t)64 << 10)

// What is NULL, "" or 0 was not asked for and is left out.
typedef struct {
    const char *stem; // required
    const char *style;
    const char *key;     // "A minor", as chords_parse_key reads it
    const char *chords;  // "Am F C G": in sentences only, captions leave harmony to the grid
    const char *density; // "sparse" or "dense", a word that captions were trained with
    const char *words;   // the user's own
    double bpm;          // written with at most one decimal
    int bars;            // in loops only
} prompt_parts;

// Appends the line to out. Control characters and bytes that are not UTF-8 are dropped, runs of
// blanks become one. Drums have no key and no chords. A
// loop has the words before the key. ERR_ARG for a stem or key that is none.
status prompt_build(buf *out, prompt_form form, const prompt_parts *parts, err *e);

// The chords of a request in one text, "Am F C G", into a buffer that it begins.
status prompt_join_chords(buf *out, const stemforge_request *r, err *e);
