// test_beside.c - engines that share threads: the turns, the same bytes beside each other, and
// their ends in any order.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"
#include "base/os.h"
#include "engine/turns.h"
#include "stemforge.h"

#define MUSICGEN "tests/parity/mono/model"
#define STABLE_AUDIO "tests/parity/sa-f32/model"

// --- turns

typedef struct {
    turns *t;
    turns_member seat;
    int ms; // that a piece of its work takes
    double longest;
    atomic_int pieces;
    atomic_bool stop;
} worker_of;

static void work(worker_of *w) {
    double before = w->seat.used; // as of the last time that the turns looked
    turns_pass(w->t, &w->seat);
    if (w->seat.used - before > w->longest) w->longest = w->seat.used - before;
    os_sleep_ms(w->ms);
    atomic_fetch_add(&w->pieces, 1);
}

static void *work_on(void *arg) {
    worker_of *w = arg;
    turns_take(w->t, &w->seat);
    while (!atomic_load(&w->stop)) work(w);
    turns_leave(w->t, &w->seat);
    return NULL;
}

Test(beside, long_and_short_pieces_of_work_get_equal_shares_of_time) {
    err e;
    turns *t;
    cr_assert_eq(turns_open(&t, 1, NULL, &e), OK, "%s", e.text);
    worker_of slow = {.t = t, .ms = 20}, fast = {.t = t, .ms = 1};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, work_on, &slow), 0);
    while (atomic_load(&slow.pieces) < 1) os_sleep_ms(1);
    turns_take(t, &fast.seat);
    double from = slow.seat.used, since = fast.seat.used; // read with the turn
    while (atomic_load(&fast.pieces) < 200) work(&fast);
    turns_pass(t, &fast.seat);
    double a = slow.seat.used - from, b = fast.seat.used - since;
    cr_assert_gt(atomic_load(&slow.pieces), 1);
    cr_assert_lt(a, b + slow.longest + fast.longest, "slow %g s, fast %g s", a, b);
    cr_assert_lt(b, a + slow.longest + fast.longest, "slow %g s, fast %g s", a, b);
    atomic_store(&slow.stop, true);
    turns_leave(t, &fast.seat);
    pthread_join(thread, NULL);
    turns_close(t);
}

Test(beside, who_was_away_is_owed_nothing_and_owes_little) {
    err e;
    turns *t;
    cr_assert_eq(turns_open(&t, 1, NULL, &e), OK, "%s", e.text);
    turns_member idle = {0};
    worker_of busy = {.t = t, .ms = 1, .seat = {.used = 500}};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, work_on, &busy), 0);
    while (atomic_load(&busy.pieces) < 1) os_sleep_ms(1);
    turns_take(t, &idle);
    cr_assert_geq(idle.used, 500);
    turns_leave(t, &idle);
    idle.used = 9000;
    turns_take(t, &idle);
    cr_assert_lt(idle.used, 9000, "the other would have had the turn for hours");
    atomic_store(&busy.stop, true);
    turns_leave(t, &idle);
    pthread_join(thread, NULL);
    turns_close(t);
}

// --- engines

static stemforge_engine *open_beside(const char *model, stemforge_engine *other) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = model;
    o.threads = 2;
    o.beside = other;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    return g;
}

typedef struct {
    stemforge_engine *g;
    uint8_t digest[2][SHA256_LEN];
    int stems;
    bool cancel; // after the first look
    stemforge_status rc;
    stemforge_error e;
} outcome;

static stemforge_status keep(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    outcome *o = arg;
    o->stems++;
    bytes data = {(const uint8_t *)s->samples,
                  (size_t)(s->frames * s->channels) * sizeof *s->samples};
    return hash_sha256(o->digest[i], data, e);
}

static bool canceled(void *arg) {
    return ((outcome *)arg)->cancel;
}

static void *make(void *arg) {
    static const char *const stems[] = {"drums", "bass"};
    outcome *o = arg;
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 2, r.seconds = 0.4, r.seed = 7, r.temperature = 1;
    r.steps = 6; // of the one that has them
    const stemforge_events ev = {.arg = o, .stem_done = keep, .canceled = canceled};
    o->rc = stemforge_generate(o->g, &r, &ev, &o->e);
    return NULL;
}

static outcome alone(const char *model) {
    outcome o = {.g = open_beside(model, NULL)};
    make(&o);
    cr_assert_eq(o.rc, STEMFORGE_OK, "%s: %s", model, o.e.text);
    cr_assert_eq(o.stems, 2);
    stemforge_close(o.g);
    return o;
}

Test(beside, two_families_make_the_bytes_that_each_makes_alone) {
    outcome want[2] = {alone(MUSICGEN), alone(STABLE_AUDIO)};
    stemforge_engine *g[2] = {open_beside(MUSICGEN, NULL)};
    g[1] = open_beside(STABLE_AUDIO, g[0]);
    cr_assert_eq(stemforge_engine_info(g[1]).threads, stemforge_engine_info(g[0]).threads);
    enum { JOBS = 6 };
    outcome o[JOBS];
    pthread_t t[JOBS];
    for (int i = 0; i < JOBS; i++) {
        o[i] = (outcome){.g = g[i % 2], .cancel = i >= 4};
        cr_assert_eq(pthread_create(&t[i], NULL, make, &o[i]), 0);
    }
    for (int i = 0; i < JOBS; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(o[i].rc, STEMFORGE_OK, "%s", o[i].e.text);
        cr_assert_arr_eq(o[i].digest, want[i % 2].digest, sizeof o[i].digest, "job %d", i);
    }
    for (int i = 4; i < JOBS; i++) cr_assert_eq(o[i].rc, STEMFORGE_ERR_CANCELED);
    cr_assert_gt(stemforge_engine_stats(g[0]).steps, 0);
    cr_assert_gt(stemforge_engine_stats(g[1]).steps, 0);
    stemforge_close(g[0]); // the threads stay for the other
    outcome after = {.g = g[1]};
    make(&after);
    cr_assert_eq(after.rc, STEMFORGE_OK, "%s", after.e.text);
    cr_assert_arr_eq(after.digest, want[1].digest, sizeof after.digest);
    stemforge_close(g[1]);
}

Test(beside, a_model_that_does_not_open_leaves_the_other_as_it_was) {
    stemforge_engine *g = open_beside(MUSICGEN, NULL), *no;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = "tests/parity";
    o.beside = g;
    cr_assert_neq(stemforge_open(&no, &o, &e), STEMFORGE_OK);
    outcome after = {.g = g};
    make(&after);
    cr_assert_eq(after.rc, STEMFORGE_OK, "%s", after.e.text);
    stemforge_close(g);
}
