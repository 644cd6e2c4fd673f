// test_engine.c - stemforge.h: the same bytes in any company, cancel, limits, out of memory.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "stemforge.h"

#define MONO "tests/parity/mono/model"
#define MELODY "tests/parity/melody/model"

static stemforge_engine *open_model(const char *model, int places) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = model;
    o.threads = 2;
    o.batch_max = places;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    return g;
}

// What became of a request: a digest per stem.
typedef struct {
    stemforge_engine *g;
    stemforge_request r;
    uint8_t digest[7][SHA256_LEN];
    int stems, code;
    _Atomic bool stop;
} outcome;

static status keep(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    (void)e;
    outcome *o = arg;
    o->stems++;
    bytes data = {(const uint8_t *)s->samples,
                  (size_t)(s->frames * s->channels) * sizeof *s->samples};
    return hash_sha256(o->digest[i], data, NULL);
}

static bool asked_to_stop(void *arg) {
    return ((outcome *)arg)->stop;
}

static void *make(void *arg) {
    outcome *o = arg;
    stemforge_error e;
    const stemforge_events ev = {.arg = o, .stem_done = keep, .canceled = asked_to_stop};
    o->code = stemforge_generate(o->g, &o->r, &ev, &e);
    return NULL;
}

static const char *const four[] = {"drums", "bass", "guitar", "piano"};

static outcome request(stemforge_engine *g, size_t stems, double seconds, uint64_t seed) {
    outcome o = {.g = g, .r = stemforge_request_default()};
    o.r.stems = four;
    o.r.stem_count = stems;
    o.r.seconds = seconds;
    o.r.seed = seed;
    return o;
}

Test(engine, a_stem_is_the_same_alone_in_a_batch_and_beside_other_jobs) {
    stemforge_engine *g = open_model(MONO, 3); // fewer places than stems: they join and leave
    outcome alone = request(g, 1, 0.7, 5);
    make(&alone);
    cr_assert_eq(alone.code, STEMFORGE_OK);
    enum { JOBS = 4 };
    outcome o[JOBS];
    pthread_t t[JOBS];
    for (int i = 0; i < JOBS; i++) {
        o[i] = request(g, (size_t)(i + 1), 0.7 + (i == 2 ? 0.5 : 0), i == 1 ? 6 : 5);
        cr_assert_eq(pthread_create(&t[i], NULL, make, &o[i]), 0);
    }
    for (int i = 0; i < JOBS; i++) {
        pthread_join(t[i], NULL);
        cr_assert_eq(o[i].code, STEMFORGE_OK);
        cr_assert_eq(o[i].stems, i + 1);
    }
    cr_assert_eq(memcmp(o[0].digest[0], alone.digest[0], SHA256_LEN), 0);
    cr_assert_eq(memcmp(o[3].digest[0], alone.digest[0], SHA256_LEN), 0);
    cr_assert_neq(memcmp(o[1].digest[0], alone.digest[0], SHA256_LEN), 0,
                  "another seed, the same sound");
    cr_assert_neq(memcmp(o[3].digest[1], o[3].digest[2], SHA256_LEN), 0,
                  "bass and guitar are the same");
    cr_assert_gt(stemforge_engine_stats(g).rows, stemforge_engine_stats(g).steps,
                 "nothing shared a step");
    stemforge_close(g);
}

Test(engine, skipped_stems_are_not_made_and_change_no_other) {
    stemforge_engine *g = open_model(MONO, 0);
    outcome all = request(g, 2, 0.5, 9), some = request(g, 2, 0.5, 9);
    const bool skip[] = {true, false};
    make(&all);
    some.r.skip = skip;
    make(&some);
    cr_assert_eq(some.stems, 1);
    cr_assert_eq(memcmp(all.digest[1], some.digest[1], SHA256_LEN), 0);
    stemforge_close(g);
}

// Stems of one request copy the rows of the chord prefix from each other.
Test(engine, stems_of_a_melody_request_are_what_each_is_alone) {
    stemforge_engine *g = open_model(MELODY, 0);
    const char *const chords[] = {"Am", "F", "C", "G"};
    outcome all = request(g, 4, 1, 3);
    all.r.chords = chords, all.r.chord_count = 4, all.r.bpm = 120;
    outcome one = all;
    make(&all);
    cr_assert_eq(all.stems, 4);
    for (int i = 0; i < 4; i++) {
        const bool skip[] = {i != 0, i != 1, i != 2, i != 3};
        one.r.skip = skip;
        make(&one);
        cr_assert_eq(one.code, STEMFORGE_OK);
        cr_assert_eq(memcmp(one.digest[i], all.digest[i], SHA256_LEN), 0, "%s", four[i]);
    }
    stemforge_close(g);
}

Test(engine, chords_and_tempo_change_what_a_melody_model_plays) {
    stemforge_engine *g = open_model(MELODY, 0);
    const char *const minor[] = {"Am", "F"}, *const major[] = {"E", "B7"};
    outcome a = request(g, 1, 1, 3), b = a, c = a;
    a.r.chords = minor, a.r.chord_count = 2, a.r.bpm = 120;
    b.r.chords = major, b.r.chord_count = 2, b.r.bpm = 120;
    c = a;
    make(&a);
    make(&b);
    make(&c);
    cr_assert_eq(memcmp(a.digest[0], c.digest[0], SHA256_LEN), 0);
    cr_assert_neq(memcmp(a.digest[0], b.digest[0], SHA256_LEN), 0);
    stemforge_close(g);
}

static void *stop_soon(void *arg) {
    struct timespec ts = {0, 150000000};
    nanosleep(&ts, NULL);
    ((outcome *)arg)->stop = true;
    return NULL;
}

Test(engine, cancel_ends_a_long_request_and_the_engine_goes_on, .timeout = 60) {
    stemforge_engine *g = open_model(MONO, 0);
    outcome o = request(g, 4, 600, 1);
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, stop_soon, &o), 0);
    make(&o);
    pthread_join(t, NULL);
    cr_assert_eq(o.code, STEMFORGE_ERR_CANCELED);
    cr_assert_eq(o.stems, 0);
    outcome next = request(g, 1, 0.3, 1);
    make(&next);
    cr_assert_eq(next.code, STEMFORGE_OK);
    stemforge_close(g);
}

Test(engine, a_request_over_the_memory_budget_is_refused) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = MONO;
    o.memory_max = 100000;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    outcome big = request(g, 1, 20, 1), small = request(g, 1, 0.1, 1);
    make(&big);
    cr_assert_eq(big.code, STEMFORGE_ERR_LIMIT);
    make(&small);
    cr_assert_eq(small.code, STEMFORGE_OK);
    stemforge_close(g);
}

Test(engine, a_long_text_shortens_the_window_of_a_melody_model_and_nothing_breaks) {
    stemforge_engine *g = open_model(MELODY, 0);
    char text[900];
    for (size_t i = 0; i + 1 < sizeof text; i++) text[i] = i % 3 == 2 ? ' ' : (char)('a' + i % 23);
    text[sizeof text - 1] = 0;
    outcome o = request(g, 1, 31, 4);
    o.r.prompt = text;
    make(&o);
    cr_assert_eq(o.code, STEMFORGE_OK);
    stemforge_close(g);
}

Test(engine, wrong_requests_name_the_field) {
    stemforge_error e;
    stemforge_request r = stemforge_request_default();
    const char *const twice[] = {"bass", "bass"}, *const kazoo[] = {"kazoo"},
                      *const chords[] = {"C", "H"};
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    r.stems = twice, r.stem_count = 2;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "stems[1]");
    r.stems = kazoo, r.stem_count = 1;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "stems[0]");
    r.stems = four;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_OK, "%s", e.text);
    r.chords = chords, r.chord_count = 2;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "chords[1]");
    r.chord_count = 0;
    r.key = "Q";
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "key");
    r.key = NULL;
    const struct {
        double *field;
        double wrong;
        const char *name;
    } numbers[] = {{&r.bpm, 7, "bpm"},
                   {&r.seconds, 0, "seconds"},
                   {&r.seconds, 601, "seconds"},
                   {&r.temperature, 2.1, "temperature"},
                   {&r.top_p, -1, "top_p"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double kept = *numbers[i].field;
        *numbers[i].field = numbers[i].wrong;
        cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG, "number %zu", i);
        cr_assert_str_eq(e.where, numbers[i].name);
        *numbers[i].field = kept;
    }
}

static status refuse_the_second(void *arg, size_t i, const stemforge_stem *s, err *e) {
    (void)arg, (void)s;
    return i == 1 ? err_set(e, ERR_IO, "the disk is full") : OK;
}

Test(engine, a_failed_stem_is_named_apart_from_the_reason) {
    stemforge_engine *g = open_model(MONO, 0);
    outcome o = request(g, 3, 0.1, 1);
    stemforge_error e;
    const stemforge_events ev = {.stem_done = refuse_the_second};
    cr_assert_eq(stemforge_generate(g, &o.r, &ev, &e), STEMFORGE_ERR_IO);
    cr_assert_eq(e.code, STEMFORGE_ERR_IO);
    cr_assert_str_eq(e.where, four[1]);
    cr_assert_str_eq(e.text, "the disk is full");
    stemforge_close(g);
}

// Allocation n and all after it fail, for every n until enough of them succeed. Late failures are
// sampled.
Test(engine, open_survives_each_failed_allocation, .timeout = 120) {
    stemforge_options o = stemforge_options_default();
    o.model = MONO;
    o.threads = 2;
    for (int n = 0;; n += n < 60 ? 1 : n / 12) {
        stemforge_engine *g;
        stemforge_error e = {0};
        mem_fail_after(n);
        int rc = stemforge_open(&g, &o, &e);
        mem_fail_after(-1);
        if (rc == STEMFORGE_OK) {
            stemforge_close(g);
            break;
        }
        cr_assert_eq(rc, STEMFORGE_ERR_OOM, "allocation %d: code %d, %s", n, rc, e.text);
        cr_assert(g == NULL && e.text[0]);
    }
}

Test(engine, generate_survives_each_failed_allocation, .timeout = 120) {
    stemforge_engine *g = open_model(MELODY, 0);
    for (int n = 0;; n++) {
        outcome o = request(g, 1, 0.1, 1);
        stemforge_error e = {0};
        const stemforge_events ev = {.arg = &o, .stem_done = keep};
        mem_fail_after(n);
        int rc = stemforge_generate(g, &o.r, &ev, &e);
        mem_fail_after(-1);
        if (rc == STEMFORGE_OK) break;
        cr_assert_eq(rc, STEMFORGE_ERR_OOM, "allocation %d: code %d, %s", n, rc, e.text);
        cr_assert_lt(n, 2000);
    }
    stemforge_close(g);
}
