// test_followed.c - a recording that stems follow: beats and chords as a request says them.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "audio/file.h"
#include "base/mem.h"
#include "engine/followed.h"

#define RATE 32000
#define PI 3.14159265358979323846

static const char *const both[] = {"tempo", "chords"};

// 20 s: a chord a bar and a click a beat, bar 1 at `first` s, at a tempo that moves by `sway`.
typedef struct {
    double bpm, first, sway;
} song;

static double beat_of(const song *s, double t) {
    return ((t - s->first) + s->sway * 2 * sin(t / 2)) * s->bpm / 60;
}

static float *play(const song *s, int64_t n) {
    static const int roots[] = {57, 53, 60, 55}, third[] = {3, 4, 4, 4}; // Am F C G
    float *x = mem_calloc((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        double t = (double)i / RATE, beat = beat_of(s, t), in = beat - floor(beat);
        int bar = (int)(floor(beat / 4) + 400) % 4;
        double v = 0.5 * exp(-60 * in) * sin(1000 * in * in + 40 * in * (double)(i % 7));
        const int notes[] = {roots[bar] - 12, roots[bar], roots[bar] + third[bar], roots[bar] + 7};
        double strum = exp(-2.0 * (beat / 4 - floor(beat / 4)));
        for (int k = 0; k < 4; k++)
            for (int h = 1; h < 4; h++)
                v += 0.12 * strum / h * sin(2 * PI * t * h * 440 * exp2((notes[k] - 69) / 12.0));
        x[i] = (float)(0.5 * v);
    }
    return x;
}

static void record(buf *out, const float *x, int64_t n) {
    buf_init(out, FILE_BYTES_MAX);
    cr_assert_eq(file_encode(out, FILE_WAV16, x, n, 1, RATE, NULL, NULL), OK);
}

static const follow_limits limits = {600, 0.5, 0.35}; // as docs/OPERATIONS.md has them

static stemforge_request follow_request(const buf *image) {
    stemforge_request r = stemforge_request_default();
    r.follow = both, r.follow_count = 2;
    r.recording_image = image->p, r.recording_size = image->n;
    return r;
}

Test(followed, beats_and_chords_of_a_recording_become_the_requests, .timeout = 120) {
    const song songs[] = {{107.3, 0.4, 0}, {96, 1.3, 0.02}};
    for (size_t s = 0; s < ARRAY_LEN(songs); s++) {
        int64_t n = 20 * RATE;
        float *x = play(&songs[s], n);
        buf image;
        record(&image, x, n);
        stemforge_request r = follow_request(&image);
        followed *f;
        err e = {0};
        cr_assert_eq(followed_open(&f, &r, &limits, &e), OK, "%s", e.text);
        cr_assert_float_eq(r.bpm, songs[s].bpm, 3);
        cr_assert_float_eq(r.seconds, 20, 1e-9);
        cr_assert_leq(r.beats[0], 0, "the first bar line is not after the beginning");
        const timing time = timing_of(&r, 0);
        double worst = 0;
        for (double t = 2; t < 18; t += 0.1) { // the phase within a beat
            double off = timing_beat(&time, t) - beat_of(&songs[s], t);
            worst = MAX(worst, fabs(off - floor(off + 0.5)) * 60 / songs[s].bpm);
        }
        cr_assert_lt(worst, 0.04, "%zu: the beats are %.3f s off", s, worst);
        int right = 0, all = 0;
        for (double t = 3; t < 18; t += 0.1, all++) {
            static const char *const want[] = {"Am", "F", "C", "G"};
            int64_t i = timing_chord(&time, timing_beat(&time, t));
            const char *got = r.chords[MIN((size_t)i, r.chord_count - 1)];
            right += !strcmp(got, want[(int)(floor(beat_of(&songs[s], t) / 4) + 400) % 4]);
        }
        cr_assert_gt(right, all * 8 / 10, "%zu: %d of %d", s, right, all);
        cr_assert_eq(f->heard.bars, f->heard.chord_count);
        followed_close(f), buf_deinit(&image), mem_free(x);
    }
}

Test(followed, a_recording_without_sure_beats_fails_with_that_reason) {
    int64_t n = 12 * RATE;
    float *x = mem_calloc((size_t)n, sizeof *x);
    for (int noise = 0; noise < 2; noise++) {
        uint32_t state = 3;
        for (int64_t i = 0; noise && i < n; i++) {
            state = state * 1664525u + 1013904223u;
            x[i] = (float)((double)state / 0x1p32 - 0.5);
        }
        buf image;
        record(&image, x, n);
        stemforge_request r = follow_request(&image);
        followed *f;
        err e = {0};
        cr_assert_eq(followed_open(&f, &r, &limits, &e), ERR_ARG);
        cr_assert(!f && !strcmp(e.where, "follow"), "%s", e.text);
        cr_assert(strstr(e.text, noise ? "sure" : "beats are sure"), "%s", e.text);
        buf_deinit(&image);
    }
    mem_free(x);
}

Test(followed, limits_say_how_long_and_how_sure_a_recording_must_be, .timeout = 120) {
    const song s = {107.3, 0.4, 0};
    const struct {
        follow_limits l;
        const char *where, *why;
    } strict[] = {{{5, 0, 0}, "recording", "5"},
                  {{600, 1, 0}, "follow", "beats are sure (1.00 of 1"},
                  {{600, 0, 1.01}, "follow", "sure chords in 101%"}};
    int64_t n = 12 * RATE;
    float *x = play(&s, n);
    buf image;
    record(&image, x, n);
    for (size_t i = 0; i < ARRAY_LEN(strict); i++) {
        stemforge_request r = follow_request(&image);
        followed *f;
        err e = {0};
        cr_assert_neq(followed_open(&f, &r, &strict[i].l, &e), OK, "%zu", i);
        cr_assert(!strcmp(e.where, strict[i].where) && strstr(e.text, strict[i].why), "%s: %s",
                  e.where, e.text);
    }
    buf_deinit(&image), mem_free(x);
}

Test(followed, what_is_no_sound_is_refused_as_the_recording) {
    static const char *const bad[] = {"", "RIFF", "<html>no</html>",
                                      "RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        stemforge_request r = stemforge_request_default();
        r.follow = both, r.follow_count = 1;
        r.recording_image = bad[i], r.recording_size = strlen(bad[i]);
        followed *f;
        err e = {0};
        cr_assert_neq(followed_open(&f, &r, &limits, &e), OK);
        cr_assert(!f && !strcmp(e.where, "recording"), "%s: %s", e.where, e.text);
    }
    stemforge_request r = stemforge_request_default();
    r.follow = both, r.follow_count = 1, r.recording = "/nowhere/song.wav";
    followed *f;
    cr_assert_eq(followed_open(&f, &r, &limits, NULL), ERR_NOT_FOUND);
    cr_assert_null(f);
}

Test(followed, what_is_to_be_followed_is_checked) {
    static const char *const chords_alone[] = {"chords"}, *const twice[] = {"tempo", "tempo"};
    static const char *const wrong[] = {"tempi"}, *const drums[] = {"drums"}, *const am[] = {"Am"};
    const struct {
        const char *const *follow;
        size_t n;
        const char *text;
    } rows[] = {{chords_alone, 1, "follow: expected tempo beside chords"},
                {twice, 2, "follow[1]: tempo is there twice"},
                {wrong, 1, "follow[0]: expected tempo, chords or melody, found \"tempi\""}};
    stemforge_request r = stemforge_request_default();
    stemforge_error e;
    r.stems = drums, r.stem_count = 1;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        r.follow = rows[i].follow, r.follow_count = rows[i].n;
        cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
        cr_assert(strstr(e.text, rows[i].text) == e.text, "%s", e.text);
    }
    r.follow = both, r.follow_count = 2, r.chords = am, r.chord_count = 1;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    r.chord_count = 0, r.bars = 4, r.bpm = 120;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    r.bars = 0;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_OK);
}
