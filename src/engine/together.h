// together.h - the same work on several things at once, on threads that last as long as the call.
#pragma once
#include "base/base.h"

#define TOGETHER_MAX 8 // threads, the caller's among them

// work(arg, i) for each i under n, on at most so many threads; with one of them, or where no other
// can be started, all on the caller's. Returns when all are done.
void together_run(size_t n, int threads, void (*work)(void *arg, size_t i), void *arg);
