// source.h - where a worker gets its jobs: five calls, and the table behind them.
//
// A source hands a job to one worker at a time. The worker holds it by a lease, which it renews; a
// job whose lease is over is handed to another one. A worker that asks a source knows no database:
// what the queue lies in is the matter of the implementation (source_jobs.c: that of job.h).
// Every call may be made from any thread.
#pragma once
#include <string.h>

#include "store/job.h"

// Names one claim of one job. Only the source that gave it can read it, and it changes with each
// claim: what the holder of an earlier one still says is refused.
typedef struct {
    uint8_t opaque[64];
} claim_token;

typedef struct source source;

// How a job ended.
typedef struct {
    job_state state;         // completed, failed or canceled
    const char *code, *text; // why it did not complete; NULL for completed
} source_end;

typedef struct {
    status (*claim)(source *s, job_time now, claim_token *claim, job *out, err *e);
    status (*renew)(source *s, claim_token c, const double *progress, job_time now, bool *cancel,
                    err *e);
    status (*landed)(source *s, claim_token c, const char *stem, const job_result *r, job_time now,
                     err *e);
    status (*finish)(source *s, claim_token c, const source_end *end, job_time now, job *ended,
                     err *e);
    status (*release)(source *s, claim_token c, bool counted, int64_t delay_ms, job_time now,
                      err *e);
} source_ops;

struct source { // first member of every implementation
    const source_ops *ops;
};

// The jobs of the job store that are for a model, and those that are for any. Fills *s, which has
// nothing to close, and returns its source.
typedef struct {
    source base;
    job_store *jobs;   // borrowed
    const char *model; // borrowed; NULL: jobs for whatever model
} source_jobs;
source *source_jobs_open(source_jobs *s, job_store *jobs, const char *model);

static inline bool claim_token_same(const claim_token *a, const claim_token *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

// The oldest waiting job becomes running under a lease, *out is filled (job_deinit), and *claim
// names this claim in the calls below. A job whose lease is over counts as waiting. Jobs that were
// claimed attempts_max times in vain end as failed ("poison") on the way. One that was claimed
// twice in vain starts when nothing else runs, and nothing starts beside it. ERR_NOT_FOUND: nothing
// to do now.
static inline status source_claim(source *s, job_time now, claim_token *claim, job *out, err *e) {
    return s->ops->claim(s, now, claim, out, e);
}

// The calls below answer ERR_CANCELED when the claim is no longer the job's (its lease was over and
// it was claimed again, or it was deleted): drop the work, store nothing more.

// Extends the lease and stores progress per stem (NULL, or stem_count values of 0..1).
// *cancel (may be NULL) says whether the job is to be stopped.
static inline status source_renew(source *s, claim_token c, const double *progress, job_time now,
                                  bool *cancel, err *e) {
    return s->ops->renew(s, c, progress, now, cancel, e);
}

// Records that a stem has landed in storage. It counts as an achievement: attempts start again at
// 1. Also renews the lease. The same stem again replaces the record.
static inline status source_landed(source *s, claim_token c, const char *stem, const job_result *r,
                                   job_time now, err *e) {
    return s->ops->landed(s, c, stem, r, now, e);
}

// Ends the job and queues its callback, in one transaction. completed: every stem must have landed,
// else ERR_ARG. A job that was asked to stop ends as the state given here, so one that came to its
// end first is completed. *ended (may be NULL) gets the job as it is now: job_deinit.
static inline status source_finish(source *s, claim_token c, const source_end *end, job_time now,
                                   job *ended, err *e) {
    return s->ops->finish(s, c, end, now, ended, e);
}

// Gives a job back to the head of the queue: at shutdown, or when storage is away. delay_ms keeps
// it from being claimed for a while (0: none). counted: whether the claim counts as an attempt.
static inline status source_release(source *s, claim_token c, bool counted, int64_t delay_ms,
                                    job_time now, err *e) {
    return s->ops->release(s, c, counted, delay_ms, now, e);
}
