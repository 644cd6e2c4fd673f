// relay.h - what other processes do to the jobs of a shared queue reaches this one's workers and
// event streams: a job that waits, a cancellation, progress, an end.
//
// News come at once (store/job_news.h); the jobs that streams follow are also read every second.
// Where the queue is this process's alone there is nothing to relay, and no thread.
#pragma once
#include "service/events.h"
#include "service/worker.h"
#include "store/blob.h"
#include "store/job_news.h"

typedef struct relay relay;

typedef struct {
    job_store *jobs; // everything is borrowed until relay_close
    blob_store *blobs;
    events *events;
    worker *worker;
} relay_config;

status relay_open(relay **out, const relay_config *c, err *e);
void relay_close(relay *r); // NULL is fine
