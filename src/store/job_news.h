// job_news.h - what processes that share a queue tell each other about its jobs, at once.
//
// News are hints: they may get lost, and then the next look finds what happened. A file is one
// process's, which knows what it does; there is no news then.
#pragma once
#include "store/job.h"

typedef enum {
    JOB_NEWS_QUEUED,  // a job waits; no id
    JOB_NEWS_CANCEL,  // a running job is to stop
    JOB_NEWS_CHANGED, // a job has begun to run, or has ended
    JOB_NEWS_MISSED,  // anything may have happened meanwhile; no id
} job_news;

// Called on a thread of the store's. It may ask the store.
typedef void (*job_news_heard)(void *arg, job_news what, const char *id);

// Begins to hear what others tell, once at most.
status job_news_listen(job_store *s, job_news_heard heard, void *arg, err *e);
void job_news_stop(job_store *s); // heard is not called after this

// Tells the others. id: "" where there is none.
void job_news_tell(job_store *s, job_news what, const char *id);
bool job_news_any(const job_store *s); // whether there are others at all
