// pool.h - fork-join threads over a fixed partition.
//
// The caller cuts its work into parts. A part always means the same share of the work, so results
// do not depend on timing. Which thread does a part may depend on it: each thread begins with its
// own parts, which are neighbours, and then takes over parts of other threads. So a thread that the
// system has suspended holds up nothing but the part it is in. The caller works too. Between forks
// the workers spin for a tenth of a millisecond, in which the forks of a decoder step follow each
// other. Then they sleep: an idle process costs nothing.
#pragma once
#include "base/err.h"

typedef struct pool pool;

// part in [0, parts); thread in [0, pool_threads): two parts of one thread never overlap in time.
typedef void (*pool_fn)(void *arg, int part, int parts, int thread);

#define POOL_THREADS_MAX 256

// threads counts the caller: 1 starts no thread. ERR_LIMIT when there are more than
// POOL_THREADS_MAX or the OS refuses one.
status pool_open(pool **out, int threads, err *e);
void pool_close(pool *p); // joins the workers; NULL is fine
int pool_threads(const pool *p);

#define POOL_PARTS_MAX 65535

// Calls f once for each part and returns when all calls have returned. One fork at a time; f must
// not fork.
void pool_run(pool *p, int parts, pool_fn f, void *arg);

// Work in rounds, each of which needs the whole round before it. f is called once for each part of
// round 0; when all these calls have returned, for each part of round 1, and so on. Threads stay
// awake between rounds. Part p belongs to thread p * threads / parts in every round, so what it
// reads stays in the cache of that thread. A thread without work takes over parts that others have
// not begun.
typedef void (*pool_round_fn)(void *arg, int round, int part, int parts, int thread);
#define POOL_ROUND_PARTS_MAX 64
void pool_run_rounds(pool *p, int rounds, int parts, pool_round_fn f, void *arg);

// Tells where a thread's share of the next fork begins to read; NULL: not known. The thread
// prefetches from there while it waits.
void pool_next(pool *p, int thread, const void *at);
