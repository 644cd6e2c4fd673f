// upkeep.c - see upkeep.h.
#include "service/upkeep.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

#define CHECK_MS 10000
#define PURGE_MS (600 * 1000)
#define PURGE_LIMIT 200 // jobs in one transaction
#define DAY_MS (24 * 3600 * 1000.0)

struct upkeep {
    upkeep_config config;
    atomic_bool storage_ok, jobs_ok, jobs_damaged;
    int64_t opened_wall_ms, opened_ns; // when this was opened, by both clocks
    pthread_mutex_t mu;                // guards closing
    pthread_cond_t wake;
    bool closing;
    bool checked; // the database, at least once; the thread's, once it runs
    pthread_t thread;
    bool runs;
};

static void check_storage(upkeep *u, bool *was) {
    err e;
    bool ok = blob_check(u->config.blobs, &e) == OK;
    atomic_store(&u->storage_ok, ok);
    if (ok != *was && !ok) log_warn("upkeep", "Storage is away: %s", e.text);
    if (ok != *was && ok) log_info("upkeep", "Storage is back");
    *was = ok;
}

static void check_jobs(upkeep *u) {
    err e;
    status rc = job_store_check(u->config.jobs, &e);
    bool was = atomic_load(&u->jobs_ok) || !u->checked;
    u->checked = true;
    if (rc) upkeep_jobs_refused(u, rc);
    if (rc && was) log_error("upkeep", "No job can be accepted: %s", e.text);
    if (rc || atomic_load(&u->jobs_damaged)) return;
    atomic_store(&u->jobs_ok, true);
    if (!was) log_info("upkeep", "Jobs can be accepted again");
}

// The earlier of what the wall clock says and of what it should say since this was opened. A clock
// that steps a month ahead by mistake must not remove a month of jobs.
static int64_t careful_now_ms(const upkeep *u) {
    return MIN(os_time_ms(), u->opened_wall_ms + (os_clock_ns() - u->opened_ns) / 1000000);
}

static void purge(upkeep *u) {
    if (u->config.retention_days <= 0) return;
    int64_t before = careful_now_ms(u) - (int64_t)(u->config.retention_days * DAY_MS);
    int n = 0;
    err e;
    do {
        if (job_purge(u->config.jobs, before, PURGE_LIMIT, &n, &e)) {
            log_error("upkeep", "removing old jobs: %s", e.text);
            return;
        }
    } while (n == PURGE_LIMIT);
}

static void *upkeep_thread(void *arg) {
    upkeep *u = arg;
    int64_t purge_ns = os_clock_ns(); // when the next one is due
    bool was = true;
    err e;
    if (u->config.warm && job_store_warm(u->config.jobs, &e))
        log_warn("upkeep", "Connections to the queue: %s", e.text);
    pthread_mutex_lock(&u->mu);
    while (!u->closing) {
        pthread_mutex_unlock(&u->mu);
        check_jobs(u);
        check_storage(u, &was);
        if (os_clock_ns() >= purge_ns) {
            purge(u);
            purge_ns = os_clock_ns() + u->config.purge_ms * INT64_C(1000000);
        }
        pthread_mutex_lock(&u->mu);
        if (!u->closing) os_cond_wait_ms(&u->wake, &u->mu, u->config.check_ms);
    }
    pthread_mutex_unlock(&u->mu);
    return NULL;
}

status upkeep_open(upkeep **out, const upkeep_config *c, err *e) {
    upkeep *u = *out = mem_calloc(1, sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "upkeep");
    u->config = *c;
    if (u->config.check_ms <= 0) u->config.check_ms = CHECK_MS;
    if (u->config.purge_ms <= 0) u->config.purge_ms = PURGE_MS;
    u->opened_wall_ms = os_time_ms();
    u->opened_ns = os_clock_ns();
    pthread_mutex_init(&u->mu, NULL);
    os_cond_init(&u->wake);
    if (!c->warm) check_jobs(u);
    u->runs = pthread_create(&u->thread, NULL, upkeep_thread, u) == 0;
    if (u->runs) return OK;
    upkeep_close(u);
    *out = NULL;
    return err_set(e, ERR_IO, "no thread for upkeep");
}

void upkeep_close(upkeep *u) {
    if (!u) return;
    pthread_mutex_lock(&u->mu);
    u->closing = true;
    pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->mu);
    if (u->runs) pthread_join(u->thread, NULL);
    pthread_cond_destroy(&u->wake);
    pthread_mutex_destroy(&u->mu);
    mem_free(u);
}

bool upkeep_storage_ok(upkeep *u) {
    return atomic_load(&u->storage_ok);
}

void upkeep_storage_away(upkeep *u) {
    atomic_store(&u->storage_ok, false);
}

bool upkeep_jobs_ok(upkeep *u) {
    return atomic_load(&u->jobs_ok);
}

void upkeep_jobs_refused(upkeep *u, status why) {
    if (why == ERR_FORMAT) atomic_store(&u->jobs_damaged, true);
    atomic_store(&u->jobs_ok, false);
}
