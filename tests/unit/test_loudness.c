// test_loudness.c - loudness of EBU Tech 3341's signals, which say what a meter must show to 0.1
// LU; fold-down by its coefficients.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "audio/fold.h"
#include "audio/loudness.h"

// A sine of 1 kHz in both channels, each part at its level (dB of full scale) for its seconds.
static double sine_parts(int rate, int channels, const double (*part)[2], size_t parts) {
    int64_t n = 0, at = 0;
    for (size_t i = 0; i < parts; i++) n += (int64_t)(part[i][1] * rate);
    float *x = malloc((size_t)(n * channels) * sizeof *x);
    cr_assert_not_null(x);
    for (size_t i = 0; i < parts; i++) {
        double level = pow(10, part[i][0] / 20);
        for (int64_t end = at + (int64_t)(part[i][1] * rate); at < end; at++) {
            for (int c = 0; c < channels; c++)
                x[at * channels + c] = (float)(level * sin(2 * M_PI * 1000 * (double)at / rate));
        }
    }
    double l = 0;
    cr_assert_eq(loudness_of(&l, x, n, channels, rate, NULL), OK);
    free(x);
    return l;
}
#define LOUDNESS(rate, channels, ...)                                                              \
    sine_parts(rate, channels, (const double[][2]){__VA_ARGS__},                                   \
               sizeof(double[][2]){__VA_ARGS__} / sizeof(double[2]))

Test(loudness, the_signals_of_ebu_tech_3341_read_as_it_says) {
    static const int rates[] = {48000, 44100, 32000};
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        cr_assert_float_eq(LOUDNESS(rates[i], 2, {-23, 20}), -23, 0.1);
        cr_assert_float_eq(LOUDNESS(rates[i], 2, {-33, 20}), -33, 0.1);
        cr_assert_float_eq(LOUDNESS(rates[i], 2, {-36, 10}, {-23, 60}, {-36, 10}), -23, 0.1);
        cr_assert_float_eq(
            LOUDNESS(rates[i], 2, {-72, 10}, {-36, 10}, {-23, 60}, {-36, 10}, {-72, 10}), -23, 0.1);
        cr_assert_float_eq(LOUDNESS(rates[i], 2, {-26, 20}, {-20, 20.1}, {-26, 20}), -23, 0.1);
        cr_assert_float_eq(LOUDNESS(rates[i], 1, {-20, 5}), -23, 0.1); // half the power of two
    }
}

Test(loudness, silence_and_short_clips_have_an_answer) {
    cr_assert_eq(LOUDNESS(44100, 2, {-200, 2}), LOUDNESS_SILENCE);
    cr_assert_float_eq(LOUDNESS(44100, 2, {-23, 0.2}), -23, 0.3);
    cr_assert_float_eq(LOUDNESS(44100, 2, {-23, 0.31}), -23, 0.3);
    cr_assert_float_eq(LOUDNESS(44100, 2, {-23, 0.39}), -23, 0.3);
    double none = 0;
    cr_assert_eq(loudness_of(&none, NULL, 0, 2, 44100, NULL), OK);
    cr_assert_eq(none, LOUDNESS_SILENCE);
}

Test(fold, channels_go_where_they_belong) {
    static const float x[6] = {1, 2, 4, 8, 16, 32}; // L R C LFE SL SR
    static const uint8_t unknown[8] = {0};
    const uint8_t turned[3] = {FOLD_CENTRE, FOLD_RIGHT, FOLD_LEFT};
    float left, right, mono;
    fold_plane(&left, x, 1, 6, unknown, 0);
    fold_plane(&right, x, 1, 6, unknown, 1);
    fold_plane(&mono, x, 1, 6, unknown, FOLD_MONO);
    cr_assert_float_eq(left, 1 + 0.70710678 * (4 + 16), 1e-5);
    cr_assert_float_eq(right, 2 + 0.70710678 * (4 + 32), 1e-5);
    cr_assert_float_eq(mono, (left + right) / 2, 1e-5);
    fold_plane(&left, x, 1, 3, turned, 0);
    cr_assert_float_eq(left, 4 + 0.70710678 * 1, 1e-5);
    fold_plane(&mono, x, 1, 2, unknown, FOLD_MONO);
    cr_assert_eq(mono, 1.5f);
}
