// far_model.c - see far_model.h.
#include "service/far_model.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#define KEPT_MAX 16 // models that one process judges by until it ends

typedef struct {
    char key[JOB_PAPERS_KEY_MAX + 1];
    stemforge_engine *engine;
} kept;

struct far_model {
    job_store *jobs;
    kept list[KEPT_MAX]; // of the one thread that calls far_model_use
    int count;
    char refused[JOB_PAPERS_KEY_MAX + 1]; // papers that do not open
    _Atomic(stemforge_engine *) now;
    atomic_bool none; // the last papers were refused
};

status far_model_publish(job_store *jobs, const char *model, char key[JOB_PAPERS_KEY_MAX + 1],
                         err *e) {
    uint8_t digest[SHA256_LEN];
    void *papers;
    size_t size;
    status rc = stemforge_papers(model, &papers, &size, e);
    if (!rc) rc = hash_sha256(digest, (bytes){papers, size}, e);
    if (!rc) {
        hex_encode(key, digest, JOB_PAPERS_KEY_MAX / 2);
        rc = job_papers_put(jobs, key, (bytes){papers, size}, e);
    }
    stemforge_free(papers);
    return rc;
}

status far_model_open(far_model **out, job_store *jobs, err *e) {
    far_model *f = *out = mem_calloc(1, sizeof *f);
    if (!f) return err_set(e, ERR_OOM, "the model of the workers");
    f->jobs = jobs;
    return OK;
}

void far_model_close(far_model *f) {
    if (!f) return;
    for (int i = 0; i < f->count; i++) stemforge_close(f->list[i].engine);
    mem_free(f);
}

static const kept *find(const far_model *f, const char *key) {
    for (int i = 0; i < f->count; i++)
        if (strcmp(f->list[i].key, key) == 0) return &f->list[i];
    return NULL;
}

// A request may still be judged by any engine that was ever given, so none is closed.
static status open_papers(far_model *f, const char *key, err *e) {
    buf papers;
    if (f->count == KEPT_MAX)
        return err_set(e, ERR_LIMIT, "%d models were judged by before it", KEPT_MAX);
    buf_init(&papers, JOB_PAPERS_MAX);
    kept *k = &f->list[f->count];
    status rc = job_papers_get(f->jobs, key, &papers, e);
    if (!rc) rc = stemforge_open_papers(&k->engine, papers.p, papers.n, e);
    buf_deinit(&papers);
    if (rc) return rc;
    snprintf(k->key, sizeof k->key, "%s", key);
    f->count++;
    return OK;
}

void far_model_use(far_model *f, const char *key) {
    err e;
    if (strlen(key) > JOB_PAPERS_KEY_MAX || strcmp(key, f->refused) == 0) return;
    const kept *k = find(f, key);
    status rc = k ? OK : open_papers(f, key, &e);
    if (rc == ERR_BUSY) return; // the database is away: at the next look
    if (rc) {
        snprintf(f->refused, sizeof f->refused, "%s", key);
        atomic_store(&f->none, true);
        atomic_store(&f->now, NULL);
        log_warn("fleet", "Requests are not judged by the workers' model: %s", e.text);
        return;
    }
    stemforge_engine *g = k ? k->engine : f->list[f->count - 1].engine;
    if (!k)
        log_info("fleet", "Requests are judged by the workers' model, %s",
                 stemforge_engine_info(g).name);
    atomic_store(&f->none, false);
    atomic_store(&f->now, g);
}

stemforge_engine *far_model_engine(far_model *f) {
    return atomic_load(&f->now);
}

bool far_model_refused(far_model *f) {
    return atomic_load(&f->none);
}
