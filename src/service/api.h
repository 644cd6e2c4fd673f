// api.h - routes and answers. All HTTP status codes are chosen here (and in http_server for what
// never gets this far). The document at /openapi.json (web/openapi.json) says the same in machine
// form, and the tests check every answer against it.
#pragma once
#include "base/err.h"
#include "net/http_server.h"
#include "service/events.h"
#include "service/fleet.h"
#include "service/hook.h"
#include "service/metrics.h"
#include "service/outbox.h"
#include "service/request.h"
#include "service/upkeep.h"
#include "service/worker.h"
#include "store/blob.h"
#include "store/job.h"

#define API_KEYS_MAX 16

typedef struct api api;

typedef enum { API_MODEL_NONE, API_MODEL_LOADING, API_MODEL_AVAILABLE } api_model_state;

typedef struct {
    job_store *jobs; // everything is borrowed until api_close
    blob_store *blobs;
    hook *hook;
    metrics *metrics;
    events *events;
    worker *worker; // one that never starts where no jobs run here
    fleet *fleet;
    upkeep *upkeep;
    outbox *outbox;
    request_limits limits;
    const char *keys; // API keys, comma-separated; NULL or "": none needed
    int queue_max, workers;
    bool works;          // jobs run in this process: its model is what /health tells of
    bool probes_only;    // answers probes and metrics, nothing else
    int readers_max;     // requests that read whole stems for somebody at once
    bool redirect;       // stems in Azure by a signed link, not through us
    bool gpu;            // what /health says until a model is loaded
    const char *weights; // as they were set, for recipes
} api_config;

status api_open(api **out, const api_config *c, err *e); // c's strings are copied or constants
void api_close(api *a);                                  // NULL is fine

http_handler api_handler(api *a);
// For the gauge of open connections; may be called before or after serving began.
void api_set_server(api *a, http_server *s);

// A model, and how far it is. Borrowed until api_close; name and g are NULL before it is there.
typedef struct {
    api_model_state state;
    const char *key; // of its family: "musicgen"; NULL: not known
    const char *name;
    const char *place;   // as it was set, for recipes
    stemforge_engine *g; // its numbers go to /metrics
} api_model_set;
// Model i of at most WORKER_MODELS_MAX. The first makes what requests leave open.
void api_set_model(api *a, size_t i, const api_model_set *m);
void api_set_draining(api *a); // no new jobs from now on
