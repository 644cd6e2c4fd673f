// pool.c - see pool.h.
#include "compute/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"

// One fork is one round. A worker sleeps only after it has counted itself in `sleepers` and then
// found the round unchanged; pool_run moves the round and then reads `sleepers`. Both in
// sequentially consistent order, so one of them sees the other and no wake-up is lost. The same
// holds between the last worker (`left`) and the caller (`waiting`).
struct pool {
    int threads;
    atomic_uint round;   // moved by pool_run once f and arg are set
    atomic_int left;     // workers still inside this round
    atomic_int sleepers; // workers asleep, or about to be
    atomic_bool waiting; // the caller is asleep, or about to be
    atomic_bool stop;
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

static void sleep_for_round(pool *p, unsigned seen) {
    pthread_mutex_lock(&p->mu);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->round) == seen) pthread_cond_wait(&p->wake, &p->mu);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mu);
}

static void wait_for_round(pool *p, unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&p->round, memory_order_acquire) != seen) return;
        relax();
    }
    sleep_for_round(p, seen);
}

static void finish_round(pool *p) {
    if (atomic_fetch_sub(&p->left, 1) != 1 || !atomic_load(&p->waiting)) return;
    pthread_mutex_lock(&p->mu);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->mu);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    pool *p = w->p;
    for (unsigned seen = 0;; seen++) {
        wait_for_round(p, seen);
        if (atomic_load(&p->stop)) return NULL;
        p->f(p->arg, w->index, p->threads);
        finish_round(p);
    }
}

static void start_round(pool *p) {
    atomic_fetch_add(&p->round, 1);
    if (!atomic_load(&p->sleepers)) return;
    pthread_mutex_lock(&p->mu);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mu);
}

static void wait_for_workers(pool *p) {
    for (int i = 0; i < SPINS; i++) {
        if (!atomic_load_explicit(&p->left, memory_order_acquire)) return;
        relax();
    }
    pthread_mutex_lock(&p->mu);
    atomic_store(&p->waiting, true);
    while (atomic_load(&p->left)) pthread_cond_wait(&p->done, &p->mu);
    atomic_store(&p->waiting, false);
    pthread_mutex_unlock(&p->mu);
}

void pool_run(pool *p, pool_fn f, void *arg) {
    if (p->threads == 1) {
        f(arg, 0, 1);
        return;
    }
    p->f = f, p->arg = arg;
    atomic_store(&p->left, p->threads - 1);
    start_round(p);
    f(arg, 0, p->threads);
    wait_for_workers(p);
}

// Ends the workers that were started: those before index count.
static void stop_workers(pool *p, int count) {
    atomic_store(&p->stop, true);
    start_round(p);
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
