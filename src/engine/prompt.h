// prompt.h - from what a request asks for to the one line of text a model is given for a stem.
//
// The user's words are added behind the stem's description; they never replace it. Which
// description a stem has is a table in prompt.c, made to be read and changed.
#pragma once
#include "base/buf.h"

// The seven stems, in the order they are listed everywhere.
#define PROMPT_STEMS 7
extern const char *const prompt_stems[PROMPT_STEMS]; // drums bass guitar vocals piano synth other
int prompt_find_stem(const char *name);              // its index, -1 when it is none of them

typedef enum {
    PROMPT_SENTENCE, // for Meta's models: "Isolated drum kit track, ..., rock style, 120 bpm, ..."
    PROMPT_CAPTION,  // for our own, exactly as trained: "piano, jazz, 96.5 bpm, Eb major, sparse"
} prompt_form;

#define PROMPT_WORDS_MAX 1000 // bytes used of the user's words, and of the finished line below
#define PROMPT_STYLE_MAX 100
#define PROMPT_CHORDS_MAX 400
#define PROMPT_LINE_MAX 2000

// What is NULL, "" or 0 was not asked for and is left out.
typedef struct {
    const char *stem; // required
    const char *style;
    const char *key;    // "A minor", as chords_parse_key reads it
    const char *chords; // "Am F C G": in sentences only, captions leave harmony to the grid
    const char *words;  // the user's own
    double bpm;         // written with at most one decimal
} prompt_parts;

// Appends the line to out. Control characters and bytes that are not UTF-8 are dropped, runs of
// blanks become one, parts over their maximum are cut between characters. Drums have no key and no
// chords. ERR_ARG for a stem or key that is none.
status prompt_build(buf *out, prompt_form form, const prompt_parts *parts, err *e);
