// job_papers.c - see job_papers.h.
#include "store/job_papers.h"

#include "store/job_sql.h"

#define KEPT_MS (INT64_C(24) * 3600 * 1000)

typedef struct {
    const char *key;
    bytes papers;
    buf *out;
} papers_args;

static status put_work(db_tx *t, void *arg, err *e) {
    const papers_args *a = arg;
    const int64_t now = sql_now(t, job_time_now()).wall_ms;
    db_query *q = db_stmt(t, Q_PAPERS_PUT);
    db_bind_text(q, 1, a->key);
    db_bind_blob(q, 2, a->papers);
    db_bind_int(q, 3, now);
    status rc = db_exec(t, q, e);
    if (rc) return rc;
    q = db_stmt(t, Q_PAPERS_FORGET);
    db_bind_int(q, 1, now - KEPT_MS);
    return db_exec(t, q, e);
}

status job_papers_put(job_store *s, const char *key, bytes papers, err *e) {
    if (!s->d->shared) return OK;
    if (papers.n > JOB_PAPERS_MAX) return err_set(e, ERR_LIMIT, "papers of %zu bytes", papers.n);
    return db_write(s->d, put_work, &(papers_args){.key = key, .papers = papers}, e);
}

static status get_work(db_tx *t, void *arg, err *e) {
    const papers_args *a = arg;
    db_query *q = db_stmt(t, Q_PAPERS_GET);
    db_bind_text(q, 1, a->key);
    status rc = db_step(t, q, e);
    if (rc) return rc;
    bytes papers = db_get_blob(q, 0);
    buf_add(a->out, papers.p ? (const void *)papers.p : "", papers.n);
    return buf_status(a->out, e);
}

status job_papers_get(job_store *s, const char *key, buf *out, err *e) {
    if (!s->d->shared) return err_set(e, ERR_NOT_FOUND, "no papers in a file");
    status rc = db_read(s->d, get_work, &(papers_args){.key = key, .out = out}, e);
    return rc == ERR_NOT_FOUND ? err_set(e, rc, "no papers of this key") : rc;
}
