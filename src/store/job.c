// job.c - see job.h: submitting, running and steering. Every change is one piece of db work.
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
    sql_int(q, 8, (int64_t)(n->work * 1000));
    sql_int(q, 9, a->now.wall_ms);
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
    if (j.callback_url) rc = job_hook_queue(s, d, &j, end->now.wall_ms, e);
    job_deinit(&j);
    return rc;
}

static status end_canceled(job_store *s, db *d, int64_t seq, job_time now, err *e) {
    return job_end(s, d,
                   &(job_ending){.seq = seq,
                                 .state = JOB_CANCELED,
                                 .code = "canceled",
                                 .error = "The job was canceled.",
                                 .now = now},
                   e);
}

static status end_poison(job_store *s, db *d, int64_t seq, int attempts, job_time now, err *e) {
    char text[160];
    snprintf(text, sizeof text, "Generation was started %d times and never came to an end.",
             attempts);
    return job_end(
        s, d,
        &(job_ending){.seq = seq, .state = JOB_FAILED, .code = "poison", .error = text, .now = now},
        e);
}

// ---- running

typedef struct {
    job_store *s;
    job_claim_id c;
    job_time now;
    union {
        struct { // claim
            job_claim_id *claim;
            job *out;
            bool found;
        };
        struct { // renew
            const double *progress;
            bool *cancel;
        };
        struct { // stem_done
            const char *stem;
            const job_result *result;
        };
        job_ending end;
        struct { // release
            bool counted;
            int64_t delay_ms;
        };
    };
} run_args;

static status take(db *d, run_args *a, int64_t seq, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_CLAIM);
    sql_int(q, 1, seq);
    sql_int(q, 2, a->now.mono_ms + a->s->config.lease_ms);
    sql_int(q, 3, a->now.mono_ms);
    sql_int(q, 4, a->now.wall_ms);
    status rc = db_step(d, q, e);
    if (rc) return rc;
    *a->claim = (job_claim_id){.seq = seq, .fence = sqlite3_column_int64(q, 0)};
    rc = db_exec(d, q, e); // RETURNING statements want to be run to their end
    return rc ? rc : job_load(d, seq, a->out, e);
}

static status expire(db *d, run_args *a, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_EXPIRE);
    sql_int(q, 1, a->now.mono_ms);
    status rc = db_exec(d, q, e);
    if (!rc) a->s->leases_lost += (uint64_t)db_changes(d);
    return rc;
}

// Nothing to claim is no failure: what ended on the way must be committed.
static status claim_work(db *d, void *arg, err *e) {
    run_args *a = arg;
    status rc = expire(d, a, e);
    while (!rc) {
        sqlite3_stmt *q = db_stmt(d, Q_NEXT);
        sql_int(q, 1, a->now.mono_ms);
        rc = db_step(d, q, e);
        if (rc) break;
        int64_t seq = sqlite3_column_int64(q, 0);
        int attempts = sqlite3_column_int(q, 1), most = a->s->config.attempts_max;
        if (sqlite3_column_int(q, 2)) {
            rc = end_canceled(a->s, d, seq, a->now, e);
        } else if (most > 0 && attempts >= most) {
            rc = end_poison(a->s, d, seq, attempts, a->now, e);
        } else {
            rc = take(d, a, seq, e);
            a->found = rc == OK;
            return rc;
        }
    }
    return rc == ERR_NOT_FOUND ? OK : rc;
}

status job_claim(job_store *s, job_time now, job_claim_id *claim, job *out, err *e) {
    *out = (job){0};
    run_args a = {.s = s, .now = now, .claim = claim, .out = out};
    status rc = db_write(s->d, claim_work, &a, e);
    if (rc) job_deinit(out); // the commit may have failed after it was filled
    if (!rc && !a.found) return err_set(e, ERR_NOT_FOUND, "no job is waiting");
    return rc;
}

// OK while the claim is the job's. *cancel (may be NULL): it was asked to stop.
static status check_claim(db *d, job_claim_id c, bool *cancel, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_LIVE);
    sql_int(q, 1, c.seq);
    sql_int(q, 2, c.fence);
    status rc = db_step(d, q, e);
    if (rc == ERR_NOT_FOUND) return err_set(e, ERR_CANCELED, "the job is no longer ours to run");
    if (!rc && cancel) *cancel = sqlite3_column_int(q, 0) != 0;
    return rc;
}

// Extends the lease and adds the time since the last call to run_ms.
static status renew(db *d, const run_args *a, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_RENEW);
    sql_int(q, 1, a->c.seq);
    sql_int(q, 2, a->now.mono_ms + a->s->config.lease_ms);
    sql_int(q, 3, a->now.mono_ms);
    return db_exec(d, q, e);
}

static status store_progress(db *d, const run_args *a, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_STEMS);
    sql_int(q, 1, a->c.seq);
    int64_t count = 0;
    status rc;
    while ((rc = db_step(d, q, e)) == OK) count++;
    if (rc != ERR_NOT_FOUND) return rc;
    for (int64_t i = 0; i < count; i++) {
        double p = a->progress[i];
        q = db_stmt(d, Q_PROGRESS);
        sql_int(q, 1, a->c.seq);
        sql_int(q, 2, i);
        sqlite3_bind_double(q, 3, p > 0 ? MIN(p, 1.0) : 0.0);
        rc = db_exec(d, q, e);
        if (rc) return rc;
    }
    return OK;
}

static status renew_work(db *d, void *arg, err *e) {
    run_args *a = arg;
    bool asked = false;
    status rc = check_claim(d, a->c, &asked, e);
    if (!rc) rc = renew(d, a, e);
    if (!rc && a->progress) rc = store_progress(d, a, e);
    if (!rc && a->cancel) *a->cancel = asked;
    return rc;
}

status job_renew(job_store *s, job_claim_id c, const double *progress, job_time now, bool *cancel,
                 err *e) {
    run_args a = {.s = s, .c = c, .now = now, .progress = progress, .cancel = cancel};
    return db_write(s->d, renew_work, &a, e);
}

static status store_stem(db *d, const run_args *a, err *e) {
    const job_result *r = a->result;
    sqlite3_stmt *q = db_stmt(d, Q_STEM_DONE);
    sql_int(q, 1, a->c.seq);
    sql_text(q, 2, a->stem);
    sql_int(q, 3, a->now.wall_ms);
    sql_text(q, 4, r->key);
    sql_int(q, 5, r->size);
    sql_text(q, 6, r->md5);
    sql_text(q, 7, r->etag);
    sql_int(q, 8, r->sample_rate);
    sql_int(q, 9, r->channels);
    sqlite3_bind_double(q, 10, r->seconds);
    status rc = db_exec(d, q, e);
    if (rc) return rc;
    return db_changes(d) == 1 ? OK : err_set(e, ERR_ARG, "the job has no stem '%.15s'", a->stem);
}

static status stem_work(db *d, void *arg, err *e) {
    run_args *a = arg;
    status rc = check_claim(d, a->c, NULL, e);
    if (!rc) rc = store_stem(d, a, e);
    if (!rc) rc = renew(d, a, e);
    if (rc) return rc;
    sqlite3_stmt *q = db_stmt(d, Q_ACHIEVED);
    sql_int(q, 1, a->c.seq);
    return db_exec(d, q, e);
}

status job_stem_done(job_store *s, job_claim_id c, const char *stem, const job_result *r,
                     job_time now, err *e) {
    run_args a = {.s = s, .c = c, .now = now, .stem = stem, .result = r};
    return db_write(s->d, stem_work, &a, e);
}

static status check_complete(db *d, int64_t seq, err *e) {
    sqlite3_stmt *q = db_stmt(d, Q_UNDONE);
    sql_int(q, 1, seq);
    status rc = db_step(d, q, e);
    if (rc) return rc;
    int left = sqlite3_column_int(q, 0);
    return left ? err_set(e, ERR_ARG, "%d stems are not stored yet", left) : OK;
}

static status finish_work(db *d, void *arg, err *e) {
    run_args *a = arg;
    status rc = check_claim(d, a->c, NULL, e);
    if (!rc && a->end.state == JOB_COMPLETED) rc = check_complete(d, a->c.seq, e);
    if (!rc) rc = renew(d, a, e); // for run_ms
    return rc ? rc : job_end(a->s, d, &a->end, e);
}

status job_finish(job_store *s, job_claim_id c, job_state end, const char *code, const char *error,
                  job_time now, err *e) {
    if (!job_state_ended(end)) return err_set(e, ERR_ARG, "%s is no end", job_state_name(end));
    run_args a = {.s = s, .c = c, .now = now};
    a.end = (job_ending){.seq = c.seq, .state = end, .code = code, .error = error, .now = now};
    return db_write(s->d, finish_work, &a, e);
}

static status release_work(db *d, void *arg, err *e) {
    run_args *a = arg;
    bool asked = false;
    status rc = check_claim(d, a->c, &asked, e);
    if (!rc) rc = renew(d, a, e); // for run_ms
    if (rc) return rc;
    if (asked) return end_canceled(a->s, d, a->c.seq, a->now, e);
    sqlite3_stmt *q = db_stmt(d, Q_RELEASE);
    sql_int(q, 1, a->c.seq);
    sql_int(q, 2, a->delay_ms > 0 ? a->now.mono_ms + a->delay_ms : 0);
    sql_int(q, 3, a->counted ? 0 : 1);
    return db_exec(d, q, e);
}

status job_release(job_store *s, job_claim_id c, bool counted, int64_t delay_ms, job_time now,
                   err *e) {
    run_args a = {.s = s, .c = c, .now = now, .counted = counted, .delay_ms = delay_ms};
    return db_write(s->d, release_work, &a, e);
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
    case JOB_QUEUED: *a->answer = JOB_CANCEL_DONE; return end_canceled(a->s, d, j.seq, a->now, e);
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
