// fold.h - more than two channels as two or one, by the coefficients of ITU-R BS.775.
//
//   left = L + 0.7071 C + 0.7071 SL + 0.5 B        right likewise        mono = (left + right) / 2
//
// The channel of low effects is left out, as there. Nothing is scaled down: sums may pass 1.
#pragma once
#include "base/base.h"

typedef enum {
    FOLD_UNKNOWN, // by its number, in the order of WAV: L R C LFE SL SR, then SL SR or B SL SR
    FOLD_LEFT,
    FOLD_RIGHT,
    FOLD_CENTRE,
    FOLD_LFE,
    FOLD_SIDE_LEFT, // beside or behind
    FOLD_SIDE_RIGHT,
    FOLD_BACK,
} fold_place;

#define FOLD_MONO 2

// out [frames]: side 0 (left), 1 (right) or FOLD_MONO of x [frames, channels]. place [channels]: a
// fold_place each. Two channels have no other places than left and right.
void fold_plane(float *out, const float *x, int64_t frames, int channels, const uint8_t *place,
                int side);
