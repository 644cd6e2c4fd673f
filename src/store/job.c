// job.c - see job.h: submitting, ending and steering. Every change is one piece of db work.
#include "store/job.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
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
    job_store *s;
    const job_new *n;
    job_time now;
    uint8_t digest[SHA256_LEN];
    job_submitted *out;
} submit_args;

static status find_existing(db_tx *t, submit_args *a, err *e) {
    db_query *q = db_stmt(t, Q_FIND_ID);
    db_bind_text(q, 1, a->n->id);
    status rc = db_step(t, q, e);
    if (rc) return rc;
    bytes digest = db_get_blob(q, 2);
    bool same = digest.n == SHA256_LEN && memcmp(digest.p, a->digest, SHA256_LEN) == 0;
    if (!same) {
        return err_set(e, ERR_CONFLICT, "generation_request_id was used before with another body");
    }
    *a->out = (job_submitted){
        .existed = true, .seq = db_get_int(q, 0), .state = (job_state)db_get_int(q, 1)};
    return OK;
}

// Where processes share the queue counting costs more than submitting. So what was counted lately
// is good for a while, as long as it leaves room for what this process has submitted since and a
// tenth more.
#define COUNT_GOOD_NS INT64_C(1000000000)

static bool has_room(job_store *s) {
    int64_t most = s->config.queue_max, since = atomic_load(&s->submitted);
    int64_t counted_ns = atomic_load(&s->counted_ns), now = os_clock_ns();
    // Of those who come when it is too old one counts, and the others go by it once more.
    bool lately = now - counted_ns < COUNT_GOOD_NS ||
                  (counted_ns && !atomic_compare_exchange_strong(&s->counted_ns, &counted_ns, now));
    return s->d->shared && lately && atomic_load(&s->counted) + since + most / 10 + 1 < most;
}

static status check_room(db_tx *t, const submit_args *a, err *e) {
    if (has_room(a->s)) return OK;
    db_query *q = db_stmt(t, Q_COUNT_QUEUED);
    status rc = db_step(t, q, e);
    if (rc) return rc;
    atomic_store(&a->s->counted, db_get_int(q, 0));
    atomic_store(&a->s->submitted, 0);
    atomic_store(&a->s->counted_ns, os_clock_ns());
    if (db_get_int(q, 0) < a->s->config.queue_max) return OK;
    return err_set(e, ERR_LIMIT, "the queue is full: %d jobs are waiting", a->s->config.queue_max);
}

static bool client_counts(const submit_args *a) {
    return a->s->config.client_max > 0 && a->n->client && a->n->client[0];
}

static status check_client(db_tx *t, const submit_args *a, err *e) {
    if (!client_counts(a)) return OK;
    db_query *q = db_stmt(t, Q_COUNT_CLIENT);
    db_bind_text(q, 1, a->n->client);
    status rc = db_step(t, q, e);
    a->out->too_many = !rc && db_get_int(q, 0) >= a->s->config.client_max;
    if (rc || !a->out->too_many) return rc;
    return err_set(e, ERR_LIMIT, "expected at most %d jobs of one key that wait or run, found %lld",
                   a->s->config.client_max, (long long)db_get_int(q, 0));
}

static status insert_stems(db_tx *t, const job_new *n, int64_t seq, err *e) {
    for (size_t i = 0; i < n->stem_count; i++) {
        db_query *q = db_stmt(t, Q_INSERT_STEM);
        db_bind_int(q, 1, seq);
        db_bind_int(q, 2, (int64_t)i);
        db_bind_text(q, 3, n->stems[i]);
        status rc = db_exec(t, q, e);
        if (rc) return rc;
    }
    return OK;
}

static void bind_job(db_query *q, const submit_args *a) {
    const job_new *n = a->n;
    db_bind_text(q, 1, n->id);
    db_bind_text(q, 2, n->audio_file_id);
    db_bind_blob(q, 3, (bytes){a->digest, SHA256_LEN});
    db_bind_text_of(q, 4, n->request);
    db_bind_text(q, 5, n->callback_url);
    db_bind_text(q, 6, n->trace);
    db_bind_int(q, 7, (int64_t)n->seed);
    db_bind_int(q, 8, (int64_t)(n->work * 1000 + 0.5));
    db_bind_text(q, 10, n->warnings);
    db_bind_text(q, 11, n->model ? n->model : "");
    db_bind_int(q, 12, n->priority);
    db_bind_text(q, 13, n->client ? n->client : "");
}

static status insert_job(db_tx *t, submit_args *a, err *e) {
    db_query *q = db_stmt(t, Q_INSERT_JOB);
    bind_job(q, a);
    db_bind_int(q, 9, a->now.wall_ms);
    status rc = db_step(t, q, e); // ERR_NOT_FOUND: somebody else has just inserted this id
    if (rc) return rc;
    *a->out = (job_submitted){.seq = db_get_int(q, 0), .state = JOB_QUEUED};
    rc = db_exec(t, q, e); // RETURNING statements want to be run to their end
    return rc ? rc : insert_stems(t, a->n, a->out->seq, e);
}

// The same in one statement. ERR_NOT_FOUND: the id is taken.
static status submit_at_once(db_tx *t, void *arg, err *e) {
    submit_args *a = arg;
    const job_new *n = a->n;
    buf names;
    buf_init(&names, JOB_STEMS_MAX * (JOB_STEM_NAME_MAX + 1));
    for (size_t i = 0; i < n->stem_count; i++)
        buf_printf(&names, "%s%s", i ? "," : "", n->stems[i]);
    status rc = buf_status(&names, e);
    db_query *q = db_stmt(t, Q_SUBMIT);
    bind_job(q, a);
    if (a->s->config.caller_time) db_bind_int(q, 9, a->now.wall_ms);
    db_bind_text(q, 14, buf_str(&names));
    if (!rc) rc = db_step(t, q, e);
    if (!rc) a->out->seq = db_get_int(q, 0);
    buf_deinit(&names);
    return rc;
}

static status submit_work(db_tx *t, void *arg, err *e) {
    submit_args *a = arg;
    a->now = sql_now(t, a->now);
    status rc = find_existing(t, a, e);
    if (rc != ERR_NOT_FOUND) return rc;
    rc = check_room(t, a, e);
    if (!rc) rc = check_client(t, a, e);
    if (!rc) rc = insert_job(t, a, e);
    return rc == ERR_NOT_FOUND ? find_existing(t, a, e) : rc;
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
    if (n->model && strlen(n->model) > JOB_MODEL_MAX) return err_set(e, ERR_ARG, "model name");
    if (n->client && strlen(n->client) > JOB_CLIENT_MAX) return err_set(e, ERR_ARG, "client name");
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
    if (rc) return rc;
    bool at_once = has_room(s) && !client_counts(&a);
    rc = at_once ? db_write_one(s->d, submit_at_once, &a, e) : ERR_NOT_FOUND;
    if (rc == ERR_NOT_FOUND) rc = db_write(s->d, submit_work, &a, e);
    if (!rc && !out->existed) atomic_fetch_add(&s->submitted, 1);
    if (!rc && !out->existed) job_news_tell(s, JOB_NEWS_QUEUED, "");
    return rc;
}

// A job under an id that no request may have, and no other process: nobody waits for its row.

static status check_work(db_tx *t, void *arg, err *e) {
    submit_args *a = arg;
    status rc = insert_job(t, a, e);
    if (rc) return rc;
    db_query *q = db_stmt(t, Q_DELETE);
    db_bind_int(q, 1, a->out->seq);
    return db_exec(t, q, e);
}

static status with_check_job(job_store *s, status (*how)(db *, db_work, void *, err *),
                             db_work work, err *e) {
    static const char *const stems[] = {"check"};
    job_new n = {.id = s->check_id,
                 .audio_file_id = s->check_id,
                 .stems = stems,
                 .stem_count = 1,
                 .request = bytes_of("{}"),
                 .work = 1};
    job_submitted out = {0};
    return how(s->d, work, &(submit_args){.s = s, .n = &n, .out = &out}, e);
}

status job_store_check(job_store *s, err *e) {
    return with_check_job(s, db_write, check_work, e);
}

static status count_work(db_tx *t, void *arg, err *e) {
    status rc = check_room(t, arg, e);
    return rc == ERR_LIMIT ? OK : rc;
}

status job_store_warm(job_store *s, err *e) {
    if (!s->d->shared) return OK;
    status rc = with_check_job(s, db_warm, submit_at_once, e);
    return rc ? rc : with_check_job(s, db_read, count_work, e);
}

// ---- ending

status job_end(job_store *s, db_tx *t, const job_ending *end, err *e) {
    char text[JOB_TEXT_MAX + 1];
    if (end->error) cut_text(text, end->error);
    db_query *q = db_stmt(t, Q_END);
    db_bind_int(q, 1, end->seq);
    db_bind_int(q, 2, end->state);
    db_bind_int(q, 3, end->now.wall_ms);
    db_bind_text(q, 4, end->error ? text : NULL);
    db_bind_text(q, 5, end->code);
    status rc = db_exec(t, q, e);
    if (rc) return rc;
    job j;
    rc = job_load(t, end->seq, &j, e);
    if (rc) return rc;
    if (j.callback_url) rc = job_hook_queue(s, t, &j, end->now, e);
    job_deinit(&j);
    return rc;
}

status job_end_canceled(job_store *s, db_tx *t, int64_t seq, job_time now, err *e) {
    return job_end(s, t,
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

static status find_now(db_tx *t, const char *id, job_now *out, err *e) {
    db_query *q = db_stmt(t, Q_STATE);
    db_bind_text(q, 1, id);
    status rc = db_step(t, q, e);
    if (rc == ERR_NOT_FOUND) return err_set(e, rc, "no job with this id");
    if (rc) return rc;
    *out =
        (job_now){db_get_int(q, 0), (job_state)db_get_int(q, 1), (job_hook_state)db_get_int(q, 2)};
    return OK;
}

static status find_ended(db_tx *t, const char *id, job_now *out, err *e) {
    status rc = find_now(t, id, out, e);
    if (rc || job_state_ended(out->state)) return rc;
    return err_set(e, ERR_CONFLICT, "the job is %s", job_state_name(out->state));
}

static status cancel_work(db_tx *t, void *arg, err *e) {
    steer_args *a = arg;
    a->now = sql_now(t, a->now);
    job_now j;
    status rc = find_now(t, a->id, &j, e);
    if (rc) return rc;
    switch (j.state) {
    case JOB_QUEUED:
        *a->answer = JOB_CANCEL_DONE;
        return job_end_canceled(a->s, t, j.seq, a->now, e);
    case JOB_RUNNING: {
        *a->answer = JOB_CANCEL_ASKED;
        db_query *q = db_stmt(t, Q_ASK_CANCEL);
        db_bind_int(q, 1, j.seq);
        return db_exec(t, q, e);
    }
    case JOB_CANCELED: *a->answer = JOB_CANCEL_DONE; return OK;
    default: *a->answer = JOB_CANCEL_ENDED; return OK;
    }
}

status job_cancel(job_store *s, const char *id, job_time now, job_cancel_answer *out, err *e) {
    steer_args a = {.s = s, .id = id, .now = now, .answer = out};
    status rc = db_write(s->d, cancel_work, &a, e);
    if (!rc && *out == JOB_CANCEL_ASKED) job_news_tell(s, JOB_NEWS_CANCEL, id);
    if (!rc && *out == JOB_CANCEL_DONE) job_news_tell(s, JOB_NEWS_CHANGED, id);
    return rc;
}

static status delete_work(db_tx *t, void *arg, err *e) {
    steer_args *a = arg;
    job_now j;
    status rc = find_ended(t, a->id, &j, e);
    if (rc) return rc;
    if (j.hook == JOB_HOOK_PENDING) {
        return err_set(e, ERR_CONFLICT, "the job's callback has not been delivered yet");
    }
    db_query *q = db_stmt(t, Q_DELETE);
    db_bind_int(q, 1, j.seq);
    return db_exec(t, q, e);
}

status job_delete(job_store *s, const char *id, err *e) {
    return db_write(s->d, delete_work, &(steer_args){.s = s, .id = id}, e);
}

static status redeliver_work(db_tx *t, void *arg, err *e) {
    steer_args *a = arg;
    a->now = sql_now(t, a->now);
    job_now j;
    status rc = find_ended(t, a->id, &j, e);
    if (rc) return rc;
    if (j.hook == JOB_HOOK_NONE) return err_set(e, ERR_ARG, "the job has no callback_url");
    db_query *q = db_stmt(t, Q_HOOK_AGAIN);
    db_bind_int(q, 1, j.seq);
    db_bind_int(q, 2, a->now.wall_ms);
    db_bind_int(q, 3, a->now.mono_ms);
    return db_exec(t, q, e);
}

status job_redeliver(job_store *s, const char *id, job_time now, err *e) {
    return db_write(s->d, redeliver_work, &(steer_args){.s = s, .id = id, .now = now}, e);
}

#define SESSION_KEPT_MS (INT64_C(24) * 3600 * 1000) // db_pg.c leaves its own much sooner

static status sweep_sessions(db_tx *t, err *e) {
    const job_time now = sql_now(t, (job_time){0});
    db_query *q = db_stmt(t, Q_SWEEP);
    db_bind_int(q, 1, now.wall_ms - SESSION_KEPT_MS);
    return db_exec(t, q, e);
}

static status purge_work(db_tx *t, void *arg, err *e) {
    steer_args *a = arg;
    status swept = t->shared ? sweep_sessions(t, e) : OK;
    if (swept) return swept;
    db_query *q = db_stmt(t, Q_PURGE);
    db_bind_int(q, 1, a->before_ms);
    db_bind_int(q, 2, a->limit);
    status rc = db_exec(t, q, e);
    if (!rc) *a->count = db_changes(t);
    return rc;
}

status job_purge(job_store *s, int64_t before_ms, int limit, int *count, err *e) {
    *count = 0;
    steer_args a = {.s = s, .before_ms = before_ms, .limit = limit, .count = count};
    return db_write(s->d, purge_work, &a, e);
}
