// test_post.c - from samples to a finished stem.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "audio/post.h"
#include "base/mem.h"

static float noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

Test(post, a_finished_stem_has_exact_length_peak_and_fades) {
    const double seconds[] = {0.1, 0.15, 1, 1.2345, 2};
    enum { N = 40000 };
    float *planes = mem_alloc(2 * N * sizeof *planes);
    uint32_t state = 1;
    for (int i = 0; i < 2 * N; i++) planes[i] = 3 * noise(&state); // louder than full scale
    resampler *r;
    cr_assert_eq(resample_open(&r, 32000, POST_RATE, NULL), OK);
    for (size_t s = 0; s < ARRAY_LEN(seconds); s++) {
        for (int channels = 1; channels <= 2; channels++) {
            int64_t frames = post_frames(seconds[s], POST_RATE);
            const post_shape shape = post_plain(frames);
            cr_assert_eq(frames, llround(seconds[s] * 44100));
            float *out = mem_alloc((size_t)frames * 2 * sizeof *out);
            cr_assert_eq(post_finish(out, &shape, planes, channels, N, r, NULL), OK);
            post_levels m = post_measure(out, frames * 2);
            cr_assert_eq(m.peak, 0.8f);
            cr_assert_eq(m.clipped, 0);
            cr_assert_leq(m.stuck, 2 - channels + 1, "flat tops: it was clamped");
            cr_assert_lt(fabsf(out[0]) + fabsf(out[1]), 1e-4f);
            cr_assert_lt(fabsf(out[2 * frames - 1]) + fabsf(out[2 * frames - 2]), 1e-4f);
            bool same = true;
            for (int64_t i = 0; i < frames; i++) same = same && out[2 * i] == out[2 * i + 1];
            cr_assert_eq(same, channels == 1);
            mem_free(out);
        }
    }
    mem_free(planes), resample_close(r);
}

Test(post, too_short_input_is_padded_with_silence) {
    float planes[3200];
    for (int i = 0; i < 3200; i++) planes[i] = 1;
    resampler *r;
    cr_assert_eq(resample_open(&r, 32000, POST_RATE, NULL), OK);
    const post_shape shape = post_plain(44100);
    float *out = mem_alloc(44100 * 2 * sizeof *out);
    cr_assert_eq(post_finish(out, &shape, planes, 1, 3200, r, NULL), OK);
    for (int i = 4410; i < 44100; i++) cr_assert(out[2 * i] == 0 && out[2 * i + 1] == 0, "%d", i);
    mem_free(out), resample_close(r);
}

Test(post, the_fade_is_a_raised_cosine_of_100_ms) {
    float x[44100];
    for (int i = 0; i < 44100; i++) x[i] = 1;
    post_fade(x, 44100, 1, 4410, 4410);
    for (int i = 0; i < 44100; i++) {
        int from_end = MIN(i, 44099 - i);
        double want = from_end < 4410 ? 0.5 - 0.5 * cos(acos(-1) * (from_end + 0.5) / 4410) : 1;
        cr_assert_float_eq(x[i], want, 1e-7);
    }
    float tiny[5] = {1, 1, 1, 1, 1}; // fades of two frames, one in the middle untouched
    post_fade(tiny, 5, 1, 4410, 4410);
    cr_assert(tiny[2] == 1 && tiny[0] < tiny[1] && tiny[1] < 1 && tiny[0] == tiny[4] &&
              tiny[1] == tiny[3]);
    post_fade(tiny, 0, 1, 4410, 4410);
    post_fade(tiny, 1, 1, 4410, 4410);
}

Test(post, the_peak_is_hit_exactly_whatever_it_was) {
    uint32_t state = 7;
    for (int k = 0; k < 2000; k++) {
        float x[64];
        float loud = expf(20 * noise(&state));
        for (int i = 0; i < 64; i++) x[i] = loud * noise(&state);
        post_normalise(x, 64, 0.8f);
        cr_assert_eq(post_measure(x, 64).peak, 0.8f);
    }
}

Test(post, silence_stays_silence) {
    float x[100] = {0};
    post_normalise(x, 100, 0.8f);
    post_levels m = post_measure(x, 100);
    cr_assert(m.peak == 0 && m.rms == 0 && m.stuck == 0);
}

Test(post, a_model_that_makes_no_numbers_is_an_error) {
    float planes[100] = {0}, out[20];
    const post_shape shape = post_plain(10);
    err e;
    resampler *r;
    cr_assert_eq(resample_open(&r, 32000, POST_RATE, NULL), OK);
    planes[57] = NAN;
    cr_assert_eq(post_finish(out, &shape, planes, 1, 100, r, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "sample 57 is not a number, expected a finite number");
    planes[57] = -INFINITY;
    cr_assert_eq(post_finish(out, &shape, planes, 1, 100, r, &e), ERR_FORMAT);
    resample_close(r);
}

Test(post, levels_follow_their_definitions) {
    const float x[] = {0.5f, -1.5f, -1.5f, 1.5f, 0.25f, 1, 0, 0};
    post_levels m = post_measure(x, 8);
    cr_assert_eq(m.peak, 1.5f);
    cr_assert_eq(m.clipped, 4);
    cr_assert_eq(m.stuck, 3);
    cr_assert_float_eq(m.mean, 0.25 / 8, 1e-12);
    cr_assert_float_eq(m.rms, sqrt((0.25 + 3 * 2.25 + 0.0625 + 1) / 8), 1e-12);
}

// x [frames]: what comes round every bar, and on top a note that began in the bar before.
static float played(int64_t i, int64_t bar) {
    double turns = (double)(i % bar) / (double)bar;
    return (float)(0.5 * sin(2 * acos(-1) * 37 * turns) * exp(-8 * turns));
}

Test(post, a_loop_of_what_comes_round_is_what_comes_round) {
    enum { BAR = 44100, BEAT = BAR / 4 };
    float *x = mem_alloc((BAR + BEAT) * sizeof *x);
    for (int64_t i = 0; i < BAR + BEAT; i++) x[i] = played(i, BAR);
    post_fold(x, BAR, 1, BEAT);
    for (int64_t i = 0; i < BAR; i++) cr_assert_float_eq(x[i], played(i, BAR), 1e-6, "%d", (int)i);
    mem_free(x);
}

Test(post, a_loop_begins_with_what_rings_over_its_end) {
    enum { BAR = 44100, BEAT = BAR / 4 };
    float *x = mem_alloc((BAR + BEAT) * sizeof *x);
    uint32_t state = 3;
    for (int64_t i = 0; i < BAR + BEAT; i++) x[i] = noise(&state); // no two beats are alike
    float *was = mem_alloc((BAR + BEAT) * sizeof *was);
    memcpy(was, x, (BAR + BEAT) * sizeof *was);
    post_fold(x, BAR, 1, BEAT);
    int64_t from = BEAT * 3 / 4, to = BEAT * 19 / 20;
    cr_assert_eq(memcmp(x, was + BAR, (size_t)from * sizeof *x), 0, "the seam is cut");
    cr_assert_eq(memcmp(x + to, was + to, (size_t)(BAR - to) * sizeof *x), 0);
    double power = 0, power_was = 0; // noise of one power on both sides of the cross-fade keeps it
    for (int64_t i = from; i < to; i++) {
        power += (double)x[i] * (double)x[i];
        power_was += (double)was[i] * (double)was[i];
    }
    cr_assert_float_eq(10 * log10(power / power_was), 0, 0.5);
    mem_free(was), mem_free(x);
}

Test(post, each_fade_has_its_own_length) {
    float x[1000];
    for (int i = 0; i < 1000; i++) x[i] = 1;
    post_fade(x, 1000, 1, 0, 100);
    cr_assert(x[0] == 1 && x[899] == 1 && x[900] < 1 && x[999] < 1e-3f);
    for (int i = 0; i < 1000; i++) x[i] = 1;
    post_fade(x, 1000, 1, 10, 0);
    cr_assert(x[0] < 0.01f && x[9] < 1 && x[10] == 1 && x[999] == 1);
}
