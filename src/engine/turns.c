// turns.c - see turns.h.
#include "engine/turns.h"

#include <math.h>
#include <pthread.h>

#include "base/mem.h"
#include "base/os.h"

#define DEBT_MAX 10 // seconds that a member may be behind for what it used before it left

struct turns {
    compute *c;
    pthread_mutex_t mu; // guards what follows, and the members
    pthread_cond_t moved;
    int owners;
    turns_member *holder, *waiting; // the one whose turn it is; a list of those that wait
    double since;                   // when the turn began
};

status turns_open(turns **out, int threads, const char *isa, err *e) {
    *out = NULL;
    turns *t = mem_calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_OOM, "no memory for an engine");
    pthread_mutex_init(&t->mu, NULL);
    pthread_cond_init(&t->moved, NULL);
    t->owners = 1;
    status rc = compute_open(&t->c, threads, isa, e);
    if (rc)
        turns_close(t);
    else
        *out = t;
    return rc;
}

turns *turns_share(turns *t) {
    pthread_mutex_lock(&t->mu);
    t->owners++;
    pthread_mutex_unlock(&t->mu);
    return t;
}

void turns_close(turns *t) {
    if (!t) return;
    pthread_mutex_lock(&t->mu);
    bool last = --t->owners == 0;
    pthread_mutex_unlock(&t->mu);
    if (!last) return;
    compute_close(t->c);
    pthread_cond_destroy(&t->moved);
    pthread_mutex_destroy(&t->mu);
    mem_free(t);
}

compute *turns_compute(turns *t) {
    return t->c;
}

// --- the lock is held below

static void count(turns *t) {
    double now = os_seconds();
    if (t->holder) t->holder->used += now - t->since;
    t->since = now;
}

// The one that waits and has used the least, the first of equals. NULL: none waits.
static turns_member **find_next(turns *t) {
    turns_member **best = NULL;
    for (turns_member **at = &t->waiting; *at; at = &(*at)->next)
        if (!best || (*at)->used < (*best)->used) best = at;
    return best;
}

static void wait_for(turns *t, turns_member *m) {
    turns_member **end = &t->waiting;
    while (*end) end = &(*end)->next;
    m->next = NULL;
    *end = m;
}

static void hand_on(turns *t) {
    turns_member **next = find_next(t);
    t->holder = next ? *next : NULL;
    if (next) *next = (*next)->next;
    pthread_cond_broadcast(&t->moved);
}

// Who was away is owed nothing for it.
static void settle(turns *t, turns_member *m) {
    double least = t->holder ? t->holder->used : INFINITY;
    turns_member **next = find_next(t);
    if (next) least = fmin(least, (*next)->used);
    if (isfinite(least)) m->used = fmin(fmax(m->used, least), least + DEBT_MAX);
}

void turns_take(turns *t, turns_member *m) {
    pthread_mutex_lock(&t->mu);
    count(t);
    settle(t, m);
    wait_for(t, m);
    if (!t->holder) hand_on(t);
    while (t->holder != m) pthread_cond_wait(&t->moved, &t->mu);
    pthread_mutex_unlock(&t->mu);
}

void turns_pass(turns *t, turns_member *m) {
    pthread_mutex_lock(&t->mu);
    count(t);
    turns_member **next = find_next(t);
    if (next && (*next)->used <= m->used) {
        turns_member *first = *next;
        *next = first->next;
        wait_for(t, m);
        t->holder = first;
        pthread_cond_broadcast(&t->moved);
        while (t->holder != m) pthread_cond_wait(&t->moved, &t->mu);
    }
    pthread_mutex_unlock(&t->mu);
}

void turns_leave(turns *t, turns_member *m) {
    (void)m; // it holds the turn
    pthread_mutex_lock(&t->mu);
    count(t);
    hand_on(t);
    pthread_mutex_unlock(&t->mu);
}
