// pool.c - the threads: every part runs once, and no part waits for a thread that is held up.
#include "compute/cpu/pool.h"

#include <sched.h>
#include <stdatomic.h>

#include "base/os.h"
#include "check.h"

typedef struct {
    atomic_int others;
    bool alone; // the others were done while part 0 lasted
} held_up;

static void hold_part_0(void *arg, int part, int parts, int thread) {
    held_up *h = arg;
    double from = os_seconds();
    (void)thread;
    if (part) atomic_fetch_add(&h->others, 1);
    while (!part && atomic_load(&h->others) < parts - 1 && os_seconds() < from + 30) sched_yield();
    if (!part) h->alone = atomic_load(&h->others) == parts - 1;
}

// What a thread has not begun is done by the others.
static void test_parts_are_taken(void) {
    pool *p;
    expect(pool_open(&p, 3, NULL) == OK, "a pool opens");
    for (int parts = 2; parts < 200; parts += 13) {
        held_up h = {0};
        pool_run(p, parts, hold_part_0, &h);
        expect(h.alone, "of %d parts %d waited for part 0", parts, parts - 1 - h.others);
    }
    pool_close(p);
}

#define ROUNDS 300
typedef struct {
    atomic_int done[ROUNDS], early;
} rounds_seen;

static void note_round(void *arg, int round, int part, int parts, int thread) {
    rounds_seen *s = arg;
    (void)part, (void)thread;
    if (round && atomic_load(&s->done[round - 1]) != parts) atomic_fetch_add(&s->early, 1);
    atomic_fetch_add(&s->done[round], 1);
}

// A round begins when the one before has ended, and each of its parts runs once.
static void test_rounds(void) {
    static const int threads[] = {1, 2, 5}, parts[] = {1, 2, 7, POOL_ROUND_PARTS_MAX};
    for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
        pool *p;
        expect(pool_open(&p, threads[t], NULL) == OK, "a pool opens");
        for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
            rounds_seen s = {0};
            pool_run_rounds(p, ROUNDS, parts[k], note_round, &s);
            expect(s.early == 0, "%d parts began before their round", s.early);
            for (int r = 0; r < ROUNDS; r++)
                expect(s.done[r] == parts[k], "round %d ran %d parts", r, s.done[r]);
        }
        pool_close(p);
    }
}

void test_pool(void) {
    test_parts_are_taken();
    test_rounds();
}
