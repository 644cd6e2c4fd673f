// upkeep.h - looks after what the service stands on: storage, the job database, and old jobs.
//
// Every check_ms one thread asks whether storage and database take what is written. It also removes
// jobs that ended long ago.
#pragma once
#include "base/err.h"
#include "store/blob.h"
#include "store/job.h"

typedef struct upkeep upkeep;

typedef struct {
    job_store *jobs; // borrowed until upkeep_close, as is blobs
    blob_store *blobs;
    bool warm; // where the queue is shared: no job is accepted before its connections are open
    double retention_days; // ended jobs are removed after this; 0: never
    int check_ms;          // default 10,000
    int purge_ms;          // between removals of old jobs; default 600,000
} upkeep_config;

// Checks the database, then starts the thread. warm: the thread checks it, and upkeep_jobs_ok is
// false until then.
status upkeep_open(upkeep **out, const upkeep_config *c, err *e);
void upkeep_close(upkeep *u); // NULL is fine

bool upkeep_storage_ok(upkeep *u);   // as of the last check or the last upload
void upkeep_storage_away(upkeep *u); // an upload was refused: do not wait for the next check

bool upkeep_jobs_ok(upkeep *u); // a job can be accepted, as of the last check or submission
// A submission failed for this reason: do not wait for the next check. A database that is damaged
// (ERR_FORMAT) stays refused until a restart.
void upkeep_jobs_refused(upkeep *u, status why);
