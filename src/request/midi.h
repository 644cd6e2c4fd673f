// midi.h - the beats and chords of a request as a MIDI file: what its stems were made on.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "stemforge.h"

#define MIDI_BYTES_MAX ((size_t)4 << 20)
#define MIDI_TICKS 480 // a beat

// Appends a file of format 1: tempo, meter; a track of chords, when the request has some, with
// their names, a bass note and the tones above middle C; a track of wood blocks on channel 10, the
// high one on bar lines. r is checked and has a tempo.
status midi_write(buf *out, const stemforge_request *r, err *e);
