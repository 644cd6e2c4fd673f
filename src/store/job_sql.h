// job_sql.h - inside of the job store: what job.c, source_jobs.c, job_view.c and job_hook.c share.
//
// They know no database but the table of db.h. A statement stands in job_sql.c when all databases
// share it, else in job_sqlite.c and job_pg.c; one that only some need is NULL for the others.
#pragma once
#include <stdatomic.h>

#include "store/db.h"
#include "store/job.h"
#include "store/job_hook.h"
#include "store/job_news.h"

typedef enum {
    Q_RECOVER_JOBS,
    Q_RECOVER_QUEUED,
    Q_RECOVER_HOOKS,
    Q_FIND_ID,
    Q_COUNT_QUEUED,
    Q_COUNT_CLIENT,
    Q_INSERT_JOB,
    Q_INSERT_STEM,
    Q_SUBMIT,
    Q_TAKE,
    Q_EXPIRE,
    Q_NEXT,
    Q_ALONE,
    Q_BUSY,
    Q_CLAIM,
    Q_LIVE,
    Q_RENEW,
    Q_PROGRESS,
    Q_STEM_DONE,
    Q_ACHIEVED,
    Q_UNDONE,
    Q_END,
    Q_RELEASE,
    Q_STATE,
    Q_ASK_CANCEL,
    Q_DELETE,
    Q_PURGE,
    Q_SWEEP,
    Q_GET_SEQ,
    Q_GET_ID,
    Q_LIST,
    Q_LIST_STATE,
    Q_STEMS,
    Q_STEMS_OF,
    Q_AHEAD,
    Q_RUNNING_WORK,
    Q_TALLY,
    Q_OLDEST_QUEUED,
    Q_OLDEST_HOOK,
    Q_HOOK_INSERT,
    Q_HOOK_RESUME,
    Q_HOOK_DUE,
    Q_HOOK_CLAIM,
    Q_HOOK_LIVE,
    Q_HOOK_RECORD,
    Q_HOOK_NEXT,
    Q_HOOK_AGAIN,
    Q_CREW_SAY,
    Q_CREW_FORGET,
    Q_CREW_LIST,
    Q_PAPERS_PUT,
    Q_PAPERS_GET,
    Q_PAPERS_FORGET,
    Q_COUNT,
} query;

#define JOB_APPLICATION_ID 0x53464a31 // "SFJ1"
#define JOB_SQLITE_VERSION 6
#define JOB_PG_VERSION 7
// What waiting jobs are ordered by (job.h); indexes have this very expression.
#define JOB_RANK "(seq - 500 * priority)"
_Static_assert(JOB_PRIORITY_STEP == 500, "JOB_RANK says the step");
// Whether a job is for the model ?2; '' is for all.
#define JOB_FITS "(?2 = '' OR model = '' OR model = ?2)"
extern const char *const job_sql_shared[Q_COUNT];
extern const char *const job_sqlite_own[Q_COUNT], *const job_pg_own[Q_COUNT];
extern const char *const job_sqlite_migrations[JOB_SQLITE_VERSION];
extern const char *const job_pg_migrations[JOB_PG_VERSION];

struct job_store {
    db *d;
    db_schema schema;
    const char *statements[Q_COUNT];
    job_config config;
    atomic_uint_fast64_t leases_lost, given_up;
    // How many jobs waited, when that was counted, and what was submitted here since.
    atomic_int_fast64_t counted, counted_ns, submitted;
    char check_id[48];    // of what job_store_check stores for a moment
    job_news_heard heard; // set before its thread begins
    void *heard_arg;
};

// The time that counts for this piece of work, which the caller says is now.
static inline job_time sql_now(db_tx *t, job_time now) {
    db_now(t, &now.wall_ms, &now.mono_ms);
    return now;
}

// Copies a text column into a field, cut to it; "" for NULL.
void sql_copy_text(db_query *q, int column, char *out, size_t cap);
// A text column on the heap. *out NULL for NULL.
status sql_dup_text(db_query *q, int column, char **out, err *e);

// Inside db work: the whole job with its stems. ERR_NOT_FOUND.
status job_load(db_tx *t, int64_t seq, job *out, err *e);
// Inside db work: sets the end of a job and queues its callback.
typedef struct {
    int64_t seq;
    job_state state;
    const char *code, *error; // NULL: none
    job_time now;
} job_ending;
status job_end(job_store *s, db_tx *t, const job_ending *end, err *e);
status job_end_canceled(job_store *s, db_tx *t, int64_t seq, job_time now, err *e);
// Inside db work: stores the callback of a job that has just ended.
status job_hook_queue(job_store *s, db_tx *t, const job *j, job_time now, err *e);
