// test_sa_windows.c - Stable Audio past its canvas: where the windows lie, that they join, and that
// a stem of several is like one of one: its length, its bytes, its progress, its end.
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/file.h"
#include "base/mem.h"
#include "engine/stableaudio/windows.h"
#include "stemforge.h"

#define DIFFUSION "tests/parity/sa-f32/model" // a canvas of 1.04 s
#define FLOW "tests/parity/sa-small/model"    // of 0.55 s
#define RATE 44100

// --- where they lie

static void covers(int64_t frames, int64_t canvas, span fresh) {
    const sa_windows w = {frames, canvas, fresh};
    int64_t next = fresh.from, count = sa_windows_count(&w);
    for (int64_t i = 0; i < count; i++) {
        sa_window x = sa_windows_at(&w, i);
        cr_assert(x.start >= 0 && x.start + canvas <= frames, "window %d", (int)i);
        cr_assert_eq(x.start + x.fresh.from, next, "nothing is left out or made twice");
        cr_assert(x.start == 0 || x.fresh.from >= canvas / 4, "it hears a quarter");
        cr_assert(x.fresh.from < x.fresh.to && x.fresh.to <= canvas);
        next = x.start + x.fresh.to;
    }
    cr_assert_eq(next, fresh.to, "%d of %d frames, canvas %d", (int)next, (int)fresh.to,
                 (int)canvas);
}

Test(sa_windows, each_frame_is_made_once_and_each_window_hears_a_quarter) {
    for (int64_t canvas = 1; canvas < 12; canvas++)
        for (int64_t frames = canvas; frames < 40; frames++)
            for (int64_t from = 0; from < frames; from += 3) {
                covers(frames, canvas, (span){from, frames});
                covers(frames, canvas, (span){from, MIN(frames, from + 7)});
            }
    const sa_windows one = {9, 9, {4, 9}}, two = {10, 9, {0, 10}};
    cr_assert(sa_windows_count(&one) == 1 && sa_windows_at(&one, 0).start == 0);
    cr_assert(sa_windows_count(&two) == 2 && sa_windows_at(&two, 1).start == 1,
              "the last ends with the stem");
}

// --- stems

typedef struct {
    stemforge_engine *g;
    stemforge_request r;
    float *x[2]; // [n, 2] of each stem
    int64_t n, done, total, cancel_at;
    stemforge_error e;
} outcome;

static const char *const stems[] = {"bass", "piano"};

static stemforge_engine *open_at(const char *model, const char *isa, int threads) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = model, o.isa = isa, o.threads = threads;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    return g;
}

static outcome asked(stemforge_engine *g, double seconds, uint64_t seed) {
    outcome o = {.g = g, .r = stemforge_request_default(), .cancel_at = INT64_MAX};
    o.r.stems = stems, o.r.stem_count = 1, o.r.seconds = seconds, o.r.seed = seed, o.r.steps = 3;
    o.r.past_canvas = true;
    o.r.fade_in_seconds = o.r.fade_out_seconds = 0;
    return o;
}

static stemforge_status keep(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    outcome *o = arg;
    (void)e;
    size_t size = (size_t)(s->frames * s->channels) * sizeof *s->samples;
    o->n = s->frames;
    o->x[i] = malloc(size);
    memcpy(o->x[i], s->samples, size);
    return STEMFORGE_OK;
}

static void follow(void *arg, size_t i, int64_t done, int64_t total) {
    outcome *o = arg;
    if (i == 0) o->done = done, o->total = total;
}

static bool stop(void *arg) {
    const outcome *o = arg;
    return o->done >= o->cancel_at;
}

static void *run(void *arg) {
    outcome *o = arg;
    const stemforge_events ev = {.arg = o, .stem_done = keep, .progress = follow, .canceled = stop};
    (void)!stemforge_generate(o->g, &o->r, &ev, &o->e);
    return NULL;
}

static void made(outcome *o) {
    run(o);
    cr_assert_eq(o->e.code, STEMFORGE_OK, "%s", o->e.text);
}

static void forget(outcome *o) {
    free(o->x[0]);
    free(o->x[1]);
}

static bool same(const outcome *a, const outcome *b) {
    return a->n == b->n && !memcmp(a->x[0], b->x[0], (size_t)a->n * 2 * sizeof(float));
}

static void same_bytes_everywhere(const char *model, double seconds, int64_t windows) {
    stemforge_engine *one = open_at(model, "scalar", 1), *g = open_at(model, NULL, 3);
    outcome a = asked(one, seconds, 8), b = asked(g, seconds, 8), c = asked(g, seconds, 9);
    b.r.stem_count = c.r.stem_count = 2;
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, run, &c), 0);
    made(&a), made(&b);
    pthread_join(other, NULL);
    cr_assert_eq(c.e.code, STEMFORGE_OK, "%s", c.e.text);
    cr_assert_eq(a.n, (int64_t)(seconds * RATE + 0.5));
    cr_assert(a.done == a.total && a.total == 3 * windows, "%d of %d steps", (int)a.done,
              (int)a.total);
    cr_assert(same(&a, &b), "alone and in company");
    cr_assert_not(same(&b, &c), "another seed, another sound");
    forget(&a), forget(&b), forget(&c);
    stemforge_close(one);
    stemforge_close(g);
}

Test(sa_windows, a_long_stem_has_its_length_and_the_same_bytes_everywhere) {
    same_bytes_everywhere(DIFFUSION, 2.2, 3); // windows from 0 s, 0.78 and 1.16
    same_bytes_everywhere(FLOW, 1.25, 3);
}

static float sample(const outcome *o, int64_t i) {
    return o->x[0][i * 2];
}

// From a time on, for as long.
static double level(const outcome *o, double from, double seconds) {
    double sum = 0;
    for (int64_t i = (int64_t)(from * RATE); i < (int64_t)((from + seconds) * RATE); i++)
        sum += (double)sample(o, i) * (double)sample(o, i);
    return sqrt(sum / (seconds * RATE));
}

static double steepest(const outcome *o, double from, double seconds) {
    double most = 0;
    for (int64_t i = (int64_t)(from * RATE); i < (int64_t)((from + seconds) * RATE); i++)
        most = fmax(most, fabs((double)(sample(o, i + 1) - sample(o, i))));
    return most;
}

// How alike two stretches are: 1 for equal ones.
static double alike(const outcome *a, double at, const outcome *b, double from, double seconds) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < (int64_t)(seconds * RATE); i++) {
        double x = (double)sample(a, (int64_t)(at * RATE) + i);
        double y = (double)sample(b, (int64_t)(from * RATE) + i);
        ab += x * y, aa += x * x, bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

Test(sa_windows, windows_join_without_a_step_and_each_is_new) {
    stemforge_engine *g = open_at(DIFFUSION, NULL, 2);
    outcome o = asked(g, 2.2, 5);
    made(&o);
    static const double joins[] = {1.04, 1.82};
    double inside = steepest(&o, 0.3, 0.5);
    for (size_t i = 0; i < ARRAY_LEN(joins); i++) {
        double before = level(&o, joins[i] - 0.2, 0.2), after = level(&o, joins[i], 0.2);
        cr_assert(before < 1.5 * after && after < 1.5 * before, "%g beside %g", before, after);
        cr_assert_lt(steepest(&o, joins[i] - 0.01, 0.02), 1.2 * inside);
    }
    cr_assert_lt(fabs(alike(&o, 0.4, &o, 0.4 + 0.78, 0.4)), 0.9, "window 2 repeats window 1");
    forget(&o);
    stemforge_close(g);
}

static char *sound_file(double seconds) {
    static char path[64];
    strcpy(path, "/tmp/stemforge-windows-XXXXXX");
    int64_t n = (int64_t)(seconds * RATE);
    float *x = malloc((size_t)n * sizeof *x);
    err e;
    int fd = mkstemp(path);
    cr_assert(x && fd >= 0 && close(fd) == 0);
    for (int64_t i = 0; i < n; i++) x[i] = 0.5f * sinf((float)i * 0.031f) * (i % 9000 < 5000);
    cr_assert_eq(file_write(path, FILE_WAV16, x, n, 1, RATE, NULL, &e), OK, "%s", e.text);
    free(x);
    return path;
}

// Away from the seams, by more than the codec's frames reach, nothing depends on the seed.
Test(sa_windows, a_given_sound_may_be_longer_than_the_canvas) {
    stemforge_engine *g = open_at(FLOW, NULL, 2);
    char *path = sound_file(1.6);
    outcome a = asked(g, 1.6, 1), b = asked(g, 1.6, 2), long_part = asked(g, 1.6, 1);
    a.r.init_audio = b.r.init_audio = long_part.r.init_audio = path;
    a.r.remake_from = b.r.remake_from = 1.2, a.r.remake_to = b.r.remake_to = 1.3;
    long_part.r.remake_from = 0.2, long_part.r.remake_to = 1.5;
    made(&a), made(&b), made(&long_part);
    cr_assert_eq(a.total, 3, "one window holds what is new");
    cr_assert_eq(long_part.total, 12);
    cr_assert_gt(alike(&a, 0.02, &b, 0.02, 1), 0.999999, "before");
    cr_assert_lt(alike(&a, 1.2, &b, 1.2, 0.1), 0.999, "what is new");
    cr_assert_gt(alike(&a, 1.45, &b, 1.45, 0.1), 0.999999, "after");
    outcome c = asked(g, 2.4, 3), d = asked(g, 2.4, 4);
    c.r.continue_from = d.r.continue_from = path;
    made(&c), made(&d);
    cr_assert_eq(c.n, 105840);
    cr_assert_eq(c.total, 6);
    cr_assert_gt(alike(&c, 0.02, &d, 0.02, 1.4), 0.999999, "the file's");
    cr_assert_lt(alike(&c, 1.7, &d, 1.7, 0.6), 0.99, "what follows");
    unlink(path);
    forget(&a), forget(&b), forget(&c), forget(&d), forget(&long_part);
    stemforge_close(g);
}

Test(sa_windows, it_is_made_when_the_request_says_so_and_can_be_canceled_between) {
    stemforge_engine *g = open_at(FLOW, NULL, 1);
    outcome o = asked(g, 1.25, 1);
    o.r.past_canvas = false;
    run(&o);
    cr_assert_eq(o.e.code, STEMFORGE_ERR_ARG);
    cr_assert_str_eq(o.e.where, "seconds");
    cr_assert(strstr(o.e.text, "unless past_canvas is set, found 1.25"), "%s", o.e.text);
    o = asked(g, 0.5, 1), o.r.canvas = 0.2, o.r.past_canvas = false;
    run(&o);
    cr_assert_str_eq(o.e.where, "canvas");
    o = asked(g, 0.5, 1), o.r.canvas = 0.2;
    made(&o);
    cr_assert_gt(o.total, 6, "windows of a canvas that the request says");
    forget(&o);
    outcome long_one = asked(g, 600, 1);
    long_one.cancel_at = 4; // the second window's
    run(&long_one);
    cr_assert_eq(long_one.e.code, STEMFORGE_ERR_CANCELED, "%s", long_one.e.text);
    cr_assert_lt(long_one.done, long_one.total);
    stemforge_close(g);
}

Test(sa_windows, every_failed_allocation_is_an_error) {
    stemforge_engine *g = open_at(FLOW, NULL, 1);
    outcome want = asked(g, 0.7, 1), o = want;
    want.r.steps = o.r.steps = 1;
    made(&want);
    for (int n = 0;; n++) {
        mem_fail_after(n);
        run(&o);
        mem_fail_after(-1);
        if (o.e.code == STEMFORGE_OK) break;
        cr_assert_eq(o.e.code, STEMFORGE_ERR_OOM, "allocation %d: %s", n, o.e.text);
        cr_assert_lt(n, 3000);
        o.e = (stemforge_error){0};
    }
    cr_assert(same(&want, &o));
    forget(&want), forget(&o);
    stemforge_close(g);
}
