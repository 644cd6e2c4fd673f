// click.c - see click.h.
#include "audio/click.h"

#include <math.h> // floor: exact
#include <string.h>

#include "audio/post.h"
#include "base/num.h"

#define SECONDS 0.03
#define HIGH_HZ 1500.0
#define LOW_HZ 1000.0

static void add_tone(float *x, int64_t frames, int rate, double hz) {
    int64_t n = MIN((int64_t)(SECONDS * rate), frames);
    for (int64_t i = 0; i < n; i++) {
        double left = 1 - (double)i / (SECONDS * rate);
        float v = (float)((double)POST_PEAK * left * left * num_cos_turns(hz * (double)i / rate));
        x[2 * i] = x[2 * i + 1] = v;
    }
}

void click_fill(float *x, int64_t frames, int rate, double bpm, int beats_per_bar) {
    memset(x, 0, (size_t)frames * POST_CHANNELS * sizeof *x);
    for (int64_t beat = 0;; beat++) {
        int64_t at = (int64_t)floor((double)beat * 60 * rate / bpm + 0.5);
        if (at >= frames) return;
        add_tone(x + 2 * at, frames - at, rate, beat % beats_per_bar ? LOW_HZ : HIGH_HZ);
    }
}
