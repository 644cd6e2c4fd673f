// post.c - see post.h.
#include "audio/post.h"

#include <math.h> // fabsf, floor, isfinite and sqrt: exact
#include <string.h>

#include "base/lanes.h"
#include "base/mem.h"
#include "base/num.h"

#define CHECKED 256 // samples that are looked at together

int64_t post_frames(double seconds, int rate) {
    return (int64_t)floor(seconds * rate + 0.5);
}

// Resamples into at most frames frames of out's channel; pads with silence. Only as much input as
// the wanted frames can feel is converted.
static status fit_channel(float *out, int64_t frames, const float *x, int64_t n, const resampler *r,
                          err *e) {
    int64_t made = resample_frames(r, n);
    if (made <= frames) {
        status rc = resample_run(r, out, POST_CHANNELS, x, 1, n, e);
        for (int64_t i = made; i < frames; i++) out[i * POST_CHANNELS] = 0;
        return rc;
    }
    float *all = mem_alloc((size_t)made * sizeof *all);
    if (!all) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)made);
    status rc = resample_run(r, all, 1, x, 1, n, e);
    for (int64_t i = 0; i < frames; i++) out[i * POST_CHANNELS] = all[i];
    mem_free(all);
    return rc;
}

post_shape post_plain(int64_t frames) {
    int64_t fade = post_frames(POST_FADE_SECONDS, POST_RATE);
    return (post_shape){.frames = frames, .fade_in = fade, .fade_out = fade};
}

status post_fit(float *out, int64_t frames, const float *planes, int channels, int64_t n,
                const resampler *to_rate, err *e) {
    if (channels != 1 && channels != 2)
        return err_set(e, ERR_ARG, "%d channels, expected 1 or 2", channels);
    status rc = post_check(planes, channels * n, e);
    for (int c = 0; !rc && c < channels; c++)
        rc = fit_channel(out + c, frames, planes + c * n, n, to_rate, e);
    if (!rc && channels == 1)
        for (int64_t i = 0; i < frames; i++) out[2 * i + 1] = out[2 * i];
    return rc;
}

status post_finish(float *out, const post_shape *shape, const float *planes, int channels,
                   int64_t n, const resampler *to_rate, err *e) {
    int64_t frames = shape->frames;
    status rc = post_fit(out, frames + shape->fold, planes, channels, n, to_rate, e);
    if (rc) return rc;
    if (shape->fold) post_fold(out, frames, POST_CHANNELS, shape->fold);
    post_silence(out, frames, POST_CHANNELS, shape->rest, shape->rests);
    post_fade(out, frames, POST_CHANNELS, shape->fade_in, shape->fade_out);
    post_normalise(out, frames * POST_CHANNELS, POST_PEAK);
    return OK;
}

static float fade_gain(int64_t i, int64_t fade) {
    return (float)(0.5 - 0.5 * num_cos_turns(((double)i + 0.5) / (double)(2 * fade)));
}

static void scale_frame(float *x, int channels, float gain) {
    for (int c = 0; c < channels; c++) x[c] *= gain;
}

void post_fade(float *x, int64_t frames, int channels, int64_t fade_in, int64_t fade_out) {
    fade_in = MIN(fade_in, frames / 2);
    fade_out = MIN(fade_out, frames / 2);
    for (int64_t i = 0; i < fade_in; i++)
        scale_frame(x + i * channels, channels, fade_gain(i, fade_in));
    for (int64_t i = 0; i < fade_out; i++)
        scale_frame(x + (frames - 1 - i) * channels, channels, fade_gain(i, fade_out));
}

void post_silence(float *x, int64_t frames, int channels, const post_rest *rest, size_t rests) {
    for (size_t i = 0; i < rests; i++) {
        int64_t from = MIN(rest[i].from, frames), to = MIN(rest[i].to, frames);
        int64_t out = MIN(rest[i].fade_out, from), in = MIN(rest[i].fade_in, frames - to);
        for (int64_t k = 0; k < out; k++)
            scale_frame(x + (from - 1 - k) * channels, channels, fade_gain(k, out));
        for (int64_t k = from * channels; k < to * channels; k++) x[k] = 0;
        for (int64_t k = 0; k < in; k++)
            scale_frame(x + (to + k) * channels, channels, fade_gain(k, in));
    }
}

// How alike a and b [n] are, 0 to 1: their correlation, opposites as strangers.
static double likeness(const float *a, const float *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab > 0 ? MIN(ab / sqrt(aa * bb), 1) : 0;
}

void post_fold(float *x, int64_t frames, int channels, int64_t beat) {
    // The next beat keeps its attack, which may come a little early.
    int64_t from = beat * 3 / 4, to = beat * 19 / 20;
    const float *past = x + frames * channels;
    double alike = likeness(past + from * channels, x + from * channels, (to - from) * channels);
    for (int64_t i = 0; i < from * channels; i++) x[i] = past[i];
    for (int64_t i = from; i < to; i++) {
        double turns = ((double)(i - from) + 0.5) / (double)(4 * (to - from)); // to a quarter
        double old = num_cos_turns(turns), new = num_sin_turns(turns);
        // The level of a sum of two that are so much alike is then that of either.
        double level = sqrt(1 + 2 * old * new *alike);
        for (int64_t k = i * channels; k < (i + 1) * channels; k++)
            x[k] = (float)((old * (double)past[k] + new *(double)x[k]) / level);
    }
}

static float peak_of(const float *x, int64_t n) {
    float peak[4] = {0}; // four, so that they need not wait for each other
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) peak[k] = MAX(peak[k], fabsf(x[i + k]));
    for (; i < n; i++) peak[0] = MAX(peak[0], fabsf(x[i]));
    float low = MAX(peak[0], peak[1]), high = MAX(peak[2], peak[3]);
    return MAX(low, high);
}

void post_normalise(float *x, int64_t n, float peak) {
    float have = peak_of(x, n);
    if (have == 0) return;
    // In double the peak comes within 2^-52 of the f32 asked for, so rounding hits it exactly.
    double scale = (double)peak / (double)have;
    int64_t i = 0;
    for (; i + 2 <= n; i += 2) lanes_d2_narrow(x + i, lanes_d2_widen(x + i) * scale);
    for (; i < n; i++) x[i] = (float)((double)x[i] * scale);
}

// Of x [CHECKED]: a finite number times 0 is 0, any other is none.
static bool all_finite(const float *x) {
    lanes_f4 a = {0}, b = {0};
    for (int i = 0; i < CHECKED; i += 8)
        a += 0 * lanes_f4_load(x + i), b += 0 * lanes_f4_load(x + i + 4);
    a += b;
    return a[0] + a[1] + a[2] + a[3] == 0;
}

status post_check(const float *x, int64_t n, err *e) {
    for (int64_t i = 0; i < n; i++) {
        for (; i + CHECKED <= n && all_finite(x + i); i += CHECKED) {
        }
        if (i < n && !isfinite(x[i]))
            return err_set(e, ERR_FORMAT, "sample %lld is %s, expected a finite number",
                           (long long)i, isnan(x[i]) ? "not a number" : "infinite");
    }
    return OK;
}

post_levels post_measure(const float *x, int64_t n) {
    post_levels m = {.peak = peak_of(x, n)};
    double sum = 0, squares = 0;
    int64_t run = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
        m.clipped += fabsf(x[i]) >= 1;
        run = m.peak > 0 && fabsf(x[i]) == m.peak ? run + 1 : 0;
        m.stuck = MAX(m.stuck, run);
    }
    if (n > 0) {
        m.mean = sum / (double)n;
        m.rms = sqrt(squares / (double)n);
    }
    return m;
}
