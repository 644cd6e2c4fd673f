// outbox.c - see outbox.h.
#include "service/outbox.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

// Without a wake one of the threads looks at the outbox this often: origins that had to wait may be
// free again, and other processes may have left something.
#define LOOK_MS 1000
#define LOOK_NS (LOOK_MS * INT64_C(1000000))

struct outbox {
    job_store *jobs;
    hook *hook;
    metrics *metrics;
    pthread_mutex_t mu; // guards everything below
    pthread_cond_t wake;
    uint64_t wakes;
    bool stopping;
    int sending;     // threads inside hook_deliver
    bool idle;       // the last look found nothing due
    int64_t look_ns; // when one of the threads that rest looks again
    pthread_t *threads;
    int thread_count;
};

static void report(outbox *o, const hook_report *r) {
    const char *kind = r->ended_well ? "success" : "error";
    metrics_count(o->metrics, "stemforge_callback_attempts_total", "outcome=\"%s\"",
                  r->result.label ? r->result.label : "none");
    metrics_observe(o->metrics, "stemforge_callback_seconds", NULL, r->result.seconds);
    log_fields before = log_set_fields((log_fields){.job = r->id,
                                                    .trace = r->trace[0] ? r->trace : NULL,
                                                    .status = r->result.code,
                                                    .attempt = r->attempt,
                                                    .seconds = r->result.seconds});
    if (r->state == JOB_HOOK_DELIVERED) {
        log_info("callback", "Sent %s callback to %s request_id=%s attempt=%d", kind, r->url, r->id,
                 r->attempt);
    } else if (r->state == JOB_HOOK_DEAD) {
        log_error("callback", "Gave up the %s callback to %s request_id=%s attempt=%d: %s", kind,
                  r->url, r->id, r->attempt, r->result.text);
    } else {
        log_warn("callback", "The %s callback to %s failed request_id=%s attempt=%d: %s", kind,
                 r->url, r->id, r->attempt, r->result.text);
    }
    log_set_fields(before);
}

// Until the next look: a wake, or this thread's turn, which comes sooner when something falls due.
static void rest(outbox *o, uint64_t seen, status rc) {
    int64_t left = 0, ms = LOOK_MS;
    if (rc == ERR_NOT_FOUND && job_hook_next(o->jobs, job_time_now(), &left, NULL) == OK && left)
        ms = MIN(ms, left);
    pthread_mutex_lock(&o->mu);
    if (rc == ERR_NOT_FOUND && o->wakes == seen) o->idle = true;
    o->look_ns = MIN(o->look_ns, os_clock_ns() + ms * 1000000);
    while (!o->stopping && o->wakes == seen && (left = o->look_ns - os_clock_ns()) > 0)
        os_cond_wait_ms(&o->wake, &o->mu, left / 1000000 + 1);
    o->look_ns = os_clock_ns() + LOOK_NS; // the others rest on
    pthread_mutex_unlock(&o->mu);
}

static void *deliver(void *arg) {
    outbox *o = arg;
    pthread_mutex_lock(&o->mu);
    while (!o->stopping) {
        uint64_t seen = o->wakes;
        o->sending++;
        pthread_mutex_unlock(&o->mu);
        hook_report r = {0};
        err e;
        status rc = hook_deliver(o->hook, o->jobs, &r, &e);
        if (rc == OK) report(o, &r);
        if (rc && rc != ERR_NOT_FOUND) log_error("callback", "outbox: %s", e.text);
        pthread_mutex_lock(&o->mu);
        o->sending--;
        if (rc == OK) {
            o->idle = false;
            o->look_ns = 0;
            pthread_cond_signal(&o->wake); // its origin may have room for another sender now
        }
        pthread_mutex_unlock(&o->mu);
        if (rc) rest(o, seen, rc);
        pthread_mutex_lock(&o->mu);
    }
    pthread_mutex_unlock(&o->mu);
    return NULL;
}

status outbox_open(outbox **out, job_store *jobs, hook *h, metrics *m, int threads, err *e) {
    outbox *o = *out = mem_calloc(1, sizeof *o);
    pthread_t *ids = mem_calloc((size_t)threads, sizeof *ids);
    if (!o || !ids) {
        mem_free(o);
        mem_free(ids);
        *out = NULL;
        return err_set(e, ERR_OOM, "outbox");
    }
    o->jobs = jobs;
    o->hook = h;
    o->metrics = m;
    o->threads = ids;
    pthread_mutex_init(&o->mu, NULL);
    os_cond_init(&o->wake);
    for (; o->thread_count < threads; o->thread_count++) {
        if (pthread_create(&ids[o->thread_count], NULL, deliver, o)) break;
    }
    if (o->thread_count == threads) return OK;
    outbox_close(o);
    *out = NULL;
    return err_set(e, ERR_IO, "no more threads for callbacks");
}

void outbox_wake(outbox *o) {
    pthread_mutex_lock(&o->mu);
    o->wakes++;
    o->idle = false;
    pthread_cond_broadcast(&o->wake);
    pthread_mutex_unlock(&o->mu);
}

void outbox_flush(outbox *o, int64_t deadline_ns) {
    outbox_wake(o);
    for (;;) {
        pthread_mutex_lock(&o->mu);
        bool done = o->idle && o->sending == 0;
        pthread_mutex_unlock(&o->mu);
        if (done || os_clock_ns() >= deadline_ns) return;
        os_sleep_ms(10);
    }
}

void outbox_close(outbox *o) {
    if (!o) return;
    pthread_mutex_lock(&o->mu);
    o->stopping = true;
    pthread_cond_broadcast(&o->wake);
    pthread_mutex_unlock(&o->mu);
    for (int i = 0; i < o->thread_count; i++) pthread_join(o->threads[i], NULL);
    pthread_cond_destroy(&o->wake);
    pthread_mutex_destroy(&o->mu);
    mem_free(o->threads);
    mem_free(o);
}
