// far_model.h - the model of the workers, by its papers, where no jobs run: it judges requests.
//
// A worker leaves the papers of its model in the queue's database, under a key that follows from
// what is in them. A replica without a model opens them, and so says of a request what the worker
// would. Where nothing is shared there is nothing to leave or to open.
#pragma once
#include "stemforge.h"
#include "store/job_papers.h"

typedef struct far_model far_model;

// Leaves the papers of a model, as stemforge_options names it. key gets their key.
status far_model_publish(job_store *jobs, const char *model, char key[JOB_PAPERS_KEY_MAX + 1],
                         err *e);

status far_model_open(far_model **out, job_store *jobs, err *e); // jobs is borrowed
void far_model_close(far_model *f);                              // NULL is fine
// From now on requests are judged by the papers of this key; opens them when they are new. One
// thread at a time.
void far_model_use(far_model *f, const char *key);
// The engine that judges; NULL: no papers yet. Borrowed until far_model_close.
stemforge_engine *far_model_engine(far_model *f);
bool far_model_refused(far_model *f); // the last papers could not be used: nothing judges by them
