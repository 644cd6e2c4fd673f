// job_sqlite.c - the job store on SQLite: its tables, and the statements that are SQLite's own.
//
// Columns named *_ms are wall time, *_mono monotonic time of this process: the latter mean nothing
// after a restart and are reset at open. States are the numbers of job_state and job_hook_state.
#include "store/job_sql.h"

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

// What was heard in a stem: a JSON object, NULL for nothing.
static const char MIGRATION_4[] = "ALTER TABLE stem ADD COLUMN facts TEXT;";

// The family of models that is to make a job; '': whoever comes.
static const char MIGRATION_5[] = "ALTER TABLE job ADD COLUMN model TEXT NOT NULL DEFAULT '';";

// In which order jobs wait, and whose they are.
static const char MIGRATION_6[] =
    "ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job ADD COLUMN client TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX job_waiting ON job(" JOB_RANK ", seq) WHERE state = 0;"
    "CREATE INDEX job_client ON job(client) WHERE client <> '' AND state < 2;";

const char *const job_sqlite_migrations[JOB_SQLITE_VERSION] = {
    MIGRATION_1, MIGRATION_2, MIGRATION_3, MIGRATION_4, MIGRATION_5, MIGRATION_6};

const char *const job_sqlite_own[Q_COUNT] = {
    // At open: whoever ran or sent these is dead, since the database is ours alone.
    [Q_RECOVER_JOBS] = "UPDATE job SET state = 0 WHERE state = 1",
    [Q_RECOVER_QUEUED] = "UPDATE job SET wait_mono = 0 WHERE state = 0 AND wait_mono <> 0",
    [Q_RECOVER_HOOKS] = "UPDATE hook SET lease_mono = 0, due_mono = -1 WHERE state = 1",

    [Q_COUNT_QUEUED] = "SELECT n FROM tally WHERE kind = 0 AND state = 0",
    [Q_TALLY] = "SELECT kind, state, n, work FROM tally",

    // A worker owns a job only while its lease runs, so the job of a hung one comes back.
    [Q_EXPIRE] = "UPDATE job SET state = 0, wait_mono = 0 WHERE state = 1 AND lease_mono <= ?1",
    [Q_NEXT] = "SELECT seq, attempt, cancel_asked FROM job WHERE state = 0 AND wait_mono <= ?1"
               " AND " JOB_FITS " ORDER BY " JOB_RANK ", seq LIMIT 1",
    // A suspect that runs, and any job that runs.
    [Q_ALONE] = "SELECT 1 FROM job WHERE state = 1 AND attempt > ?1 LIMIT 1",
    [Q_BUSY] = "SELECT 1 FROM job WHERE state = 1 LIMIT 1",
    [Q_CLAIM] =
        "UPDATE job SET state = 1, attempt = attempt + 1, fence = fence + 1,"
        " lease_mono = ?2, seen_mono = ?3, started_ms = ?4 WHERE seq = ?1 RETURNING fence, seq",
    [Q_LIVE] = "SELECT cancel_asked FROM job WHERE seq = ?1 AND fence = ?2 AND state = 1",
    [Q_STATE] = "SELECT j.seq, j.state, coalesce(h.state, 0) FROM job j"
                " LEFT JOIN hook h ON h.seq = j.seq WHERE j.id = ?1",
    [Q_PURGE] = "DELETE FROM job WHERE seq IN (SELECT j.seq FROM job j"
                " LEFT JOIN hook h ON h.seq = j.seq WHERE j.state >= 2 AND j.ended_ms < ?1"
                " AND coalesce(h.state, 0) <> 1 LIMIT ?2)",

    // After a restart: what is left of the delay, and never more than the whole of it.
    [Q_HOOK_RESUME] = "UPDATE hook SET due_mono = ?2 + min(max(due_ms - ?1, 0),"
                      " max(due_ms - max(last_ms, queued_ms), 0))"
                      " WHERE state = 1 AND due_mono < 0",
    [Q_HOOK_DUE] = "SELECT h.seq, j.callback_url FROM hook h JOIN job j ON j.seq = h.seq"
                   " WHERE h.state = 1 AND h.due_mono <= ?1 AND h.lease_mono <= ?1"
                   " ORDER BY h.due_mono",
    [Q_HOOK_LIVE] = "SELECT attempts FROM hook WHERE seq = ?1 AND fence = ?2 AND lease_mono <> 0",
};
