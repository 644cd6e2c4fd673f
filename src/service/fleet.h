// fleet.h - the workers of all processes that share a queue: what this one's says of itself, and
// who there is.
//
// A worker says every FLEET_SAY_MS that it lives, by a row in the database. Whoever answers
// requests reads the rows, and so knows the model without having one (far_model.h). Where the queue
// is this process's alone, its own worker is the fleet, and no thread runs.
#pragma once
#include "service/far_model.h"
#include "service/worker.h"
#include "store/job_crew.h"

#define FLEET_SAY_MS 2000
#define FLEET_SILENT_MS 15000 // after that a worker counts as gone

#define FLEET_MODELS_MAX 8 // families of models that are known of

typedef struct fleet fleet;

typedef struct {
    job_store *jobs; // borrowed until fleet_close, as is worker
    worker *worker;
    bool works;                  // this process runs jobs
    int slots;                   // jobs of a model that it runs at once
    const char *model;           // of its worker, as the engine is told
    const char *place, *weights; // and as it was set, for recipes
    double kept_days; // what was said stays known so long after the last word; 0: for ever
} fleet_config;

typedef struct {
    int live, slots, busy;       // workers that live, the jobs they can run, and do
    bool known;                  // some worker was heard of, now or before
    bool gpu;                    // one that lives computes on a GPU
    bool judges;                 // requests can be judged by the workers' model, now or never
    stemforge_engine *judge;     // by which: its papers; NULL: none, or jobs run here
    const char *place, *weights; // of the model, as that worker's settings say; or NULL
    const char *model, *family; // of whoever was heard of last; borrowed until fleet_close; or NULL
    double seconds_per_work;    // wall seconds of one slot, mean of those that know; negative: none
} fleet_state;

status fleet_open(fleet **out, const fleet_config *c, err *e);
// This process's worker has begun to take jobs for n models, at most WORKER_MODELS_MAX. Leaves the
// papers of the first for others.
void fleet_begin(fleet *f, const stemforge_info *models, size_t n, bool gpu);
// key: of the workers that have such a model (stemforge_info.key), and of their slots for it. "":
// of all, and the model is their first.
fleet_state fleet_read(fleet *f, const char *key);
// The i-th key that was heard of, the first what a worker makes of what nobody asked otherwise;
// borrowed until fleet_close. NULL: there are no more.
const char *fleet_key(fleet *f, size_t i);
bool fleet_shared(const fleet *f); // there may be workers elsewhere
void fleet_close(fleet *f);        // says that this one's worker ends; NULL is fine
