// job.c - see job.h: submitting, ending and steering. Every change is one piece of db work.
#include "store/job.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "store/job_sql.h"

// Copies s cut to JOB_TEXT_MAX bytes, not in the middle of a UTF-8 character.
static void cut_text(char out[JOB_TEXT_MAX + 1], const char *s) {
    size_t n = strnlen(s, JOB_TEXT_MAX + 1);
    if (n > JOB_TEXT_MAX) {
        n = JOB_TEXT_MAX;
        while (n && ((unsigned char)s[n] & 0xc0) == 0x80) n--;
    }
    memcpy(out, s, n);
    out[n] = 0;
}

// ---- submitting

typedef struct {
    const job_store *s;
    const job_new *n;
    job_time now;
    uint8_t digest[SHA256_LEN];
    job_submitted *out;
} submit_args;

static status find_existing(db *d, submit_args *a, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_FIND_ID);
    sql_text(q, 1, a->n->id);
    status rc = db_step(d, q, e);
    if (rc) return rc;
    const void *digest = sqlite3_column_blob(q, 2);
    bool same = digest && sqlite3_column_bytes(q, 2) == SHA256_LEN &&
                memcmp(digest, a->digest, SHA256_LEN) == 0;
    if (!same) {
        return err_set(e, ERR_CONFLICT, "generation_request_id was used before with another body");
    }
    *a->out =
        (job_submitted){true, sqlite3_column_int64(q, 0), (job_state)sqlite3_column_int(q, 1)};
    return OK;
}

static status check_room(db *d, const submit_args *a, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_COUNT_QUEUED);
    status rc = db_step(d, q, e);
    if (rc) return rc;
    if (sqlite3_column_int64(q, 0) < a->s->config.queue_max) return OK;
    return err_set(e, ERR_LIMIT, "the queue is full: %d jobs are waiting", a->s->config.queue_max);
}

static status insert_stems(db *d, const job_new *n, int64_t seq, err *e) {
    for (size_t i = 0; i < n->stem_count; i++) {
        sqlite3_stmt *q = db_stmt(d, Q_INSERT_STEM);
        sql_int(q, 1, seq);
        sql_int(q, 2, (int64_t)i);
        sql_text(q, 3, n->stems[i]);
        status rc = db_exec(d, q, e);
        if (rc) return rc;
    }
    return OK;
}

static status insert_job(db *d, submit_args *a, err *e) {
    const job_new *n = a->n;
    sqlite3_stmt *q = db_stmt(d, Q_INSERT_JOB);
    sql_text(q, 1, n->id);
    sql_text(q, 2, n->audio_file_id);
    sql_blob(q, 3, (bytes){a->digest, SHA256_LEN});
    sqlite3_bind_text64(q, 4, (const char *)n->request.p, n->request.n, SQLITE_STATIC, SQLITE_UTF8);
    sql_text(q, 5, n->callback_url);
    sql_text(q, 6, n->trace);
    sql_int(q, 7, (int64_t)n->seed);
    sql_int(q, 8, (int64_t)(n->work * 1000 + 0.5));
    sql_int(q, 9, a->now.wall_ms);
    sql_text(q, 10, n->warnings);
    status rc = db_exec(d, q, e);
    if (rc) return rc;
    *a->out = (job_submitted){.seq = db_insert_id(d), .state = JOB_QUEUED};
    return insert_stems(d, n, a->out->seq, e);
}

static status submit_work(db *d, void *arg, err *e) {
    submit_args *a = arg;
    status rc = find_existing(d, a, e);
    if (rc != ERR_NOT_FOUND) return rc;
    rc = check_room(d, a, e);
    return rc ? rc : insert_job(d, a, e);
}

static status check_new(const job_store *s, const job_new *n, err *e) {
    size_t longest = MAX(strlen(n->id), strlen(n->audio_file_id));
    if (longest > JOB_ID_MAX || n->id[0] == 0) return err_set(e, ERR_ARG, "id: 1 to 128 bytes");
    if (n->stem_count < 1 || n->stem_count > JOB_STEMS_MAX) {
        return err_set(e, ERR_ARG, "%zu stems, expected 1 to %d", n->stem_count, JOB_STEMS_MAX);
    }
    for (size_t i = 0; i < n->stem_count; i++) {
        if (strlen(n->stems[i]) > JOB_STEM_NAME_MAX) return err_set(e, ERR_ARG, "stem name");
    }
    if (n->request.n > JOB_REQUEST_MAX) return err_set(e, ERR_LIMIT, "request is too long");
    if (!(n->work > 0 && n->work < 1e12)) return err_set(e, ERR_ARG, "work out of range");
    if (n->callback_url && !s->config.render) return err_set(e, ERR_ARG, "no callback renderer");
    return OK;
}

status job_submit(job_store *s, const job_new *n, job_time now, job_submitted *out, err *e) {
    *out = (job_submitted){0};
    submit_args a = {.s = s, .n = n, .now = now, .out = out};
    status rc = check_new(s, n, e);
    if (!rc) rc = hash_sha256(a.digest, n->canonical, e);
    return rc ? rc : db_write(s->d, submit_work, &a, e);
}

// A job under an id that no request may have.
#define CHECK_ID "(check)"

static status check_work(db *d, void *arg, err *e) {
    submit_args *a = arg;
    status rc = insert_job(d, a, e);
    if (rc) return rc;
    sqlite3_stmt *q = db_stmt(d, Q_DELETE);
    sql_int(q, 1, a->out->seq);
    return db_exec(d, q, e);
}

status job_store_check(job_store *s, err *e) {
    static const char *const stems[] = {"check"};
    job_new n = {.id = CHECK_ID,
                 .audio_file_id = CHECK_ID,
                 .stems = stems,
                 .stem_count = 1,
                 .request = bytes_of("{}"),
                 .work = 1};
    job_submitted out = {0};
    return db_write(s->d, check_work, &(submit_args){.s = s, .n = &n, .out = &out}, e);
}

// ---- ending

status job_end(job_store *s, db *d, const job_ending *end, err *e) {
    char text[JOB_TEXT_MAX + 1];
    if (end->error) cut_text(text, end->error);
    sqlite3_stmt *q = db_stmt(d, Q_END);
    sql_int(q, 1, end->seq);
    sql_int(q, 2, end->state);
    sql_int(q, 3, end->now.wall_ms);
    sql_text(q, 4, end->error ? text : NULL);
    sql_text(q, 5, end->code);
    status rc = db_exec(d, q, e);
    if (rc) return rc;
    job j;
    rc = job_load(d, end->seq, &j, e);
    if (rc) return rc;
    if (j.callback_url) rc = job_hook_queue(s, d, &j, end->now, e);
    job_deinit(&j);
    return rc;
}

status job_end_canceled(job_store *s, db *d, int64_t seq, job_time now, err *e) {
    return job_end(s, d,
                   &(job_ending){.seq = seq,
                                 .state = JOB_CANCELED,
                                 .code = "canceled",
                                 .error = "The job was canceled.",
                                 .now = now},
                   e);
}

// ---- steering

typedef struct {
    job_store *s;
    const char *id;
    job_time now;
    job_cancel_answer *answer;
    int64_t before_ms;
    int limit, *count;
} steer_args;

typedef struct {
    int64_t seq;
    job_state state;
    job_hook_state hook;
} job_now;

static status find_now(db *d, const char *id, job_now *out, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_STATE);
    sql_text(q, 1, id);
    status rc = db_step(d, q, e);
    if (rc == ERR_NOT_FOUND) return err_set(e, rc, "no job with this id");
    if (rc) return rc;
    *out = (job_now){sqlite3_column_int64(q, 0), (job_state)sqlite3_column_int(q, 1),
                     (job_hook_state)sqlite3_column_int(q, 2)};
    return OK;
}

static status find_ended(db *d, const char *id, job_now *out, err *e) {
    status rc = find_now(d, id, out, e);
    if (rc || job_state_ended(out->state)) return rc;
    return err_set(e, ERR_CONFLICT, "the job is %s", job_state_name(out->state));
}

static status cancel_work(db *d, void *arg, err *e) {
    steer_args *a = arg;
    job_now j;
    status rc = find_now(d, a->id, &j, e);
    if (rc) return rc;
    switch (j.state) {
    case JOB_QUEUED:
        *a->answer = JOB_CANCEL_DONE;
        return job_end_canceled(a->s, d, j.seq, a->now, e);
    case JOB_RUNNING: {
        *a->answer = JOB_CANCEL_ASKED;
        sqlite3_stmt *q = db_stmt(d, Q_ASK_CANCEL);
        sql_int(q, 1, j.seq);
        return db_exec(d, q, e);
    }
    case JOB_CANCELED: *a->answer = JOB_CANCEL_DONE; return OK;
    default: *a->answer = JOB_CANCEL_ENDED; return OK;
    }
}

status job_cancel(job_store *s, const char *id, job_time now, job_cancel_answer *out, err *e) {
    return db_write(s->d, cancel_work, &(steer_args){.s = s, .id = id, .now = now, .answer = out},
                    e);
}

static status delete_work(db *d, void *arg, err *e) {
    steer_args *a = arg;
    job_now j;
    status rc = find_ended(d, a->id, &j, e);
    if (rc) return rc;
    if (j.hook == JOB_HOOK_PENDING) {
        return err_set(e, ERR_CONFLICT, "the job's callback has not been delivered yet");
    }
    sqlite3_stmt *q = db_stmt(d, Q_DELETE);
    sql_int(q, 1, j.seq);
    return db_exec(d, q, e);
}

status job_delete(job_store *s, const char *id, err *e) {
    return db_write(s->d, delete_work, &(steer_args){.s = s, .id = id}, e);
}

static status redeliver_work(db *d, void *arg, err *e) {
    steer_args *a = arg;
    job_now j;
    status rc = find_ended(d, a->id, &j, e);
    if (rc) return rc;
    if (j.hook == JOB_HOOK_NONE) return err_set(e, ERR_ARG, "the job has no callback_url");
    sqlite3_stmt *q = db_stmt(d, Q_HOOK_AGAIN);
    sql_int(q, 1, j.seq);
    sql_int(q, 2, a->now.wall_ms);
    sql_int(q, 3, a->now.mono_ms);
    return db_exec(d, q, e);
}

status job_redeliver(job_store *s, const char *id, job_time now, err *e) {
    return db_write(s->d, redeliver_work, &(steer_args){.s = s, .id = id, .now = now}, e);
}

static status purge_work(db *d, void *arg, err *e) {
    steer_args *a = arg;
    sqlite3_stmt *q = db_stmt(d, Q_PURGE);
    sql_int(q, 1, a->before_ms);
    sql_int(q, 2, a->limit);
    status rc = db_exec(d, q, e);
    if (!rc) *a->count = db_changes(d);
    return rc;
}

status job_purge(job_store *s, int64_t before_ms, int limit, int *count, err *e) {
    *count = 0;
    steer_args a = {.s = s, .before_ms = before_ms, .limit = limit, .count = count};
    return db_write(s->d, purge_work, &a, e);
}
