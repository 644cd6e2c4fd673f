// test_join.c - sound that goes on from other sound: fades that are found, and the join.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "audio/join.h"
#include "base/mem.h"

#define RATE POST_RATE
#define PI 3.14159265358979323846

static float noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

static float *new_noise(int64_t n, double level) {
    float *x = mem_alloc((size_t)n * sizeof *x);
    uint32_t state = 7;
    for (int64_t i = 0; i < n; i++) x[i] = (float)(level * (double)noise(&state));
    return x;
}

static int64_t fade_of(const float *x, int64_t frames) {
    return join_find_fade(x, frames, 2, RATE);
}

Test(join, finds_fades_at_the_end_and_how_long_they_are) {
    const double seconds[] = {0.05, 0.1, 0.3, 1, 2};
    enum { N = 6 * RATE };
    for (size_t s = 0; s < ARRAY_LEN(seconds); s++) {
        for (int linear = 0; linear < 2; linear++) {
            float *x = new_noise(2 * N, 0.5);
            int64_t fade = (int64_t)(seconds[s] * RATE);
            if (!linear) post_fade(x, N, 2, 0, fade);
            for (int64_t i = 0; linear && i < 2 * fade; i++)
                x[2 * N - 1 - i] *= (float)(i / 2) / (float)fade;
            int64_t found = fade_of(x, N);
            // A cosine has all but its level in its last tenth.
            cr_assert(found >= fade * 8 / 10 && found <= fade * 5 / 2, "%g s: %lld", seconds[s],
                      (long long)found);
            mem_free(x);
        }
    }
}

Test(join, what_dies_away_or_just_ends_is_no_fade) {
    enum { N = 2 * RATE };
    float *x = new_noise(2 * N, 0.5);
    cr_assert_eq(fade_of(x, N), 0, "it just ends");
    const double halves[] = {0.005, 0.03, 0.2}; // s
    for (size_t h = 0; h < ARRAY_LEN(halves); h++) {
        float *dying = mem_alloc(2 * N * sizeof *dying);
        for (int i = 0; i < 2 * N; i++)
            dying[i] = x[i] * (float)exp2(-(double)(i / 2) / RATE / halves[h]);
        cr_assert_eq(fade_of(dying, N), 0, "half in %g s", halves[h]);
        mem_free(dying);
    }
    for (int i = 0; i < 2 * N; i++) x[i] = (float)sin(2 * PI * 55 * (i / 2) / RATE);
    cr_assert_eq(fade_of(x, N), 0, "a sine from a zero of it");
    memset(x + N, 0, N * sizeof *x);
    cr_assert_eq(fade_of(x, N), 0, "silence");
    cr_assert_eq(fade_of(x, 0), 0);
    cr_assert_eq(fade_of(x, 5), 0);
    mem_free(x);
}

// Level of frames from to to, dB.
static double level(const float *x, int64_t from, int64_t to) {
    double sum = 0;
    for (int64_t i = 2 * from; i < 2 * to; i++) sum += (double)x[i] * (double)x[i];
    return 10 * log10(sum / (double)(2 * (to - from)));
}

typedef struct {
    float *front, *out, *planes;
} joined;

// A front of 2 s, and 4 s of a model that hears it at `gain` and a little late.
static joined join(double gain, double hz, double loud_later) {
    enum { AT = 2 * RATE, N = 4 * RATE };
    joined j = {mem_alloc(2 * AT * sizeof(float)), mem_alloc(2 * N * sizeof(float)),
                mem_alloc(N * sizeof(float))};
    for (int i = 0; i < 2 * AT; i++) j.front[i] = (float)(0.4 * sin(2 * PI * hz * (i / 2) / RATE));
    for (int i = 0; i < N; i++) {
        double more = i > AT + RATE / 2 ? loud_later : 1;
        j.planes[i] = (float)(gain * more * 0.4 * sin(2 * PI * hz * (i - 9) / RATE));
    }
    resampler *r;
    cr_assert_eq(resample_open(&r, RATE, RATE, NULL), OK);
    const post_shape shape = {.frames = N, .fade_in = RATE, .fade_out = RATE / 10};
    const join_front front = {j.front, AT};
    cr_assert_eq(join_finish(j.out, &front, &shape, j.planes, 1, N, r, NULL), OK);
    cr_assert(memcmp(j.out, j.front, 2 * AT * sizeof(float)) == 0, "the front is as it was");
    resample_close(r);
    return j;
}

static void joined_free(joined *j) {
    mem_free(j->front), mem_free(j->out), mem_free(j->planes);
}

Test(join, what_follows_is_as_loud_as_the_front_and_goes_on_from_it) {
    const double gains[] = {0.3, 0.7, 1, 2};
    for (size_t g = 0; g < ARRAY_LEN(gains); g++) {
        joined j = join(gains[g], 220, 1);
        double front = level(j.out, RATE, 2 * RATE), after = level(j.out, 2 * RATE, 3 * RATE);
        double around = level(j.out, 2 * RATE - RATE / 20, 2 * RATE + RATE / 20);
        cr_assert_float_eq(after, front, 0.3);
        cr_assert_float_eq(around, front, 1);
        float step = 0; // of the sine itself: 0.4 * 2 pi 220 / 44100
        for (int i = 2 * (2 * RATE - 1); i < 2 * (2 * RATE + 100); i++)
            step = MAX(step, fabsf(j.out[i + 2] - j.out[i]));
        cr_assert_lt(step, 0.03f, "a jump at the join");
        joined_free(&j);
    }
}

Test(join, what_follows_stays_within_full_scale_without_a_step_at_the_join) {
    joined j = join(1, 220, 3.5);
    post_levels m = post_measure(j.out, 2 * 4 * RATE);
    cr_assert_leq(m.peak, JOIN_PEAK + 1e-6f);
    cr_assert_float_eq(level(j.out, 2 * RATE, 2 * RATE + RATE / 20),
                       level(j.out, 2 * RATE - RATE / 20, 2 * RATE), 1);
    cr_assert_lt(fabsf(j.out[2 * 4 * RATE - 1]), 1e-3f, "it fades out");
    joined_free(&j);
}

Test(join, a_silent_front_and_a_silent_model_are_no_trouble) {
    enum { N = 2000 };
    float front[2 * 1000] = {0}, planes[N] = {0}, out[2 * N];
    resampler *r;
    cr_assert_eq(resample_open(&r, RATE, RATE, NULL), OK);
    const post_shape shape = {.frames = N};
    cr_assert_eq(join_finish(out, &(join_front){front, 1000}, &shape, planes, 1, N, r, NULL), OK);
    for (int i = 0; i < 2 * N; i++) cr_assert_eq(out[i], 0);
    planes[1500] = (float)NAN;
    cr_assert_eq(join_finish(out, &(join_front){front, 1000}, &shape, planes, 1, N, r, NULL),
                 ERR_FORMAT);
    resample_close(r);
}
