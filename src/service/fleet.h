// fleet.h - the workers of all processes that share a queue: what this one's says of itself, and
// who there is.
//
// A worker says every FLEET_SAY_MS that it lives, by a row in the database. Whoever answers
// requests reads the rows, and so knows the model without having one. Where the queue is this
// process's alone, its own worker is the fleet, and no thread runs.
#pragma once
#include "service/worker.h"
#include "store/job_crew.h"

#define FLEET_SAY_MS 2000
#define FLEET_SILENT_MS 15000 // after that a worker counts as gone

typedef struct fleet fleet;

typedef struct {
    job_store *jobs; // borrowed until fleet_close, as is worker
    worker *worker;
    bool works;       // this process runs jobs
    int slots;        // jobs it runs at once
    double kept_days; // what was said stays known so long after the last word; 0: for ever
} fleet_config;

typedef struct {
    int live, slots, busy;      // workers that live, the jobs they can run, and do
    bool known;                 // some worker was heard of, now or before
    bool gpu;                   // one that lives computes on a GPU
    const char *model, *family; // of whoever was heard of last; borrowed until fleet_close; or NULL
    double seconds_per_work;    // wall seconds of one slot, mean of those that know; negative: none
} fleet_state;

status fleet_open(fleet **out, const fleet_config *c, err *e);
// This process's worker has begun to take jobs.
void fleet_begin(fleet *f, const stemforge_info *model, bool gpu);
fleet_state fleet_read(fleet *f);
bool fleet_shared(const fleet *f); // there may be workers elsewhere
void fleet_close(fleet *f);        // says that this one's worker ends; NULL is fine
