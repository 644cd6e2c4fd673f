// cgroup.h - the processors that a container may use: the CPU quota of Linux control groups.
//
// A container with a quota sees all processors of its machine. Threads beyond the quota are stopped
// for the rest of each period, all of them together.
#pragma once
#include "base/base.h"

// The quota of this process in processors: the least of its groups, of version 1 or 2. 0: none.
// root: the root of the file system, ""; tests have another.
double cgroup_cpus(const char *root);

// The threads that make use of such a quota: a part of a processor is worth a thread. At most
// `processors`, at least 1.
int cgroup_threads(double cpus, int processors);

// "2 of 16 processors, by a CPU quota of 1.5", or "16, one a processor".
void cgroup_text(char *out, size_t cap, double cpus, int processors);
