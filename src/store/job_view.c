// job_view.c - reading jobs back: one, many, their place in the queue, and the counts.
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/job_sql.h"

const char *job_state_name(job_state s) {
    static const char *const names[] = {"queued", "processing", "completed", "failed", "canceled"};
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "unknown";
}

bool job_state_parse(const char *name, job_state *out) {
    for (int i = 0; i < JOB_STATES; i++) {
        if (strcmp(name, job_state_name((job_state)i)) == 0) {
            *out = (job_state)i;
            return true;
        }
    }
    return false;
}

const char *job_hook_state_name(job_hook_state s) {
    static const char *const names[] = {"none", "pending", "delivered", "dead"};
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "unknown";
}

void job_deinit(job *j) {
    mem_free(j->request);
    mem_free(j->warnings);
    mem_free(j->callback_url);
    mem_free(j->trace);
    mem_free(j->error);
    mem_free(j->error_code);
    for (size_t i = 0; i < j->stem_count; i++) mem_free(j->stems[i].result.facts);
    mem_free(j->stems);
    *j = (job){0};
}

void job_list_free(job *list, size_t n) {
    for (size_t i = 0; i < n; i++) job_deinit(&list[i]);
    mem_free(list);
}

static status read_result(db_query *q, job_result *r, err *e) {
    sql_copy_text(q, 4, r->key, sizeof r->key);
    r->size = db_get_int(q, 5);
    sql_copy_text(q, 6, r->md5, sizeof r->md5);
    sql_copy_text(q, 7, r->etag, sizeof r->etag);
    r->sample_rate = (int)db_get_int(q, 8);
    r->channels = (int)db_get_int(q, 9);
    r->seconds = db_get_real(q, 10);
    return sql_dup_text(q, 11, &r->facts, e);
}

static status make_stems(job *j, err *e) {
    j->stems = mem_calloc(JOB_STEMS_MAX, sizeof *j->stems);
    return j->stems ? OK : err_set(e, ERR_OOM, "job");
}

// Reads the stem in q's current row.
static status read_stem(db_query *q, job *j, err *e) {
    job_stem *s = &j->stems[j->stem_count++];
    sql_copy_text(q, 0, s->name, sizeof s->name);
    s->done = (int)db_get_int(q, 1) != 0;
    s->progress = db_get_real(q, 2);
    s->done_ms = db_get_int(q, 3);
    return read_result(q, &s->result, e);
}

static status read_stems(db_tx *t, job *j, err *e) {
    status rc = make_stems(j, e);
    if (rc) return rc;
    db_query *q = db_stmt(t, Q_STEMS);
    db_bind_int(q, 1, j->seq);
    while (!rc && j->stem_count < JOB_STEMS_MAX && (rc = db_step(t, q, e)) == OK)
        rc = read_stem(q, j, e);
    return rc == ERR_NOT_FOUND ? OK : rc;
}

// Of all jobs of a list, whose numbers fall, in one statement.
static status read_stems_of(db_tx *t, job *list, size_t n, err *e) {
    buf numbers;
    buf_init(&numbers, JOB_LIST_MAX * 24);
    status rc = OK;
    for (size_t i = 0; i < n && !rc; i++) {
        buf_printf(&numbers, "%s%lld", i ? "," : "", (long long)list[i].seq);
        rc = make_stems(&list[i], e);
    }
    if (!rc) rc = buf_status(&numbers, e);
    db_query *q = db_stmt(t, Q_STEMS_OF);
    db_bind_text(q, 1, buf_str(&numbers));
    for (size_t i = 0; !rc && (rc = db_step(t, q, e)) == OK;) {
        while (i < n && list[i].seq != db_get_int(q, 12)) i++;
        if (i < n && list[i].stem_count < JOB_STEMS_MAX) rc = read_stem(q, &list[i], e);
    }
    buf_deinit(&numbers);
    return rc == ERR_NOT_FOUND ? OK : rc;
}

static status read_texts(db_query *q, job *j, err *e) {
    status rc = sql_dup_text(q, 4, &j->request, e);
    if (!rc) rc = sql_dup_text(q, 5, &j->callback_url, e);
    if (!rc) rc = sql_dup_text(q, 6, &j->trace, e);
    if (!rc) rc = sql_dup_text(q, 15, &j->error, e);
    if (!rc) rc = sql_dup_text(q, 16, &j->error_code, e);
    if (!rc) rc = sql_dup_text(q, 24, &j->warnings, e);
    return rc;
}

static void read_hook(db_query *q, job *j) {
    j->hook.state = (job_hook_state)db_get_int(q, 17);
    sql_copy_text(q, 18, j->hook.id, sizeof j->hook.id);
    j->hook.attempts = (int)db_get_int(q, 19);
    j->hook.last_code = (int)db_get_int(q, 20);
    if (j->hook.state == JOB_HOOK_PENDING) j->hook.next_ms = db_get_int(q, 21);
    j->hook.last_ms = db_get_int(q, 22);
    sql_copy_text(q, 23, j->hook.last_error, sizeof j->hook.last_error);
}

// Reads the job in q's current row, whose columns are those of JOB_COLUMNS, but for its stems.
static status read_row(db_query *q, job *j, err *e) {
    *j = (job){.seq = db_get_int(q, 0)};
    sql_copy_text(q, 1, j->id, sizeof j->id);
    sql_copy_text(q, 2, j->audio_file_id, sizeof j->audio_file_id);
    j->state = (job_state)db_get_int(q, 3);
    j->seed = (uint64_t)db_get_int(q, 7);
    j->work = (double)db_get_int(q, 8) / 1000;
    j->attempt = (int)db_get_int(q, 9);
    j->cancel_asked = (int)db_get_int(q, 10) != 0;
    j->created_ms = db_get_int(q, 11);
    j->started_ms = db_get_int(q, 12);
    j->ended_ms = db_get_int(q, 13);
    j->run_seconds = (double)db_get_int(q, 14) / 1000;
    sql_copy_text(q, 25, j->model, sizeof j->model);
    j->priority = (job_priority)db_get_int(q, 26);
    read_hook(q, j);
    return read_texts(q, j, e);
}

static status read_job(db_tx *t, db_query *q, job *j, err *e) {
    status rc = read_row(q, j, e);
    if (!rc) rc = read_stems(t, j, e);
    if (rc) job_deinit(j);
    return rc;
}

status job_load(db_tx *t, int64_t seq, job *out, err *e) {
    *out = (job){0};
    db_query *q = db_stmt(t, Q_GET_SEQ);
    db_bind_int(q, 1, seq);
    status rc = db_step(t, q, e);
    return rc ? rc : read_job(t, q, out, e);
}

typedef struct {
    const char *id;
    job *out;
} get_args;

static status get_work(db_tx *t, void *arg, err *e) {
    get_args *a = arg;
    db_query *q = db_stmt(t, Q_GET_ID);
    db_bind_text(q, 1, a->id);
    status rc = db_step(t, q, e);
    if (rc == ERR_NOT_FOUND) return err_set(e, rc, "no job with this id");
    return rc ? rc : read_job(t, q, a->out, e);
}

status job_get(job_store *s, const char *id, job *out, err *e) {
    *out = (job){0};
    return db_read(s->d, get_work, &(get_args){id, out}, e);
}

typedef struct {
    const char *id;
    int *ahead;
    double *work;
} position_args;

static status position_work(db_tx *t, void *arg, err *e) {
    position_args *a = arg;
    db_query *q = db_stmt(t, Q_FIND_ID);
    db_bind_text(q, 1, a->id);
    status rc = db_step(t, q, e);
    if (rc == ERR_NOT_FOUND) return err_set(e, rc, "no job with this id");
    if (rc) return rc;
    int64_t seq = db_get_int(q, 0);
    if ((int)db_get_int(q, 1) != JOB_QUEUED) return OK;
    q = db_stmt(t, Q_AHEAD);
    db_bind_int(q, 1, seq);
    rc = db_step(t, q, e);
    if (rc) return rc;
    *a->ahead = (int)db_get_int(q, 0);
    *a->work = (double)db_get_int(q, 1) / 1000;
    q = db_stmt(t, Q_RUNNING_WORK);
    db_bind_int(q, 1, seq);
    rc = db_step(t, q, e);
    if (!rc) *a->work += db_get_real(q, 0) / 1000;
    return rc;
}

status job_position(job_store *s, const char *id, int *ahead, double *work_ahead, err *e) {
    *ahead = 0;
    *work_ahead = 0;
    return db_read(s->d, position_work, &(position_args){id, ahead, work_ahead}, e);
}

typedef struct {
    const job_filter *filter;
    job *list;
    size_t n;
} list_args;

static db_query *list_query(db_tx *t, const job_filter *f) {
    bool one = f->states && !(f->states & (f->states - 1));
    db_query *q = db_stmt(t, one ? Q_LIST_STATE : Q_LIST);
    int state = 0;
    while (one && f->states >> state != 1) state++;
    db_bind_int(q, 1, one ? state : f->states ? (int)f->states : (1 << JOB_STATES) - 1);
    db_bind_int(q, 2, f->below_seq > 0 ? f->below_seq : INT64_MAX);
    db_bind_int(q, 3, f->limit);
    return q;
}

static status list_work(db_tx *t, void *arg, err *e) {
    list_args *a = arg;
    db_query *q = list_query(t, a->filter);
    status rc = OK;
    while (!rc && a->n < (size_t)a->filter->limit && (rc = db_step(t, q, e)) == OK)
        rc = read_row(q, &a->list[a->n++], e);
    if (rc == ERR_NOT_FOUND) rc = OK;
    if (!rc && t->shared) return read_stems_of(t, a->list, a->n, e);
    for (size_t i = 0; i < a->n && !rc; i++) rc = read_stems(t, &a->list[i], e);
    return rc;
}

status job_list(job_store *s, const job_filter *f, job **out, size_t *n, err *e) {
    *out = NULL;
    *n = 0;
    if (f->limit < 1 || f->limit > JOB_LIST_MAX) {
        return err_set(e, ERR_ARG, "limit %d, expected 1 to %d", f->limit, JOB_LIST_MAX);
    }
    list_args a = {.filter = f, .list = mem_calloc((size_t)f->limit, sizeof(job))};
    if (!a.list) return err_set(e, ERR_OOM, "job list");
    status rc = db_read(s->d, list_work, &a, e);
    if (rc) {
        job_list_free(a.list, a.n);
        return rc;
    }
    *out = a.list;
    *n = a.n;
    return OK;
}

static status read_tally(db_tx *t, job_stats *out, err *e) {
    db_query *q = db_stmt(t, Q_TALLY);
    int64_t ended = 0, hooks = 0;
    status rc;
    while ((rc = db_step(t, q, e)) == OK) {
        int kind = (int)db_get_int(q, 0), state = (int)db_get_int(q, 1);
        int64_t n = db_get_int(q, 2);
        if (kind == 0 && state >= 0 && state < JOB_STATES) {
            out->jobs[state] = n;
            out->work[state] = (double)db_get_int(q, 3) / 1000;
            if (job_state_ended((job_state)state)) ended += n;
        } else if (kind == 1 && state > 0 && state < JOB_HOOK_STATES) {
            out->hooks[state] = n;
            hooks += n;
        }
    }
    out->hooks[JOB_HOOK_NONE] = ended - hooks;
    return rc == ERR_NOT_FOUND ? OK : rc;
}

// First column of the first row; 0 when there is none.
static status first_int(db_tx *t, query which, int64_t *out, err *e) {
    db_query *q = db_stmt(t, which);
    status rc = db_step(t, q, e);
    *out = rc ? 0 : db_get_int(q, 0);
    return rc == ERR_NOT_FOUND ? OK : rc;
}

typedef struct {
    job_store *s;
    job_stats *out;
} stats_args;

static status stats_work(db_tx *t, void *arg, err *e) {
    stats_args *a = arg;
    status rc = read_tally(t, a->out, e);
    if (!rc) rc = first_int(t, Q_OLDEST_QUEUED, &a->out->oldest_queued_ms, e);
    if (!rc) rc = first_int(t, Q_OLDEST_HOOK, &a->out->oldest_hook_ms, e);
    a->out->leases_lost = atomic_load(&a->s->leases_lost);
    a->out->given_up = atomic_load(&a->s->given_up);
    return rc;
}

status job_read_stats(job_store *s, job_stats *out, err *e) {
    *out = (job_stats){0};
    status rc = db_read(s->d, stats_work, &(stats_args){s, out}, e);
    db_read_counts(s->d, &out->commits, &out->writes);
    return rc;
}
