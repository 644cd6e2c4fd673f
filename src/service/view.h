// view.h - the JSON of a job: for GET /jobs/{id}, for events, and as the body of its callback.
#pragma once
#include "base/err.h"
#include "base/json.h"
#include "store/blob.h"
#include "store/job.h"

// What is known of a job beside its row. Zero: nothing.
typedef struct {
    int ahead;           // jobs in front of a queued one
    double seconds_left; // estimate until its end; negative: no idea yet
} view_live;

// The whole object, the caller's; NULL when there is no memory. live may be NULL.
json *view_job(const job *j, const view_live *live, blob_store *blobs);
// One line of GET /jobs. details: with what was asked for, of a job that has its request.
json *view_job_short(const job *j, bool details);

// The callback's body, in the contract's order; parameters as they came, byte for byte. arg is the
// blob_store. It is a job_render.
status view_callback(void *arg, const job *j, buf *body, err *e);
