// fold.c - see fold.h.
#include "audio/fold.h"

#define CHANNELS_MAX 8
#define HALF_POWER 0.70710678118654752

// The place of channel k when the file does not say: the order of WAV and FLAC.
static fold_place usual_place(int channels, int k) {
    static const uint8_t order[CHANNELS_MAX + 1][CHANNELS_MAX] = {
        [1] = {FOLD_CENTRE},
        [2] = {FOLD_LEFT, FOLD_RIGHT},
        [3] = {FOLD_LEFT, FOLD_RIGHT, FOLD_CENTRE},
        [4] = {FOLD_LEFT, FOLD_RIGHT, FOLD_SIDE_LEFT, FOLD_SIDE_RIGHT},
        [5] = {FOLD_LEFT, FOLD_RIGHT, FOLD_CENTRE, FOLD_SIDE_LEFT, FOLD_SIDE_RIGHT},
        [6] = {FOLD_LEFT, FOLD_RIGHT, FOLD_CENTRE, FOLD_LFE, FOLD_SIDE_LEFT, FOLD_SIDE_RIGHT},
        [7] = {FOLD_LEFT, FOLD_RIGHT, FOLD_CENTRE, FOLD_LFE, FOLD_BACK, FOLD_SIDE_LEFT,
               FOLD_SIDE_RIGHT},
        [8] = {FOLD_LEFT, FOLD_RIGHT, FOLD_CENTRE, FOLD_LFE, FOLD_SIDE_LEFT, FOLD_SIDE_RIGHT,
               FOLD_SIDE_LEFT, FOLD_SIDE_RIGHT},
    };
    return (fold_place)order[channels][k];
}

static double share_of(fold_place p, int side) {
    switch (p) {
    case FOLD_LEFT: return side == 0;
    case FOLD_RIGHT: return side == 1;
    case FOLD_CENTRE: return HALF_POWER;
    case FOLD_SIDE_LEFT: return side == 0 ? HALF_POWER : 0;
    case FOLD_SIDE_RIGHT: return side == 1 ? HALF_POWER : 0;
    case FOLD_BACK: return 0.5;
    case FOLD_LFE:
    case FOLD_UNKNOWN: break;
    }
    return 0;
}

void fold_plane(float *out, const float *x, int64_t frames, int channels, const uint8_t *place,
                int side) {
    double share[CHANNELS_MAX];
    bool said = channels > 2;
    for (int k = 0; k < channels; k++) said = said && place[k] != FOLD_UNKNOWN;
    for (int k = 0; k < channels; k++) {
        fold_place p = said ? (fold_place)place[k] : usual_place(channels, k);
        share[k] = side == FOLD_MONO ? (share_of(p, 0) + share_of(p, 1)) / 2 : share_of(p, side);
    }
    for (int64_t i = 0; i < frames; i++) {
        double sum = 0;
        for (int k = 0; k < channels; k++) sum += share[k] * (double)x[i * channels + k];
        out[i] = (float)sum;
    }
}
