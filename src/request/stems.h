// stems.h - the seven stems: their names, and what each is to a model.
//
// A new stem type is one row of the table in stems.c and STEMFORGE_STEMS_MAX in stemforge.h.
#pragma once
#include "base/buf.h"
#include "stemforge.h"

typedef struct {
    const char *name; // in requests, in captions of our own models and in file names
    const char
        *description; // for a model that has heard whole mixes: what it is, what to leave out
    bool pitched;     // has a key and chords
    double lufs;      // the loudness that it has in a balanced mix
} stem_type;

// In the order in which they are listed everywhere.
extern const stem_type stem_types[STEMFORGE_STEMS_MAX];

// The index of a name; -1 when it is none of them.
int stems_find(const char *name);

// The type that a file's name [n] says, as a word of its own, the last one: "rock_120bpm_Am_drums",
// "bass.take1". -1: none.
int stems_find_word(const char *name, size_t n);

// Appends all names with `between` between two of them and `last` before the last:
// stems_add_names(out, ", ", " or ") gives "drums, bass, ... synth or other".
void stems_add_names(buf *out, const char *between, const char *last);
