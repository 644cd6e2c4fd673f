// source_jobs.c - the running half of the queue: jobs are claimed, renewed and ended.
//
// Every call is one piece of db work. A claim is the row's seq and its fence, a number that grows
// with each claim of the row.
#include "store/source.h"

#include <stdio.h>
#include <string.h>

#include "store/job_sql.h"

typedef struct {
    int64_t seq, fence;
} job_claim;
_Static_assert(sizeof(job_claim) <= sizeof(claim_token), "a claim fits into its token");

static claim_token token_of(job_claim c) {
    claim_token t = {0};
    memcpy(t.opaque, &c, sizeof c);
    return t;
}

static job_claim claim_of(claim_token t) {
    job_claim c;
    memcpy(&c, t.opaque, sizeof c);
    return c;
}

static job_store *store_of(source *s) {
    return ((source_jobs *)s)->jobs;
}

static const char *model_of(source *s) {
    const char *model = ((source_jobs *)s)->model;
    return model ? model : "";
}

typedef struct {
    job_store *s;
    job_claim c;
    job_time now;
    union {
        struct { // claim
            const char *model;
            claim_token *claim;
            job *out;
            bool found;
        };
        struct { // renew
            const double *progress;
            bool *cancel;
        };
        struct { // landed
            const char *stem;
            const job_result *result;
        };
        struct { // finish
            job_ending end;
            job *ended;
        };
        struct { // release
            bool counted;
            int64_t delay_ms;
        };
    };
} run_args;

// q: a claim whose fence and seq are its first columns; it is run here.
static status read_claim(db_tx *t, run_args *a, db_query *q, err *e) {
    status rc = db_step(t, q, e);
    if (rc) return rc;
    const job_claim c = {.fence = db_get_int(q, 0), .seq = db_get_int(q, 1)};
    *a->claim = token_of(c);
    rc = db_exec(t, q, e); // RETURNING statements want to be run to their end
    return rc ? rc : job_load(t, c.seq, a->out, e);
}

static status take(db_tx *t, run_args *a, int64_t seq, err *e) {
    db_query *q = db_stmt(t, Q_CLAIM);
    db_bind_int(q, 1, seq);
    db_bind_int(q, 2, a->now.mono_ms + a->s->config.lease_ms);
    db_bind_int(q, 3, a->now.mono_ms);
    db_bind_int(q, 4, a->now.wall_ms);
    return read_claim(t, a, q, e);
}

static status end_poison(job_store *s, db_tx *t, int64_t seq, int attempts, job_time now, err *e) {
    char text[160];
    snprintf(text, sizeof text, "Generation was started %d times and never came to an end.",
             attempts);
    atomic_fetch_add(&s->given_up, 1);
    return job_end(
        s, t,
        &(job_ending){.seq = seq, .state = JOB_FAILED, .code = "poison", .error = text, .now = now},
        e);
}

static status expire(db_tx *t, run_args *a, err *e) {
    db_query *q = db_stmt(t, Q_EXPIRE);
    db_bind_int(q, 1, a->now.mono_ms);
    status rc = db_exec(t, q, e);
    if (!rc) atomic_fetch_add(&a->s->leases_lost, (uint64_t)db_changes(t));
    return rc;
}

// A job that was claimed this often in vain may be what ends the process. It runs alone from then
// on, so that no other job is counted down with it.
#define SUSPECT_ATTEMPTS 2

// OK: a row was found. ERR_NOT_FOUND: none.
static status find_running(db_tx *t, query which, err *e) {
    db_query *q = db_stmt(t, which);
    if (which == Q_ALONE) db_bind_int(q, 1, SUSPECT_ATTEMPTS);
    return db_step(t, q, e);
}

// OK: a job with so many attempts may start beside what runs now. ERR_NOT_FOUND: not yet.
static status check_company(db_tx *t, int attempts, err *e) {
    status rc = find_running(t, attempts >= SUSPECT_ATTEMPTS ? Q_BUSY : Q_ALONE, e);
    return rc == OK ? ERR_NOT_FOUND : rc == ERR_NOT_FOUND ? OK : rc;
}

// Where each statement is a round trip: most claims need one. ERR_NOT_FOUND: look closer.
static status take_ordinary(db_tx *t, run_args *a, err *e) {
    int most = a->s->config.attempts_max;
    db_query *q = db_stmt(t, Q_TAKE);
    db_bind_int(q, 1, a->now.mono_ms);
    db_bind_text(q, 2, a->model);
    db_bind_int(q, 3, a->now.mono_ms + a->s->config.lease_ms);
    db_bind_int(q, 4, a->now.wall_ms);
    db_bind_int(q, 5, most > 0 ? MIN(most, SUSPECT_ATTEMPTS) : SUSPECT_ATTEMPTS);
    db_bind_int(q, 6, SUSPECT_ATTEMPTS);
    status rc = read_claim(t, a, q, e);
    a->found = rc == OK;
    return rc;
}

// When there is nothing to claim this still answers OK, so that jobs which ended on the way
// (poison, canceled) are committed.
static status claim_work(db_tx *t, void *arg, err *e) {
    run_args *a = arg;
    a->now = sql_now(t, a->now);
    status rc = t->shared ? take_ordinary(t, a, e) : ERR_NOT_FOUND;
    if (rc != ERR_NOT_FOUND) return rc;
    rc = expire(t, a, e);
    while (!rc) {
        db_query *q = db_stmt(t, Q_NEXT);
        db_bind_int(q, 1, a->now.mono_ms);
        db_bind_text(q, 2, a->model);
        rc = db_step(t, q, e);
        if (rc) break;
        int64_t seq = db_get_int(q, 0);
        int attempts = (int)db_get_int(q, 1), most = a->s->config.attempts_max;
        if ((int)db_get_int(q, 2)) {
            rc = job_end_canceled(a->s, t, seq, a->now, e);
        } else if (most > 0 && attempts >= most) {
            rc = end_poison(a->s, t, seq, attempts, a->now, e);
        } else {
            rc = check_company(t, attempts, e);
            if (!rc) rc = take(t, a, seq, e);
            a->found = rc == OK;
            break;
        }
    }
    return rc == ERR_NOT_FOUND ? OK : rc;
}

static status jobs_claim(source *s, job_time now, claim_token *claim, job *out, err *e) {
    *out = (job){0};
    run_args a = {.s = store_of(s), .now = now, .model = model_of(s), .claim = claim, .out = out};
    status rc = db_write(a.s->d, claim_work, &a, e);
    if (rc) job_deinit(out); // the commit may have failed after it was filled
    if (!rc && !a.found) return err_set(e, ERR_NOT_FOUND, "no job is waiting");
    if (!rc) job_news_tell(a.s, JOB_NEWS_CHANGED, out->id);
    return rc;
}

// OK while the claim is the job's. *cancel (may be NULL): it was asked to stop.
static status check_claim(db_tx *t, job_claim c, bool *cancel, err *e) {
    db_query *q = db_stmt(t, Q_LIVE);
    db_bind_int(q, 1, c.seq);
    db_bind_int(q, 2, c.fence);
    status rc = db_step(t, q, e);
    if (rc == ERR_NOT_FOUND) return err_set(e, ERR_CANCELED, "the job is no longer ours to run");
    if (!rc && cancel) *cancel = (int)db_get_int(q, 0) != 0;
    return rc;
}

// Extends the lease and adds the time since the last call to run_ms.
static status renew(db_tx *t, const run_args *a, err *e) {
    db_query *q = db_stmt(t, Q_RENEW);
    db_bind_int(q, 1, a->c.seq);
    db_bind_int(q, 2, a->now.mono_ms + a->s->config.lease_ms);
    db_bind_int(q, 3, a->now.mono_ms);
    return db_exec(t, q, e);
}

static status store_progress(db_tx *t, const run_args *a, err *e) {
    db_query *q = db_stmt(t, Q_STEMS);
    db_bind_int(q, 1, a->c.seq);
    int64_t count = 0;
    status rc;
    while ((rc = db_step(t, q, e)) == OK) count++;
    if (rc != ERR_NOT_FOUND) return rc;
    for (int64_t i = 0; i < count; i++) {
        double p = a->progress[i];
        q = db_stmt(t, Q_PROGRESS);
        db_bind_int(q, 1, a->c.seq);
        db_bind_int(q, 2, i);
        db_bind_real(q, 3, p > 0 ? MIN(p, 1.0) : 0.0);
        rc = db_exec(t, q, e);
        if (rc) return rc;
    }
    return OK;
}

static status renew_work(db_tx *t, void *arg, err *e) {
    run_args *a = arg;
    a->now = sql_now(t, a->now);
    bool asked = false;
    status rc = check_claim(t, a->c, &asked, e);
    if (!rc) rc = renew(t, a, e);
    if (!rc && a->progress) rc = store_progress(t, a, e);
    if (!rc && a->cancel) *a->cancel = asked;
    return rc;
}

static status jobs_renew(source *s, claim_token c, const double *progress, job_time now,
                         bool *cancel, err *e) {
    run_args a = {
        .s = store_of(s), .c = claim_of(c), .now = now, .progress = progress, .cancel = cancel};
    return db_write(a.s->d, renew_work, &a, e);
}

static status store_stem(db_tx *t, const run_args *a, err *e) {
    const job_result *r = a->result;
    db_query *q = db_stmt(t, Q_STEM_DONE);
    db_bind_int(q, 1, a->c.seq);
    db_bind_text(q, 2, a->stem);
    db_bind_int(q, 3, a->now.wall_ms);
    db_bind_text(q, 4, r->key);
    db_bind_int(q, 5, r->size);
    db_bind_text(q, 6, r->md5);
    db_bind_text(q, 7, r->etag);
    db_bind_int(q, 8, r->sample_rate);
    db_bind_int(q, 9, r->channels);
    db_bind_real(q, 10, r->seconds);
    db_bind_text(q, 11, r->facts);
    status rc = db_exec(t, q, e);
    if (rc) return rc;
    return db_changes(t) == 1 ? OK : err_set(e, ERR_ARG, "the job has no stem '%.15s'", a->stem);
}

static status stem_work(db_tx *t, void *arg, err *e) {
    run_args *a = arg;
    a->now = sql_now(t, a->now);
    status rc = check_claim(t, a->c, NULL, e);
    if (!rc) rc = store_stem(t, a, e);
    if (!rc) rc = renew(t, a, e);
    if (rc) return rc;
    db_query *q = db_stmt(t, Q_ACHIEVED);
    db_bind_int(q, 1, a->c.seq);
    return db_exec(t, q, e);
}

static status jobs_landed(source *s, claim_token c, const char *stem, const job_result *r,
                          job_time now, err *e) {
    run_args a = {.s = store_of(s), .c = claim_of(c), .now = now, .stem = stem, .result = r};
    return db_write(a.s->d, stem_work, &a, e);
}

static status check_complete(db_tx *t, int64_t seq, err *e) {
    db_query *q = db_stmt(t, Q_UNDONE);
    db_bind_int(q, 1, seq);
    status rc = db_step(t, q, e);
    if (rc) return rc;
    int left = (int)db_get_int(q, 0);
    return left ? err_set(e, ERR_ARG, "%d stems are not stored yet", left) : OK;
}

static status finish_work(db_tx *t, void *arg, err *e) {
    run_args *a = arg;
    a->now = sql_now(t, a->now);
    a->end.now = a->now;
    status rc = check_claim(t, a->c, NULL, e);
    if (!rc && a->end.state == JOB_COMPLETED) rc = check_complete(t, a->c.seq, e);
    if (!rc) rc = renew(t, a, e); // for run_ms
    if (!rc) rc = job_end(a->s, t, &a->end, e);
    return rc || !a->ended ? rc : job_load(t, a->c.seq, a->ended, e);
}

static status jobs_finish(source *s, claim_token c, const source_end *end, job_time now, job *ended,
                          err *e) {
    if (ended) *ended = (job){0};
    if (!job_state_ended(end->state)) {
        return err_set(e, ERR_ARG, "%s is no end", job_state_name(end->state));
    }
    run_args a = {.s = store_of(s), .c = claim_of(c), .now = now};
    a.end = (job_ending){
        .seq = a.c.seq, .state = end->state, .code = end->code, .error = end->text, .now = now};
    a.ended = ended;
    status rc = db_write(a.s->d, finish_work, &a, e);
    if (rc && ended) job_deinit(ended); // the commit may have failed after it was filled
    if (!rc && ended) job_news_tell(a.s, JOB_NEWS_CHANGED, ended->id);
    return rc;
}

static status release_work(db_tx *t, void *arg, err *e) {
    run_args *a = arg;
    a->now = sql_now(t, a->now);
    bool asked = false;
    status rc = check_claim(t, a->c, &asked, e);
    if (!rc) rc = renew(t, a, e); // for run_ms
    if (rc) return rc;
    if (asked) return job_end_canceled(a->s, t, a->c.seq, a->now, e);
    db_query *q = db_stmt(t, Q_RELEASE);
    db_bind_int(q, 1, a->c.seq);
    db_bind_int(q, 2, a->delay_ms > 0 ? a->now.mono_ms + a->delay_ms : 0);
    db_bind_int(q, 3, a->counted ? 0 : 1);
    return db_exec(t, q, e);
}

static status jobs_release(source *s, claim_token c, bool counted, int64_t delay_ms, job_time now,
                           err *e) {
    run_args a = {
        .s = store_of(s), .c = claim_of(c), .now = now, .counted = counted, .delay_ms = delay_ms};
    status rc = db_write(a.s->d, release_work, &a, e);
    if (!rc) job_news_tell(a.s, JOB_NEWS_QUEUED, "");
    return rc;
}

static const source_ops source_jobs_ops = {.claim = jobs_claim,
                                           .renew = jobs_renew,
                                           .landed = jobs_landed,
                                           .finish = jobs_finish,
                                           .release = jobs_release};

source *source_jobs_open(source_jobs *s, job_store *jobs, const char *model) {
    *s = (source_jobs){.base.ops = &source_jobs_ops, .jobs = jobs, .model = model};
    return &s->base;
}
