// serve.h - the service as a process. The model comes in from outside, so that the tests can run
// the same process with one that makes a tone; the product has only the real one.
#pragma once
#include "app/config.h"
#include "service/request.h"
#include "service/worker.h"

typedef struct {
    const char *family; // for log lines: "MusicGen"
    // Loads the model of the settings; takes long. *model is handed to the others. engine gets its
    // functions and defaults.
    status (*load)(void **model, const config *c, worker_engine *engine, err *e);
    // The name that callers see, borrowed until unload.
    const char *(*name)(void *model);
    void (*unload)(void *model);
    void (*stats)(void *model, stemforge_stats *out); // NULL: none
    // Checks a request without a model; see request_limits. NULL: none.
    status (*check)(const request *r, err *e);
} serve_model;

// Runs until SIGTERM or SIGINT. The exit status: 0; 1 when it could not start or the model did not
// load; 2 for wrong settings.
int serve_run(int argc, char **argv, const serve_model *m);
