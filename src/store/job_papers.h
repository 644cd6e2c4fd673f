// job_papers.h - the papers of the models that run the jobs of a shared queue: a worker leaves
// them there, and who has no model reads them.
//
// A file has none: its one process has the model.
#pragma once
#include "store/job.h"

#define JOB_PAPERS_KEY_MAX 64
#define JOB_PAPERS_MAX ((size_t)32 << 20)

// Stores papers under a key that says what is in them; what is there stays. Those that no worker
// names any more go after a day.
status job_papers_put(job_store *s, const char *key, bytes papers, err *e);
// Appended to out. ERR_NOT_FOUND.
status job_papers_get(job_store *s, const char *key, buf *out, err *e);
