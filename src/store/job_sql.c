// job_sql.c - the job store: the statements that all databases share, opening and closing.
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/job_sql.h"

// In the order that job_view.c reads them.
#define JOB_COLUMNS(request)                                                                       \
    "SELECT j.seq, j.id, j.audio_file_id, j.state, " request ", j.callback_url, j.trace, j.seed,"  \
    " j.work, j.attempt, j.cancel_asked, j.created_ms, j.started_ms, j.ended_ms, j.run_ms,"        \
    " j.error, j.error_code, h.state, h.webhook_id, h.attempts, h.last_code, h.due_ms, h.last_ms," \
    " h.last_error, j.warnings, j.model, j.priority FROM job j LEFT JOIN hook h ON h.seq = j.seq "

const char *const job_sql_shared[Q_COUNT] = {
    [Q_FIND_ID] = "SELECT seq, state, digest FROM job WHERE id = ?1",
    [Q_INSERT_JOB] =
        "INSERT INTO job(id, audio_file_id, digest, request, callback_url, trace, seed, work,"
        " created_ms, warnings, model, priority, client) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, "
        "?9,"
        " ?10, ?11, ?12, ?13) ON CONFLICT(id) DO NOTHING RETURNING seq",
    [Q_COUNT_CLIENT] = "SELECT count(*) FROM job WHERE client = ?1 AND client <> '' AND state < 2",
    [Q_INSERT_STEM] = "INSERT INTO stem(seq, pos, name) VALUES (?1, ?2, ?3)",

    [Q_RENEW] = "UPDATE job SET lease_mono = ?2, run_ms = run_ms + CASE WHEN ?3 > seen_mono THEN "
                "?3 - seen_mono ELSE 0 END,"
                " seen_mono = ?3 WHERE seq = ?1",
    [Q_PROGRESS] = "UPDATE stem SET progress = ?3 WHERE seq = ?1 AND pos = ?2 AND done = 0",
    [Q_STEM_DONE] =
        "UPDATE stem SET done = 1, progress = 1, done_ms = ?3, key = ?4, size = ?5, md5 = ?6,"
        " etag = ?7, sample_rate = ?8, channels = ?9, seconds = ?10, facts = ?11"
        " WHERE seq = ?1 AND name = ?2",
    [Q_ACHIEVED] = "UPDATE job SET attempt = 1 WHERE seq = ?1",
    [Q_UNDONE] = "SELECT count(*) FROM stem WHERE seq = ?1 AND done = 0",
    [Q_END] =
        "UPDATE job SET state = ?2, ended_ms = ?3, error = ?4, error_code = ?5 WHERE seq = ?1",
    [Q_RELEASE] = "UPDATE job SET state = 0, wait_mono = ?2, attempt = CASE WHEN attempt > ?3 THEN "
                  "attempt - ?3 ELSE 0 END"
                  " WHERE seq = ?1",

    [Q_ASK_CANCEL] = "UPDATE job SET cancel_asked = 1 WHERE seq = ?1",
    [Q_DELETE] = "DELETE FROM job WHERE seq = ?1",

    [Q_GET_SEQ] = JOB_COLUMNS("j.request") "WHERE j.seq = ?1",
    [Q_GET_ID] = JOB_COLUMNS("j.request") "WHERE j.id = ?1",
    [Q_LIST] =
        JOB_COLUMNS("NULL") "WHERE ((CAST(?1 AS INTEGER) >> j.state) & 1) <> 0 AND j.seq < ?2"
                            " ORDER BY j.seq DESC LIMIT ?3",
    // Of one state, so that an index has them in order.
    [Q_LIST_STATE] =
        JOB_COLUMNS("NULL") "WHERE j.state = ?1 AND j.seq < ?2 ORDER BY j.seq DESC LIMIT ?3",
    [Q_STEMS] = "SELECT name, done, progress, done_ms, key, size, md5, etag, sample_rate, channels,"
                " seconds, facts FROM stem WHERE seq = ?1 ORDER BY pos",
    // Of those that the same model makes.
    [Q_AHEAD] = "SELECT count(*), coalesce(sum(work), 0) FROM job WHERE state = 0"
                " AND " JOB_RANK " <= (SELECT " JOB_RANK " FROM job WHERE seq = ?1)"
                " AND (seq < ?1 OR " JOB_RANK " < (SELECT " JOB_RANK " FROM job WHERE seq = ?1))"
                " AND model = (SELECT model FROM job WHERE seq = ?1)",
    [Q_RUNNING_WORK] = "SELECT coalesce(sum(j.work * (1.0 - (SELECT avg(progress) FROM stem"
                       " WHERE seq = j.seq))), 0) FROM job j WHERE j.state = 1"
                       " AND j.model = (SELECT model FROM job WHERE seq = ?1)",
    [Q_OLDEST_QUEUED] = "SELECT created_ms FROM job WHERE state = 0 ORDER BY seq LIMIT 1",
    [Q_OLDEST_HOOK] = "SELECT queued_ms FROM hook WHERE state = 1 ORDER BY queued_ms LIMIT 1",

    [Q_HOOK_INSERT] = "INSERT INTO hook(seq, webhook_id, body, state, queued_ms, due_ms, due_mono)"
                      " VALUES (?1, ?2, ?3, 1, ?4, ?4, ?5)",
    [Q_HOOK_CLAIM] = "UPDATE hook SET fence = fence + 1, lease_mono = ?2 WHERE seq = ?1"
                     " RETURNING fence, webhook_id, attempts, body",
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
                        .connections = 8,
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

// The statements that all databases share, and this one's own.
static void choose_statements(job_store *s, const char *const own[Q_COUNT]) {
    for (size_t i = 0; i < Q_COUNT; i++) s->statements[i] = own[i] ? own[i] : job_sql_shared[i];
}

static status open_sqlite(job_store *s, const char *path, err *e) {
    choose_statements(s, job_sqlite_own);
    s->schema.migrations = job_sqlite_migrations;
    s->schema.migration_count = JOB_SQLITE_VERSION;
    status rc = db_sqlite_open(&s->d, path, &s->schema, e);
    return rc ? rc : db_write(s->d, recover, NULL, e);
}

// Jobs that a dead process left running come back when their leases are over: others may be alive.
static status open_pg(job_store *s, const char *url, err *e) {
    const db_pg_config c = {
        .url = url, .connections = s->config.connections, .caller_time = s->config.caller_time};
    choose_statements(s, job_pg_own);
    s->schema.migrations = job_pg_migrations;
    s->schema.migration_count = JOB_PG_VERSION;
    return db_pg_open(&s->d, &c, &s->schema, e);
}

static bool is_url(const char *place) {
    return strncmp(place, "postgres://", 11) == 0 || strncmp(place, "postgresql://", 13) == 0;
}

static status name_check(job_store *s, err *e) {
    uint8_t random[16];
    char hex[2 * sizeof random + 1];
    status rc = random_bytes(random, sizeof random, e);
    if (rc) return rc;
    hex_encode(hex, random, sizeof random);
    snprintf(s->check_id, sizeof s->check_id, "(check %s)", hex);
    return OK;
}

status job_store_open(job_store **out, const char *place, const job_config *c, err *e) {
    *out = NULL;
    job_store *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "job store");
    s->config = *c;
    s->schema = (db_schema){.application_id = JOB_APPLICATION_ID,
                            .statements = s->statements,
                            .statement_count = Q_COUNT};
    status rc = name_check(s, e);
    if (!rc) rc = is_url(place) ? open_pg(s, place, e) : open_sqlite(s, place, e);
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
