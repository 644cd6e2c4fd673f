// api_inside.h - what the files of the API share; for service/api*.c alone.
//
// api.c         routes, keys, logging, and the helpers below
// api_check.c   what POST /generate would say of a request
// api_grid.c    the click and the MIDI of a job
// api_jobs.c    the answers about jobs
// api_list.c    the list of jobs, and its search
// api_models.c  which models there are, and which one a request is for
// api_page.c    the page and the API document
// api_submit.c  requests become jobs
// api_stems.c   finished stems: their sound and their peaks
// api_status.c  probes and metrics
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "service/api.h"
#include "service/scrape.h"

#define API_REPLY_MAX ((size_t)4 << 20)
#define API_RETRY_SECONDS 10 // before the first job has told us how long one takes
#define API_JSON_TYPE "application/json"

struct api {
    api_config config;
    scrape_sources sources;
    uint8_t keys[API_KEYS_MAX][SHA256_LEN];
    int key_count;
    pthread_mutex_t mu; // guards models, model_count and sources
    api_model_set models[WORKER_MODELS_MAX];
    size_t model_count;
    atomic_bool draining;
    atomic_int readers; // requests that read a whole stem for somebody
};

// What a route does. id: what {id} or * of its pattern stands for.
typedef void (*api_answer)(api *a, http_request *q, const char *id);

// *name (may be NULL) gets the model's name, NULL while there is none. Where no jobs run: that of
// the workers, which counts as available when one was heard of, be it some time ago: jobs wait.
api_model_state api_model(api *a, const char **name);
// The model of that key, of "" the first. False where no jobs run, and when there is none such.
bool api_find_model(api *a, const char *key, api_model_set *out);
typedef struct {
    const char *key, *name; // the name is NULL while it is loaded
} model_names;
// Those that there are, here or at the workers. The first makes what requests leave open.
size_t api_list_models(api *a, model_names out[FLEET_MODELS_MAX]);
// The key of the model that is to make a request. ERR_ARG: there is none of the name that it says,
// *faults tells which there are.
status api_choose_model(api *a, const request *r, char key[JOB_MODEL_MAX + 1], json **faults,
                        err *e);
// The engine by which requests for that model are judged, and with it what a recipe says of it:
// where jobs run the one that runs here, else that of the papers of the workers' first model. NULL:
// there is none.
stemforge_engine *api_judge(api *a, const char *key, const char **place, const char **weights);
// All that is said of a request which request_parse let through, as request_check_model says it. A
// warning tells when there is no model to ask.
status api_judge_request(api *a, request *r, const char *key, warnings *said, json **faults,
                         err *e);
void api_reply_json(http_request *q, int code, json *j); // takes j; NULL: 503
void api_retry_after(http_request *q, int64_t seconds);
// The answer to what the store says.
void api_reply_status(http_request *q, status rc, const err *e);

// What reads or makes whole files for somebody is counted, so that slow readers cannot hold every
// thread. False: q is answered.
bool api_enter_reader(api *a, http_request *q);
void api_leave_reader(api *a);
// False: q is answered.
bool api_find_job(api *a, http_request *q, const char *id, job *j);
bool api_take_json(http_request *q); // the body says it is JSON
void api_reply_invalid(http_request *q, status rc, const err *e, json *faults);

// Whose jobs are counted together: the digest of the request's key, shortened; "" without keys.
void api_client(const api *a, const http_request *q, char out[JOB_CLIENT_MAX + 1]);

void api_post_batch(api *a, http_request *q, const char *unused);
void api_post_generate(api *a, http_request *q, const char *unused);
void api_post_check(api *a, http_request *q, const char *unused);
void api_get_job(api *a, http_request *q, const char *id);
void api_get_jobs(api *a, http_request *q, const char *unused);
void api_post_cancel(api *a, http_request *q, const char *id);
void api_delete_job(api *a, http_request *q, const char *id);
void api_post_redeliver(api *a, http_request *q, const char *id);
void api_get_recipe(api *a, http_request *q, const char *id);
void api_get_stem(api *a, http_request *q, const char *id);
void api_get_click(api *a, http_request *q, const char *id);
void api_get_midi(api *a, http_request *q, const char *id);
void api_get_events(api *a, http_request *q, const char *id);
void api_get_file(api *a, http_request *q, const char *key);
void api_get_page(api *a, http_request *q, const char *unused);
void api_get_page_file(api *a, http_request *q, const char *name);
void api_get_openapi(api *a, http_request *q, const char *unused);
void api_get_openapi30(api *a, http_request *q, const char *unused);
void api_get_metrics(api *a, http_request *q, const char *unused);
void api_get_health(api *a, http_request *q, const char *unused);
void api_get_livez(api *a, http_request *q, const char *unused);
void api_get_readyz(api *a, http_request *q, const char *unused);
