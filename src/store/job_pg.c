// job_pg.c - the job store on PostgreSQL: its tables, and the statements that are PostgreSQL's own.
//
// All times are the database's clock, so that machines need not agree: a column named *_mono holds
// the same clock as one named *_ms. Rows that another process works on are skipped, not waited for.
// The row of a job is locked before the row of its callback, always.
#include "store/job_sql.h"

// session: one row for each connection. It has the number of the last transaction that was
// committed there (db_pg.c), and how many jobs and callbacks of each state this connection brought
// or took away: the sums over all sessions are the counts. So counting is exact and transactional,
// and no row is waited for by two. Row '-' has what was counted without a session, and the sums of
// the sessions that are swept away.
static const char MIGRATION_1[] =
    "CREATE TABLE session("
    " id TEXT COLLATE \"C\" PRIMARY KEY,"
    " turn BIGINT NOT NULL DEFAULT 0,"
    " closed BOOLEAN NOT NULL DEFAULT false,"
    " seen_ms BIGINT NOT NULL,"
    " jobs BIGINT[] NOT NULL DEFAULT '[0:4]={0,0,0,0,0}',"
    " work BIGINT[] NOT NULL DEFAULT '[0:4]={0,0,0,0,0}',"
    " hooks BIGINT[] NOT NULL DEFAULT '[1:3]={0,0,0}') WITH (fillfactor = 50);"
    "INSERT INTO session(id, seen_ms) VALUES ('-', 0);"
    "CREATE FUNCTION mark(me TEXT, this BIGINT) RETURNS void LANGUAGE plpgsql"
    " SET search_path FROM CURRENT AS $$ BEGIN"
    " UPDATE session SET turn = this,"
    "  seen_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    "  WHERE id = me AND NOT closed;"
    " IF NOT FOUND THEN RAISE EXCEPTION 'the session of this connection is over'"
    "  USING ERRCODE = '40000'; END IF;"
    " END $$;"
    "CREATE FUNCTION me() RETURNS TEXT LANGUAGE sql STABLE AS"
    " $$ SELECT coalesce(nullif(current_setting('stemforge.session', true), ''), '-') $$;"

    "CREATE TABLE job("
    " seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " id TEXT COLLATE \"C\" NOT NULL UNIQUE,"
    " audio_file_id TEXT NOT NULL,"
    " digest BYTEA NOT NULL," // SHA-256 of the canonical request
    " request TEXT NOT NULL,"
    " warnings TEXT,"
    " callback_url TEXT,"
    " trace TEXT,"
    " seed BIGINT NOT NULL,"
    " work BIGINT NOT NULL,"
    " state INTEGER NOT NULL DEFAULT 0,"
    " attempt INTEGER NOT NULL DEFAULT 0,"
    " fence BIGINT NOT NULL DEFAULT 0,"
    " holder TEXT," // the process that claimed it last
    " cancel_asked INTEGER NOT NULL DEFAULT 0,"
    " wait_mono BIGINT NOT NULL DEFAULT 0,"  // not claimed before
    " lease_mono BIGINT NOT NULL DEFAULT 0," // end of the lease
    " seen_mono BIGINT NOT NULL DEFAULT 0,"  // up to here run_ms has been counted
    " run_ms BIGINT NOT NULL DEFAULT 0,"
    " created_ms BIGINT NOT NULL,"
    " started_ms BIGINT NOT NULL DEFAULT 0,"
    " ended_ms BIGINT NOT NULL DEFAULT 0,"
    " error TEXT,"
    " error_code TEXT) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);"
    "CREATE INDEX job_by_state ON job(state, seq);"
    "CREATE INDEX job_waiting ON job(seq) INCLUDE (work) WHERE state = 0;"
    "CREATE INDEX job_running ON job(seq) WHERE state = 1;"
    "CREATE INDEX job_ended ON job(ended_ms) WHERE state >= 2;"
    "CREATE TABLE stem("
    " seq BIGINT NOT NULL REFERENCES job(seq) ON DELETE CASCADE,"
    " pos INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " done INTEGER NOT NULL DEFAULT 0,"
    " progress DOUBLE PRECISION NOT NULL DEFAULT 0,"
    " done_ms BIGINT NOT NULL DEFAULT 0,"
    " key TEXT, size BIGINT, md5 TEXT, etag TEXT,"
    " sample_rate INTEGER, channels INTEGER, seconds DOUBLE PRECISION,"
    " PRIMARY KEY(seq, pos)) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);"
    "CREATE TABLE hook("
    " seq BIGINT PRIMARY KEY REFERENCES job(seq) ON DELETE CASCADE,"
    " webhook_id TEXT NOT NULL,"
    " body BYTEA NOT NULL,"
    " state INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " fence BIGINT NOT NULL DEFAULT 0,"
    " lease_mono BIGINT NOT NULL DEFAULT 0," // 0: not under way
    " queued_ms BIGINT NOT NULL,"
    " due_ms BIGINT NOT NULL,"
    " due_mono BIGINT NOT NULL,"
    " last_ms BIGINT NOT NULL DEFAULT 0,"
    " last_code INTEGER NOT NULL DEFAULT 0,"
    " last_error TEXT) WITH (autovacuum_vacuum_scale_factor = 0.02);"
    "CREATE INDEX hook_due ON hook(due_mono) WHERE state = 1;"
    "CREATE INDEX hook_oldest ON hook(queued_ms) WHERE state = 1;";

// The counts of a session.
static const char MIGRATION_2[] =
    "CREATE FUNCTION count_job() RETURNS trigger LANGUAGE plpgsql"
    " SET search_path FROM CURRENT AS $$ BEGIN"
    " IF TG_OP = 'UPDATE' THEN"
    "  UPDATE session SET jobs[OLD.state] = jobs[OLD.state] - 1,"
    "   jobs[NEW.state] = jobs[NEW.state] + 1, work[OLD.state] = work[OLD.state] - OLD.work,"
    "   work[NEW.state] = work[NEW.state] + NEW.work WHERE id = me();"
    " ELSIF TG_OP = 'INSERT' THEN"
    "  UPDATE session SET jobs[NEW.state] = jobs[NEW.state] + 1,"
    "   work[NEW.state] = work[NEW.state] + NEW.work WHERE id = me();"
    " ELSE"
    "  UPDATE session SET jobs[OLD.state] = jobs[OLD.state] - 1,"
    "   work[OLD.state] = work[OLD.state] - OLD.work WHERE id = me();"
    " END IF; RETURN NULL; END $$;"
    "CREATE FUNCTION count_hook() RETURNS trigger LANGUAGE plpgsql"
    " SET search_path FROM CURRENT AS $$ BEGIN"
    " IF TG_OP = 'UPDATE' THEN"
    "  UPDATE session SET hooks[OLD.state] = hooks[OLD.state] - 1,"
    "   hooks[NEW.state] = hooks[NEW.state] + 1 WHERE id = me();"
    " ELSIF TG_OP = 'INSERT' THEN"
    "  UPDATE session SET hooks[NEW.state] = hooks[NEW.state] + 1 WHERE id = me();"
    " ELSE"
    "  UPDATE session SET hooks[OLD.state] = hooks[OLD.state] - 1 WHERE id = me();"
    " END IF; RETURN NULL; END $$;"
    // Sessions that have done nothing for long go; what they counted stays.
    "CREATE FUNCTION sweep(before BIGINT) RETURNS void LANGUAGE plpgsql"
    " SET search_path FROM CURRENT AS $$ DECLARE gone session; BEGIN"
    " FOR gone IN DELETE FROM session WHERE seen_ms < before AND id <> '-' RETURNING * LOOP"
    "  FOR s IN 0..4 LOOP"
    "   UPDATE session SET jobs[s] = jobs[s] + gone.jobs[s], work[s] = work[s] + gone.work[s]"
    "    WHERE id = '-'; END LOOP;"
    "  FOR s IN 1..3 LOOP"
    "   UPDATE session SET hooks[s] = hooks[s] + gone.hooks[s] WHERE id = '-'; END LOOP;"
    " END LOOP; END $$;"
    "CREATE TRIGGER job_counted AFTER INSERT OR DELETE ON job"
    " FOR EACH ROW EXECUTE FUNCTION count_job();"
    "CREATE TRIGGER job_moved AFTER UPDATE OF state ON job"
    " FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION count_job();"
    "CREATE TRIGGER hook_counted AFTER INSERT OR DELETE ON hook"
    " FOR EACH ROW EXECUTE FUNCTION count_hook();"
    "CREATE TRIGGER hook_moved AFTER UPDATE OF state ON hook"
    " FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION count_hook();";

// Who works, as each says of itself.
static const char MIGRATION_3[] = "CREATE TABLE crew("
                                  " name TEXT COLLATE \"C\" PRIMARY KEY,"
                                  " facts TEXT NOT NULL,"
                                  " gone INTEGER NOT NULL,"
                                  " seen_ms BIGINT NOT NULL);";

// What was heard in a stem: a JSON object, NULL for nothing.
static const char MIGRATION_4[] = "ALTER TABLE stem ADD COLUMN facts TEXT;";

// The family of models that is to make a job; '': whoever comes.
static const char MIGRATION_5[] = "ALTER TABLE job ADD COLUMN model TEXT NOT NULL DEFAULT '';";

// What the models of workers are judged by, where there is no model (job_papers.h).
static const char MIGRATION_6[] = "CREATE TABLE papers("
                                  " key TEXT COLLATE \"C\" PRIMARY KEY,"
                                  " body BYTEA NOT NULL,"
                                  " seen_ms BIGINT NOT NULL);";

// In which order jobs wait, and whose they are.
static const char MIGRATION_7[] =
    "ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0,"
    " ADD COLUMN client TEXT NOT NULL DEFAULT '';"
    "DROP INDEX job_waiting;"
    "CREATE INDEX job_waiting ON job(" JOB_RANK ", seq) INCLUDE (work, model) WHERE state = 0;"
    "CREATE INDEX job_oldest ON job(seq) INCLUDE (created_ms) WHERE state = 0;"
    "CREATE INDEX job_client ON job(client) WHERE client <> '' AND state < 2;";

const char *const job_pg_migrations[JOB_PG_VERSION] = {
    MIGRATION_1, MIGRATION_2, MIGRATION_3, MIGRATION_4, MIGRATION_5, MIGRATION_6, MIGRATION_7};

#define HOLDER "current_setting('stemforge.process')"
#define NOW_MS "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

const char *const job_pg_own[Q_COUNT] = {
    // A job with its stems, in one statement. No row: the id is taken.
    [Q_SUBMIT] =
        "WITH j AS (INSERT INTO job(id, audio_file_id, digest, request, callback_url, trace, seed,"
        " work, created_ms, warnings, model, priority, client) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,"
        " ?8, coalesce(?9, " NOW_MS "), ?10, ?11, ?12, ?13) ON CONFLICT(id) DO NOTHING"
        " RETURNING seq),"
        " s AS (INSERT INTO stem(seq, pos, name) SELECT j.seq, n.pos - 1, n.name FROM j,"
        " unnest(string_to_array(?14, ',')) WITH ORDINALITY n(name, pos))"
        " SELECT seq, mark(?15, ?16) FROM j",
    // Of the jobs whose numbers stand in ?1, separated by commas.
    [Q_STEMS_OF] =
        "SELECT name, done, progress, done_ms, key, size, md5, etag, sample_rate, channels,"
        " seconds, facts, seq FROM stem WHERE seq = ANY(string_to_array(?1, ',')::bigint[])"
        " ORDER BY seq DESC, pos",
    [Q_COUNT_QUEUED] = "SELECT sum(jobs[0])::bigint FROM session",
    [Q_TALLY] = "SELECT 0, s, sum(jobs[s])::bigint, sum(work[s])::bigint FROM session,"
                " generate_series(0, 4) s GROUP BY s UNION ALL"
                " SELECT 1, s, sum(hooks[s])::bigint, 0 FROM session,"
                " generate_series(1, 3) s GROUP BY s",

    [Q_EXPIRE] = "UPDATE job SET state = 0, wait_mono = 0 WHERE seq IN (SELECT seq FROM job"
                 " WHERE state = 1 AND lease_mono <= ?1 FOR UPDATE SKIP LOCKED)",
    [Q_NEXT] = "SELECT seq, attempt, cancel_asked FROM job WHERE state = 0 AND wait_mono <= ?1"
               " AND " JOB_FITS " ORDER BY " JOB_RANK ", seq LIMIT 1 FOR UPDATE SKIP LOCKED",
    // The next job is claimed if it is an ordinary one: claimed less often than ?5, not asked to
    // stop, beside no suspect of this process, and while no lease is over. No row: look closer.
    [Q_TAKE] =
        "UPDATE job SET state = 1, attempt = attempt + 1, fence = fence + 1, lease_mono = ?3,"
        " seen_mono = ?1, started_ms = ?4, holder = " HOLDER
        " WHERE seq = (SELECT seq FROM job WHERE state = 0 AND wait_mono <= ?1 AND " JOB_FITS
        " ORDER BY " JOB_RANK ", seq LIMIT 1 FOR UPDATE SKIP LOCKED)"
        " AND attempt < ?5 AND cancel_asked = 0"
        " AND NOT EXISTS (SELECT 1 FROM job WHERE state = 1 AND lease_mono <= ?1)"
        " AND NOT EXISTS (SELECT 1 FROM job WHERE state = 1 AND attempt > ?6"
        " AND holder = " HOLDER ") RETURNING fence, seq",
    // Of this process: what a suspect may end is no other one.
    [Q_ALONE] =
        "SELECT 1 FROM job WHERE state = 1 AND attempt > ?1 AND holder = " HOLDER " LIMIT 1",
    [Q_BUSY] = "SELECT 1 FROM job WHERE state = 1 AND holder = " HOLDER " LIMIT 1",
    [Q_CLAIM] = "UPDATE job SET state = 1, attempt = attempt + 1, fence = fence + 1,"
                " lease_mono = ?2, seen_mono = ?3, started_ms = ?4, holder = " HOLDER
                " WHERE seq = ?1 RETURNING fence, seq",
    [Q_LIVE] = "SELECT cancel_asked FROM job WHERE seq = ?1 AND fence = ?2 AND state = 1"
               " FOR UPDATE",
    [Q_STATE] = "SELECT j.seq, j.state, coalesce(h.state, 0) FROM job j"
                " LEFT JOIN hook h ON h.seq = j.seq WHERE j.id = ?1 FOR UPDATE OF j",
    [Q_PURGE] = "DELETE FROM job WHERE seq IN (SELECT j.seq FROM job j"
                " LEFT JOIN hook h ON h.seq = j.seq WHERE j.state >= 2 AND j.ended_ms < ?1"
                " AND coalesce(h.state, 0) <> 1 LIMIT ?2 FOR UPDATE OF j SKIP LOCKED)",
    [Q_SWEEP] = "SELECT sweep(?1)",

    // ?2: the prefixes of URLs to leave out, a line each.
    [Q_HOOK_DUE] = "SELECT h.seq, j.callback_url FROM hook h JOIN job j ON j.seq = h.seq"
                   " WHERE h.state = 1 AND h.due_mono <= ?1 AND h.lease_mono <= ?1"
                   " AND NOT EXISTS (SELECT 1 FROM unnest(string_to_array(?2, E'\\n')) p"
                   " WHERE starts_with(j.callback_url, p))"
                   " ORDER BY h.due_mono LIMIT 1 FOR UPDATE OF h SKIP LOCKED",
    [Q_HOOK_LIVE] = "SELECT attempts FROM hook WHERE seq = ?1 AND fence = ?2 AND lease_mono <> 0"
                    " FOR UPDATE",

    [Q_CREW_SAY] = "INSERT INTO crew(name, facts, gone, seen_ms) VALUES (?1, ?2, ?3, ?4)"
                   " ON CONFLICT (name) DO UPDATE SET facts = ?2, gone = ?3, seen_ms = ?4",
    [Q_CREW_FORGET] = "DELETE FROM crew WHERE seen_ms < ?1"
                      " AND seen_ms < (SELECT max(seen_ms) FROM crew)",
    [Q_CREW_LIST] = "SELECT name, facts, gone, seen_ms FROM crew ORDER BY seen_ms DESC LIMIT ?1",

    [Q_PAPERS_PUT] = "INSERT INTO papers(key, body, seen_ms) VALUES (?1, ?2, ?3)"
                     " ON CONFLICT (key) DO UPDATE SET seen_ms = ?3",
    [Q_PAPERS_GET] = "SELECT body FROM papers WHERE key = ?1",
    [Q_PAPERS_FORGET] = "DELETE FROM papers p WHERE seen_ms < ?1 AND NOT EXISTS"
                        " (SELECT 1 FROM crew WHERE strpos(facts, p.key) > 0)",
};
