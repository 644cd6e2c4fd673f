// test_mix.c - tracks are balanced by loudness, then gains and pans; the level of the whole.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audio/loudness.h"
#include "audio/mix.h"
#include "audio/post.h"
#include "base/mem.h"
#include "request/stems.h"

#define RATE 44100
#define N ((int64_t)2 * RATE)

// A sine of hz at an amplitude in both planes [2, N].
static float *sine(double hz, double amplitude) {
    float *x = malloc((size_t)(2 * N) * sizeof *x);
    cr_assert_not_null(x);
    for (int64_t i = 0; i < 2 * N; i++)
        x[i] = (float)(amplitude * sin(2 * M_PI * hz * (double)(i % N) / RATE));
    return x;
}

static mix one(const float *planes, const mix_track *t) {
    mix m;
    mix_init(&m, RATE);
    cr_assert_eq(mix_add(&m, planes, N, t, NULL), OK);
    return m;
}

static double level(const mix *m) {
    double lufs = 0;
    cr_assert_eq(loudness_of(&lufs, m->x, m->frames, 2, RATE, NULL), OK);
    return lufs;
}

static double set_level(mix *m, double lufs) {
    double got = 0;
    cr_assert_eq(mix_set_loudness(m, lufs, &got, NULL), OK);
    return got;
}

Test(mix, balanced_tracks_have_their_loudness_whatever_they_were) {
    float *loud = sine(1000, 0.8), *soft = sine(300, 0.01);
    mix a = one(loud, &(mix_track){.lufs = -23}), b = one(soft, &(mix_track){.lufs = -26});
    cr_assert_float_eq(level(&a), -23, 0.01);
    cr_assert_float_eq(level(&b), -26, 0.01);
    mix_deinit(&a);
    mix_deinit(&b);
    a = one(soft, &(mix_track){.lufs = -23, .gain_db = 6});
    cr_assert_float_eq(level(&a), -17, 0.01);
    mix_deinit(&a);
    a = one(soft, &(mix_track){.gain_db = 20}); // tenfold
    cr_assert_float_eq(a.x[2 * 37], 10 * soft[37], 1e-6);
    mix_deinit(&a);
    free(loud);
    free(soft);
}

// Drums and bass carry a mix: neither hides the other.
Test(mix, a_stem_is_known_by_a_word_of_its_file_and_drums_stand_by_the_bass) {
    static const struct {
        const char *name, *stem;
    } files[] = {{"drums", "drums"},     {"rock_120bpm_Am_bass", "bass"},
                 {"bass.take1", "bass"}, {"bass-and-drums", "drums"},
                 {"drumset", NULL},      {"", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        int type = stems_find_word(files[i].name, strlen(files[i].name));
        cr_assert_eq(type, files[i].stem ? stems_find(files[i].stem) : -1, "%s", files[i].name);
    }
    double drums = stem_types[stems_find("drums")].lufs, bass = stem_types[stems_find("bass")].lufs;
    cr_assert_leq(fabs(drums - bass), 2);
}

Test(mix, pans_keep_the_power_and_0_changes_nothing) {
    float *x = sine(1000, 0.5);
    static const double pans[] = {-1, -0.5, 0, 0.3, 1};
    for (size_t i = 0; i < ARRAY_LEN(pans); i++) {
        mix m = one(x, &(mix_track){.pan = pans[i]});
        double l = (double)m.x[2 * 11] / (double)x[11], r = (double)m.x[2 * 11 + 1] / (double)x[11];
        cr_assert_float_eq(l * l + r * r, 2, 1e-5);
        cr_assert(pans[i] < 0 ? l > r : pans[i] > 0 ? r > l : l == 1 && r == 1);
        if (pans[i] == 1) cr_assert_float_eq(l, 0, 1e-6);
        mix_deinit(&m);
    }
    free(x);
}

Test(mix, the_whole_has_the_level_that_was_asked_for) {
    float *x = sine(1000, 0.5), *quiet = calloc((size_t)(2 * N), sizeof *quiet);
    mix m = one(x, &(mix_track){.lufs = MIX_TRACK_LUFS});
    cr_assert_float_eq(set_level(&m, -14), -14, 0.01);
    cr_assert_float_eq(set_level(&m, 9), 0, 0.1); // full scale in both channels is 0 LUFS
    cr_assert_leq(post_measure(m.x, 2 * m.frames).peak, MIX_PEAK_MAX);
    mix_set_peak(&m, POST_PEAK);
    cr_assert_eq(post_measure(m.x, 2 * m.frames).peak, POST_PEAK);
    mix_deinit(&m);
    m = one(quiet, &(mix_track){.lufs = MIX_TRACK_LUFS});
    cr_assert_eq(set_level(&m, -14), LOUDNESS_SILENCE);
    cr_assert_eq(post_measure(m.x, 2 * m.frames).peak, 0);
    mix_deinit(&m);
    free(x);
    free(quiet);
}

Test(mix, survives_each_failed_allocation) {
    float *x = sine(1000, 0.5);
    for (int n = 0;; n++) {
        mix m;
        mix_init(&m, RATE);
        double got;
        mem_fail_after(n);
        status rc = mix_add(&m, x, N, &(mix_track){.lufs = MIX_TRACK_LUFS}, NULL);
        if (!rc) rc = mix_set_loudness(&m, -14, &got, NULL);
        mem_fail_after(-1);
        mix_deinit(&m);
        if (rc == OK) break;
        cr_assert_eq(rc, ERR_OOM);
    }
    free(x);
}
