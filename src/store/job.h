// job.h - the queue as those see it who submit jobs, look at them and steer them.
//
// Two more headers show the same queue to others: store/source.h to whoever runs jobs, and
// store/job_hook.h to whoever sends the callbacks of ended ones.
//
// What a function answered OK to is on disk (SQLite, WAL, synchronous=FULL). One process owns the
// database: a second one gets ERR_BUSY at open. Every call may be made from any thread; calls that
// write and arrive together share one commit, and each returns after that commit. Time is an
// argument: wall is for people and for callbacks (it may jump), mono for leases (it may not).
//
// The life of a job:
//     queued -> running -> completed | failed | canceled        (claim, then finish)
//     running -> queued                                         (released, lease over, restart)
//     queued -> canceled, queued -> failed (claimed too often)
// The end of a job and its callback are one transaction: the callback's body is rendered from the
// stored rows by config.render, stored once, and sent unchanged until the outbox row is done.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "stemforge.h"

#define JOB_ID_MAX 128
#define JOB_STEMS_MAX STEMFORGE_STEMS_MAX
#define JOB_STEM_NAME_MAX 15
#define JOB_REQUEST_MAX ((size_t)256 << 10)
#define JOB_BODY_MAX ((size_t)512 << 10) // a rendered callback
#define JOB_FACTS_MAX ((size_t)64 << 10)
#define JOB_TEXT_MAX 500 // error texts are cut to this
#define JOB_MODEL_MAX 31
#define JOB_CLIENT_MAX 31

// Waiting jobs run in the order of seq - JOB_PRIORITY_STEP * priority, so a job of high priority
// passes those of normal priority that came among the JOB_PRIORITY_STEP before it, and no others:
// nobody waits for ever.
typedef enum { JOB_PRIORITY_LOW = -1, JOB_PRIORITY_NORMAL, JOB_PRIORITY_HIGH } job_priority;
#define JOB_PRIORITY_STEP 500

typedef struct job_store job_store;

typedef struct {
    int64_t wall_ms; // since 1970
    int64_t mono_ms; // any zero, never goes back while the process lives
} job_time;
job_time job_time_now(void);

typedef enum { JOB_QUEUED, JOB_RUNNING, JOB_COMPLETED, JOB_FAILED, JOB_CANCELED } job_state;
#define JOB_STATES 5
const char *job_state_name(job_state s); // "queued" "processing" "completed" "failed" "canceled"
bool job_state_parse(const char *name, job_state *out);
static inline bool job_state_ended(job_state s) {
    return s >= JOB_COMPLETED;
}

typedef enum { JOB_HOOK_NONE, JOB_HOOK_PENDING, JOB_HOOK_DELIVERED, JOB_HOOK_DEAD } job_hook_state;
#define JOB_HOOK_STATES 4
const char *job_hook_state_name(job_hook_state s); // "none" "pending" "delivered" "dead"

// A stem that has landed in storage. Strings are cut to their fields.
typedef struct {
    char key[1025]; // blob key
    int64_t size;   // bytes
    char md5[25];   // base64; "" unknown
    char etag[64];  // "" unknown
    int sample_rate, channels;
    double seconds;
    char *facts; // JSON object of what else is known of it, at most JOB_FACTS_MAX; NULL: nothing
} job_result;

typedef struct {
    char name[JOB_STEM_NAME_MAX + 1];
    bool done;         // uploaded: not made again
    double progress;   // 0..1, as of the last lease renewal; 1 when done
    int64_t done_ms;   // wall
    job_result result; // when done
} job_stem;

// A job as it is stored. Strings belong to it: job_deinit. NULL means absent.
typedef struct {
    int64_t seq; // order of arrival, never used again
    char id[JOB_ID_MAX + 1], audio_file_id[JOB_ID_MAX + 1];
    job_state state;
    char *request;  // JSON text, exactly as submitted
    char *warnings; // JSON array, as submitted
    char *callback_url;
    char *trace; // traceparent or request id of the submission
    uint64_t seed;
    double work;                   // as submitted
    char model[JOB_MODEL_MAX + 1]; // as submitted
    job_priority priority;         // as submitted
    int attempt;                   // claims since something was last achieved; 1 during the first
    bool cancel_asked;             // running, and to be stopped
    int64_t created_ms, started_ms, ended_ms; // wall; 0: not yet. started_ms: the latest claim
    double run_seconds; // time under claims, summed; for processing_time_seconds
    char *error;        // one readable sentence
    char *error_code;   // "model_error" "timeout" "poison" "recording" "canceled" ...
    job_stem *stems;    // [stem_count], in the order asked for
    size_t stem_count;
    struct {
        job_hook_state state;
        char id[40]; // webhook-id; "" when there is no callback
        int attempts, last_code;
        int64_t next_ms, last_ms; // wall; 0: none
        char last_error[128];
    } hook;
} job;
void job_deinit(job *j); // zeroed is fine

// Renders the callback's body of a job that is ending: state, error, run_seconds, stems are those
// that will be committed. Called inside the transaction, so it must not call the store. A failure
// undoes the whole end of the job.
typedef status (*job_render)(void *arg, const job *j, buf *body, err *e);

typedef struct {
    int queue_max;     // queued jobs before submit says ERR_LIMIT; default 1000
    int client_max;    // jobs of one client that wait or run, likewise; 0: no limit; the default
    int attempts_max;  // claims that achieve nothing before a job fails as poison; 0: no limit; 5
    int64_t lease_ms;  // default 60,000; renew at a third of it
    job_render render; // needed if any job has a callback_url
    void *render_arg;
    int hook_attempts_max;     // then dead; default 40, with the delays below about 60 hours
    int64_t hook_first_ms;     // delay n is uniform in [0, min(cap, first * 2^n)]; default 5,000
    int64_t hook_cap_ms;       // default 4 hours
    int64_t hook_lease_ms;     // an attempt not recorded by then is repeated; default 60,000
    int64_t hook_after_max_ms; // longest Retry-After that is honoured; default 1 hour
    // Of a database that processes share.
    int connections;  // open at once, at most; default 8
    bool caller_time; // for tests: leases run by the times given, not by the database's clock
} job_config;
job_config job_config_default(void);

// Opens or makes the database: a file (":memory:" for tests), or PostgreSQL at postgres://...
// A file is this process's alone, so jobs that a dead process left running go back into the queue;
// ERR_BUSY: another process has it open. PostgreSQL is shared; ERR_BUSY: no server answers there.
// ERR_FORMAT: not ours, damaged, or of a newer version. Config is copied.
status job_store_open(job_store **out, const char *place, const job_config *c, err *e);
void job_store_close(job_store *s); // NULL is fine; no call may be running
// True once a sync to disk has failed: what the disk holds is unknown, so all writes are refused.
// Only a restart helps, which reads what is really there.
bool job_store_broken(job_store *s);
// Where the queue is shared: opens all connections to it and makes them ready for submissions.
status job_store_warm(job_store *s, err *e);
// Whether a job could be submitted now: stores one that nobody sees and removes it. ERR_FORMAT: the
// database is damaged, which does not pass.
status job_store_check(job_store *s, err *e);

// ---- submitting

typedef struct {
    const char *id, *audio_file_id; // checked by the caller
    const char *const *stems;       // 1..JOB_STEMS_MAX names without duplicates
    size_t stem_count;
    bytes request;            // JSON text kept as it came, at most JOB_REQUEST_MAX
    bytes canonical;          // canonical JSON of the same: what "the same body" is compared by
    const char *warnings;     // JSON array of what was said of it; NULL: nothing
    const char *callback_url; // NULL: none
    const char *trace;        // NULL: none
    uint64_t seed;
    const char *model; // the family that is to make it, "stable_audio"; NULL: whoever comes
    double work;       // any measure of the effort, e.g. seconds of audio; > 0
    job_priority priority;
    const char *client; // whose jobs are counted together; NULL: nobody's
} job_new;

typedef struct {
    bool existed; // an earlier submission of the same body; nothing was stored
    int64_t seq;
    job_state state; // of the existing one; else queued
    bool too_many;   // ERR_LIMIT was said because of client_max
} job_submitted;

// OK: durable. ERR_CONFLICT: the id is taken by another body. ERR_LIMIT: queue full, or too many
// jobs of this client (of a shared database: give or take what others submit just now). ERR_IO:
// disk full, read-only or failing; nothing was promised (after a failed sync it may yet turn up at
// the next start, whole).
status job_submit(job_store *s, const job_new *n, job_time now, job_submitted *out, err *e);

// ---- steering

typedef enum { JOB_CANCEL_DONE, JOB_CANCEL_ASKED, JOB_CANCEL_ENDED } job_cancel_answer;
// Queued: canceled at once, with its callback. Running: marked; whoever runs it sees it at the next
// renewal (DONE, ASKED). Already canceled: DONE. Ended otherwise: ENDED. ERR_NOT_FOUND.
status job_cancel(job_store *s, const char *id, job_time now, job_cancel_answer *out, err *e);
// Removes an ended job and its rows (not its stems in storage). ERR_CONFLICT while it is queued or
// running, or while its callback is pending.
status job_delete(job_store *s, const char *id, err *e);
// Sends the callback again: same webhook-id, same body, attempts from 0, due now. ERR_CONFLICT: not
// ended; ERR_ARG: no callback_url.
status job_redeliver(job_store *s, const char *id, job_time now, err *e);
// Deletes at most limit jobs that ended before the wall time and have no callback pending.
// *count: how many. Call again while it equals limit.
status job_purge(job_store *s, int64_t before_ms, int limit, int *count, err *e);

// ---- looking

status job_get(job_store *s, const char *id, job *out, err *e); // ERR_NOT_FOUND
// Jobs in front of a queued one that the same model makes, and the sum of their work plus what is
// left of that of the running ones (by their stems' progress). 0 and 0 when the job is not queued.
// ERR_NOT_FOUND.
status job_position(job_store *s, const char *id, int *ahead, double *work_ahead, err *e);

typedef struct {
    unsigned states;   // bit (1u << state) for each wanted; 0: all
    int64_t below_seq; // only older than this one; 0: from the newest
    int limit;         // 1..JOB_LIST_MAX
} job_filter;
#define JOB_LIST_MAX 500
// Newest first. *out: array of *n jobs, job_list_free. Their request member is NULL.
status job_list(job_store *s, const job_filter *f, job **out, size_t *n, err *e);
void job_list_free(job *list, size_t n);

typedef struct {
    int64_t jobs[JOB_STATES];
    double work[JOB_STATES];        // sum of work by state
    int64_t hooks[JOB_HOOK_STATES]; // ended jobs by the state of their callback
    int64_t oldest_queued_ms;       // wall time of its submission; 0: none
    int64_t oldest_hook_ms;         // when the oldest pending callback was queued; 0: none
    uint64_t commits, writes;       // since open: writes / commits is the size of a shared commit
    uint64_t leases_lost;           // since open
    uint64_t given_up;              // since open: jobs that ended as poison
} job_stats;
// Cheap whatever the number of jobs.
status job_read_stats(job_store *s, job_stats *out, err *e);
