// test_judge.c - tempo, beats, bars, chords and key of sounds that were made with known ones.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "audio/mix.h"
#include "base/mem.h"
#include "engine/judge_pulse.h"
#include "engine/measure.h"
#include "judge_kind_fixture.h"
#include "judge_pulse_fixture.h"
#include "request/measured.h"
#include "request/stems.h"

enum { RATE = 44100, SECONDS = 16, N = RATE * SECONDS };

static float noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

static double turns(double x) {
    return sin(2 * acos(-1) * x);
}

// A kick, a falling tone; or a snare, noise.
static void add_hit(float *x, double t, bool kick, uint32_t *state) {
    int64_t from = llround(t * RATE);
    for (int64_t i = 0; i < RATE / 3 && from + i < N; i++) {
        double s = (double)i / RATE;
        double v = kick ? 0.8 * exp(-s / 0.08) * turns(55 * s * (1 + exp(-s * 40)))
                        : 0.4 * exp(-s / 0.05) * (double)noise(state);
        if (from + i >= 0) x[from + i] += (float)v;
    }
}

// A note with partials that fall off, as a plucked string has.
static void add_note(float *x, double from, double to, int midi, double loud) {
    double hz = 440 * exp2((midi - 69) / 12.0);
    for (int64_t i = llround(MAX(from, 0) * RATE); i < llround(to * RATE) && i < N; i++) {
        double s = (double)i / RATE - from, v = 0;
        for (int h = 1; h <= 6; h++) v += turns(hz * h * s) / h;
        x[i] += (float)(loud * exp(-s) * v);
    }
}

static void add_triad(float *x, double from, double to, int root, int third) {
    const int tones[] = {48 + root, 60 + root, 60 + (root + third) % 12, 60 + (root + 7) % 12};
    for (size_t i = 0; i < ARRAY_LEN(tones); i++) add_note(x, from, to, tones[i], 0.05);
}

typedef struct {
    int root, third;
} triad;

static const triad song[] = {{9, 3}, {5, 4}, {0, 4}, {7, 4}}; // Am F C G

// at [beats + 1]: when each beat falls. Kick on 1 and 3, snare on 2 and 4, hats on every beat.
static float *band(const double *at, int beats, bool drums) {
    float *x = mem_calloc(N, sizeof *x);
    uint32_t s = 7;
    for (int b = 0; b < beats; b++) {
        if (drums) add_hit(x, at[b], b % 2 == 0, &s);
        if (b % 4) continue;
        const triad *t = &song[b / 4 % ARRAY_LEN(song)];
        add_triad(x, at[b], at[MIN(b + 4, beats)], t->root, t->third);
    }
    return x;
}

static int even_beats(double *at, double first, double bpm) {
    int n = 0;
    for (; first + n * 60 / bpm < SECONDS; n++) at[n] = first + n * 60 / bpm;
    at[n] = first + n * 60 / bpm;
    return n;
}

static judged judge(const float *x, const judge_hint *h) {
    judged j;
    err e = {0};
    cr_assert_eq(judge_open(&j, x, N, 1, RATE, h, &e), OK, "%s", e.text);
    return j;
}

// Of the true beats, how many have one of ours within 50 ms.
static int met(const judged *j, const double *at, int n) {
    int count = 0;
    for (int i = 0; i < n; i++) {
        bool near = false;
        for (size_t k = 0; k < j->beats.n; k++) near |= fabs(j->beats.at[k] - at[i]) < 0.05;
        count += near;
    }
    return count;
}

Test(judge, tempo_beats_and_bars_of_a_recording_are_found) {
    const double bpm[] = {84, 97.3, 120, 141};
    for (size_t i = 0; i < ARRAY_LEN(bpm); i++) {
        double at[64];
        int n = even_beats(at, 0.21, bpm[i]);
        float *x = band(at, n, true);
        judged j = judge(x, &(judge_hint){0});
        cr_assert_lt(fabs(j.beats.bpm / bpm[i] - 1), 0.005, "%g bpm: %g", bpm[i], j.beats.bpm);
        cr_assert_lt(fabs(j.first_beat - 0.21), 0.02, "%g bpm: %g s", bpm[i], j.first_beat);
        cr_assert_geq(met(&j, at, n), n - 2, "%g bpm: %d of %d", bpm[i], met(&j, at, n), n);
        cr_assert_lt((double)j.beats.n, n + 2);
        cr_assert_gt(j.beats.sure, JUDGE_TEMPO_SURE);
        cr_assert_lt(fabs(remainder(j.bar[0] - 0.21, 240 / bpm[i])), 0.05, "bar 1 at %g", j.bar[0]);
        judge_close(&j), mem_free(x);
    }
}

Test(judge, beats_follow_a_tempo_that_moves) {
    double at[64];
    int n = 0;
    for (double t = 0.1, bpm = 104; t < SECONDS; t += 60 / bpm, bpm *= 1.004) at[n++] = t;
    at[n] = SECONDS;
    float *x = band(at, n, true);
    judged j = judge(x, &(judge_hint){0});
    cr_assert_geq(met(&j, at, n), n - 2, "%d of %d beats", met(&j, at, n), n);
    judge_close(&j), mem_free(x);
}

Test(judge, of_a_tempo_and_its_double_the_one_that_was_asked_for_is_taken) {
    const double asked[] = {62, 124};
    double at[64];
    float *x = band(at, even_beats(at, 0, 124), true);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        judged j = judge(x, &(judge_hint){.bpm = asked[i]});
        cr_assert_lt(fabs(j.beats.bpm / asked[i] - 1), 0.005, "%g: %g", asked[i], j.beats.bpm);
        judge_close(&j);
    }
    mem_free(x);
}

static void expect_chords(const judged *j) {
    cr_assert_gt(j->bars, 3u);
    for (size_t b = 0; b < j->bars; b++) {
        const triad *want = &song[b % ARRAY_LEN(song)];
        const harmony_chord *c = &j->chord[b];
        cr_assert(c->root == want->root && c->third == want->third, "bar %zu: %d %d", b + 1,
                  c->root, c->third);
        cr_assert_gt(c->sure, JUDGE_CHORD_SURE);
    }
}

Test(judge, chords_are_read_bar_by_bar_also_through_drums_and_noise) {
    double at[64];
    int n = even_beats(at, 0, 120);
    for (int kind = 0; kind < 3; kind++) {
        float *x = band(at, n, kind == 1);
        uint32_t s = 3;
        for (int i = 0; i < N && kind == 2; i++) x[i] += 0.05f * noise(&s);
        judged j = judge(x, &(judge_hint){.bpm = 120, .from_one = true});
        cr_assert_eq(j.bars, 8u);
        expect_chords(&j);
        cr_assert(j.has_key &&
                  ((j.key.tonic == 9 && j.key.minor) || (!j.key.tonic && !j.key.minor)));
        judge_close(&j), mem_free(x);
    }
}

Test(judge, a_fifth_alone_has_no_third_and_is_written_so) {
    float *x = mem_calloc(N, sizeof *x);
    add_note(x, 0, SECONDS, 45, 0.1);
    add_note(x, 0, SECONDS, 52, 0.1);
    judged j = judge(x, &(judge_hint){.bpm = 120, .from_one = true});
    char text[CHORDS_KEY_TEXT];
    judge_chord_text(text, &j.chord[0]);
    cr_assert_str_eq(text, "A5");
    judge_chord_text(text, &(harmony_chord){.root = -1});
    cr_assert_str_eq(text, "N");
    judge_close(&j), mem_free(x);
}

Test(judge, silence_has_neither_tempo_nor_chords_nor_key) {
    float *x = mem_calloc(N, sizeof *x);
    judged j = judge(x, &(judge_hint){.bpm = 120, .from_one = true});
    cr_assert(j.beats.bpm == 0 && j.beats.n == 0 && !j.has_key);
    for (size_t b = 0; b < j.bars; b++) cr_assert_eq(j.chord[b].root, -1);
    judge_close(&j), mem_free(x);
}

Test(judge, the_rate_and_a_second_channel_change_nothing_that_is_heard) {
    double at[64];
    float *x = band(at, even_beats(at, 0.21, 120), true);
    float *two = mem_calloc(2 * N, sizeof *two);
    for (int i = 0; i < 2 * N; i++) two[i] = x[i / 2];
    judged a = judge(x, &(judge_hint){0}), b;
    cr_assert_eq(judge_open(&b, two, N, 2, RATE, &(judge_hint){0}, NULL), OK);
    cr_assert_eq(a.beats.n, b.beats.n);
    for (size_t i = 0; i < a.beats.n; i++) cr_assert_eq(a.beats.at[i], b.beats.at[i]);
    judge_close(&b);
    // The same numbers at half the rate: half the tempo, an octave down.
    cr_assert_eq(judge_open(&b, x, N, 1, RATE / 2, &(judge_hint){.bpm = 60}, NULL), OK);
    cr_assert_lt(fabs(b.beats.bpm / 60 - 1), 0.005, "%g", b.beats.bpm);
    judge_close(&a), judge_close(&b), mem_free(x), mem_free(two);
}

Test(judge, short_and_wrong_input_is_refused_or_empty) {
    float x[64] = {1, 0, 1};
    judged j;
    err e;
    cr_assert_eq(judge_open(&j, x, 0, 1, RATE, &(judge_hint){0}, &e), ERR_ARG);
    cr_assert_eq(judge_open(&j, x, 64, 1, 4000, &(judge_hint){0}, &e), ERR_ARG);
    for (int n = 1; n <= 64; n++) {
        cr_assert_eq(judge_open(&j, x, n, 1, RATE, &(judge_hint){0}, &e), OK, "%s", e.text);
        cr_assert_eq(j.beats.n, 0);
        judge_close(&j);
    }
}

Test(judge, survives_each_failed_allocation) {
    double at[64];
    float *x = band(at, even_beats(at, 0.21, 120), true);
    for (int n = 0;; n++) {
        judged j;
        mem_fail_after(n);
        status rc = judge_open(&j, x, 4 * RATE, 1, RATE, &(judge_hint){0}, NULL);
        mem_fail_after(-1);
        cr_assert(rc == OK || (rc == ERR_OOM && !j.beats.at && !j.bar && !j.chord));
        judge_close(&j);
        if (rc == OK) break;
    }
    mem_free(x);
}

static stemforge_stem stem_of(const char *name, const float *x, const stemforge_request *r) {
    return (stemforge_stem){
        .name = name, .samples = x, .frames = N, .channels = 1, .sample_rate = RATE, .request = r};
}

Test(measure, a_stem_is_told_as_numbers_and_names) {
    double at[64];
    float *x = band(at, even_beats(at, 0, 120), true);
    stemforge_request r = stemforge_request_default();
    r.bpm = 120;
    const stemforge_stem s = stem_of("piano", x, &r);
    measured m;
    err e;
    cr_assert_eq(measure_init(&m, &s, &e), OK, "%s", e.text);
    cr_assert_lt(fabs(m.out.bpm / 120 - 1), 0.005);
    cr_assert_lt(m.out.first_beat_seconds, 0.02);
    cr_assert_eq(m.out.chord_count, 8u);
    cr_assert_str_eq(m.out.chords[0], "Am");
    cr_assert_str_eq(m.out.chords[3], "G");
    cr_assert_lt(fabs(m.out.lufs + m.out.gain_db - stem_types[stems_find("piano")].lufs), 1e-9);
    cr_assert_eq(m.out.fault_count, 0);
    measure_deinit(&m), mem_free(x);
}

// The text of the warning about a member of the request; NULL: there is none.
static const char *unmet_of(const measured *m, const char *name) {
    for (size_t i = 0; i < m->unmet.n; i++)
        if (!strcmp(m->unmet.item[i].field, name)) return m->unmet.item[i].text;
    return NULL;
}

Test(measure, what_was_asked_and_is_not_heard_is_said_with_both) {
    static const char *const played[] = {"Am", "F", "C", "G"}, *const others[] = {"B", "Ebm"};
    static const struct {
        double bpm;
        const char *const *chords, *key, *field, *says;
        size_t n;
        const char *meter;
        double measured; // 0: the 120 that are played
    } t[] = {
        {120, played, NULL, "chords", NULL, 4, NULL, 0},
        {120, others, NULL, "chords", "asked B Ebm, heard Am F C G Am F C G: 8 of 8 sure", 2, NULL,
         0},
        {120, NULL, "G major", "key", NULL, 0, NULL, 0}, // all but one note
        {120, NULL, "F# major", "key", "asked F# major, heard", 0, NULL, 0},
        {121, NULL, NULL, "bpm", NULL, 0, NULL, 0},
        {100, NULL, NULL, "bpm", "piano: asked 100 bpm, heard 120", 0, NULL, 0},
        {90, NULL, NULL, "bpm", NULL, 0, "6/8", 90}, // 120 is its dotted quarters' double
        {180, NULL, NULL, "bpm", NULL, 0, "6/8", 180},
        {90, NULL, NULL, "bpm", "piano: asked 90 bpm, heard 120", 0, "3/4", 0},
    };
    double at[64];
    float *x = band(at, even_beats(at, 0, 120), true);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        stemforge_request r = stemforge_request_default();
        r.bpm = t[i].bpm, r.chords = t[i].chords, r.chord_count = t[i].n, r.key = t[i].key;
        r.meter = t[i].meter;
        const stemforge_stem s = stem_of("piano", x, &r);
        measured m;
        cr_assert_eq(measure_init(&m, &s, NULL), OK);
        double bpm = t[i].measured > 0 ? t[i].measured : 120;
        cr_assert_float_eq(m.out.bpm, bpm, 1, "%zu: %g", i, m.out.bpm);
        const char *text = unmet_of(&m, t[i].field);
        cr_assert(t[i].says ? text && strstr(text, t[i].says) : !text, "%zu: %s", i, text);
        measure_deinit(&m);
    }
    mem_free(x);
}

Test(measure, a_bass_may_play_the_note_behind_the_slash_and_bars_may_have_two_chords) {
    static const char *const slash[] = {"F/A", "Dm/F", "Am/C", "C/G"}, *const others[] = {"D/F#"};
    static const char *const two[] = {"Am", "Am", "F", "F", "C", "C", "G", "G"};
    double at[64];
    float *x = band(at, even_beats(at, 0, 120), true);
    stemforge_request r = stemforge_request_default();
    const stemforge_stem bass = stem_of("bass", x, &r), piano = stem_of("piano", x, &r);
    measured m;
    r.bpm = 120, r.chords = slash, r.chord_count = 4;
    cr_assert_eq(measure_init(&m, &bass, NULL), OK);
    cr_assert_null(unmet_of(&m, "chords"), "%s", unmet_of(&m, "chords"));
    measure_deinit(&m);
    r.chords = others, r.chord_count = 1;
    cr_assert_eq(measure_init(&m, &bass, NULL), OK);
    cr_assert(unmet_of(&m, "chords"));
    measure_deinit(&m);
    r.chords = two, r.chord_count = 8, r.chords_per_bar = 2;
    cr_assert_eq(measure_init(&m, &piano, NULL), OK);
    cr_assert_eq(m.out.chord_count, 16u);
    cr_assert_str_eq(m.out.chords[2], "F");
    cr_assert_null(unmet_of(&m, "chords"));
    measure_deinit(&m), mem_free(x);
}

Test(measure, drums_have_no_harmony_and_silence_is_a_fault) {
    float *x = mem_calloc(N, sizeof *x);
    stemforge_request r = stemforge_request_default();
    const stemforge_stem s = stem_of("drums", x, &r);
    measured m;
    cr_assert_eq(measure_init(&m, &s, NULL), OK);
    cr_assert(!m.out.key && !m.out.chord_count && m.out.held_pitch < 0 && m.out.bpm == 0);
    cr_assert_eq(m.out.fault_count, 1);
    cr_assert_str_eq(m.out.faults[0], "silence");
    json *j = measured_json(&m.out);
    cr_assert_null(json_find(j, "lufs"));
    cr_assert_null(json_find(j, "bpm"));
    cr_assert_eq(json_len(json_find(j, "faults")), 1);
    json_free(j), measure_deinit(&m), mem_free(x);
}

Test(measure, a_note_is_held_and_a_glide_is_not) {
    stemforge_request r = stemforge_request_default();
    double held[2];
    for (int glide = 0; glide < 2; glide++) {
        float *x = mem_calloc(N, sizeof *x);
        double phase = 0;
        for (int i = 0; i < N; i++) {
            phase += 110 * exp2(glide * fmod((double)i / RATE, 0.5) * 4) / RATE; // 2 octaves a beat
            x[i] = (float)(0.5 * turns(phase) + 0.2 * turns(2 * phase));
        }
        const stemforge_stem s = stem_of("bass", x, &r);
        measured m;
        cr_assert_eq(measure_init(&m, &s, NULL), OK);
        held[glide] = m.out.held_pitch;
        measure_deinit(&m), mem_free(x);
    }
    cr_assert(held[0] > 0.95 && held[1] < 0.2, "%g %g", held[0], held[1]);
}

Test(measure, a_clip_that_ends_early_or_clicks_is_told) {
    double at[64];
    float *x = band(at, even_beats(at, 0, 120), false);
    stemforge_request r = stemforge_request_default();
    memset(x + N / 2, 0, N / 4 * sizeof *x);
    memset(x + N / 4 * 3, 0, N / 4 * sizeof *x);
    x[RATE] += 0.9f;
    const stemforge_stem s = stem_of("other", x, &r);
    measured m;
    cr_assert_eq(measure_init(&m, &s, NULL), OK);
    cr_assert_eq(m.out.fault_count, 2);
    cr_assert_str_eq(m.out.faults[0], "early_end");
    cr_assert_str_eq(m.out.faults[1], "clicks");
    measure_deinit(&m), mem_free(x);
}

Test(measure, survives_each_failed_allocation) {
    double at[64];
    float *x = band(at, even_beats(at, 0, 120), true);
    stemforge_request r = stemforge_request_default();
    r.bpm = 120;
    const stemforge_stem s = stem_of("piano", x, &r);
    for (int n = 0;; n++) {
        measured m;
        mem_fail_after(n);
        status rc = measure_init(&m, &s, NULL);
        mem_fail_after(-1);
        cr_assert(rc == OK || (rc == ERR_OOM && !m.chord));
        measure_deinit(&m);
        if (rc == OK) break;
    }
    mem_free(x);
}

Test(kind, the_network_is_pytorchs) {
    double share[KIND_COUNT];
    cr_assert_eq(kind_run(share, kind_power, ARRAY_LEN(kind_power) / KIND_BANDS, NULL), OK);
    for (int k = 0; k < KIND_COUNT; k++)
        cr_assert_lt(fabs(share[k] - kind_share[k]), 1e-5, "%d: %g", k, share[k]);
}

Test(kind, drums_are_heard_as_drums_and_a_low_line_as_a_bass) {
    const char *const want[] = {"drums", "bass"};
    for (int kind = 0; kind < 2; kind++) {
        float *x = mem_calloc(N, sizeof *x);
        uint32_t seed = 7;
        for (int b = 0; b < 32; b++) {
            if (kind == 0) add_hit(x, b * 0.5, b % 2 == 0, &seed);
            if (kind == 1) add_note(x, b * 0.5, b * 0.5 + 0.45, 33 + b / 4 % 3 * 5, 0.3);
        }
        judged j = judge(x, &(judge_hint){.bpm = 120, .from_one = true});
        cr_assert_str_eq(stem_types[judge_type(&j)].name, want[kind]);
        cr_assert_lt(judge_leak(&j, kind), 0.5);
        cr_assert_gt(judge_leak(&j, 1 - kind), 0.5);
        judge_close(&j), mem_free(x);
    }
}

Test(kind, survives_each_failed_allocation_and_the_shortest_sound) {
    float x[3000] = {1, 0, 1};
    double share[KIND_COUNT], sum = 0;
    listened l = {.x = x, .n = 3000, .rate = 22050, .seconds = 0.1};
    for (int n = 0;; n++) {
        mem_fail_after(n);
        status rc = kind_hear(share, &l, NULL);
        mem_fail_after(-1);
        if (rc == OK) break;
        cr_assert_eq(rc, ERR_OOM);
    }
    l.n = 1;
    cr_assert_eq(kind_hear(share, &l, NULL), OK);
    for (int k = 0; k < KIND_COUNT; k++) sum += share[k];
    cr_assert_lt(fabs(sum - 1), 1e-12);
}

Test(judge, the_network_of_beats_says_what_pytorch_says_of_the_same_inputs) {
    enum { FRAMES = ARRAY_LEN(pulse_beat) };
    float beat[FRAMES], bar[FRAMES];
    cr_assert_eq(pulse_run(beat, bar, pulse_in, FRAMES, NULL), OK);
    for (size_t i = 0; i < FRAMES; i++) {
        cr_assert_float_eq(beat[i], pulse_beat[i], 1e-4, "%zu: %g", i, (double)beat[i]);
        cr_assert_float_eq(bar[i], pulse_bar[i], 1e-4, "%zu: %g", i, (double)bar[i]);
    }
}
