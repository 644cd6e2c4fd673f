// worker.h - takes jobs from a source: generates, encodes, stores, finishes.
//
// Before worker_start no job is claimed (there is no model yet). Stems that a job already has are
// not made again. While storage is away a finished stem waits with its worker; nothing fails. What
// cannot be finished in time at shutdown is given back by its lease and starts anew elsewhere.
//
// A worker may have a model of each family. Jobs say which they are for, and each model has slots
// of its own, so jobs of one do not wait for those of another.
//
// Threads: one for each job that may run at once (a slot), and one that renews the leases and hears
// of cancellations.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "service/events.h"
#include "service/metrics.h"
#include "service/outbox.h"
#include "service/pace.h"
#include "service/recording.h"
#include "service/upkeep.h"
#include "stemforge.h"
#include "store/blob.h"
#include "store/source.h"

typedef struct worker worker;

typedef struct {
    blob_store *blobs; // everything is borrowed until worker_close
    metrics *metrics;
    events *events;
    outbox *outbox;
    pace *pace; // NULL: nobody is told of progress
    upkeep *upkeep;
    int workers;      // jobs of a model that run at once
    int64_t lease_ms; // as in the source's config
    int64_t beat_ms;  // between renewals, which also hear of cancellations; 0: a third of lease_ms
    double job_seconds_max;     // a job that runs longer fails ("timeout")
    recording_limits recording; // of what jobs follow
    double storage_seconds_max; // a finished stem that could not be stored for longer fails its job
} worker_config;

status worker_open(worker **out, const worker_config *c, err *e);
#define WORKER_MODELS_MAX 2
typedef struct {
    stemforge_engine *engine; // borrowed until worker_close, as is the source
    source *source;           // of the jobs for it
} worker_model;
// The models are loaded: workers begin to claim. 1 <= n <= WORKER_MODELS_MAX.
status worker_start(worker *w, const worker_model *models, size_t n, err *e);
void worker_wake(worker *w);                   // something was submitted
void worker_cancel(worker *w, const char *id); // after job_cancel said ASKED: stop it now

bool worker_broken(worker *w); // the device failed; only a restart helps
int worker_busy(worker *w);
// Wall seconds a slot takes for a unit of the work of a job for that model (stemforge_info.key; "":
// the first), as of lately; negative: no idea yet.
double worker_seconds_per_work(worker *w, const char *key);

// Stops claiming; lets running jobs go on until the time (os_clock_ns), then gives them back.
// Returns when no worker has a job.
void worker_drain(worker *w, int64_t deadline_ns);
void worker_close(worker *w); // drains at once if that was not done; NULL is fine
