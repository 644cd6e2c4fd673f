// test_together.c - work on several things at once: each is done once, by as many threads as asked.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/together.h"

enum { MOST = 40 };

typedef struct {
    pthread_barrier_t *meet; // all threads are there at once; NULL: they need not be
    pthread_t caller;
    atomic_int times[MOST], elsewhere;
} work;

static void do_one(void *arg, size_t i) {
    work *w = arg;
    atomic_fetch_add(&w->times[i], 1);
    if (!pthread_equal(w->caller, pthread_self())) atomic_fetch_add(&w->elsewhere, 1);
    if (w->meet) pthread_barrier_wait(w->meet);
}

Test(together, each_is_done_once) {
    static const int threads[] = {0, 1, 2, 3, TOGETHER_MAX, 100};
    for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
        for (size_t n = 0; n <= MOST; n++) {
            work w = {.caller = pthread_self()};
            together_run(n, threads[t], do_one, &w);
            for (size_t i = 0; i < MOST; i++) cr_assert_eq(w.times[i], i < n);
            if (threads[t] < 2) cr_assert_eq(w.elsewhere, 0);
        }
    }
}

Test(together, all_threads_work_at_the_same_time, .timeout = 60) {
    pthread_barrier_t meet;
    pthread_barrier_init(&meet, NULL, 3);
    work w = {.meet = &meet, .caller = pthread_self()};
    together_run(3, 3, do_one, &w); // with fewer threads nobody would come back
    cr_assert_eq(w.elsewhere, 2);
    pthread_barrier_destroy(&meet);
}
