// job_sql.c - the tables of the job store, its statements, opening and closing.
//
// Columns named *_ms are wall time, *_mono monotonic time of this process: the latter mean nothing
// after a restart and are reset at open. States are the numbers of job_state and job_hook_state.
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/job_sql.h"

#define APPLICATION_ID 0x53464a31 // "SFJ1"

// tally: jobs and callbacks by state, kept by triggers, so that counting is exact, transactional
// and independent of the number of rows. kind 0: job, 1: callback. work is in thousandths.
static const char MIGRATION_1[] =
    "CREATE TABLE job("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " audio_file_id TEXT NOT NULL,"
    " digest BLOB NOT NULL," // SHA-256 of the canonical request
    " request TEXT NOT NULL,"
    " callback_url TEXT,"
    " trace TEXT,"
    " seed INTEGER NOT NULL,"
    " work INTEGER NOT NULL,"
    " state INTEGER NOT NULL DEFAULT 0,"
    " attempt INTEGER NOT NULL DEFAULT 0,"
    " fence INTEGER NOT NULL DEFAULT 0,"
    " cancel_asked INTEGER NOT NULL DEFAULT 0,"
    " wait_mono INTEGER NOT NULL DEFAULT 0,"  // not claimed before
    " lease_mono INTEGER NOT NULL DEFAULT 0," // end of the lease
    " seen_mono INTEGER NOT NULL DEFAULT 0,"  // up to here run_ms has been counted
    " run_ms INTEGER NOT NULL DEFAULT 0,"
    " created_ms INTEGER NOT NULL,"
    " started_ms INTEGER NOT NULL DEFAULT 0,"
    " ended_ms INTEGER NOT NULL DEFAULT 0,"
    " error TEXT,"
    " error_code TEXT);"
    "CREATE INDEX job_by_state ON job(state, seq, work);"
    "CREATE TABLE stem("
    " seq INTEGER NOT NULL REFERENCES job(seq) ON DELETE CASCADE,"
    " pos INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " done INTEGER NOT NULL DEFAULT 0,"
    " progress REAL NOT NULL DEFAULT 0,"
    " done_ms INTEGER NOT NULL DEFAULT 0,"
    " key TEXT, size INTEGER, md5 TEXT, etag TEXT,"
    " sample_rate INTEGER, channels INTEGER, seconds REAL,"
    " PRIMARY KEY(seq, pos)) WITHOUT ROWID;"
    "CREATE TABLE hook("
    " seq INTEGER PRIMARY KEY REFERENCES job(seq) ON DELETE CASCADE,"
    " webhook_id TEXT NOT NULL,"
    " body BLOB NOT NULL,"
    " state INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " fence INTEGER NOT NULL DEFAULT 0,"
    " lease_mono INTEGER NOT NULL DEFAULT 0," // 0: not under way
    " queued_ms INTEGER NOT NULL,"
    " due_ms INTEGER NOT NULL,"
    " last_ms INTEGER NOT NULL DEFAULT 0,"
    " last_code INTEGER NOT NULL DEFAULT 0,"
    " last_error TEXT);"
    "CREATE INDEX hook_pending ON hook(due_ms) WHERE state = 1;"
    "CREATE INDEX hook_oldest ON hook(queued_ms) WHERE state = 1;"
    "CREATE TABLE tally(kind INTEGER, state INTEGER, n INTEGER, work INTEGER,"
    " PRIMARY KEY(kind, state)) WITHOUT ROWID;"
    "INSERT INTO tally VALUES (0,0,0,0),(0,1,0,0),(0,2,0,0),(0,3,0,0),(0,4,0,0),"
    " (1,1,0,0),(1,2,0,0),(1,3,0,0);"
    "CREATE TRIGGER job_added AFTER INSERT ON job BEGIN"
    " UPDATE tally SET n = n + 1, work = work + new.work WHERE kind = 0 AND state = new.state; END;"
    "CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN"
    " UPDATE tally SET n = n - 1, work = work - old.work WHERE kind = 0 AND state = old.state; END;"
    "CREATE TRIGGER job_moved AFTER UPDATE OF state ON job WHEN old.state <> new.state BEGIN"
    " UPDATE tally SET n = n - 1, work = work - old.work WHERE kind = 0 AND state = old.state;"
    " UPDATE tally SET n = n + 1, work = work + new.work WHERE kind = 0 AND state = new.state; END;"
    "CREATE TRIGGER hook_added AFTER INSERT ON hook BEGIN"
    " UPDATE tally SET n = n + 1 WHERE kind = 1 AND state = new.state; END;"
    "CREATE TRIGGER hook_removed AFTER DELETE ON hook BEGIN"
    " UPDATE tally SET n = n - 1 WHERE kind = 1 AND state = old.state; END;"
    "CREATE TRIGGER hook_moved AFTER UPDATE OF state ON hook WHEN old.state <> new.state BEGIN"
    " UPDATE tally SET n = n - 1 WHERE kind = 1 AND state = old.state;"
    " UPDATE tally SET n = n + 1 WHERE kind = 1 AND state = new.state; END;";

// When a callback falls due is kept by the monotonic clock, so that a step of the wall clock
// neither parks nor hurries it. due_ms is the same by the wall clock, for people and for the next
// process.
static const char MIGRATION_2[] =
    "ALTER TABLE hook ADD COLUMN due_mono INTEGER NOT NULL DEFAULT -1;" // -1: not known yet
    "CREATE INDEX hook_due ON hook(due_mono) WHERE state = 1;"
    "DROP INDEX hook_pending;";

// What was said of the request when it was accepted: a JSON array, NULL for nothing.
static const char MIGRATION_3[] = "ALTER TABLE job ADD COLUMN warnings TEXT;";

static const char *const migrations[] = {MIGRATION_1, MIGRATION_2, MIGRATION_3};

// In the order that job_view.c reads them.
#define JOB_COLUMNS(request)                                                                       \
    "SELECT j.seq, j.id, j.audio_file_id, j.state, " request ", j.callback_url, j.trace, j.seed,"  \
    " j.work, j.attempt, j.cancel_asked, j.created_ms, j.started_ms, j.ended_ms, j.run_ms,"        \
    " j.error, j.error_code, h.state, h.webhook_id, h.attempts, h.last_code, h.due_ms, h.last_ms," \
    " h.last_error, j.warnings FROM job j LEFT JOIN hook h ON h.seq = j.seq "

static const char *const statements[Q_COUNT] = {
    // At open: whoever ran or sent these is dead, since the database is ours alone.
    [Q_RECOVER_JOBS] = "UPDATE job SET state = 0 WHERE state = 1",
    [Q_RECOVER_QUEUED] = "UPDATE job SET wait_mono = 0 WHERE state = 0 AND wait_mono <> 0",
    [Q_RECOVER_HOOKS] = "UPDATE hook SET lease_mono = 0, due_mono = -1 WHERE state = 1",

    [Q_FIND_ID] = "SELECT seq, state, digest FROM job WHERE id = ?1",
    [Q_COUNT_QUEUED] = "SELECT n FROM tally WHERE kind = 0 AND state = 0",
    [Q_INSERT_JOB] =
        "INSERT INTO job(id, audio_file_id, digest, request, callback_url, trace, seed, work,"
        " created_ms, warnings) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        " ON CONFLICT(id) DO NOTHING RETURNING seq",
    [Q_INSERT_STEM] = "INSERT INTO stem(seq, pos, name) VALUES (?1, ?2, ?3)",

    // A worker owns a job only while its lease runs, so the job of a hung one comes back.
    [Q_EXPIRE] = "UPDATE job SET state = 0, wait_mono = 0 WHERE state = 1 AND lease_mono <= ?1",
    [Q_NEXT] = "SELECT seq, attempt, cancel_asked FROM job WHERE state = 0 AND wait_mono <= ?1"
               " ORDER BY seq LIMIT 1",
    // A suspect that runs, and any job that runs.
    [Q_ALONE] = "SELECT 1 FROM job WHERE state = 1 AND attempt > ?1 LIMIT 1",
    [Q_BUSY] = "SELECT 1 FROM job WHERE state = 1 LIMIT 1",
    [Q_CLAIM] = "UPDATE job SET state = 1, attempt = attempt + 1, fence = fence + 1,"
                " lease_mono = ?2, seen_mono = ?3, started_ms = ?4 WHERE seq = ?1 RETURNING fence",
    [Q_LIVE] = "SELECT cancel_asked FROM job WHERE seq = ?1 AND fence = ?2 AND state = 1",
    [Q_RENEW] = "UPDATE job SET lease_mono = ?2, run_ms = run_ms + max(0, ?3 - seen_mono),"
                " seen_mono = ?3 WHERE seq = ?1",
    [Q_PROGRESS] = "UPDATE stem SET progress = ?3 WHERE seq = ?1 AND pos = ?2 AND done = 0",
    [Q_STEM_DONE] =
        "UPDATE stem SET done = 1, progress = 1, done_ms = ?3, key = ?4, size = ?5, md5 = ?6,"
        " etag = ?7, sample_rate = ?8, channels = ?9, seconds = ?10 WHERE seq = ?1 AND name = ?2",
    [Q_ACHIEVED] = "UPDATE job SET attempt = 1 WHERE seq = ?1",
    [Q_UNDONE] = "SELECT count(*) FROM stem WHERE seq = ?1 AND done = 0",
    [Q_END] =
        "UPDATE job SET state = ?2, ended_ms = ?3, error = ?4, error_code = ?5 WHERE seq = ?1",
    [Q_RELEASE] = "UPDATE job SET state = 0, wait_mono = ?2, attempt = max(0, attempt - ?3)"
                  " WHERE seq = ?1",

    [Q_STATE] = "SELECT j.seq, j.state, coalesce(h.state, 0) FROM job j"
                " LEFT JOIN hook h ON h.seq = j.seq WHERE j.id = ?1",
    [Q_ASK_CANCEL] = "UPDATE job SET cancel_asked = 1 WHERE seq = ?1",
    [Q_DELETE] = "DELETE FROM job WHERE seq = ?1",
    [Q_PURGE] = "DELETE FROM job WHERE seq IN (SELECT j.seq FROM job j"
                " LEFT JOIN hook h ON h.seq = j.seq WHERE j.state >= 2 AND j.ended_ms < ?1"
                " AND coalesce(h.state, 0) <> 1 LIMIT ?2)",

    [Q_GET_SEQ] = JOB_COLUMNS("j.request") "WHERE j.seq = ?1",
    [Q_GET_ID] = JOB_COLUMNS("j.request") "WHERE j.id = ?1",
    [Q_LIST] = JOB_COLUMNS("NULL") "WHERE ((?1 >> j.state) & 1) AND j.seq < ?2"
                                   " ORDER BY j.seq DESC LIMIT ?3",
    [Q_STEMS] = "SELECT name, done, progress, done_ms, key, size, md5, etag, sample_rate, channels,"
                " seconds FROM stem WHERE seq = ?1 ORDER BY pos",
    [Q_AHEAD] = "SELECT count(*), coalesce(sum(work), 0) FROM job WHERE state = 0 AND seq < ?1",
    [Q_RUNNING_WORK] = "SELECT coalesce(sum(j.work * (1.0 - (SELECT avg(progress) FROM stem"
                       " WHERE seq = j.seq))), 0) FROM job j WHERE j.state = 1",
    [Q_TALLY] = "SELECT kind, state, n, work FROM tally",
    [Q_OLDEST_QUEUED] = "SELECT created_ms FROM job WHERE state = 0 ORDER BY seq LIMIT 1",
    [Q_OLDEST_HOOK] = "SELECT queued_ms FROM hook WHERE state = 1 ORDER BY queued_ms LIMIT 1",

    [Q_HOOK_INSERT] = "INSERT INTO hook(seq, webhook_id, body, state, queued_ms, due_ms, due_mono)"
                      " VALUES (?1, ?2, ?3, 1, ?4, ?4, ?5)",
    // After a restart: what is left of the delay, and never more than the whole of it.
    [Q_HOOK_RESUME] = "UPDATE hook SET due_mono = ?2 + min(max(due_ms - ?1, 0),"
                      " max(due_ms - max(last_ms, queued_ms), 0))"
                      " WHERE state = 1 AND due_mono < 0",
    [Q_HOOK_DUE] = "SELECT h.seq, j.callback_url FROM hook h JOIN job j ON j.seq = h.seq"
                   " WHERE h.state = 1 AND h.due_mono <= ?1 AND h.lease_mono <= ?1"
                   " ORDER BY h.due_mono",
    [Q_HOOK_CLAIM] = "UPDATE hook SET fence = fence + 1, lease_mono = ?2 WHERE seq = ?1"
                     " RETURNING fence, webhook_id, attempts, body",
    [Q_HOOK_LIVE] = "SELECT attempts FROM hook WHERE seq = ?1 AND fence = ?2 AND lease_mono <> 0",
    [Q_HOOK_RECORD] =
        "UPDATE hook SET state = ?2, attempts = ?3, due_ms = ?4, last_ms = ?5, last_code = ?6,"
        " last_error = ?7, lease_mono = 0, due_mono = ?8 WHERE seq = ?1",
    [Q_HOOK_NEXT] = "SELECT due_mono FROM hook WHERE state = 1 AND lease_mono = 0"
                    " ORDER BY due_mono LIMIT 1",
    [Q_HOOK_AGAIN] = "UPDATE hook SET state = 1, attempts = 0, due_ms = ?2, queued_ms = ?2,"
                     " due_mono = ?3 WHERE seq = ?1",
};

void sql_copy_text(db_query *q, int column, char *out, size_t cap) {
    bytes s = db_get_text(q, column);
    snprintf(out, cap, "%s", s.p ? (const char *)s.p : "");
}

status sql_dup_text(db_query *q, int column, char **out, err *e) {
    *out = NULL;
    if (db_is_null(q, column)) return OK;
    bytes s = db_get_text(q, column);
    *out = s.p ? mem_strndup((const char *)s.p, s.n) : NULL;
    return *out ? OK : err_set(e, ERR_OOM, "job");
}

job_time job_time_now(void) {
    return (job_time){.wall_ms = os_time_ms(), .mono_ms = os_clock_ns() / 1000000};
}

job_config job_config_default(void) {
    return (job_config){.queue_max = 1000,
                        .attempts_max = 5,
                        .lease_ms = 60000,
                        .hook_attempts_max = 40,
                        .hook_first_ms = 5000,
                        .hook_cap_ms = INT64_C(4) * 3600 * 1000,
                        .hook_lease_ms = 60000,
                        .hook_after_max_ms = 3600 * 1000};
}

static status recover(db_tx *t, void *arg, err *e) {
    (void)arg;
    static const query steps[] = {Q_RECOVER_JOBS, Q_RECOVER_QUEUED, Q_RECOVER_HOOKS};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        status rc = db_exec(t, db_stmt(t, steps[i]), e);
        if (rc) return rc;
    }
    return OK;
}

status job_store_open(job_store **out, const char *path, const job_config *c, err *e) {
    *out = NULL;
    static const db_schema schema = {.application_id = APPLICATION_ID,
                                     .migrations = migrations,
                                     .migration_count = ARRAY_LEN(migrations),
                                     .statements = statements,
                                     .statement_count = Q_COUNT};
    job_store *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "job store");
    s->config = *c;
    status rc = db_sqlite_open(&s->d, path, &schema, e);
    if (!rc) rc = db_write(s->d, recover, NULL, e);
    if (!rc) {
        *out = s;
        return OK;
    }
    job_store_close(s);
    return rc;
}

void job_store_close(job_store *s) {
    if (!s) return;
    db_close(s->d);
    mem_free(s);
}

bool job_store_broken(job_store *s) {
    return db_broken(s->d);
}
