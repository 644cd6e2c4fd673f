// queue.h - which database the tests of the queue use.
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/job.h"

// Where a new queue lies: in memory, or in a schema of its own on the PostgreSQL server that
// STEMFORGE_TEST_QUEUE names.
static inline const char *new_queue(void) {
    static char place[200];
    static int count;
    const char *server = getenv("STEMFORGE_TEST_QUEUE");
    if (!server) return ":memory:";
    snprintf(place, sizeof place, "%.100s?options=-csearch_path%%3Dt%d_%d_%lld", server,
             (int)getpid(), count++, (long long)job_time_now().wall_ms);
    return place;
}
