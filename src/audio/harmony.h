// harmony.h - which notes sound in each stretch of a piece, and which chords they are.
//
// Only what stands out of the spectrum counts: a peak less the noise around it. The notes are those
// whose partials explain the peaks, so a fifth that is only an overtone does not count as a note.
#pragma once
#include "audio/listen.h"

#define HARMONY_NOTE_LOW 28 // MIDI: E1
#define HARMONY_NOTES 68    // up to B6

typedef struct {
    float treble[12]; // strength by pitch class, C first, of notes from E2 up
    float bass[12];   // of those below C3
} harmony_row;        // all 0: nothing with a pitch

// Row i is of the seconds from edge[i] to edge[i + 1]; edge [n + 1] rises. out [n]. held (NULL is
// fine): of the time that sounds, the share in which the strongest pitch up to 1500 Hz stands 12 dB
// out of the noise around it and is still there, within 40 cents, a tenth of a second later.
status harmony_rows(harmony_row *out, const double *edge, size_t n, const listened *l, double *held,
                    err *e);

// The amplitude of the peaks near each note, in windows of 0.18 s or a little more. Their middles
// lie hop seconds apart from 0 s on. note [n, HARMONY_NOTES].
status harmony_notes(float *note, size_t n, double hop, const listened *l, err *e);

typedef struct {
    int root;    // pitch class; -1: no chord
    int third;   // 4, 3, or 0 when no third is heard
    double sure; // 0 to 1: how likely root and third are right
} harmony_chord;

// The likeliest chord of each row of a piece, [n].
void harmony_chords(harmony_chord *out, const harmony_row *rows, size_t n);
