// serve_models.h - the models of the service: that of MODEL, and beside it that of
// STABLE_AUDIO_MODEL. They compute by turns on the same threads.
#pragma once
#include "app/config.h"
#include "service/worker.h"
#include "store/source.h"

typedef struct {
    const char *setting; // "MODEL"
    stemforge_options options;
    const char *place;        // as it was set
    const char *title, *key;  // of its family, by its documents; NULL: not known
    stemforge_engine *engine; // NULL before serve_models_load
    stemforge_info info;      // when there is an engine
    source_jobs source;
} served_model;

typedef struct {
    served_model list[WORKER_MODELS_MAX];
    size_t count;
} served_models;

// What the settings name; nothing is opened. c is borrowed while the models are used.
served_models serve_models_of(const config *c);
// Whether the two can be beside each other: a fault names what is wrong.
void serve_models_check(const served_models *m, config_report *r);
// Loads all, with the log lines of it. ERR_ARG, ERR_NOT_FOUND or ERR_FORMAT: what a setting names
// is no model. The caller closes after a failure too.
status serve_models_load(served_models *m, job_store *jobs, err *e);
void serve_models_close(served_models *m);
