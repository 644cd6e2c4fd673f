// pool.c - see pool.h.
#include "compute/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/mem.h"

// One fork is one round. `ticket` holds the round in its upper half and the parts not yet taken in
// its lower; a part is taken by counting it down. A worker that comes late finds another round or
// no parts, so nobody waits for it. f, arg and parts belong to the round: they are read only by
// holders of a part, and while a part is held the round has not ended.
//
// Sleeping: a worker counts itself in `sleepers` and then looks at the round again; pool_run moves
// the round and then reads `sleepers`. Both sequentially consistent, so one sees the other and no
// wake-up is lost. The same holds between the last part (`pending`) and the caller (`waiting`).
struct pool {
    int threads;
    _Atomic uint64_t ticket;
    atomic_int pending;  // parts not yet done
    atomic_int sleepers; // workers asleep, or about to be
    atomic_bool waiting; // the caller is asleep, or about to be
    atomic_bool stop;
    int parts;
    pool_fn f;
    void *arg;
    pthread_mutex_t mu; // for sleeping only
    pthread_cond_t wake, done;
    struct worker {
        pool *p;
        int index;
        pthread_t id;
    } worker[];
};

// About 50 us of waiting before sleep: twice what lies between two forks of a decoder step.
#define SPINS 2000

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static uint32_t round_of(pool *p) {
    return (uint32_t)(atomic_load(&p->ticket) >> 32);
}

// Takes parts of the round until none is left.
static void work(pool *p, uint32_t round, int thread) {
    uint64_t t = atomic_load(&p->ticket);
    while ((uint32_t)(t >> 32) == round && (uint32_t)t) {
        if (!atomic_compare_exchange_weak(&p->ticket, &t, t - 1)) continue;
        p->f(p->arg, p->parts - (int)(uint32_t)t, p->parts, thread);
        if (atomic_fetch_sub(&p->pending, 1) == 1 && atomic_load(&p->waiting)) {
            pthread_mutex_lock(&p->mu);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->mu);
        }
        t = atomic_load(&p->ticket);
    }
}

static void sleep_for_round(pool *p, uint32_t seen) {
    pthread_mutex_lock(&p->mu);
    atomic_fetch_add(&p->sleepers, 1);
    while (round_of(p) == seen) pthread_cond_wait(&p->wake, &p->mu);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mu);
}

static void wait_for_round(pool *p, uint32_t seen) {
    for (int i = 0; i < SPINS; i++) {
        if (round_of(p) != seen) return;
        relax();
    }
    sleep_for_round(p, seen);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    for (uint32_t seen = 0;;) {
        wait_for_round(w->p, seen);
        if (atomic_load(&w->p->stop)) return NULL;
        seen = round_of(w->p);
        work(w->p, seen, w->index);
    }
}

static void start_round(pool *p, uint32_t round, int parts) {
    atomic_store(&p->ticket, (uint64_t)round << 32 | (uint32_t)parts);
    if (!atomic_load(&p->sleepers)) return;
    pthread_mutex_lock(&p->mu);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mu);
}

static void wait_for_parts(pool *p) {
    for (int i = 0; i < SPINS; i++) {
        if (!atomic_load(&p->pending)) return;
        relax();
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
    p->f = f, p->arg = arg, p->parts = parts;
    atomic_store(&p->pending, parts);
    uint32_t round = round_of(p) + 1;
    start_round(p, round, parts);
    work(p, round, 0);
    wait_for_parts(p);
}

// ---- rounds

// The whole is one fork into as many parts as there are threads; in it every thread goes through
// all rounds. `turn` of a part is the round in which it is next to do, `done` counts parts of all
// rounds, so done / parts is the round that goes on.
typedef struct {
    pool_round_fn f;
    void *arg;
    int rounds, parts, threads;
    _Alignas(64) atomic_int done;
    struct {
        _Alignas(64) atomic_int turn;
    } part[POOL_ROUND_PARTS_MAX];
} rounds_job;

static void play_round(rounds_job *j, int round, int thread) {
    int first = thread * j->parts / j->threads;
    for (int i = 0; i < j->parts; i++) {
        int p = (first + i) % j->parts, turn = round;
        if (!atomic_compare_exchange_strong(&j->part[p].turn, &turn, round + 1)) continue;
        j->f(j->arg, round, p, j->parts, thread);
        atomic_fetch_add(&j->done, 1);
    }
}

static void wait_for_done(rounds_job *j, int count) {
    for (int i = 0; atomic_load(&j->done) < count; i++) {
        if (i < SPINS)
            relax();
        else
            sched_yield(); // whoever holds the last part may need this processor
    }
}

static void rounds_thread(void *arg, int share, int shares, int thread) {
    rounds_job *j = arg;
    (void)share, (void)shares;
    for (int r = atomic_load(&j->done) / j->parts; r < j->rounds; r++) {
        play_round(j, r, thread);
        wait_for_done(j, (r + 1) * j->parts);
    }
}

void pool_run_rounds(pool *p, int rounds, int parts, pool_round_fn f, void *arg) {
    rounds_job j = {.f = f, .arg = arg, .rounds = rounds, .parts = parts, .threads = p->threads};
    assert(parts >= 1 && parts <= POOL_ROUND_PARTS_MAX && rounds < INT32_MAX / parts);
    pool_run(p, parts == 1 ? 1 : p->threads, rounds_thread, &j);
}

// Ends the workers that were started: those before index count.
static void stop_workers(pool *p, int count) {
    atomic_store(&p->stop, true);
    start_round(p, round_of(p) + 1, 0);
    for (int i = 1; i < count; i++) pthread_join(p->worker[i].id, NULL);
}

status pool_open(pool **out, int threads, err *e) {
    *out = NULL;
    if (threads < 1 || threads > POOL_THREADS_MAX) {
        return err_set(e, ERR_LIMIT, "threads: expected 1 to %d, found %d", POOL_THREADS_MAX,
                       threads);
    }
    pool *p = mem_calloc(1, sizeof *p + (size_t)threads * sizeof p->worker[0]);
    if (!p) return err_set(e, ERR_OOM, "no memory for %d threads", threads);
    p->threads = threads;
    pthread_mutex_init(&p->mu, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 1; i < threads; i++) {
        p->worker[i] = (struct worker){.p = p, .index = i};
        if (!pthread_create(&p->worker[i].id, NULL, worker_main, &p->worker[i])) continue;
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
