// worker_inside.h - what the files of the worker share; for service/worker*.c alone.
//
// worker.c      slots, which take jobs from the source, and the thread that renews their leases
// worker_job.c  one job from its claim to its end
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "service/worker.h"

// A model that is loaded. Guarded by worker.mu: seconds_per_work.
typedef struct {
    stemforge_engine *engine;
    source *source;
    const char *key, *title; // of its family; the title is for log lines
    double seconds_per_work;
} loaded_model;

// A thread that runs one job at a time. Guarded by worker.mu: busy, id, claim, stem_count.
typedef struct {
    worker *w;
    loaded_model *m;
    pthread_t thread;
    bool runs, busy;
    char id[JOB_ID_MAX + 1];
    claim_token claim;
    atomic_bool canceled; // somebody asked for it
    atomic_bool lost;     // the lease is somebody else's: drop the work
} slot;

struct worker {
    worker_config config;
    loaded_model models[WORKER_MODELS_MAX];
    size_t model_count; // 0 before worker_start
    pthread_mutex_t mu; // guards everything below that is not atomic
    pthread_cond_t wake, idle, beat;
    uint64_t wakes; // so that one that comes during a claim is not missed
    bool stopping;  // no more claims
    bool closing;   // the lease thread ends
    int busy;
    int claiming; // slots that ask the source: what they get is still to be run
    slot *slots;
    int slot_count;
    pthread_t lease_thread;
    bool lease_runs;
    atomic_bool give_back, broken;
};

// Runs the job that s has claimed, until it has ended or was given back.
void worker_run_job(slot *s, const job *j);
