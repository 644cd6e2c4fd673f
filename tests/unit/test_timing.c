// test_timing.c - where beats, bars and chords of a request lie in time.
#include <criterion/criterion.h>
#include <math.h>

#include "request/chords.h"
#include "request/length.h"

static timing time_of(const char *name, int chords) {
    stemforge_request r = stemforge_request_default();
    r.bpm = 120, r.meter = name, r.chords_per_bar = chords;
    return timing_of(&r, 0);
}

// Quarters at which the chords of the first two bars begin, told by both functions.
static void begins(const timing *t, const double *want, size_t n) {
    for (size_t i = 0; i < n; i++) {
        cr_assert_float_eq(timing_chord_begin(t, (int64_t)i), want[i], 1e-12, "%s: chord %zu",
                           t->meter->name, i);
        cr_assert_eq(timing_chord(t, want[i]), (int64_t)i);
        cr_assert_eq(timing_chord(t, want[i] - 1e-9), (int64_t)i, "rounding");
        cr_assert_eq(timing_chord(t, want[i] - 0.01), (int64_t)i - 1);
    }
}

Test(timing, chords_share_a_bar_at_whole_beats_and_in_6_8_at_its_parts) {
    const timing one = time_of(NULL, 0), two = time_of("4/4", 2), three = time_of("4/4", 3);
    const timing waltz = time_of("3/4", 2), six = time_of("6/8", 2);
    begins(&one, (const double[]){0, 4, 8}, 3);
    begins(&two, (const double[]){0, 2, 4, 6, 8}, 5);
    begins(&three, (const double[]){0, 2, 3, 4, 6, 7}, 6);
    begins(&waltz, (const double[]){0, 2, 3, 5}, 4);
    begins(&six, (const double[]){0, 1.5, 3, 4.5}, 4);
    cr_assert_eq(timing_chord(&two, -0.5), -1);
    cr_assert_eq(timing_chord(&two, -3), -2);
}

Test(timing, a_moving_tempo_goes_through_its_beats_and_on_at_both_ends) {
    const double beats[] = {0.5, 1, 1.6, 2.1};
    stemforge_request r = stemforge_request_default();
    r.bpm = 111, r.beats = beats, r.beat_count = 4;
    const timing t = timing_of(&r, 0);
    for (int i = 0; i < 4; i++) cr_assert_float_eq(timing_beat(&t, beats[i]), i, 1e-12);
    cr_assert_float_eq(timing_beat(&t, 1.3), 1.5, 1e-12);
    cr_assert_float_eq(timing_beat(&t, 0), -1, 1e-12);
    cr_assert_float_eq(timing_beat(&t, 3.1), 5, 1e-12);
    for (double beat = -1.5; beat < 6; beat += 0.25)
        cr_assert_float_eq(timing_beat(&t, timing_seconds(&t, beat)), beat, 1e-9);
    r.beat_count = 0;
    const timing even = timing_of(&r, 0);
    cr_assert_float_eq(timing_beat(&even, 60), 111, 1e-12);
    cr_assert_float_eq(timing_seconds(&even, 111), 60, 1e-12);
}

Test(timing, bars_are_as_long_as_their_meter) {
    static const struct {
        const char *name;
        double seconds;
    } rows[] = {{NULL, 16}, {"4/4", 16}, {"3/4", 12}, {"6/8", 12}, {"9/8", 16}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        stemforge_request r = stemforge_request_default();
        r.bpm = 120, r.bars = 8, r.meter = rows[i].name;
        cr_assert_eq(length_seconds(&r), rows[i].seconds);
        cr_assert_eq(length_frames(&r, 44100), (int64_t)(rows[i].seconds * 44100));
    }
}

Test(timing, a_meter_that_is_none_is_refused) {
    static const char *const drums[] = {"drums"};
    stemforge_request r = stemforge_request_default();
    stemforge_error e;
    r.stems = drums, r.stem_count = 1;
    for (size_t i = 0; i < meter_count; i++) {
        r.meter = meters[i].name;
        cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_OK);
    }
    r.meter = "7/8";
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "meter");
    cr_assert_str_eq(e.text, "meter: expected 4/4, 3/4 or 6/8, found \"7/8\"");
    r.meter = "3/4", r.chords_per_bar = 5;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "chords_per_bar");
    r.chords_per_bar = 4, r.bars = 100, r.bpm = 120, r.loop = true;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "bars");
}
