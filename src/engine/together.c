// together.c - see together.h.
#include "engine/together.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct {
    size_t n;
    void (*work)(void *arg, size_t i);
    void *arg;
    atomic_size_t next; // that nobody has begun
} crew;

static void *help(void *arg) {
    crew *c = arg;
    for (size_t i; (i = atomic_fetch_add(&c->next, 1)) < c->n;) c->work(c->arg, i);
    return NULL;
}

void together_run(size_t n, int threads, void (*work)(void *arg, size_t i), void *arg) {
    crew c = {.n = n, .work = work, .arg = arg};
    pthread_t helper[TOGETHER_MAX];
    size_t helpers = 0, wanted = MIN(n, (size_t)MAX(MIN(threads, TOGETHER_MAX), 1));
    while (helpers + 1 < wanted && !pthread_create(&helper[helpers], NULL, help, &c)) helpers++;
    help(&c);
    while (helpers) pthread_join(helper[--helpers], NULL);
}
