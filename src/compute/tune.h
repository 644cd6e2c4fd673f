// tune.h - how weights are prefetched: measured once for each kind of processor, and kept.
//
// Processors differ: on AMD's the non-temporal prefetch is the fastest, on Intel's Xeons it costs
// half of the speed. A way to prefetch never changes a result. What was found is kept in a file of
// one line, $XDG_CACHE_HOME/stemforge/prefetch-PROCESSOR, or below $HOME/.cache.
#pragma once
#include "base/err.h"
#include "compute/types.h"

#define TUNE_WAYS 5

// The name of way i: what is fetched into, and how many bytes ahead. Way 0 is the default.
const char *tune_way_name(int i);

// Measures each way on the calling thread, about 100 ms in all, and writes bytes a second to rates.
// Uses the fastest from then on: the default, unless another one is clearly faster.
status tune_measure(compute *c, double rates[TUNE_WAYS], err *e);

// Keeps the way that c uses, for this processor.
status tune_keep(const compute *c, err *e);

// Uses the kept way; else measures and keeps. For want of memory or of a folder it does without.
void tune_apply(compute *c);

void tune_use(compute *c, int way); // 0 to TUNE_WAYS - 1
int tune_used(const compute *c);
int tune_kept(void); // the way that is kept for this processor; -1: none yet
