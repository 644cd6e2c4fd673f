// pool.h - fork-join threads over a fixed partition.
//
// The caller says into how many parts its work falls; a part always means the same share, so
// results do not depend on timing. Which thread does a part may: each begins with parts of its own,
// which are neighbours, and who has done his takes from others, so a thread that the system has put
// aside holds up nothing but the part it was in. The caller works too. Between forks the workers
// spin for a tenth of a millisecond, within which the forks of a decoder step follow each other,
// then sleep: an idle process costs nothing.
#pragma once
#include "base/err.h"

typedef struct pool pool;

// part in [0, parts); thread in [0, pool_threads): two parts of one thread never overlap in time.
typedef void (*pool_fn)(void *arg, int part, int parts, int thread);

#define POOL_THREADS_MAX 256

// threads 1 starts none. ERR_LIMIT when threads is past POOL_THREADS_MAX or the OS refuses them.
status pool_open(pool **out, int threads, err *e);
void pool_close(pool *p); // joins the workers; NULL is fine
int pool_threads(const pool *p);

#define POOL_PARTS_MAX 65535

// Calls f once for each part and returns when all have returned. One fork at a time; f must not
// fork.
void pool_run(pool *p, int parts, pool_fn f, void *arg);

// Work in rounds, each of which needs all of the one before: calls f once for each part of round 0,
// when all have returned for each part of round 1, and so on. The threads stay awake in between.
// Part p falls to thread p * threads / parts, so that what it reads in every round stays in that
// thread's cache; but who has nothing left takes what another has not begun.
typedef void (*pool_round_fn)(void *arg, int round, int part, int parts, int thread);
#define POOL_ROUND_PARTS_MAX 64
void pool_run_rounds(pool *p, int rounds, int parts, pool_round_fn f, void *arg);

// Where a thread's share of the next fork begins to read, NULL: not known. Threads that wait fetch
// from there.
void pool_next(pool *p, int thread, const void *at);
