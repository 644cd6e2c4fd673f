// relay.c - see relay.h.
#include "service/relay.h"

#include <pthread.h>

#include "base/mem.h"
#include "base/os.h"
#include "service/view.h"

#define LOOK_MS 1000

struct relay {
    relay_config config;
    char (*ids)[JOB_ID_MAX + 1]; // [EVENTS_STREAMS_MAX], the thread's
    pthread_mutex_t mu;          // guards what follows
    pthread_cond_t wake;
    bool due, closing;
    pthread_t thread;
    bool runs;
};

// Tells a followed job's streams what the database knows of it.
static void look_at(relay *r, const char *id) {
    const relay_config *c = &r->config;
    job j = {0};
    if (job_get(c->jobs, id, &j, NULL)) return;
    bool ended = job_state_ended(j.state), began = events_remote(c->events, &j);
    if (ended || began) {
        view_live live = {.seconds_left = -1};
        events_say(c->events, id, ended ? job_state_name(j.state) : "status",
                   view_job(&j, ended ? NULL : &live, c->blobs), ended);
    }
    job_deinit(&j);
}

static void *relay_thread(void *arg) {
    relay *r = arg;
    pthread_mutex_lock(&r->mu);
    while (!r->closing) {
        r->due = false;
        pthread_mutex_unlock(&r->mu);
        size_t n = events_followed(r->config.events, r->ids, EVENTS_STREAMS_MAX);
        for (size_t i = 0; i < n; i++) look_at(r, r->ids[i]);
        pthread_mutex_lock(&r->mu);
        if (!r->due && !r->closing) os_cond_wait_ms(&r->wake, &r->mu, LOOK_MS);
    }
    pthread_mutex_unlock(&r->mu);
    return NULL;
}

static void look_soon(relay *r) {
    pthread_mutex_lock(&r->mu);
    r->due = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->mu);
}

static void on_news(void *arg, job_news what, const char *id) {
    relay *r = arg;
    if (what == JOB_NEWS_CANCEL) worker_cancel(r->config.worker, id);
    if (what == JOB_NEWS_QUEUED || what == JOB_NEWS_MISSED) worker_wake(r->config.worker);
    if (what == JOB_NEWS_MISSED ||
        (what == JOB_NEWS_CHANGED && events_follows(r->config.events, id)))
        look_soon(r);
}

status relay_open(relay **out, const relay_config *c, err *e) {
    relay *r = *out = mem_calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_OOM, "relay");
    r->config = *c;
    pthread_mutex_init(&r->mu, NULL);
    os_cond_init(&r->wake);
    if (!job_news_any(c->jobs)) return OK;
    status rc = OK;
    r->ids = mem_calloc(EVENTS_STREAMS_MAX, sizeof *r->ids);
    if (!r->ids) rc = err_set(e, ERR_OOM, "relay");
    if (!rc) rc = job_news_listen(c->jobs, on_news, r, e);
    if (!rc) r->runs = pthread_create(&r->thread, NULL, relay_thread, r) == 0;
    if (!rc && !r->runs) rc = err_set(e, ERR_IO, "no thread for the news of other processes");
    if (!rc) return OK;
    relay_close(r);
    *out = NULL;
    return rc;
}

void relay_close(relay *r) {
    if (!r) return;
    job_news_stop(r->config.jobs);
    pthread_mutex_lock(&r->mu);
    r->closing = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->mu);
    if (r->runs) pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->mu);
    mem_free(r->ids);
    mem_free(r);
}
