// job_hook.h - the outbox: callbacks of ended jobs, kept in the database until each is delivered.
//
// service/hook.c is its only user. A callback is stored in the transaction that ends its job.
#pragma once
#include "store/job.h"

typedef struct {
    int64_t seq, fence;
    char id[JOB_ID_MAX + 1];
    char webhook_id[40];
    job_state end; // how the job ended
    int attempt;   // this one; 1 for the first
    char *url;
    char *trace; // as the job was submitted with; NULL: nothing
    buf body;
} job_hook;
void job_hook_deinit(job_hook *h); // zeroed is fine

// Takes the longest-due pending callback whose URL does not begin with one of the skip prefixes and
// leases it for hook_lease_ms. ERR_NOT_FOUND: none due. Delays run by the monotonic clock; a new
// process goes on with what the wall clock says is left of them, at most the whole delay.
status job_hook_claim(job_store *s, job_time now, const char *const *skip, size_t skip_count,
                      job_hook *out, err *e);
typedef enum { JOB_HOOK_OK, JOB_HOOK_AGAIN, JOB_HOOK_FINAL, JOB_HOOK_LATER } job_hook_verdict;
// Records an attempt. AGAIN: retried after a delay with full jitter (jitter in [0, 1) times the
// maximum), not before retry_after_ms (-1: not asked), dead when attempts are spent. FINAL: dead.
// LATER: not an attempt at all, due again in retry_after_ms. *state: what the callback is now.
// ERR_CANCELED when the claim is no longer ours.
typedef struct {
    job_hook_verdict verdict;
    int code;
    const char *error; // NULL: none
    int64_t retry_after_ms;
    double jitter;
} job_hook_record;
status job_hook_done(job_store *s, const job_hook *h, const job_hook_record *r, job_time now,
                     job_hook_state *state, err *e);
// Milliseconds until the next callback that is not under way is due (0: now); INT64_MAX: none.
// Look again after hook_lease_ms at the latest: an attempt that was never recorded falls due then.
status job_hook_next(job_store *s, job_time now, int64_t *wait_ms, err *e);
