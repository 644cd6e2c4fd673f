// pool.h - fork-join threads with a fixed partition, so that results do not depend on timing.
//
// The caller is thread 0 and works too. Between forks the workers spin for some tens of
// microseconds, which a decoder step's forks fall within, then sleep: an idle process costs
// nothing.
#pragma once
#include "base/err.h"

typedef struct pool pool;

// thread in [0, threads).
typedef void (*pool_fn)(void *arg, int thread, int threads);

#define POOL_THREADS_MAX 256

// threads 1 starts none. ERR_LIMIT when threads is past POOL_THREADS_MAX or the OS refuses them.
status pool_open(pool **out, int threads, err *e);
void pool_close(pool *p); // joins the workers; NULL is fine
int pool_threads(const pool *p);

// Calls f once for each thread, and returns when all have. One fork at a time; f must not fork.
void pool_run(pool *p, pool_fn f, void *arg);
