// compute.h - the inside of a `compute`: its threads, kernel table and scratch memory.
#pragma once
#include "compute/cpu/kern.h"
#include "compute/cpu/pool.h"
#include "compute/ops.h"

#define COMPUTE_PANEL ((int64_t)128 << 10) // values; 512 KiB are half of a core's L2 cache
#define COMPUTE_QBLOCKS ((int64_t)4 << 10) // a million values

// The memory that one thread works in.
typedef struct {
    float *panel;  // [COMPUTE_PANEL] weights widened to f32
    float *scores; // [KVPACK_HEADS, scores_max] attention rows
} thread_scratch;

struct compute {
    pool *pool;
    kern_table k;
    const char *isa;
    int way;                // of tune.h,
    kern_prefetch prefetch; // and what it is
    bool huge;              // of tune.h: weights of files are copied into huge pages
    qblock *qx;         // [COMPUTE_QBLOCKS] activations in 8 bits; more rows go in several rounds
    int64_t scores_max; // a multiple of 16
    thread_scratch *scratch; // [threads]
};

// A fork into several parts a thread lets quick threads take over what a slow one has left.
#define COMPUTE_PARTS_PER_THREAD 4

// The number of parts for work on n rows or values of the given cost in values: every thread gets
// the same number, and no part costs less than a fork.
int compute_parts(const compute *c, int64_t n, int64_t cost);

// The range of n things that falls to one part. Ranges are cut at multiples of grain.
span span_of(int64_t n, int64_t grain, int part, int parts);
