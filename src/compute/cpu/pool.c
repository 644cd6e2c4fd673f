// pool.c - see pool.h.
#include "compute/cpu/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "base/os.h"

// One fork is one round. Each thread has a share of its parts in `left`: the round in the upper 32
// bits, then the first part that is not taken and the part after the last, 16 bits each. A thread
// takes its own parts from the front, so that it goes on reading where it was. When it has none, it
// takes others' parts from the end. A worker that comes late finds another round or no parts, so
// nobody waits for it. f, arg and parts belong to the round. Only threads that hold a part read
// them, and a round does not end while a part is held.
//
// Sleeping: a worker adds itself to `sleepers` and then looks at the round again; pool_run changes
// the round and then reads `sleepers`. Both accesses are sequentially consistent, so one sees the
// other and no wake-up is lost. The same holds for the last part (`pending`) and the caller
// (`waiting`).
struct pool {
    int threads;
    int spins; // turns of waiting before a thread sleeps
    int parts;
    pool_fn f;
    void *arg;
    _Alignas(64) _Atomic uint32_t round;
    atomic_int sleepers; // workers asleep, or about to be
    atomic_bool stop;
    _Alignas(64) atomic_int pending; // parts not yet done
    atomic_bool waiting;             // the caller is asleep, or about to be
    pthread_mutex_t mu;              // for sleeping only
    pthread_cond_t wake, done;
    struct member {
        _Alignas(64) _Atomic uint64_t left;
        _Atomic(const uint8_t *) next; // set by pool_next
        pool *p;
        int index;
        pthread_t id;
    } member[]; // 0 is the caller
};

// How long a thread waits awake before it sleeps: twice the time between two forks of a decoder
// step or between two steps.
#define AWAKE_NS 100000
#define SPINS_MIN 500
#define SPINS_MAX 20000

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

// Turns of waiting in AWAKE_NS. A pause takes 40 to 140 cycles, by the kind of processor, so it is
// measured, in some microseconds; the best of a few looks, since others may take the processor.
static int measure_spins(void) {
    enum { LOOKS = 4, PAUSES = 64 };
    int64_t best = INT64_MAX;
    for (int i = 0; i < LOOKS; i++) {
        int64_t from = os_clock_ns();
        for (int k = 0; k < PAUSES; k++) relax();
        best = MIN(best, os_clock_ns() - from);
    }
    return (int)MIN(MAX((int64_t)AWAKE_NS * PAUSES / MAX(best, 1), SPINS_MIN), SPINS_MAX);
}

// Bytes that a waiting thread prefetches in all, and in one turn.
#define NEXT_BYTES ((size_t)128 << 10)
#define NEXT_STEP 256

// Turn i of waiting: prefetches a little, or pauses.
static void wait_turn(const struct member *w, int i) {
    const uint8_t *next = atomic_load_explicit(&w->next, memory_order_relaxed);
    size_t at = (size_t)i * NEXT_STEP;
    if (!next || at >= NEXT_BYTES) {
        relax();
        return;
    }
    for (size_t j = at; j < at + NEXT_STEP; j += 64) __builtin_prefetch(next + j, 0, 2);
}

// Takes a part of member w: the first if it is its own, else the last. False: none is left.
static bool take(struct member *w, uint32_t round, bool own, int *part) {
    uint64_t left = atomic_load(&w->left);
    for (;;) {
        uint32_t from = (uint32_t)left >> 16, to = (uint32_t)left & 0xffff;
        if ((uint32_t)(left >> 32) != round || from == to) return false;
        *part = (int)(own ? from : to - 1);
        uint64_t less = own ? left + (1 << 16) : left - 1;
        if (atomic_compare_exchange_weak(&w->left, &left, less)) return true;
    }
}

// Takes parts of the round and does them until none is left.
static void work(pool *p, uint32_t round, int thread) {
    int part, done = 0;
    for (int i = 0; i < p->threads; i++) {
        struct member *w = &p->member[(thread + i) % p->threads];
        for (; take(w, round, i == 0, &part); done++) p->f(p->arg, part, p->parts, thread);
    }
    if (!done || atomic_fetch_sub(&p->pending, done) > done || !atomic_load(&p->waiting)) return;
    pthread_mutex_lock(&p->mu);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->mu);
}

static void sleep_for_round(pool *p, uint32_t seen) {
    pthread_mutex_lock(&p->mu);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->round) == seen) pthread_cond_wait(&p->wake, &p->mu);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mu);
}

static void wait_for_round(struct member *w, uint32_t seen) {
    for (int i = 0; i < w->p->spins; i++) {
        if (atomic_load(&w->p->round) != seen) return;
        wait_turn(w, i);
    }
    sleep_for_round(w->p, seen);
}

static void *worker_main(void *arg) {
    struct member *w = arg;
    for (uint32_t seen = 0;;) {
        wait_for_round(w, seen);
        if (atomic_load(&w->p->stop)) return NULL;
        seen = atomic_load(&w->p->round);
        work(w->p, seen, w->index);
    }
}

static void start_round(pool *p, uint32_t round) {
    atomic_store(&p->round, round);
    if (!atomic_load(&p->sleepers)) return;
    pthread_mutex_lock(&p->mu);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mu);
}

static void wait_for_parts(pool *p) {
    for (int i = 0; i < p->spins; i++) {
        if (!atomic_load(&p->pending)) return;
        wait_turn(&p->member[0], i);
    }
    pthread_mutex_lock(&p->mu);
    atomic_store(&p->waiting, true);
    while (atomic_load(&p->pending)) pthread_cond_wait(&p->done, &p->mu);
    atomic_store(&p->waiting, false);
    pthread_mutex_unlock(&p->mu);
}

void pool_run(pool *p, int parts, pool_fn f, void *arg) {
    if (p->threads == 1 || parts == 1) {
        for (int i = 0; i < parts; i++) f(arg, i, parts, 0);
        return;
    }
    assert(parts <= POOL_PARTS_MAX);
    uint32_t round = atomic_load(&p->round) + 1;
    p->f = f, p->arg = arg, p->parts = parts;
    atomic_store(&p->pending, parts);
    for (int i = 0; i < p->threads; i++) {
        uint32_t from = (uint32_t)(i * parts / p->threads);
        uint32_t to = (uint32_t)((i + 1) * parts / p->threads);
        atomic_store(&p->member[i].left, (uint64_t)round << 32 | from << 16 | to);
    }
    start_round(p, round);
    work(p, round, 0);
    wait_for_parts(p);
}

void pool_next(pool *p, int thread, const void *at) {
    atomic_store_explicit(&p->member[thread].next, at, memory_order_relaxed);
}

// ---- rounds ----

// All rounds together are one fork into as many parts as there are threads. In it every thread goes
// through all rounds. `turn` of a part is the next round in which it is to be done. `done` counts
// parts of all rounds, so done / parts is the current round.
typedef struct {
    pool_round_fn f;
    void *arg;
    int rounds, parts, threads, spins;
    _Alignas(64) atomic_int done;
    struct {
        _Alignas(64) atomic_int turn;
    } part[POOL_ROUND_PARTS_MAX];
} rounds_fork;

static void play_round(rounds_fork *f, int round, int thread) {
    int first = thread * f->parts / f->threads;
    for (int i = 0; i < f->parts; i++) {
        int p = (first + i) % f->parts, turn = round;
        if (!atomic_compare_exchange_strong(&f->part[p].turn, &turn, round + 1)) continue;
        f->f(f->arg, round, p, f->parts, thread);
        atomic_fetch_add(&f->done, 1);
    }
}

static void wait_for_done(rounds_fork *f, int count) {
    for (int i = 0; atomic_load(&f->done) < count; i++) {
        if (i < f->spins)
            relax();
        else
            sched_yield(); // the thread with the last part may need this processor
    }
}

static void rounds_thread(void *arg, int share, int shares, int thread) {
    rounds_fork *f = arg;
    (void)share, (void)shares;
    for (int r = atomic_load(&f->done) / f->parts; r < f->rounds; r++) {
        play_round(f, r, thread);
        wait_for_done(f, (r + 1) * f->parts);
    }
}

void pool_run_rounds(pool *p, int rounds, int parts, pool_round_fn f, void *arg) {
    rounds_fork all = {.f = f,
                       .arg = arg,
                       .rounds = rounds,
                       .parts = parts,
                       .threads = p->threads,
                       .spins = p->spins};
    assert(parts >= 1 && parts <= POOL_ROUND_PARTS_MAX && rounds < INT32_MAX / parts);
    pool_run(p, parts == 1 ? 1 : p->threads, rounds_thread, &all);
}

// Stops and joins the workers before index count: those that were started.
static void stop_workers(pool *p, int count) {
    atomic_store(&p->stop, true);
    start_round(p, atomic_load(&p->round) + 1);
    for (int i = 1; i < count; i++) pthread_join(p->member[i].id, NULL);
}

status pool_open(pool **out, int threads, err *e) {
    *out = NULL;
    if (threads < 1 || threads > POOL_THREADS_MAX) {
        return err_set(e, ERR_LIMIT, "threads: expected 1 to %d, found %d", POOL_THREADS_MAX,
                       threads);
    }
    pool *p = mem_aligned(sizeof *p + (size_t)threads * sizeof p->member[0]);
    if (!p) return err_set(e, ERR_OOM, "no memory for %d threads", threads);
    p->threads = threads;
    p->spins = threads > 1 ? measure_spins() : 0;
    pthread_mutex_init(&p->mu, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 1; i < threads; i++) {
        p->member[i].p = p, p->member[i].index = i;
        if (!pthread_create(&p->member[i].id, NULL, worker_main, &p->member[i])) continue;
        stop_workers(p, i);
        p->threads = 1;
        pool_close(p);
        return err_set(e, ERR_LIMIT, "the system refuses thread %d of %d", i + 1, threads);
    }
    *out = p;
    return OK;
}

void pool_close(pool *p) {
    if (!p) return;
    if (p->threads > 1) stop_workers(p, p->threads);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mu);
    mem_free(p);
}

int pool_threads(const pool *p) {
    return p->threads;
}
