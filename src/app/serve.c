// serve.c - `stemforge serve`: the service as a process. Puts the parts of the service together,
// and takes them apart again.

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/config.h"
#include "app/shipped.h"
#include "base/hubdir.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "net/http_server.h"
#include "service/api.h"
#include "service/request.h"
#include "service/view.h"
#include "service/worker.h"

#define FAMILY "MusicGen" // of the models in log lines before one is open
#define POLL_MS 50
#define LAST_RESORT_MS 5000 // beyond the grace period; then leases give the jobs back

typedef struct {
    const config *c;
    job_store *jobs;
    source_local source; // of jobs
    blob_store *blobs;
    hook *hook;
    metrics *metrics;
    events *events;
    outbox *outbox;
    worker *worker;
    upkeep *upkeep;
    api *api;
    http_server *http;
    stemforge_engine *engine;
    pthread_t loader;
    bool loader_runs;
    atomic_bool loaded, load_failed;
} service;

static int64_t ms_of(double seconds) {
    return (int64_t)(seconds * 1000);
}

// As many sockets as the system lets us have.
static void raise_file_limit(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static const char *or_null(const char *s) {
    return s && *s ? s : NULL;
}

static void warn_settings(const config *c) {
    bool local = strncmp(c->listen_addr, "127.", 4) == 0 || strcmp(c->listen_addr, "[::1]") == 0 ||
                 strcmp(c->listen_addr, "localhost") == 0;
    if (!local && !c->api_keys[0])
        log_warn("serve", "API_KEYS is unset: whoever reaches %s:%lld may submit jobs",
                 c->listen_addr, (long long)c->port);
    if (c->allow_private && !c->allowed_origins[0])
        log_warn("serve", "Callbacks may go to private addresses; CALLBACK_ALLOWED_ORIGINS or "
                          "CALLBACK_ALLOW_PRIVATE=false narrow that");
}

static status open_storage(service *s, err *e) {
    const config *c = s->c;
    char url[OS_PATH_MAX];
    snprintf(url, sizeof url, "%s/files", c->public_url);
    blob_config b = blob_config_default();
    b.connection = or_null(c->azure_connection);
    b.account = or_null(c->azure_account);
    b.container = c->container;
    b.sas_hours = (int)c->sas_hours;
    b.ca_file = or_null(c->storage_ca);
    b.dir = c->storage_dir;
    b.public_url = url;
    return blob_open(&s->blobs, &b, e);
}

static status open_jobs(service *s, err *e) {
    const config *c = s->c;
    job_config j = job_config_default();
    j.queue_max = (int)c->queue_max;
    j.attempts_max = (int)c->attempts_max;
    j.lease_ms = ms_of(c->lease_seconds);
    j.render = view_callback;
    j.render_arg = s->blobs;
    j.hook_attempts_max = (int)c->callback_attempts;
    j.hook_first_ms = ms_of(c->callback_first);
    j.hook_cap_ms = ms_of(c->callback_cap);
    j.hook_lease_ms = ms_of(c->callback_timeout) + 45000;
    status rc = os_mkdirs(c->data_dir, e);
    return rc ? rc : job_store_open(&s->jobs, c->database, &j, e);
}

static status open_hook(service *s, err *e) {
    const config *c = s->c;
    hook_config h = hook_config_default();
    h.secret = or_null(c->secret);
    h.secret_old = or_null(c->secret_old);
    h.allowed_origins = or_null(c->allowed_origins);
    h.allow_private = c->allow_private;
    h.timeout_ms = (int)ms_of(c->callback_timeout);
    h.ca_file = or_null(c->callback_ca);
    h.threads = (int)c->callback_threads;
    status rc = hook_open(&s->hook, &h, e);
    return rc ? rc
              : outbox_open(&s->outbox, s->jobs, s->hook, s->metrics, (int)c->callback_threads, e);
}

static status open_worker(service *s, err *e) {
    const config *c = s->c;
    upkeep_config u = {.jobs = s->jobs,
                       .blobs = s->blobs,
                       .retention_days = c->retention_days,
                       .check_ms = (int)ms_of(c->storage_check)};
    status rc = upkeep_open(&s->upkeep, &u, e);
    if (rc) return rc;
    worker_config w = {.source = source_local_open(&s->source, s->jobs),
                       .blobs = s->blobs,
                       .metrics = s->metrics,
                       .events = s->events,
                       .outbox = s->outbox,
                       .upkeep = s->upkeep,
                       .workers = (int)c->workers,
                       .lease_ms = ms_of(c->lease_seconds),
                       .job_seconds_max = c->job_timeout,
                       .storage_seconds_max = c->storage_wait};
    return worker_open(&s->worker, &w, e);
}

static status check_url(const void *arg, const char *url, err *e) {
    return hook_check_url(arg, url, e);
}

// Where a browser on this machine finds the page: an address that means all of them has no URL.
static void log_address(const char *listen, int port) {
    static const char *const all[] = {"*", "0.0.0.0", "::", "[::]"};
    const char *host = listen;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(listen, all[i]) == 0) host = "localhost";
    log_info("serve", "Listening on %s:%d; the page is at http://%s:%d/", listen, port, host, port);
}

static status open_http(service *s, err *e) {
    const config *c = s->c;
    api_config a = {.jobs = s->jobs,
                    .blobs = s->blobs,
                    .hook = s->hook,
                    .metrics = s->metrics,
                    .events = s->events,
                    .worker = s->worker,
                    .upkeep = s->upkeep,
                    .outbox = s->outbox,
                    .limits = {.seconds_max = c->duration_max,
                               .body_max = (size_t)c->body_max,
                               .url_check = check_url,
                               .url_arg = s->hook},
                    .keys = c->api_keys,
                    .queue_max = (int)c->queue_max,
                    .workers = (int)c->workers,
                    .device = c->use_gpu ? "gpu" : "cpu"};
    status rc = api_open(&s->api, &a, e);
    if (rc) return rc;
    api_set_model(s->api, API_MODEL_LOADING, NULL, NULL);
    char listen[300];
    snprintf(listen, sizeof listen, "%.250s:%lld", c->listen_addr, (long long)c->port);
    http_options o = http_options_default();
    o.listen = listen;
    o.threads = (int)c->http_threads;
    o.body_max = (size_t)c->body_max;
    o.head_max = (size_t)c->head_max;
    o.connections_max = (int)c->connections_max;
    o.client_max = (int)c->client_max;
    o.head_ms = (int)ms_of(c->head_seconds);
    o.body_ms = (int)ms_of(c->body_seconds);
    o.idle_ms = (int)ms_of(c->idle_seconds);
    http_handler h = api_handler(s->api);
    rc = http_server_open(&s->http, &o, &h, e);
    if (rc) return rc;
    api_set_server(s->api, s->http);
    log_address(c->listen_addr, http_server_port(s->http));
    return OK;
}

static status open_all(service *s, err *e) {
    status rc = metrics_open(&s->metrics, e);
    if (!rc) rc = events_open(&s->events, e);
    if (!rc) rc = open_storage(s, e);
    if (!rc) rc = open_jobs(s, e);
    if (!rc) rc = open_hook(s, e);
    if (!rc) rc = open_worker(s, e);
    if (!rc) rc = open_http(s, e);
    if (!rc) log_info("serve", "Storage: %s %s", blob_kind(s->blobs), blob_place(s->blobs));
    return rc;
}

static void close_all(service *s) {
    http_server_close(s->http);
    worker_close(s->worker);
    upkeep_close(s->upkeep);
    outbox_close(s->outbox);
    events_close(s->events);
    api_close(s->api);
    hook_close(s->hook);
    job_store_close(s->jobs);
    blob_close(s->blobs);
    metrics_close(s->metrics);
    stemforge_close(s->engine);
}

static status open_engine(service *s, err *e) {
    const config *c = s->c;
    stemforge_options o = stemforge_options_default();
    o.model = shipped_model(c->model);
    o.threads = (int)c->threads;
    (void)stemforge_weights_parse(c->weights, &o.weights); // config_check has
    if (c->batch_max) o.batch_max = (int)c->batch_max;
    o.memory_max = (size_t)c->memory_max_mb << 20;
    return stemforge_open(&s->engine, &o, e);
}

static void *load(void *arg) {
    service *s = arg;
    err e;
    char asked[128];
    hubdir_short_name(asked, sizeof asked, s->c->model);
    log_info("serve", "Loading " FAMILY " model (%s)...", asked);
    status rc = open_engine(s, &e);
    const stemforge_info info = s->engine ? stemforge_engine_info(s->engine) : (stemforge_info){0};
    if (rc) {
        log_error("serve", FAMILY " model %s: %s", asked, e.text);
    } else {
        log_info("serve", "%s loaded successfully (model: %s)", info.title, info.name);
        rc = worker_start(s->worker, s->engine, &e);
        if (rc) log_error("serve", "%s", e.text);
    }
    if (rc) {
        log_error("serve", "Failed to load any AI models. Cannot proceed without models.");
        api_set_model(s->api, API_MODEL_NONE, NULL, NULL);
        atomic_store(&s->load_failed, true);
    } else {
        api_set_model(s->api, API_MODEL_AVAILABLE, info.name, s->engine);
        log_info("serve", "Models initialized successfully");
    }
    atomic_store(&s->loaded, true);
    return NULL;
}

// A storage that hangs must not keep a process that was told to go.
static void *last_resort(void *arg) {
    os_sleep_ms((int)MIN(*(int64_t *)arg, INT32_MAX));
    log_warn("serve", "Still not done; leaving. Leases give the jobs back");
    _exit(0);
}

static void drain(service *s) {
    int64_t grace = ms_of(s->c->grace_seconds);
    static int64_t limit; // outlives this call: the thread may still be about to read it
    limit = grace + LAST_RESORT_MS;
    pthread_t t;
    if (pthread_create(&t, NULL, last_resort, &limit) == 0) pthread_detach(t);
    int64_t deadline = os_clock_ns() + grace * 1000000;
    log_info("serve", "Shutting down: no new jobs, up to %.0f s for running ones",
             s->c->grace_seconds);
    api_set_draining(s->api);
    worker_drain(s->worker, deadline);
    outbox_flush(s->outbox, deadline);
}

// Another process may do better; this one will not.
static bool broken(const service *s) {
    return worker_broken(s->worker) || job_store_broken(s->jobs);
}

static int run(service *s) {
    s->loader_runs = pthread_create(&s->loader, NULL, load, s) == 0;
    if (!s->loader_runs) return 1;
    while (!os_stop_requested() && !atomic_load(&s->load_failed) && !broken(s))
        os_sleep_ms(POLL_MS);
    if (!atomic_load(&s->loaded)) {
        // A model that is being loaded cannot be stopped, and nothing runs yet.
        log_info("serve", "Stopped while the model was loading");
        _exit(0);
    }
    pthread_join(s->loader, NULL);
    if (atomic_load(&s->load_failed)) return 1;
    drain(s);
    return broken(s) ? 1 : 0;
}

int serve_main(int argc, char **argv) {
    config c;
    err e;
    service s = {
        .c = &c,
    };
    int result = 1;
    if (config_load(&c, argc, argv, &e)) {
        fprintf(stderr, "stemforge serve: %s\n", e.text);
        config_deinit(&c);
        return EXIT_USAGE;
    }
    if (c.help) config_help(stdout, "serve");
    if (c.markdown) config_markdown(stdout);
    if (c.help || c.markdown || c.check) {
        config_deinit(&c);
        return 0;
    }
    log_level level = LOG_INFO;
    log_level_parse(c.log_level, &level);
    log_setup(level, strcmp(c.log_format, "json") == 0);
    os_stop_on_signals();
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    warn_settings(&c);
    if (c.use_gpu)
        log_error("serve", "USE_GPU=true: this build has no CUDA device to use");
    else if (open_all(&s, &e))
        log_error("serve", "%s", e.text);
    else
        result = run(&s);
    close_all(&s);
    if (result == 0) log_info("serve", "Bye");
    config_deinit(&c);
    return result;
}
