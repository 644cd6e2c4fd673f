// job_hook.c - the outbox: callbacks of ended jobs, stored with the end and sent until done.
#include "store/job_hook.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "store/job_sql.h"

void job_hook_deinit(job_hook *h) {
    mem_free(h->url);
    mem_free(h->trace);
    buf_deinit(&h->body);
    *h = (job_hook){0};
}

// The same for every attempt at one callback, and never the same for two: a job that is deleted
// and submitted anew under its old id differs in seq. The spec wants no text of the client in it.
static status make_webhook_id(const job *j, char out[40], err *e) {
    char text[JOB_ID_MAX + 64], hex[2 * SHA256_LEN + 1];
    uint8_t digest[SHA256_LEN];
    snprintf(text, sizeof text, "%s %lld %lld", j->id, (long long)j->seq, (long long)j->created_ms);
    status rc = hash_sha256(digest, bytes_of(text), e);
    if (rc) return rc;
    hex_encode(hex, digest, sizeof digest);
    snprintf(out, 40, "msg_%.26s", hex);
    return OK;
}

status job_hook_queue(job_store *s, db_tx *t, const job *j, job_time now, err *e) {
    char id[40];
    status rc = make_webhook_id(j, id, e);
    if (rc) return rc;
    buf body;
    buf_init(&body, JOB_BODY_MAX);
    rc = s->config.render(s->config.render_arg, j, &body, e);
    if (!rc) rc = buf_status(&body, e);
    if (!rc) {
        db_query *q = db_stmt(t, Q_HOOK_INSERT);
        db_bind_int(q, 1, j->seq);
        db_bind_text(q, 2, id);
        db_bind_blob(q, 3, buf_bytes(&body));
        db_bind_int(q, 4, now.wall_ms);
        db_bind_int(q, 5, now.mono_ms);
        rc = db_exec(t, q, e);
    }
    buf_deinit(&body);
    return rc;
}

typedef struct {
    job_store *s;
    job_time now;
    const char *const *skip;
    size_t skip_count;
    job_hook *out;
    bool found;
    const job_hook *h;
    const job_hook_record *r;
    job_hook_state *state;
    int64_t *wait_ms;
} hook_args;

static bool skipped(const hook_args *a, const char *url) {
    for (size_t i = 0; i < a->skip_count; i++) {
        if (strncmp(url, a->skip[i], strlen(a->skip[i])) == 0) return true;
    }
    return false;
}

// The first due callback whose URL is not skipped. A database that is shared leaves them out
// itself, since a row that is seen there is locked.
static status find_first(db_tx *t, hook_args *a, const char *prefixes, int64_t *seq, err *e) {
    db_query *q = db_stmt(t, Q_HOOK_DUE);
    db_bind_int(q, 1, a->now.mono_ms);
    if (t->shared) db_bind_text(q, 2, prefixes);
    status rc;
    while ((rc = db_step(t, q, e)) == OK) {
        const char *url = (const char *)db_get_text(q, 1).p;
        if (!url) return err_set(e, ERR_OOM, "callback");
        if (skipped(a, url)) continue;
        *seq = db_get_int(q, 0);
        return OK;
    }
    return rc;
}

static status find_due(db_tx *t, hook_args *a, int64_t *seq, err *e) {
    buf prefixes;
    buf_init(&prefixes, JOB_BODY_MAX);
    for (size_t i = 0; i < a->skip_count; i++)
        buf_printf(&prefixes, "%s%s", i ? "\n" : "", a->skip[i]);
    status rc = buf_status(&prefixes, e);
    if (!rc) rc = find_first(t, a, buf_str(&prefixes), seq, e);
    buf_deinit(&prefixes);
    return rc;
}

static status take_hook(db_tx *t, hook_args *a, int64_t seq, err *e) {
    job_hook *h = a->out;
    db_query *q = db_stmt(t, Q_HOOK_CLAIM);
    db_bind_int(q, 1, seq);
    db_bind_int(q, 2, a->now.mono_ms + a->s->config.hook_lease_ms);
    status rc = db_step(t, q, e);
    if (rc) return rc;
    h->seq = seq;
    h->fence = db_get_int(q, 0);
    sql_copy_text(q, 1, h->webhook_id, sizeof h->webhook_id);
    h->attempt = (int)db_get_int(q, 2) + 1;
    bytes body = db_get_blob(q, 3);
    buf_add(&h->body, body.p ? (const void *)body.p : "", body.n);
    rc = buf_status(&h->body, e);
    if (!rc) rc = db_exec(t, q, e);
    if (rc) return rc;
    job j;
    rc = job_load(t, seq, &j, e);
    if (rc) return rc;
    snprintf(h->id, sizeof h->id, "%s", j.id);
    h->end = j.state;
    h->url = j.callback_url;
    h->trace = j.trace;
    j.callback_url = j.trace = NULL; // h's now
    job_deinit(&j);
    return OK;
}

static status resume_delays(db_tx *t, const hook_args *a, err *e) {
    db_query *q = db_stmt(t, Q_HOOK_RESUME);
    db_bind_int(q, 1, a->now.wall_ms);
    db_bind_int(q, 2, a->now.mono_ms);
    return db_exec(t, q, e);
}

static status hook_claim_work(db_tx *t, void *arg, err *e) {
    hook_args *a = arg;
    a->now = sql_now(t, a->now);
    int64_t seq = 0;
    status rc = t->shared ? OK : resume_delays(t, a, e);
    bool resumed = !t->shared && !rc && db_changes(t) > 0;
    if (!rc) rc = find_due(t, a, &seq, e);
    if (!rc) rc = take_hook(t, a, seq, e);
    a->found = rc == OK;
    return rc == ERR_NOT_FOUND && resumed ? OK : rc; // what was resumed must be committed
}

status job_hook_claim(job_store *s, job_time now, const char *const *skip, size_t skip_count,
                      job_hook *out, err *e) {
    *out = (job_hook){0};
    buf_init(&out->body, JOB_BODY_MAX);
    hook_args a = {.s = s, .now = now, .skip = skip, .skip_count = skip_count, .out = out};
    status rc = db_write(s->d, hook_claim_work, &a, e);
    if (!rc && !a.found) rc = ERR_NOT_FOUND;
    if (rc) job_hook_deinit(out);
    return rc == ERR_NOT_FOUND ? err_set(e, rc, "no callback is due") : rc;
}

// Full jitter: anywhere between now and the exponential bound, so that callbacks that failed
// together do not return together.
static int64_t back_off_ms(const job_config *c, int attempt, const job_hook_record *r) {
    int64_t bound = c->hook_first_ms;
    for (int i = 1; i < attempt && bound < c->hook_cap_ms; i++) bound *= 2;
    bound = MIN(bound, c->hook_cap_ms);
    double jitter = r->jitter > 0 ? MIN(r->jitter, 1.0) : 0;
    int64_t delay = (int64_t)(jitter * (double)bound);
    return MAX(delay, MIN(r->retry_after_ms, c->hook_after_max_ms));
}

static job_hook_state next_state(const hook_args *a) {
    switch (a->r->verdict) {
    case JOB_HOOK_OK: return JOB_HOOK_DELIVERED;
    case JOB_HOOK_FINAL: return JOB_HOOK_DEAD;
    case JOB_HOOK_LATER: return JOB_HOOK_PENDING;
    default:
        return a->h->attempt >= a->s->config.hook_attempts_max ? JOB_HOOK_DEAD : JOB_HOOK_PENDING;
    }
}

static status hook_done_work(db_tx *t, void *arg, err *e) {
    hook_args *a = arg;
    a->now = sql_now(t, a->now);
    const job_hook_record *r = a->r;
    db_query *q = db_stmt(t, Q_HOOK_LIVE);
    db_bind_int(q, 1, a->h->seq);
    db_bind_int(q, 2, a->h->fence);
    status rc = db_step(t, q, e);
    if (rc == ERR_NOT_FOUND) return err_set(e, ERR_CANCELED, "the callback is no longer ours");
    if (rc) return rc;
    bool later = r->verdict == JOB_HOOK_LATER;
    // What is stored counts, not what was claimed: a redelivery asked for meanwhile starts at 0.
    int attempts = (int)db_get_int(q, 0) + !later;
    int64_t delay = later ? MAX(r->retry_after_ms, 0) : back_off_ms(&a->s->config, attempts, r);
    *a->state = next_state(a);
    q = db_stmt(t, Q_HOOK_RECORD);
    db_bind_int(q, 1, a->h->seq);
    db_bind_int(q, 2, *a->state);
    db_bind_int(q, 3, attempts);
    db_bind_int(q, 4, a->now.wall_ms + delay);
    db_bind_int(q, 5, a->now.wall_ms);
    db_bind_int(q, 6, r->code);
    db_bind_text(q, 7, r->error);
    db_bind_int(q, 8, a->now.mono_ms + delay);
    return db_exec(t, q, e);
}

status job_hook_done(job_store *s, const job_hook *h, const job_hook_record *r, job_time now,
                     job_hook_state *state, err *e) {
    hook_args a = {.s = s, .now = now, .h = h, .r = r, .state = state};
    return db_write(s->d, hook_done_work, &a, e);
}

static status hook_next_work(db_tx *t, void *arg, err *e) {
    hook_args *a = arg;
    db_query *q = db_stmt(t, Q_HOOK_NEXT);
    status rc = db_step(t, q, e);
    if (rc == OK) *a->wait_ms = MAX(db_get_int(q, 0) - sql_now(t, a->now).mono_ms, 0);
    return rc == ERR_NOT_FOUND ? OK : rc;
}

status job_hook_next(job_store *s, job_time now, int64_t *wait_ms, err *e) {
    *wait_ms = INT64_MAX;
    return db_read(s->d, hook_next_work, &(hook_args){.now = now, .wait_ms = wait_ms}, e);
}
