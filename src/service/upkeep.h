// upkeep.h - looks after what the service stands on: whether storage answers, and old jobs.
//
// One thread asks the storage every check_ms and removes jobs that ended long ago.
#pragma once
#include "base/err.h"
#include "store/blob.h"
#include "store/job.h"

typedef struct upkeep upkeep;

typedef struct {
    job_store *jobs; // borrowed until upkeep_close, as is blobs
    blob_store *blobs;
    double retention_days; // ended jobs are removed after this; 0: never
    int check_ms;          // default 10,000
} upkeep_config;

status upkeep_open(upkeep **out, const upkeep_config *c, err *e); // starts the thread
void upkeep_close(upkeep *u);                                     // NULL is fine

bool upkeep_storage_ok(upkeep *u);   // as of the last check or the last upload
void upkeep_storage_away(upkeep *u); // an upload was refused: do not wait for the next check
