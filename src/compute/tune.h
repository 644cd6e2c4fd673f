// tune.h - how weights are read: measured once for each kind of processor, and kept.
//
// Where prefetches go to, and in what pages the weights lie. A mapped file has small pages; on some
// processors it is faster to copy it into huge ones, which costs 0.1 s for 0.4 GB when it opens.
//
// Processors differ: on AMD's the non-temporal prefetch is the fastest, on Intel's Xeons it costs
// half of the speed. Neither changes a result. What was found is kept in a file of
// one line, $XDG_CACHE_HOME/stemforge/prefetch-PROCESSOR, or below $HOME/.cache.
#pragma once
#include "base/err.h"
#include "compute/types.h"

#define TUNE_WAYS 5

// The name of way i: what is fetched into, and how many bytes ahead. Way 0 is the default.
const char *tune_way_name(int i);

typedef struct {
    double way[TUNE_WAYS];
    double small, huge; // pages, by the way that is used
} tune_rates;           // bytes a second

// Measures each way on the calling thread, about 100 ms in all: products of one guided stem and of
// four, with weights that no cache holds. Uses the fastest from then on: the
// default, unless another one is clearly faster; huge pages likewise.
status tune_measure(compute *c, tune_rates *rates, err *e);

// Keeps what c uses, for this processor.
status tune_keep(const compute *c, err *e);

// Uses what is kept, without measuring. Before a model opens: that is when weights are copied.
void tune_find(compute *c);
// The same; else measures and keeps. For want of memory or of a folder it does without.
void tune_apply(compute *c);

void tune_use(compute *c, int way); // 0 to TUNE_WAYS - 1
int tune_used(const compute *c);
void tune_use_huge(compute *c, bool huge);
bool tune_huge(const compute *c); // weights that a file holds are to be copied into huge pages
// The way that is kept for this processor; -1: none yet. *huge (may be NULL): huge pages too.
int tune_kept(bool *huge);
