// noise.c - see noise.h.
#include "engine/stableaudio/noise.h"

#include <math.h> // sqrt only: IEEE 754 defines its bits

#include "base/num.h"
#include "compute/rng.h"

#define LN2 0.693147180559945309417
#define DRAW_BITS 32 // of the counter, for the elements of a draw in fours

// Two normal deviates from two words.
static void pair(float out[2], uint32_t a, uint32_t b) {
    double u = ((double)a + 0.5) * 0x1p-32, turns = (double)b * 0x1p-32;
    double r = sqrt(-2 * LN2 * num_log2(u));
    out[0] = (float)(r * num_cos_turns(turns));
    out[1] = (float)(r * num_sin_turns(turns));
}

void sa_noise(float *out, int64_t n, uint64_t seed, uint64_t stream, uint64_t draw) {
    for (int64_t i = 0; i < n; i += 4) {
        rng_u32x4 u = rng_draw(seed, stream, draw << DRAW_BITS | (uint64_t)(i / 4));
        float four[4];
        pair(four, u.v[0], u.v[1]);
        pair(four + 2, u.v[2], u.v[3]);
        for (int64_t k = 0; k < MIN(4, n - i); k++) out[i + k] = four[k];
    }
}
