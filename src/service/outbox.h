// outbox.h - the threads that deliver callbacks from the store's outbox until each is done.
#pragma once
#include "base/err.h"
#include "service/hook.h"
#include "service/metrics.h"
#include "store/job.h"

typedef struct outbox outbox;

// Starts the threads. Everything is borrowed until outbox_close.
status outbox_open(outbox **out, job_store *jobs, hook *h, metrics *m, int threads, err *e);
void outbox_wake(outbox *o); // a callback may have become due
// Goes on delivering what is due until nothing is or the time (os_clock_ns) has come; then stops.
void outbox_flush(outbox *o, int64_t deadline_ns);
void outbox_close(outbox *o); // waits for the attempts that run; NULL is fine
