// batch.c - see batch.h.
#include "engine/batch.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "base/os.h"

typedef struct {
    batch_job *job;
    batch_item *item;
} place;

struct batch {
    family *f;
    batch_limits limits;
    turns *turns;      // borrowed
    turns_member seat; // the thread's, in the turns

    // Used by the batch's thread alone.
    place *running;    // [places]
    take **takes;      // [places] the takes of the running places, in order
    bool handing_over; // the GPU failed: what runs begins again on the CPU at the end of the turn
    bool has_turn;

    pthread_t thread;
    bool started;
    pthread_mutex_t mu;
    pthread_cond_t work_come, item_done;
    // mu guards everything below, and the batch's fields of jobs and items.
    batch_job *jobs; // oldest first
    size_t count;    // running
    size_t memory;   // bytes of running items
    bool closing;
    batch_stats stats;
};

// --- items; all with mu held

static void item_end(batch *b, batch_item *it, status rc, const err *why) {
    it->state = rc ? BATCH_FAILED : BATCH_DONE;
    it->why = (err){.code = rc};
    if (rc && why) it->why = *why;
    pthread_cond_broadcast(&b->item_done);
}

static void item_cancel(batch *b, batch_item *it) {
    err e;
    err_set(&e, ERR_CANCELED, "canceled");
    item_end(b, it, ERR_CANCELED, &e);
}

static void fail_waiting(batch *b, batch_job *j) {
    for (size_t i = 0; i < j->count; i++) {
        if (j->items[i].state == BATCH_WAITING) item_cancel(b, &j->items[i]);
    }
}

static batch_item *waiting_item(batch_job *j) {
    for (size_t i = 0; i < j->count; i++) {
        if (j->items[i].state == BATCH_WAITING) return &j->items[i];
    }
    return NULL;
}

// Bytes that running takes may take in all; 0: no limit.
static size_t memory_max(const batch *b) {
    size_t most = b->limits.memory_max, gpu = b->f->on_gpu ? b->f->gpu_bytes : 0;
    return gpu && (!most || gpu < most) ? gpu : most;
}

static bool fits(const batch *b, const batch_item *it) {
    size_t most = memory_max(b);
    if (b->count >= (size_t)b->limits.places) return false;
    return !most || (b->memory <= most && it->t->bytes <= most - b->memory);
}

// Chooses the next item to take in. A job that does not fit holds the others back, so that a large
// job does not wait for ever.
static bool choose(batch *b, place *out) {
    batch_job *best = NULL;
    for (batch_job *j = b->jobs; j; j = j->next) {
        if (waiting_item(j) && (!best || j->running < best->running)) best = j;
    }
    if (!best || !fits(b, waiting_item(best))) return false;
    *out = (place){best, waiting_item(best)};
    return true;
}

static void place_free(batch *b, size_t i) {
    b->running[i].job->running--;
    b->memory -= b->running[i].item->t->bytes;
    b->running[i] = b->running[--b->count];
}

// --- the thread

// What the family answered, unless the model's files changed meanwhile: then that is what failed,
// whatever came of it.
static status from_same_files(const batch *b, status rc, err *e) {
    status changed = checkpoint_check(&b->f->files, NULL);
    return changed ? checkpoint_check(&b->f->files, e) : rc;
}

// Whether rc says that the GPU failed: then nothing ends, and hand_over begins it again.
static bool gpu_failed(batch *b, status rc, const err *e) {
    if (rc != ERR_DEVICE || !b->f->on_gpu || checkpoint_check(&b->f->files, NULL)) return false;
    log_error("engine", "%s. The CPU goes on, with the same samples", e->text);
    b->handing_over = true;
    return true;
}

static status begin(batch *b, take *t, err *e) {
    t->done = 0;
    turns_pass(b->turns, &b->seat);
    status rc = from_same_files(b, b->f->ops->begin(t, e), e);
    if (rc) b->f->ops->end(t);
    return rc;
}

// Takes one item in. The caller holds mu, which is released meanwhile.
static void admit(batch *b, place p) {
    take *t = p.item->t;
    p.item->state = BATCH_RUNNING;
    p.job->running++;
    b->memory += t->bytes;
    b->running[b->count++] = p;
    pthread_mutex_unlock(&b->mu);
    err e = {0};
    status rc = begin(b, t, &e);
    bool again = gpu_failed(b, rc, &e);
    pthread_mutex_lock(&b->mu);
    p.item->total = t->total;
    if (rc && !again) {
        place_free(b, b->count - 1);
        item_end(b, p.item, rc, &e);
    }
}

// Ends the item in place i, whose take goes no further. The caller holds mu, which is released
// meanwhile.
static void leave(batch *b, size_t i, status rc, const err *e) {
    batch_item *it = b->running[i].item;
    pthread_mutex_unlock(&b->mu);
    b->f->ops->end(it->t);
    pthread_mutex_lock(&b->mu);
    place_free(b, i);
    item_end(b, it, rc, e);
}

static void drop_canceled(batch *b) {
    for (size_t i = b->count; i-- > 0;) {
        if (!b->running[i].job->canceled) continue;
        err e;
        leave(b, i, err_set(&e, ERR_CANCELED, "canceled"), &e);
    }
}

// Fills b->takes from the running places.
static take *const *list_takes(batch *b) {
    for (size_t i = 0; i < b->count; i++) b->takes[i] = b->running[i].item->t;
    return b->takes;
}

static void prefill(batch *b) {
    for (size_t i = b->count; i-- > 0 && !b->handing_over;) {
        take *t = b->running[i].item->t;
        if (!t->wants_prefill) continue;
        size_t n = b->count;
        take *const *others = list_takes(b);
        pthread_mutex_unlock(&b->mu);
        err e = {0};
        turns_pass(b->turns, &b->seat);
        status rc = from_same_files(b, b->f->ops->prefill(t, others, n, &e), &e);
        bool again = gpu_failed(b, rc, &e);
        pthread_mutex_lock(&b->mu);
        if (rc && !again) leave(b, i, rc, &e);
    }
}

// Makes one step of all running takes. The caller holds mu, which is released meanwhile.
static void step(batch *b) {
    size_t n = b->count;
    take *const *takes = list_takes(b);
    pthread_mutex_unlock(&b->mu);
    err e = {0};
    turns_pass(b->turns, &b->seat);
    double from = os_seconds();
    status rc = from_same_files(b, b->f->ops->step(b->f, takes, n, &e), &e);
    double spent = os_seconds() - from;
    if (gpu_failed(b, rc, &e)) rc = OK;
    pthread_mutex_lock(&b->mu);
    b->stats.steps++;
    b->stats.busy_seconds += spent;
    for (size_t i = b->count; i-- > 0;) {
        batch_item *it = b->running[i].item;
        b->stats.rows += it->t->done > it->done;
        it->done = MAX(it->done, it->t->done); // of a take that began again: it does not go back
        if (rc) leave(b, i, rc, &e);
    }
}

// Lists the first item that is done and others that are done and as long, at most FAMILY_TOGETHER.
static size_t done_alike(const batch *b, batch_item **out) {
    size_t n = 0;
    for (size_t i = 0; i < b->count && n < FAMILY_TOGETHER; i++) {
        batch_item *it = b->running[i].item;
        if (it->t->done < it->t->total) continue;
        if (n && it->t->length != out[0]->t->length) continue;
        out[n++] = it;
    }
    return n;
}

typedef struct {
    status rc;
    err e;
} ending;

static void end_together(batch *b, batch_item *const *it, size_t n, ending *out) {
    take *t[FAMILY_TOGETHER];
    for (size_t i = 0; i < n; i++) t[i] = it[i]->t;
    turns_pass(b->turns, &b->seat);
    out[0].rc = from_same_files(b, b->f->ops->finish(b->f, t, n, &out[0].e), &out[0].e);
    for (size_t i = 1; i < n; i++) out[i] = out[0];
    for (size_t i = 0; i < n && n > 1 && out[i].rc; i++)
        out[i].rc = from_same_files(b, b->f->ops->finish(b->f, &t[i], 1, &out[i].e), &out[i].e);
}

static size_t place_of(const batch *b, const batch_item *it) {
    size_t i = 0;
    while (b->running[i].item != it) i++;
    return i;
}

static void end_done(batch *b) {
    batch_item *it[FAMILY_TOGETHER];
    ending ended[FAMILY_TOGETHER] = {0};
    for (size_t n; (n = done_alike(b, it)) > 0;) {
        pthread_mutex_unlock(&b->mu);
        end_together(b, it, n, ended);
        bool again = false;
        for (size_t i = 0; i < n && !again; i++) again = gpu_failed(b, ended[i].rc, &ended[i].e);
        pthread_mutex_lock(&b->mu);
        if (again) return;
        for (size_t i = 0; i < n; i++) leave(b, place_of(b, it[i]), ended[i].rc, &ended[i].e);
    }
}

// After the GPU failed: begins what runs again, on the CPU. A stem's bytes do not depend on the
// device. The caller holds mu, which is released meanwhile.
static void hand_over(batch *b) {
    err e = {0};
    size_t n = b->count;
    take *const *takes = list_takes(b);
    pthread_mutex_unlock(&b->mu);
    for (size_t i = 0; i < n; i++) b->f->ops->end(takes[i]);
    status rc = b->f->ops->leave_gpu(b->f, &e);
    b->handing_over = false;
    pthread_mutex_lock(&b->mu);
    b->stats.gpu_failures++;
    for (size_t i = n; i-- > 0;) {
        pthread_mutex_unlock(&b->mu);
        status own = rc ? rc : begin(b, takes[i], &e);
        pthread_mutex_lock(&b->mu);
        if (own) leave(b, i, own, &e);
    }
}

static void turn(batch *b) {
    place p;
    drop_canceled(b);
    while (!b->closing && !b->handing_over && choose(b, &p)) admit(b, p);
    if (b->f->ops->prefill) prefill(b);
    if (b->count && !b->handing_over) step(b);
    if (!b->handing_over) end_done(b);
    if (b->handing_over) hand_over(b);
}

static bool idle(batch *b) {
    place p;
    return !b->count && !choose(b, &p);
}

// Waits for the turn, or leaves it to others. The caller holds mu, which is released meanwhile.
static void hold_turn(batch *b, bool hold) {
    if (hold == b->has_turn) return;
    b->has_turn = hold;
    pthread_mutex_unlock(&b->mu);
    if (hold)
        turns_take(b->turns, &b->seat);
    else
        turns_leave(b->turns, &b->seat);
    pthread_mutex_lock(&b->mu);
}

static void *thread_main(void *arg) {
    batch *b = arg;
    pthread_mutex_lock(&b->mu);
    while (!b->closing) {
        bool work = !idle(b);
        hold_turn(b, work);
        if (work)
            turn(b);
        else if (idle(b) && !b->closing)
            pthread_cond_wait(&b->work_come, &b->mu);
    }
    for (batch_job *j = b->jobs; j; j = j->next) {
        j->canceled = true;
        fail_waiting(b, j);
    }
    drop_canceled(b);
    hold_turn(b, false);
    pthread_mutex_unlock(&b->mu);
    return NULL;
}

// --- open and close

status batch_open(batch **out, family *f, turns *t, const batch_limits *l, err *e) {
    *out = NULL;
    batch *b = mem_calloc(1, sizeof *b);
    if (!b) return err_set(e, ERR_OOM, "no memory for a batch");
    b->f = f;
    b->turns = t;
    b->limits = *l;
    b->running = mem_calloc((size_t)l->places, sizeof *b->running);
    b->takes = mem_calloc((size_t)l->places, sizeof *b->takes);
    pthread_mutex_init(&b->mu, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&b->work_come, &clock);
    pthread_cond_init(&b->item_done, &clock);
    pthread_condattr_destroy(&clock);
    status rc = b->running && b->takes ? OK : err_set(e, ERR_OOM, "no memory for a batch");
    if (!rc && pthread_create(&b->thread, NULL, thread_main, b))
        rc = err_set(e, ERR_OOM, "cannot start a thread");
    b->started = rc == OK;
    if (rc)
        batch_close(b);
    else
        *out = b;
    return rc;
}

void batch_stop(batch *b) {
    if (!b || !b->started) return;
    b->started = false;
    pthread_mutex_lock(&b->mu);
    b->closing = true;
    pthread_cond_broadcast(&b->work_come);
    pthread_mutex_unlock(&b->mu);
    pthread_join(b->thread, NULL);
    // Callers may still be waking up in batch_wait: they leave before the engine is freed.
    pthread_mutex_lock(&b->mu);
    while (b->jobs) pthread_cond_wait(&b->item_done, &b->mu);
    pthread_mutex_unlock(&b->mu);
}

void batch_close(batch *b) {
    if (!b) return;
    batch_stop(b);
    pthread_cond_destroy(&b->work_come);
    pthread_cond_destroy(&b->item_done);
    pthread_mutex_destroy(&b->mu);
    mem_free(b->running);
    mem_free(b->takes);
    mem_free(b);
}

// --- callers

static status can_fit(const batch *b, const batch_job *j, err *e) {
    size_t most = memory_max(b);
    for (size_t i = 0; i < j->count && most; i++) {
        if (j->items[i].t->bytes <= most) continue;
        return err_set(e, ERR_LIMIT, "a stem needs %zu MB of cache, the budget is %zu MB",
                       j->items[i].t->bytes >> 20, most >> 20);
    }
    return OK;
}

status batch_enter(batch *b, batch_job *j, err *e) {
    pthread_mutex_lock(&b->mu);
    status rc = b->closing ? err_set(e, ERR_CANCELED, "the engine is closing") : can_fit(b, j, e);
    if (!rc) {
        batch_job **end = &b->jobs;
        while (*end) end = &(*end)->next;
        j->next = NULL;
        *end = j;
        pthread_cond_signal(&b->work_come);
    }
    pthread_mutex_unlock(&b->mu);
    return rc;
}

static int finished_item(batch_job *j) {
    for (size_t i = 0; i < j->count; i++) {
        batch_item *it = &j->items[i];
        if (it->reported || (it->state != BATCH_DONE && it->state != BATCH_FAILED)) continue;
        it->reported = true;
        return (int)i;
    }
    return -1;
}

int batch_wait(batch *b, batch_job *j, int ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&b->mu);
    int i = finished_item(j);
    while (i < 0 && !pthread_cond_timedwait(&b->item_done, &b->mu, &until)) i = finished_item(j);
    if (i < 0) i = finished_item(j);
    pthread_mutex_unlock(&b->mu);
    return i;
}

void batch_progress(batch *b, batch_job *j, size_t i, int64_t *done, int64_t *total) {
    pthread_mutex_lock(&b->mu);
    *done = j->items[i].done;
    *total = j->items[i].total;
    pthread_mutex_unlock(&b->mu);
}

void batch_leave(batch *b, batch_job *j) {
    pthread_mutex_lock(&b->mu);
    j->canceled = true;
    fail_waiting(b, j);
    while (j->running) pthread_cond_wait(&b->item_done, &b->mu);
    for (batch_job **at = &b->jobs; *at; at = &(*at)->next) {
        if (*at != j) continue;
        *at = j->next;
        break;
    }
    pthread_cond_broadcast(&b->item_done);
    pthread_mutex_unlock(&b->mu);
}

batch_stats batch_get_stats(batch *b) {
    pthread_mutex_lock(&b->mu);
    batch_stats s = b->stats;
    s.running = (int)b->count;
    s.on_gpu = b->f->on_gpu;
    for (batch_job *j = b->jobs; j; j = j->next) {
        for (size_t i = 0; i < j->count; i++) s.waiting += j->items[i].state == BATCH_WAITING;
    }
    pthread_mutex_unlock(&b->mu);
    return s;
}
