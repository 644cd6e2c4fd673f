// batch.h - continuous batching: stems of many jobs join and leave one running step.
//
// A batch owns one thread, and that thread owns the compute: everything that multiplies runs there.
// Each turn it takes waiting items in as far as places and memory allow, prefills the takes that
// want it, steps all running takes at once, and finishes those that are done. The next item is of
// the job with the fewest running items, the older job first, so a job of one stem does not wait
// behind a job of seven. Batches that share a compute go by turns (turns.h). The bytes of a stem do
// not depend on what it shares a step with. When the family's GPU fails, what runs begins again on
// the CPU.
#pragma once
#include "engine/family.h"
#include "engine/turns.h"

typedef struct batch batch;

typedef enum { BATCH_WAITING, BATCH_RUNNING, BATCH_DONE, BATCH_FAILED } batch_state;

// One stem of a job.
typedef struct {
    take *t; // the caller's, until batch_leave returns

    // The batch's own, guarded by its lock; read through the functions below.
    batch_state state;
    int64_t done, total; // steps
    bool reported;
    err why; // when failed
} batch_item;

typedef struct batch_job {
    batch_item *items; // the caller's, until batch_leave returns
    size_t count;

    // The batch's own, guarded by its lock.
    struct batch_job *next; // in order of arrival
    bool canceled;
    size_t running;
} batch_job;

typedef struct {
    int places;        // takes in a step at most
    size_t memory_max; // bytes of running takes in all, 0: no limit
} batch_limits;

// f and t are borrowed until batch_close. Only the batch's thread computes with f, in its turns.
status batch_open(batch **out, family *f, turns *t, const batch_limits *l, err *e);
// Fails what is left as canceled and joins the thread. batch_enter then refuses.
void batch_stop(batch *b);  // NULL is fine
void batch_close(batch *b); // fails what is left as canceled, joins the thread; NULL is fine

// Queues the job. ERR_LIMIT: one item alone is over the memory budget.
status batch_enter(batch *b, batch_job *j, err *e);
// Waits up to ms for an item that has ended and was not returned yet. Returns its index, or -1.
int batch_wait(batch *b, batch_job *j, int ms);
void batch_progress(batch *b, batch_job *j, size_t i, int64_t *done, int64_t *total);
// Cancels, and waits until the batch has let go of the items.
void batch_leave(batch *b, batch_job *j);

typedef struct {
    uint64_t steps, rows; // since open; rows counts takes that went on
    int running, waiting; // takes, now
    double busy_seconds;  // in steps
    int gpu_failures;
    bool on_gpu;
} batch_stats;
batch_stats batch_get_stats(batch *b);
