// control.h - the "grid" control track: where in the bar a column lies, and which chord sounds
// there.
//
// Models trained with it (config.json has "stemforge": {"control": "grid"}) read it through the
// chroma prefix of MusicGen-Melody, twelve values a column. All stems of a request get the same
// columns, which keeps them together; a bass gets those of the notes under its chords.
#pragma once
#include "request/chords.h"

#define CONTROL_WIDTH 12

typedef struct {
    double columns_per_second; // 50
    size_t columns;            // in every window: 500
} control_grid;

// Column i stands for t = start + (i + 0.5) / columns_per_second seconds of the piece. With
// beat, counted in the meter's felt beats (at an even tempo in 4/4: t bpm / 60), and bar, counted
// in bars, its values are
//   0-5   cos and sin of 2 pi bar, 2 pi beat and of sixteenth notes (8 pi t bpm / 60)
//   6, 7  cos and sin of 2 pi root / 12;  8, 9  the same of 7 root (circle of fifths)
//   10    third: major 1, minor -1, sus4 1/3, sus2 -1/3, none 0
//   11    seventh: 10 gives 1, 11 gives -1, 9 gives 0.5; plus fifth: 6 gives -0.3, 8 gives 0.3
// Values 6 to 11 are 0 where no chord sounds. With p NULL no chord sounds anywhere; beats and bars
// are those of `time` in any case. out is [columns, 12].
void control_fill(float *out, const control_grid *g, const progression *p, const timing *time,
                  double start);
