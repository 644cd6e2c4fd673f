// job_crew.c - see job_crew.h.
#include "store/job_crew.h"

#include "base/mem.h"
#include "store/job_sql.h"

typedef struct {
    const char *name, *facts;
    bool left;
    int64_t kept_ms;
    job_crew_member *list;
    size_t n;
} crew_args;

static status say_work(db_tx *t, void *arg, err *e) {
    const crew_args *a = arg;
    const int64_t now = sql_now(t, job_time_now()).wall_ms;
    db_query *q = db_stmt(t, Q_CREW_SAY);
    db_bind_text(q, 1, a->name);
    db_bind_text(q, 2, a->facts);
    db_bind_int(q, 3, a->left);
    db_bind_int(q, 4, now);
    status rc = db_exec(t, q, e);
    if (rc) return rc;
    q = db_stmt(t, Q_CREW_FORGET);
    db_bind_int(q, 1, now - a->kept_ms);
    return db_exec(t, q, e);
}

status job_crew_say(job_store *s, const char *name, const char *facts, bool left, int64_t kept_ms,
                    err *e) {
    crew_args a = {.name = name, .facts = facts, .left = left, .kept_ms = kept_ms};
    return s->d->shared ? db_write(s->d, say_work, &a, e) : OK;
}

static status list_work(db_tx *t, void *arg, err *e) {
    crew_args *a = arg;
    const int64_t now = sql_now(t, job_time_now()).wall_ms;
    db_query *q = db_stmt(t, Q_CREW_LIST);
    db_bind_int(q, 1, JOB_CREW_MAX);
    status rc;
    while ((rc = db_step(t, q, e)) == OK && a->n < JOB_CREW_MAX) {
        job_crew_member *m = &a->list[a->n++];
        sql_copy_text(q, 0, m->name, sizeof m->name);
        rc = sql_dup_text(q, 1, &m->facts, e);
        if (rc) return rc;
        m->left = db_get_int(q, 2) != 0;
        m->silent_ms = MAX(now - db_get_int(q, 3), 0);
    }
    return rc == ERR_NOT_FOUND ? OK : rc;
}

status job_crew_list(job_store *s, job_crew_member **out, size_t *n, err *e) {
    *out = NULL;
    *n = 0;
    if (!s->d->shared) return OK;
    crew_args a = {.list = mem_calloc(JOB_CREW_MAX, sizeof *a.list)};
    if (!a.list) return err_set(e, ERR_OOM, "workers");
    status rc = db_read(s->d, list_work, &a, e);
    if (rc) {
        job_crew_free(a.list, a.n);
        return rc;
    }
    *out = a.list;
    *n = a.n;
    return OK;
}

void job_crew_free(job_crew_member *list, size_t n) {
    for (size_t i = 0; i < n; i++) mem_free(list[i].facts);
    mem_free(list);
}
