// chords_inside.h - what the two parts of chords.h share: chords.c and chords_key.c.
#pragma once
#include "request/chords.h"

// Copies a text with '#' and 'b' for the signs of music, and with `blank` for blanks (0: none). The
// copy is not longer than the text.
void chords_plain(char *out, const char *text, char blank);
// A note in upper case with accidentals, as a pitch class; skips it. -1 when there is none.
int chords_read_note(const char **at);
int chords_pitch(int semitones); // modulo 12, never negative
