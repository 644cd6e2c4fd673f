// join.c - see join.h.
#include "audio/join.h"

#include <math.h> // fabsf and sqrt: exact
#include <string.h>

#include "base/num.h"

// --- fades

#define FADE_FIRST_MS 1 // the distance nearest to the end that is looked at
#define FADE_SILENT 3   // doublings of it may have been rounded to nothing
#define FADE_RISES_MIN 4
// Power from one doubling to the next: a linear fade's rises four times, a cosine's 16 times until
// its last third. More than the least is a rise, if only of the sound.
#define FADE_RISE_LEAST 1.4
#define FADE_RISE_LINEAR 2.5
#define FADE_RISE_COSINE 4.0
#define FADE_LONGEST 4    // s
#define FADE_OUR_OWN 0.13 // s: 0.1 s, and what the codec's last frames lack before that

// Mean power between two distances from the end.
static double power_at(const float *x, int64_t frames, int channels, int64_t from, int64_t to) {
    double sum = 0;
    for (int64_t i = (frames - to) * channels; i < (frames - from) * channels; i++)
        sum += (double)x[i] * (double)x[i];
    return sum / (double)((to - from) * channels);
}

int64_t join_find_fade(const float *x, int64_t frames, int channels, int rate) {
    int64_t from = (int64_t)FADE_FIRST_MS * rate / 1000;
    double below = 0, power = 0, all = 1, least = FADE_RISE_LINEAR;
    int rises = 0;
    for (int i = 0; 2 * from <= frames; i++, from *= 2) {
        power = power_at(x, frames, channels, from, 2 * from);
        bool silent = below <= 0 && power <= 0 && i < FADE_SILENT;
        if (!silent && power <= below * least) break;
        if (below > 0 && rises++ < FADE_RISES_MIN) all *= power / below;
        if (rises == FADE_RISES_MIN && sqrt(sqrt(all)) > 2 * FADE_RISE_COSINE)
            least = FADE_RISE_COSINE;
        below = power;
    }
    if (rises < FADE_RISES_MIN || from > (int64_t)FADE_LONGEST * rate) return 0;
    int64_t own = post_frames(FADE_OUR_OWN, rate);
    if (own > from * 11 / 20 && own <= 2 * from) return own;
    return MIN(power > below * FADE_RISE_LEAST ? 2 * from : from, frames);
}

// --- level

#define LEVEL_SECONDS 4 // of what both have, before the join
#define LEVEL_MOST 4.0  // times, up or down: more is no codec's doing
#define SETTLE_SECONDS 1.0

static double channel_power(const float *x, int64_t from, int64_t to, int c) {
    double sum = 0;
    for (int64_t i = from; i < to; i++) sum += (double)x[2 * i + c] * (double)x[2 * i + c];
    return sum;
}

// What the model's sound is to be multiplied with, so that channel c is as loud as the front.
static double gain_of(const float *made, const join_front *f, int c) {
    int64_t from = MAX(0, f->frames - LEVEL_SECONDS * POST_RATE);
    double want = channel_power(f->x, from, f->frames, c);
    double have = channel_power(made, from, f->frames, c);
    if (have <= 0) return 1;
    return MAX(MIN(sqrt(want / have), LEVEL_MOST), want > 0 ? 1 / LEVEL_MOST : 0);
}

static void scale_channel(float *x, int64_t frames, int c, double gain) {
    for (int64_t i = 0; i < frames; i++) x[2 * i + c] = (float)((double)x[2 * i + c] * gain);
}

// How much of the way to its later gain frame i behind the join has gone.
static double settled(int64_t i) {
    return MIN((double)i / (SETTLE_SECONDS * POST_RATE), 1);
}

// Keeps x [frames] within the peak: the gain falls from 1 at the join to what is needed within
// SETTLE_SECONDS. Where that is too slow, all of it becomes quieter.
static void keep_within(float *x, int64_t frames, double peak) {
    double later = 1, now = 1;
    for (int64_t i = 0; i < 2 * frames; i++) {
        double v = fabsf(x[i]), way = settled(i / 2);
        if (v > peak && way > 0.25) later = MIN(later, 1 - (1 - peak / v) / way);
    }
    later = MAX(later, 0.25);
    for (int64_t i = 0; i < 2 * frames; i++) {
        double v = fabsf(x[i]) * (1 + (later - 1) * settled(i / 2));
        if (v * now > peak) now = peak / v;
    }
    for (int64_t i = 0; i < 2 * frames; i++)
        x[i] = (float)((double)x[i] * now * (1 + (later - 1) * settled(i / 2)));
}

static double peak_of(const float *x, int64_t n) {
    float peak = 0;
    for (int64_t i = 0; i < n; i++) peak = MAX(peak, fabsf(x[i]));
    return (double)peak;
}

// --- the join

// Behind the join stands what front and model differ by before it, mirrored and faded out: the
// first frame goes on from the front's last one.
static void bridge(float *out, const join_front *f, int64_t frames) {
    int64_t n = MIN(MIN(f->frames, frames - f->frames), post_frames(JOIN_SECONDS, POST_RATE));
    for (int64_t i = 0; i < n; i++) {
        double left = 0.5 + 0.5 * num_cos_turns(((double)i + 0.5) / (double)(2 * n));
        for (int c = 0; c < POST_CHANNELS; c++) {
            int64_t before = 2 * (f->frames - 1 - i) + c;
            float *x = &out[2 * (f->frames + i) + c];
            *x = (float)((double)*x + left * ((double)f->x[before] - (double)out[before]));
        }
    }
}

status join_finish(float *out, const join_front *front, const post_shape *shape,
                   const float *planes, int channels, int64_t n, const resampler *to_rate, err *e) {
    int64_t frames = shape->frames, at = front->frames;
    status rc = post_fit(out, frames, planes, channels, n, to_rate, e);
    if (rc) return rc;
    for (int c = 0; c < POST_CHANNELS; c++) scale_channel(out, frames, c, gain_of(out, front, c));
    bridge(out, front, frames);
    memcpy(out, front->x, (size_t)(at * POST_CHANNELS) * sizeof *out);
    post_fade(out + at * POST_CHANNELS, frames - at, POST_CHANNELS, 0, shape->fade_out);
    keep_within(out + at * POST_CHANNELS, frames - at,
                MAX((double)JOIN_PEAK, peak_of(front->x, at * POST_CHANNELS)));
    return OK;
}
