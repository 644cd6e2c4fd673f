// test_analyse.c - measures on sounds whose tempo, notes and defects are known because they were
// made so.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "audio/analyse.h"
#include "base/mem.h"

enum { RATE = 44100, SECONDS = 10, N = RATE * SECONDS };

static float noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

// A drum-like hit: noise or a falling tone under an exponential decay.
static void add_hit(float *x, double t, double hz, double decay, double loud, uint32_t *state) {
    int64_t from = llround(t * RATE);
    for (int64_t i = 0; i < RATE / 2 && from + i < N; i++) {
        double s = (double)i / RATE, env = loud * exp(-s / decay);
        double v =
            hz > 0 ? sin(2 * acos(-1) * hz * s * (1 + 0.5 * exp(-s * 40))) : (double)noise(state);
        if (from + i >= 0) x[from + i] += (float)(env * v);
    }
}

// Kick on 1 and 3, snare on 2 and 4, hats on eighths; each hit up to jitter seconds off.
static float *drums(double bpm, double offset, double jitter) {
    float *x = mem_calloc(N, sizeof *x);
    uint32_t s = 5;
    for (int eighth = 0; offset + eighth * 30 / bpm < SECONDS; eighth++) {
        double t = offset + eighth * 30 / bpm + jitter * (double)noise(&s);
        if (eighth % 4 == 0) add_hit(x, t, 60, 0.08, 0.8, &s);
        if (eighth % 4 == 2) add_hit(x, t, 0, 0.06, 0.5, &s);
        add_hit(x, t, 0, 0.012, 0.15, &s);
    }
    return x;
}

static onset_curve curve_of(const float *x, int64_t n, int rate) {
    onset_curve c;
    err e = {0};
    cr_assert_eq(analyse_onset_curve(&c, x, n, rate, &e), OK, "%s", e.text);
    return c;
}

Test(analyse, tempo_is_found_within_half_a_percent) {
    const double bpm[] = {82, 96.5, 104.3, 120, 127.7, 139, 151.2};
    for (size_t i = 0; i < ARRAY_LEN(bpm); i++) {
        float *x = drums(bpm[i], 0.11, 0.008);
        onset_curve c = curve_of(x, N, RATE);
        analyse_tempo t = analyse_find_tempo(&c, 60, 200);
        cr_assert_lt(fabs(t.bpm / bpm[i] - 1), 0.005, "%g bpm measured as %g", bpm[i], t.bpm);
        double beat = 60 / bpm[i], off = remainder(t.first - 0.11, beat);
        cr_assert_lt(fabs(off), 0.015, "%g bpm: first beat %g", bpm[i], t.first);
        cr_assert_gt(t.strength, 0.4);
        cr_assert_lt(analyse_tempo_strength(&c, bpm[i] * 1.03), t.strength / 2);
        analyse_onset_curve_deinit(&c), mem_free(x);
    }
}

Test(analyse, slow_and_fast_tempi_are_found_when_the_range_says_so) {
    const double bpm[] = {60, 66.6, 174, 180};
    for (size_t i = 0; i < ARRAY_LEN(bpm); i++) {
        float *x = drums(bpm[i], 0, 0.004);
        onset_curve c = curve_of(x, N, RATE);
        analyse_tempo t = analyse_find_tempo(&c, bpm[i] * 0.7, bpm[i] * 1.4);
        cr_assert_lt(fabs(t.bpm / bpm[i] - 1), 0.005, "%g bpm measured as %g", bpm[i], t.bpm);
        analyse_onset_curve_deinit(&c), mem_free(x);
    }
}

Test(analyse, noise_and_silence_have_no_tempo) {
    float *x = mem_calloc(N, sizeof *x);
    onset_curve c = curve_of(x, N, RATE);
    cr_assert_eq(analyse_find_tempo(&c, 60, 200).bpm, 0);
    cr_assert_eq(analyse_find_onsets(NULL, 0, &c), 0);
    analyse_onset_curve_deinit(&c);
    uint32_t s = 3;
    for (int i = 0; i < N; i++) x[i] = 0.3f * noise(&s);
    c = curve_of(x, N, RATE);
    cr_assert_lt(analyse_find_tempo(&c, 60, 200).strength, 0.2);
    analyse_onset_curve_deinit(&c), mem_free(x);
}

Test(analyse, onsets_lie_where_the_hits_are) {
    const int rates[] = {22050, 44100};
    for (size_t r = 0; r < ARRAY_LEN(rates); r++) {
        float *x = mem_calloc(N, sizeof *x);
        uint32_t s = 9;
        double want[20];
        for (int i = 0; i < 20; i++) {
            want[i] = (0.3 + i * 0.43 + 0.05 * (double)noise(&s)) * RATE / rates[r];
            add_hit(x, want[i] * rates[r] / RATE, i % 2 ? 0 : 110, 0.1, 0.5, &s);
        }
        double got[64];
        onset_curve c = curve_of(x, N, rates[r]);
        size_t n = analyse_find_onsets(got, 64, &c);
        cr_assert_eq(n, 20, "%zu onsets", n);
        for (int i = 0; i < 20; i++)
            cr_assert_lt(fabs(got[i] - want[i]), 0.008, "%d: %g, want %g", i, got[i], want[i]);
        analyse_onset_curve_deinit(&c), mem_free(x);
    }
}

static void add_note(float *x, double from, double to, int midi) {
    double hz = 440 * exp2((midi - 69) / 12.0);
    for (int64_t i = llround(from * RATE); i < llround(to * RATE) && i < N; i++) {
        double t = (double)i / RATE;
        for (int h = 1; h <= 4; h++) x[i] += (float)(0.1 / h * sin(2 * acos(-1) * hz * h * t));
    }
}

Test(analyse, chroma_shows_the_chord_of_each_bar) {
    float *x = mem_calloc(N, sizeof *x);
    const int chords[4][3] = {{60, 64, 67}, {55, 59, 62}, {57, 60, 64}, {53, 57, 60}};
    for (int bar = 0; bar < 5; bar++)
        for (int i = 0; i < 3; i++) add_note(x, bar * 2.0, bar * 2.0 + 2, chords[bar % 4][i]);
    float rows[7][12];
    cr_assert_eq(analyse_chroma(rows[0], 7, 2, x, N, RATE, NULL), OK);
    for (int bar = 0; bar < 5; bar++) {
        unsigned mask = 0;
        for (int i = 0; i < 3; i++) mask |= 1u << chords[bar % 4][i] % 12;
        float sum = 0;
        for (int i = 0; i < 12; i++) sum += rows[bar][i];
        cr_assert_float_eq(sum, 1, 1e-5);
        // The third partial is a fifth up and may lie outside the chord.
        cr_assert_gt(analyse_chord_share(rows[bar], mask), 0.8, "bar %d", bar);
        unsigned up = (mask << 1 | mask >> 11) & 0xFFF;
        cr_assert_lt(analyse_chord_share(rows[bar], up), 0.3, "bar %d", bar);
        for (int i = 0; i < 12; i++) // every note of the chord, and none beside it as strong
            if (mask >> i & 1) cr_assert_gt(rows[bar][i], 0.15f, "bar %d class %d", bar, i);
    }
    for (int i = 0; i < 12; i++) cr_assert_eq(rows[5][i], 0); // past the end
    mem_free(x);
}

Test(analyse, a_detuned_octave_does_not_change_the_class) {
    float *x = mem_calloc(N, sizeof *x);
    for (int i = 0; i < N; i++)
        x[i] = (float)(0.5 * sin(2 * acos(-1) * 110 * 1.01 * i / RATE)); // 17 cent
    float row[12];
    cr_assert_eq(analyse_chroma(row, 1, 2, x, N, RATE, NULL), OK);
    cr_assert_gt(row[9], 0.95f);
    mem_free(x);
}

Test(analyse, silence_is_measured_where_it_is) {
    float *x = mem_calloc(N, sizeof *x);
    for (int i = 0; i < 6 * RATE; i++)
        x[i] = i > RATE && i < 2 * RATE ? 0 : (float)(0.1 * sin(i * 0.02));
    analyse_defects d = analyse_find_defects(x, N, RATE);
    cr_assert_float_eq(d.silent_share, 0.5, 0.011); // seconds 1 to 2 and 6 to 10
    cr_assert_float_eq(d.silence_end_s, 4, 0.11);
    cr_assert_float_eq(d.silence_max_s, 4, 0.11);
    mem_free(x);
}

Test(analyse, flat_tops_are_clipping_and_a_sine_is_not) {
    float *x = mem_calloc(N, sizeof *x);
    for (int i = 0; i < N; i++) x[i] = (float)(0.8 * sin(i * 0.0123));
    cr_assert_eq(analyse_find_defects(x, N, RATE).clipped_runs, 0);
    for (int i = 0; i < N; i++) x[i] = fminf(fmaxf(1.2f * x[i], -0.8f), 0.8f);
    cr_assert_geq(analyse_find_defects(x, N, RATE).clipped_runs,
                  N * 0.0123 / acos(-1) - 2); // every half wave
    mem_free(x);
}

Test(analyse, clicks_are_counted_and_drum_hits_are_not) {
    float *x = drums(120, 0, 0);
    cr_assert_eq(analyse_find_defects(x, N, RATE).clicks, 0);
    mem_free(x);
    x = mem_calloc(N, sizeof *x);
    for (int i = 0; i < N; i++) x[i] = (float)(0.3 * sin(i * 0.05));
    cr_assert_eq(analyse_find_defects(x, N, RATE).clicks, 0);
    x[50000] += 0.4f;                              // a spike
    for (int i = 100000; i < N; i++) x[i] += 0.3f; // a jump
    cr_assert_eq(analyse_find_defects(x, N, RATE).clicks, 2);
    mem_free(x);
}

Test(analyse, survives_each_failed_allocation_and_short_input) {
    float x[100] = {1, 0, 1};
    float row[12];
    for (int n = 0;; n++) {
        onset_curve c;
        mem_fail_after(n);
        status a = analyse_onset_curve(&c, x, 100, 44100, NULL);
        mem_fail_after(-1);
        mem_fail_after(n);
        status b = analyse_chroma(row, 1, 1, x, 100, 44100, NULL);
        mem_fail_after(-1);
        cr_assert((a == OK || (a == ERR_OOM && !c.v)) && (b == OK || b == ERR_OOM));
        if (a == OK) cr_assert_eq(analyse_find_tempo(&c, 60, 200).bpm, 0);
        if (a == OK) analyse_onset_curve_deinit(&c);
        if (a == OK && b == OK) break;
    }
    onset_curve c;
    cr_assert_eq(analyse_onset_curve(&c, x, 0, 44100, NULL), ERR_ARG);
    cr_assert_eq(analyse_onset_curve(&c, x, 100, 0, NULL), ERR_ARG);
}

Test(analyse, the_key_is_that_of_the_chords) {
    // Energy of C F G C, of Am Dm E Am, and both moved by every interval.
    static const float major[12] = {3, 0, 1, 0, 2, 2, 0, 3, 0, 1, 0, 1};
    static const float minor[12] = {2, 0, 1, 0, 3, 1, 0, 0, 1, 3, 0, 1};
    for (int by = 0; by < 12; by++) {
        float row[12];
        for (int i = 0; i < 12; i++) row[(i + by) % 12] = major[i];
        analyse_key k = analyse_find_key(row);
        cr_assert(k.tonic == by && !k.minor && k.lead > 0.05);
        for (int i = 0; i < 12; i++) row[(i + by) % 12] = minor[i];
        k = analyse_find_key(row);
        cr_assert(k.tonic == (9 + by) % 12 && k.minor && k.lead > 0.05, "%d: %d %g", by, k.tonic,
                  k.lead);
    }
    static const float silence[12];
    cr_assert_eq(analyse_find_key(silence).tonic, -1);
}
