// test_condition.c - what steers a melody model: the rows of a recorded melody, alike for a request
// and for a trace, and an error where there is no memory for them.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audio/file.h"
#include "engine/musicgen/condition.h"
#include "engine/musicgen/family.h"
#include "engine/trace.h"

#define MELODY "tests/parity/melody/model"
#define RATE 16000

// A melody of so many seconds whose pitch changes each half of one.
static void write_melody(const char *path, int seconds) {
    static const int period[] = {73, 61, 49, 82, 55};
    int64_t n = (int64_t)seconds * RATE;
    float *x = mem_alloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (i % period[i / (RATE / 2) % 5]) * 2 < period[i / (RATE / 2) % 5] ? 0.4f : -0.4f;
    cr_assert_eq(file_write(path, FILE_WAV16, x, n, 1, RATE, NULL, NULL), OK);
    mem_free(x);
}

typedef struct {
    compute *c;
    family *f;
    const pipeline *p;
    char dir[64], path[96];
    condition k;
} melody;

static void open_melody(melody *m, int seconds) {
    err e;
    strcpy(m->dir, "/tmp/stemforge-melody-XXXXXX");
    cr_assert(mkdtemp(m->dir));
    snprintf(m->path, sizeof m->path, "%s/m.wav", m->dir);
    write_melody(m->path, seconds);
    cr_assert_eq(compute_open(&m->c, 1, NULL, &e), OK, "%s", e.text);
    cr_assert_eq(family_open(&m->f, &(family_options){.model = MELODY, .c = m->c}, &e), OK, "%s",
                 e.text);
    cr_assert_eq(musicgen_pipeline(&m->p, m->f, &e), OK);
    cr_assert_eq(condition_open(&m->k, m->p, &(condition_wish){.melody = m->path}, &e), OK, "%s",
                 e.text);
}

static void close_melody(melody *m) {
    condition_close(&m->k);
    family_close(m->f);
    compute_close(m->c);
    unlink(m->path);
    rmdir(m->dir);
}

static const st_entry *find(const trace_result *r, const char *name) {
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->list[i].name, name) == 0) return &r->list[i];
    return NULL;
}

// Also of a melody that is longer than what the model hears of one.
Test(condition, a_trace_hears_a_melody_as_a_request_does) {
    static const int lengths[] = {1, 7, 45};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        melody m;
        err e;
        open_melody(&m, lengths[i]);
        const mg_config *cfg = mg_get_config(m.p->lm);
        size_t room = (size_t)(cfg->chroma_length * cfg->chroma_bins);
        float *want = mem_calloc(room, sizeof *want);
        int64_t rows;
        cr_assert_eq(condition_chroma(&m.k, want, 0, &rows, &e), OK, "%s", e.text);
        json *run;
        trace_result got;
        cr_assert_eq(json_parse(&run, bytes_of("{\"melody_wav\": \"m.wav\"}"), 100, &e), OK);
        cr_assert_eq(trace_run(&got, m.f, &(trace_input){.run = run, .dir = m.dir}, &e), OK, "%s",
                     e.text);
        const st_entry *heard = find(&got, "chroma");
        cr_assert(heard && heard->t.shape[0] == rows, "%d s", lengths[i]);
        cr_assert_eq(memcmp(heard->t.data, want, (size_t)(rows * cfg->chroma_bins) * sizeof *want),
                     0, "%d s", lengths[i]);
        trace_free(&got);
        json_free(run);
        mem_free(want);
        close_melody(&m);
    }
}

// It was made without the melody, in silence.
Test(condition, no_memory_for_a_melody_is_an_error) {
    melody m;
    err e = {0};
    open_melody(&m, 2);
    const mg_config *cfg = mg_get_config(m.p->lm);
    float *rows = mem_calloc((size_t)(cfg->chroma_length * cfg->chroma_bins), sizeof *rows);
    int64_t n = 0;
    status rc = ERR_OOM;
    int failed = 0;
    for (; failed < 100 && rc; failed++) {
        mem_fail_after(failed);
        rc = condition_chroma(&m.k, rows, 50, &n, &e);
        mem_fail_after(-1);
        cr_assert(rc == OK || rc == ERR_OOM, "%s", e.text);
    }
    cr_assert(failed > 1 && rc == OK && n > 0);
    mem_free(rows);
    close_melody(&m);
}

// To a bass C/E is a chord on E, whose third over E is G; over G neither third of C/G sounds.
Test(condition, a_bass_plays_the_note_under_a_chord) {
    static const char *const names[] = {"C/E", "F", "C/G", "N", "D7/F#"};
    condition k = {.kind = CONDITION_GRID, .time = timing_even(120)}, own;
    err e;
    cr_assert_eq(chords_parse(&k.chords, names, 5, 120, &e), OK, "%s", e.text);
    cr_assert(condition_of_bass(&own, &k));
    const chord *c = own.chords.bars;
    cr_assert(c[0].root == 4 && c[0].third == 3 && c[0].fifth == 7);
    cr_assert_eq(memcmp(&c[1], &k.chords.bars[1], sizeof *c), 0);
    cr_assert(c[2].root == 7 && c[2].third == CHORDS_NO_TONE);
    cr_assert(c[3].none);
    cr_assert(c[4].root == 6 && c[4].third == 3 && c[4].seventh == CHORDS_NO_TONE);
    cr_assert_eq(k.chords.bars[0].root, 0); // the other stems have what was asked for
    k.kind = CONDITION_CHORDS;
    cr_assert_not(condition_of_bass(&own, &k));
    k.kind = CONDITION_GRID;
    cr_assert_eq(chords_parse(&k.chords, names + 1, 1, 120, &e), OK);
    cr_assert_not(condition_of_bass(&own, &k));
}

// Later windows hear the beginning from the same place in its bar: the beat does not jump.
Test(condition, an_anchor_lies_in_its_bar_as_the_window_does) {
    const pipeline p = {.frame_rate = 50};
    static double beats[400];
    condition k = {.kind = CONDITION_GRID, .p = &p, .time = timing_even(97)};
    for (int i = 0; i < 400; i++) beats[i] = 0.6 * i + 0.0004 * i * i; // it slows down
    for (int moves = 0; moves < 2; moves++) {
        k.time.beats = moves ? beats : NULL;
        k.time.beat_count = moves ? 400 : 0;
        for (int64_t start = 300; start < 6000; start += 300)
            for (int64_t from = 0; from <= 300; from += 100) {
                int64_t at = condition_anchor(&k, start, from);
                cr_assert(at >= from && at <= start && at < from + 50 * 4);
                double a = timing_beat(&k.time, (double)at / 50) / 4;
                double b = timing_beat(&k.time, (double)start / 50) / 4;
                double apart = fabs(a - b - round(a - b)) * 4 * 60 / 97; // of beats, in seconds
                cr_assert_lt(apart, 0.02, "%d from %d: %g s", (int)start, (int)from, apart);
            }
    }
}
