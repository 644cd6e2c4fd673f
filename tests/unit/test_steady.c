// test_steady.c - a long sound keeps its timbre: what drifts comes back, what repeats stays.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audio/steady.h"
#include "base/mem.h"
#include "engine/steadied.h"

#define RATE 32000
#define SECONDS 40
#define N ((int64_t)SECONDS * RATE)

// A sine whose amplitude in each second is amplitude(second), added to x [N].
static void add_sine(float *x, double hz, double (*amplitude)(int second)) {
    for (int64_t i = 0; i < N; i++)
        x[i] += (float)(amplitude((int)(i / RATE)) * sin(2 * M_PI * hz * (double)i / RATE));
}

static double same(int second) {
    (void)second;
    return 0.3;
}

static double falls_4_db(int second) {
    return second < SECONDS / 2 ? 0.1 : 0.1 * pow(10, -4 / 20.0);
}

static double rises_4_db(int second) {
    return falls_4_db(SECONDS - 1 - second);
}

static double falls_20_db(int second) {
    return second < SECONDS / 2 ? 0.1 : 0.01;
}

static double odd_bars(int second) {
    return second / 2 % 2 ? 0.3 : 0;
}

static double even_bars(int second) {
    return second / 2 % 2 ? 0 : 0.3;
}

static float *silence(void) {
    float *x = calloc((size_t)N, sizeof *x);
    cr_assert_not_null(x);
    return x;
}

// The level in dB of the part of x at hz, from one second to another.
static double level(const float *x, double hz, int from, int to) {
    double re = 0, im = 0;
    for (int64_t i = (int64_t)from * RATE; i < (int64_t)to * RATE; i++) {
        double turn = 2 * M_PI * hz * (double)i / RATE;
        re += (double)x[i] * cos(turn);
        im += (double)x[i] * sin(turn);
    }
    return 20 * log10(2 * hypot(re, im) / ((to - from) * RATE) + 1e-12);
}

static double fall(const float *x, double hz) {
    return level(x, hz, 5, 15) - level(x, hz, SECONDS - 15, SECONDS - 5);
}

// The root mean square of what a sound is changed by, against its own, in dB.
static double changed_by(const float *x, const float *before) {
    double d = 0, all = 0;
    for (int64_t i = 0; i < N; i++) {
        d += pow((double)(x[i] - before[i]), 2);
        all += pow((double)before[i], 2);
    }
    return 10 * log10(d / all + 1e-20);
}

static float *copy_of(const float *x) {
    float *y = silence();
    memcpy(y, x, (size_t)N * sizeof *y);
    return y;
}

Test(steady, treble_that_falls_by_4_db_comes_back_and_the_rest_stays) {
    float *x = silence();
    add_sine(x, 220, same);
    add_sine(x, 3000, falls_4_db);
    cr_assert_float_eq(fall(x, 3000), 4, 0.01);
    cr_assert_eq(steady_hold(x, 1, N, RATE, 8, NULL), OK);
    cr_assert_float_eq(fall(x, 3000), 0, 0.1, "%f", fall(x, 3000));
    cr_assert_float_eq(fall(x, 220), 0, 0.05);
    cr_assert_float_eq(level(x, 220, 5, 15), 20 * log10(0.3), 0.05);
    free(x);
}

Test(steady, no_band_is_changed_by_more_than_3_db) {
    float *x = silence();
    add_sine(x, 220, same);
    add_sine(x, 3000, falls_20_db);
    cr_assert_eq(steady_hold(x, 1, N, RATE, 8, NULL), OK);
    cr_assert_float_eq(fall(x, 3000), 20 - 20 * log10(2), 0.1, "%f", fall(x, 3000));
    free(x);
}

// Two tones take turns every two seconds. Over four seconds nothing drifts, over two all would.
Test(steady, what_repeats_within_a_span_stays_as_it_is) {
    float *x = silence();
    add_sine(x, 220, odd_bars);
    add_sine(x, 330, even_bars);
    float *kept = copy_of(x), *flat = copy_of(x);
    cr_assert_eq(steady_hold(x, 1, N, RATE, 8, NULL), OK);
    cr_assert_lt(changed_by(x, kept), -40, "%f", changed_by(x, kept));
    cr_assert_eq(steady_hold(flat, 1, N, RATE, 2, NULL), OK);
    cr_assert_gt(changed_by(flat, kept), -20, "the span matters: %f", changed_by(flat, kept));
    free(x);
    free(kept);
    free(flat);
}

Test(steady, less_than_two_spans_and_silence_stay_to_the_bit) {
    float *x = silence(), *kept = silence();
    cr_assert_eq(steady_hold(x, 1, N, RATE, 8, NULL), OK);
    cr_assert_arr_eq(x, kept, (size_t)N * sizeof *x);
    add_sine(x, 3000, falls_20_db);
    memcpy(kept, x, (size_t)N * sizeof *x);
    cr_assert_eq(steady_hold(x, 1, N, RATE, SECONDS / 2 + 1, NULL), OK);
    cr_assert_eq(steady_hold(x, 1, 4096, RATE, 0.01, NULL), OK);
    cr_assert_arr_eq(x, kept, (size_t)N * sizeof *x);
    free(x);
    free(kept);
}

Test(steady, two_channels_share_their_gains) {
    float *x = silence(), *both = calloc((size_t)(2 * N), sizeof *both);
    cr_assert_not_null(both);
    add_sine(x, 3000, falls_4_db);
    add_sine(both + N, 3000, rises_4_db);
    memcpy(both, x, (size_t)N * sizeof *x);
    cr_assert_eq(steady_hold(both, 2, N, RATE, 8, NULL), OK);
    cr_assert_float_eq(fall(both, 3000), 4, 0.1, "their sum has not changed: %f", fall(both, 3000));
    cr_assert_float_eq(fall(both + N, 3000), -4, 0.1);
    memcpy(both, x, (size_t)N * sizeof *x);
    for (int64_t i = 0; i < N; i++) both[N + i] = x[i] / 2;
    cr_assert_eq(steady_hold(both, 2, N, RATE, 8, NULL), OK);
    cr_assert_float_eq(fall(both, 3000), 0, 0.1);
    cr_assert_float_eq(fall(both + N, 3000), 0, 0.1);
    free(x);
    free(both);
}

Test(steady, without_memory_the_sound_is_untouched) {
    float *x = silence();
    add_sine(x, 3000, falls_4_db);
    float *kept = copy_of(x);
    status rc = ERR_OOM;
    for (int k = 0; rc; k++) {
        cr_assert_arr_eq(x, kept, (size_t)N * sizeof *x);
        mem_fail_after(k);
        rc = steady_hold(x, 1, N, RATE, 8, NULL);
        mem_fail_after(-1);
        cr_assert(!rc || rc == ERR_OOM);
        cr_assert_lt(k, 20);
    }
    free(x);
    free(kept);
}

static stemforge_request song(size_t chords, double bpm, double seconds) {
    static const char *const names[] = {"C", "G", "Am", "F", "C", "G", "Dm", "E"};
    stemforge_request r = stemforge_request_default();
    r.chords = names;
    r.chord_count = chords;
    r.bpm = bpm;
    r.seconds = seconds;
    return r;
}

Test(steady, a_span_is_whole_rounds_of_the_chords) {
    stemforge_request r = song(4, 120, 60);
    cr_assert_float_eq(steadied_span(&r, 10), 8, 1e-9);
    r = song(4, 60, 60);
    cr_assert_float_eq(steadied_span(&r, 10), 16, 1e-9);
    r = song(2, 120, 60);
    cr_assert_float_eq(steadied_span(&r, 10), 8, 1e-9);
    r = song(3, 120, 60);
    cr_assert_float_eq(steadied_span(&r, 10), 12, 1e-9);
    r = song(0, 80, 60); // four chords are assumed
    cr_assert_float_eq(steadied_span(&r, 10), 12, 1e-9);
    r = song(3, 120, 60);
    r.chords_per_bar = 2; // three bars of two seconds, twice
    cr_assert_float_eq(steadied_span(&r, 10), 12, 1e-9);
    r = song(8, 120, 60);
    r.chords_per_bar = 2, r.meter = "3/4"; // four bars of a second and a half, twice
    cr_assert_float_eq(steadied_span(&r, 10), 12, 1e-9);
}

Test(steady, what_is_to_change_or_to_fit_is_not_held) {
    static const char *const lines[] = {"8; Am F C G", "8; C G"};
    stemforge_request r = song(4, 120, 10);
    cr_assert_eq(steadied_span(&r, 10), 0, "within the window");
    cr_assert_gt(steadied_span(&r, 9), 0);
    r = song(4, 0, 60);
    cr_assert_eq(steadied_span(&r, 10), 0, "no tempo");
    r = song(4, 120, -1), r.bars = 16, r.loop = true;
    cr_assert_eq(steadied_span(&r, 10), 0);
    r.loop = false;
    cr_assert_gt(steadied_span(&r, 10), 0);
    r = song(4, 120, -1), r.sections = lines, r.section_count = 2;
    cr_assert_eq(steadied_span(&r, 10), 0);
    r = song(4, 120, 60), r.continue_from = "a.wav";
    cr_assert_eq(steadied_span(&r, 10), 0);
    r = song(4, 120, 60), r.init_audio = "a.wav";
    cr_assert_eq(steadied_span(&r, 10), 0);
    r = song(4, 120, 60), r.melody = "a.wav";
    cr_assert_eq(steadied_span(&r, 10), 0);
    static const double beats[] = {0, 0.5, 1.1};
    r = song(4, 120, 60), r.beats = beats, r.beat_count = 3;
    cr_assert_eq(steadied_span(&r, 10), 0, "the tempo moves");
    r = song(4, 120, 60), r.follow = lines, r.follow_count = 1;
    cr_assert_eq(steadied_span(&r, 10), 0);
}
