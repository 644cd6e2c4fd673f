// worker.c - see worker.h: the slots that take jobs, and the leases on them.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "service/worker_inside.h"

#define IDLE_MS 1000 // between looks at an empty queue: a lease may have run out meanwhile

static void slot_take(slot *s, claim_token claim, const job *j) {
    worker *w = s->w;
    pthread_mutex_lock(&w->mu);
    s->claim = claim;
    snprintf(s->id, sizeof s->id, "%s", j->id);
    atomic_store(&s->canceled, j->cancel_asked);
    atomic_store(&s->lost, false);
    s->busy = true;
    w->busy++;
    w->claiming--; // under the same lock: a drain sees the job in one of the two
    pthread_mutex_unlock(&w->mu);
}

static void slot_leave(slot *s) {
    worker *w = s->w;
    pthread_mutex_lock(&w->mu);
    s->busy = false;
    s->id[0] = 0;
    w->busy--;
    w->wakes++; // what waited for this job to end may start
    pthread_cond_broadcast(&w->wake);
    pthread_cond_broadcast(&w->idle);
    pthread_mutex_unlock(&w->mu);
}

static void slot_got_nothing(slot *s) {
    worker *w = s->w;
    pthread_mutex_lock(&w->mu);
    w->claiming--;
    pthread_cond_broadcast(&w->idle);
    pthread_mutex_unlock(&w->mu);
}

static void *slot_thread(void *arg) {
    slot *s = arg;
    worker *w = s->w;
    pthread_mutex_lock(&w->mu);
    while (!w->stopping) {
        uint64_t seen = w->wakes;
        w->claiming++;
        pthread_mutex_unlock(&w->mu);
        job j = {0};
        claim_token claim;
        err e;
        status rc = source_claim(s->m->source, job_time_now(), &claim, &j, &e);
        if (rc == OK) {
            slot_take(s, claim, &j);
            worker_run_job(s, &j);
            slot_leave(s);
        } else {
            slot_got_nothing(s);
            if (rc != ERR_NOT_FOUND) log_error("worker", "claim: %s", e.text);
        }
        job_deinit(&j);
        pthread_mutex_lock(&w->mu);
        if (rc && !w->stopping && w->wakes == seen) os_cond_wait_ms(&w->wake, &w->mu, IDLE_MS);
    }
    pthread_mutex_unlock(&w->mu);
    return NULL;
}

static void renew(slot *s) {
    worker *w = s->w;
    char id[JOB_ID_MAX + 1];
    pthread_mutex_lock(&w->mu);
    bool busy = s->busy;
    claim_token claim = s->claim;
    snprintf(id, sizeof id, "%s", s->id);
    pthread_mutex_unlock(&w->mu);
    if (!busy) return;
    double progress[JOB_STEMS_MAX];
    bool known = events_find(w->config.events, id, progress, JOB_STEMS_MAX), cancel = false;
    err e;
    status rc =
        source_renew(s->m->source, claim, known ? progress : NULL, job_time_now(), &cancel, &e);
    pthread_mutex_lock(&w->mu);
    bool same = s->busy && claim_token_same(&s->claim, &claim);
    if (same && rc == OK && cancel) atomic_store(&s->canceled, true);
    if (same && rc == ERR_CANCELED) atomic_store(&s->lost, true);
    pthread_mutex_unlock(&w->mu);
    if (rc && rc != ERR_CANCELED) log_error("worker", "lease: %s", e.text);
}

static void *lease_thread(void *arg) {
    worker *w = arg;
    pthread_mutex_lock(&w->mu);
    while (!w->closing) {
        os_cond_wait_ms(&w->beat, &w->mu, w->config.beat_ms);
        if (w->closing) break;
        pthread_mutex_unlock(&w->mu);
        for (int i = 0; i < w->slot_count; i++) renew(&w->slots[i]);
        pthread_mutex_lock(&w->mu);
    }
    pthread_mutex_unlock(&w->mu);
    return NULL;
}

status worker_open(worker **out, const worker_config *c, err *e) {
    worker *w = *out = mem_calloc(1, sizeof *w);
    if (!w) return err_set(e, ERR_OOM, "worker");
    w->config = *c;
    if (w->config.beat_ms <= 0) w->config.beat_ms = MAX(c->lease_ms / 3, 50);
    pthread_mutex_init(&w->mu, NULL);
    os_cond_init(&w->wake);
    os_cond_init(&w->idle);
    os_cond_init(&w->beat);
    w->slots = mem_calloc((size_t)c->workers * WORKER_MODELS_MAX, sizeof *w->slots);
    if (w->slots) return OK;
    worker_close(w);
    *out = NULL;
    return err_set(e, ERR_OOM, "workers");
}

static status start_slots(worker *w, loaded_model *m, err *e) {
    for (int i = 0; i < w->config.workers; i++) {
        slot *s = &w->slots[w->slot_count];
        s->w = w;
        s->m = m;
        s->runs = pthread_create(&s->thread, NULL, slot_thread, s) == 0;
        if (!s->runs) return err_set(e, ERR_IO, "no more threads for workers");
        pthread_mutex_lock(&w->mu);
        w->slot_count++;
        pthread_mutex_unlock(&w->mu);
    }
    return OK;
}

status worker_start(worker *w, const worker_model *models, size_t n, err *e) {
    assert(n >= 1 && n <= WORKER_MODELS_MAX);
    for (size_t i = 0; i < n; i++) {
        const stemforge_info info = stemforge_engine_info(models[i].engine);
        w->models[i] = (loaded_model){.engine = models[i].engine,
                                      .source = models[i].source,
                                      .key = info.key,
                                      .title = info.title,
                                      .seconds_per_work = -1};
    }
    pthread_mutex_lock(&w->mu);
    w->model_count = n;
    pthread_mutex_unlock(&w->mu);
    status rc = OK;
    for (size_t i = 0; i < n && !rc; i++) rc = start_slots(w, &w->models[i], e);
    if (rc) return rc;
    w->lease_runs = pthread_create(&w->lease_thread, NULL, lease_thread, w) == 0;
    return w->lease_runs ? OK : err_set(e, ERR_IO, "no thread to renew leases");
}

void worker_wake(worker *w) {
    pthread_mutex_lock(&w->mu);
    w->wakes++;
    pthread_cond_broadcast(&w->wake); // whose model it is for, the source knows
    pthread_mutex_unlock(&w->mu);
}

void worker_cancel(worker *w, const char *id) {
    pthread_mutex_lock(&w->mu);
    for (int i = 0; i < w->slot_count; i++) {
        slot *s = &w->slots[i];
        if (s->busy && strcmp(s->id, id) == 0) atomic_store(&s->canceled, true);
    }
    pthread_mutex_unlock(&w->mu);
}

bool worker_broken(worker *w) {
    return atomic_load(&w->broken);
}

int worker_busy(worker *w) {
    pthread_mutex_lock(&w->mu);
    int n = w->busy;
    pthread_mutex_unlock(&w->mu);
    return n;
}

double worker_seconds_per_work(worker *w, const char *key) {
    double v = -1;
    pthread_mutex_lock(&w->mu);
    for (size_t i = w->model_count; i-- > 0;)
        if (!key[0] || strcmp(w->models[i].key, key) == 0) v = w->models[i].seconds_per_work;
    pthread_mutex_unlock(&w->mu);
    return v;
}

void worker_drain(worker *w, int64_t deadline_ns) {
    pthread_mutex_lock(&w->mu);
    w->stopping = true;
    pthread_cond_broadcast(&w->wake);
    while (w->busy || w->claiming) {
        int64_t left = (deadline_ns - os_clock_ns()) / 1000000;
        if (left <= 0 && !atomic_exchange(&w->give_back, true)) {
            blob_stop(w->config.blobs); // an upload that hangs would outlast the grace
        }
        os_cond_wait_ms(&w->idle, &w->mu, left > 0 ? MIN(left, 1000) : 100);
    }
    pthread_mutex_unlock(&w->mu);
}

void worker_close(worker *w) {
    if (!w) return;
    worker_drain(w, 0);
    atomic_store(&w->give_back, true);
    pthread_mutex_lock(&w->mu);
    w->closing = true;
    pthread_cond_broadcast(&w->beat);
    pthread_mutex_unlock(&w->mu);
    for (int i = 0; i < w->slot_count; i++) pthread_join(w->slots[i].thread, NULL);
    if (w->lease_runs) pthread_join(w->lease_thread, NULL);
    pthread_cond_destroy(&w->beat);
    pthread_cond_destroy(&w->idle);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mu);
    mem_free(w->slots);
    mem_free(w);
}
