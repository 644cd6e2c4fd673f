// test_sa_given.c - Stable Audio with a sound that a request brings along: varied, mended in part,
// gone on from.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/file.h"
#include "base/mem.h"
#include "stemforge.h"

#define MODEL "tests/parity/sa-small/model"
#define RATE 44100
#define SECONDS 0.5

typedef struct {
    stemforge_request r;
    float *x; // the left channel
    int64_t n;
    stemforge_error e;
} outcome;

static const char *const stems[] = {"bass"};

static char *sound_file(double seconds) {
    static char path[] = "/tmp/stemforge-given-XXXXXX";
    strcpy(path, "/tmp/stemforge-given-XXXXXX");
    int64_t n = (int64_t)(seconds * RATE);
    float *x = malloc((size_t)n * sizeof *x);
    err e;
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && close(fd) == 0);
    for (int64_t i = 0; i < n; i++) x[i] = 0.5f * sinf((float)i * 0.031f) * (i % 9000 < 5000);
    cr_assert_eq(file_write(path, FILE_WAV16, x, n, 1, RATE, NULL, &e), OK, "%s", e.text);
    free(x);
    return path;
}

static stemforge_status keep(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    outcome *o = arg;
    (void)i, (void)e;
    o->n = s->frames;
    o->x = malloc((size_t)s->frames * sizeof *o->x);
    for (int64_t k = 0; k < s->frames; k++) o->x[k] = s->samples[k * s->channels];
    return STEMFORGE_OK;
}

static outcome asked(uint64_t seed) {
    outcome o = {.r = stemforge_request_default()};
    o.r.stems = stems, o.r.stem_count = 1, o.r.seconds = SECONDS, o.r.seed = seed, o.r.steps = 4;
    return o;
}

static void run(stemforge_engine *g, outcome *o) {
    const stemforge_events ev = {.arg = o, .stem_done = keep};
    (void)!stemforge_generate(g, &o->r, &ev, &o->e);
}

static void made(stemforge_engine *g, outcome *o) {
    run(g, o);
    cr_assert_eq(o->e.code, STEMFORGE_OK, "%s", o->e.text);
}

static stemforge_engine *open_at(const char *isa, int threads) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = MODEL, o.isa = isa, o.threads = threads;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    return g;
}

// How alike two sounds are between two times, whatever their levels: 1 for equal ones.
static double alike(const outcome *a, const outcome *b, double from, double to) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = (int64_t)(from * RATE); i < (int64_t)(to * RATE); i++) {
        double x = (double)a->x[i], y = (double)b->x[i];
        ab += x * y, aa += x * x, bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

static bool same(const outcome *a, const outcome *b) {
    return a->n == b->n && memcmp(a->x, b->x, (size_t)a->n * sizeof *a->x) == 0;
}

Test(sa_given, a_variation_is_nearer_the_less_it_may_change) {
    stemforge_engine *g = open_at(NULL, 2), *one = open_at("scalar", 1);
    char *path = sound_file(SECONDS);
    outcome plain = asked(1), some = asked(1), again = asked(1), little = asked(1),
            other = asked(2);
    some.r.init_audio = again.r.init_audio = little.r.init_audio = other.r.init_audio = path;
    little.r.strength = other.r.strength = 0.02;
    made(g, &plain), made(g, &some), made(one, &again), made(g, &little), made(g, &other);
    cr_assert(!same(&plain, &some) && !same(&some, &little) && same(&some, &again));
    double near = alike(&little, &other, 0.1, 0.4), far = alike(&little, &some, 0.1, 0.4);
    cr_assert_gt(near, 0.9, "of another seed, and hardly changed: %g", near);
    cr_assert_lt(far, near);
    free(plain.x), free(some.x), free(again.x), free(little.x), free(other.x);
    unlink(path);
    stemforge_close(g);
    stemforge_close(one);
}

// Away from the seam, by more than the codec's frames reach, nothing depends on the seed.
Test(sa_given, what_is_kept_is_kept_and_the_rest_is_new) {
    stemforge_engine *g = open_at(NULL, 2);
    char *path = sound_file(SECONDS);
    outcome a = asked(1), b = asked(2);
    a.r.init_audio = b.r.init_audio = path;
    a.r.remake_from = b.r.remake_from = 0.3;
    a.r.remake_to = b.r.remake_to = 0.35;
    made(g, &a), made(g, &b);
    cr_assert_gt(alike(&a, &b, 0.02, 0.18), 0.999999);
    cr_assert_lt(alike(&a, &b, 0.3, 0.35), 0.999);
    free(a.x), free(b.x);
    unlink(path);
    path = sound_file(0.3);
    outcome c = asked(3), d = asked(4);
    c.r.continue_from = d.r.continue_from = path;
    made(g, &c), made(g, &d);
    cr_assert_gt(alike(&c, &d, 0.02, 0.18), 0.999999);
    cr_assert_lt(alike(&c, &d, 0.32, 0.4), 0.99);
    free(c.x), free(d.x);
    unlink(path);
    stemforge_close(g);
}

static void refused(stemforge_engine *g, outcome o, const char *where, const char *text) {
    run(g, &o);
    cr_assert_neq(o.e.code, STEMFORGE_OK, "%s", where);
    cr_assert_str_eq(o.e.where, where, "%s", o.e.text);
    cr_assert(strstr(o.e.text, text), "%s", o.e.text);
}

Test(sa_given, what_does_not_go_together_is_refused) {
    stemforge_engine *g = open_at(NULL, 2);
    char *path = sound_file(SECONDS);
    outcome o = asked(1);
    o.r.strength = 0.5;
    refused(g, o, "strength", "--init-audio beside it");
    o = asked(1), o.r.remake_to = 0.2;
    refused(g, o, "remake_from", "--init-audio beside it");
    o = asked(1), o.r.init_audio = o.r.continue_from = path;
    refused(g, o, "init_audio", "found both");
    o = asked(1), o.r.init_audio = path, o.r.remake_from = 0.3, o.r.remake_to = 0.2;
    refused(g, o, "remake_to", "more than 0.3 s");
    o = asked(1), o.r.init_audio = path, o.r.remake_to = 0.6;
    refused(g, o, "remake_to", "at most the 0.5 s");
    o = asked(1), o.r.init_audio = "/nowhere.wav";
    refused(g, o, "init_audio", "/nowhere.wav");
    o = asked(1), o.r.continue_from = path, o.r.seconds = 0.4;
    refused(g, o, "seconds", "to go on from, found 0.4");
    unlink(path);
    stemforge_close(g);
}

Test(sa_given, every_failed_allocation_is_an_error) {
    stemforge_engine *g = open_at(NULL, 1);
    char *path = sound_file(0.1);
    outcome o = asked(1);
    o.r.init_audio = path, o.r.seconds = 0.1, o.r.steps = 1;
    for (int n = 0;; n++) {
        mem_fail_after(n);
        run(g, &o);
        mem_fail_after(-1);
        if (o.e.code == STEMFORGE_OK) break;
        cr_assert_eq(o.e.code, STEMFORGE_ERR_OOM, "allocation %d: %s", n, o.e.text);
        cr_assert_lt(n, 3000);
        o.e = (stemforge_error){0};
    }
    free(o.x);
    unlink(path);
    stemforge_close(g);
}
