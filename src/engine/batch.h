// batch.h - continuous batching: stems of many jobs join and leave one running step.
//
// A batch owns one thread, and that thread owns the compute: everything that multiplies runs there.
// Each turn it takes waiting items in as far as places and memory allow, prefills windows that
// begin, steps all running stems at once, and finishes those that are done. Whose item is next: the
// job with the fewest running stems, the older one first, so a job of one stem does not wait behind
// a job of seven. The codes of a stem do not depend on what it shares a step with.
#pragma once
#include "base/mem.h"
#include "compute/ops.h"
#include "engine/musicgen/run.h"

typedef struct batch batch;

typedef enum { BATCH_WAITING, BATCH_RUNNING, BATCH_DONE, BATCH_FAILED } batch_state;

#define BATCH_TOGETHER 8 // items that end in one call at most

// One stem of a job. The callbacks run on the batch's thread.
typedef struct batch_item batch_item;
struct batch_item {
    void *arg;
    // Encodes the text and makes the run. Scratch from work, which is reset afterwards.
    status (*begin)(void *arg, decoder *d, compute *c, arena *work, run **out, err *e);
    // Decodes the codes of finished runs, items[i]->r, which are equally long. When it fails for
    // several it is called again for each alone.
    status (*end)(batch_item *const *items, size_t n, compute *c, err *e);
    size_t bytes; // its caches will take, for the memory budget

    // The batch's own, guarded by its lock; read through the functions below.
    batch_state state;
    run *r;
    int64_t done, total; // steps
    bool reported;
    err why; // when failed
};

typedef struct batch_job {
    batch_item *items; // the caller's, until batch_leave returns
    size_t count;

    // The batch's own, guarded by its lock.
    struct batch_job *next; // in order of arrival
    bool canceled;
    size_t running;
} batch_job;

typedef struct {
    int places;        // stems in a step at most
    int64_t positions; // of the longest sequence, prefix included
    size_t memory_max; // bytes of caches in all, 0: no limit
} batch_limits;

status batch_open(batch **out, const musicgen *m, compute *c, const batch_limits *l, err *e);
void batch_close(batch *b); // fails what is left as canceled, joins the thread; NULL is fine

// ERR_LIMIT when an item alone is over the memory budget; else the job is queued. From any thread.
status batch_enter(batch *b, batch_job *j, err *e);
// Waits up to ms for an item that is done or failed and was not returned yet: its index, or -1.
int batch_wait(batch *b, batch_job *j, int ms);
void batch_progress(batch *b, batch_job *j, size_t i, int64_t *done, int64_t *total);
void batch_cancel(batch *b, batch_job *j); // its items fail with ERR_CANCELED soon
// Cancels, and waits until the batch has let go of the items.
void batch_leave(batch *b, batch_job *j);

typedef struct {
    uint64_t steps, rows; // since open; rows counts stems
    int running, waiting; // stems, now
    double busy_seconds;  // in steps
} batch_stats;
batch_stats batch_get_stats(batch *b);
