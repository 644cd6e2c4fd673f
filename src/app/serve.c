// serve.c - `stemforge serve`: the service as a process. Puts the parts of the service together,
// and takes them apart again.

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/config.h"
#include "app/serve_check.h"
#include "app/serve_models.h"
#include "app/serve_parts.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "net/http_server.h"
#include "service/api.h"
#include "service/fleet.h"
#include "service/relay.h"
#include "service/request.h"
#include "service/view.h"
#include "service/worker.h"

#define NO_MODEL "Failed to load any AI models. Cannot proceed without models."
#define POLL_MS 50
#define SHARED_BEAT_MS 1000 // progress for other processes, and their cancellations
#define LAST_RESORT_MS 5000 // beyond the grace period; then leases give the jobs back

typedef struct {
    const config *c;
    job_store *jobs;
    blob_store *blobs;
    hook *hook;
    metrics *metrics;
    events *events;
    outbox *outbox;
    pace *pace;
    worker *worker;
    fleet *fleet;
    relay *relay;
    upkeep *upkeep;
    api *api;
    http_server *http;
    served_models models;
    pthread_t loader;
    bool loader_runs;
    atomic_bool loaded, load_failed;
    bool model_refused; // what a setting names is no model; set before load_failed
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

static status open_storage(service *s, err *e) {
    char url[BLOB_URL_MAX];
    const blob_config b = serve_blob_config(s->c, url);
    return blob_open(&s->blobs, &b, e);
}

// New files are nobody's but the service's and its group's. A database that an earlier version made
// readable by all is closed to them; SQLite gives its other files the same mode.
static void keep_others_out(const char *database) {
    static const char *const tails[] = {"", "-wal", "-shm"};
    umask(umask(0077) | 0027);
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        char path[OS_PATH_MAX + 8];
        struct stat st;
        snprintf(path, sizeof path, "%s%s", database, tails[i]);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0007))
            (void)!chmod(path, st.st_mode & 0770);
    }
}

static status open_jobs(service *s, err *e) {
    const config *c = s->c;
    job_config j = job_config_default();
    j.queue_max = (int)c->queue_max;
    j.client_max = (int)c->key_jobs_max;
    j.attempts_max = (int)c->attempts_max;
    j.lease_ms = ms_of(c->lease_seconds);
    j.render = view_callback;
    j.render_arg = s->blobs;
    j.hook_attempts_max = (int)c->callback_attempts;
    j.hook_first_ms = ms_of(c->callback_first);
    j.hook_cap_ms = ms_of(c->callback_cap);
    j.hook_lease_ms = ms_of(c->callback_timeout) + 45000;
    j.connections = (int)c->queue_connections;
    if (c->queue_url[0]) return job_store_open(&s->jobs, c->queue_url, &j, e);
    status rc = os_mkdirs(c->data_dir, e);
    return rc ? rc : job_store_open(&s->jobs, c->database, &j, e);
}

static status open_hook(service *s, err *e) {
    const config *c = s->c;
    const hook_config h = serve_hook_config(c);
    status rc = hook_open(&s->hook, &h, e);
    if (!rc)
        rc = outbox_open(&s->outbox, s->jobs, s->hook, s->metrics, (int)c->callback_threads, e);
    return rc ? rc : pace_open(&s->pace, s->hook, s->events, c->callback_progress, e);
}

static status open_worker(service *s, err *e) {
    const config *c = s->c;
    upkeep_config u = {.jobs = s->jobs,
                       .blobs = s->blobs,
                       .warm = c->queue_url[0] && serve_answers(c),
                       .retention_days = c->retention_days,
                       .check_ms = (int)ms_of(c->storage_check)};
    status rc = upkeep_open(&s->upkeep, &u, e);
    if (rc) return rc;
    worker_config w = {
        .blobs = s->blobs,
        .metrics = s->metrics,
        .events = s->events,
        .outbox = s->outbox,
        .pace = s->pace,
        .upkeep = s->upkeep,
        .workers = (int)c->workers,
        .lease_ms = ms_of(c->lease_seconds),
        .beat_ms = c->queue_url[0] ? SHARED_BEAT_MS : 0,
        .job_seconds_max = c->job_timeout,
        .recording = {.bytes_max = c->follow_mb << 20, .seconds_max = c->follow_fetch},
        .storage_seconds_max = c->storage_wait};
    return worker_open(&s->worker, &w, e);
}

// What ties this process to the others that share the queue.
static status open_ties(service *s, err *e) {
    const config *c = s->c;
    const fleet_config f = {.jobs = s->jobs,
                            .worker = s->worker,
                            .works = serve_works(c),
                            .slots = (int)c->workers,
                            .model = serve_engine_options(c).model,
                            .place = c->model,
                            .weights = c->weights,
                            .kept_days = c->retention_days};
    const relay_config r = {
        .jobs = s->jobs, .blobs = s->blobs, .events = s->events, .worker = s->worker};
    status rc = fleet_open(&s->fleet, &f, e);
    return rc ? rc : relay_open(&s->relay, &r, e);
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
    bool bare = host[0] != '[' && strchr(host, ':'); // IPv6
    log_info("serve", "Listening on %s:%d; the page is at http://%s%s%s:%d/", listen, port,
             bare ? "[" : "", host, bare ? "]" : "", port);
}

// Says of all models how far they are.
static void set_models(service *s, api_model_state state) {
    for (size_t i = 0; i < s->models.count; i++) {
        const served_model *m = &s->models.list[i];
        bool there = state == API_MODEL_AVAILABLE;
        const api_model_set now = {.state = state,
                                   .key = there ? m->info.key : m->key,
                                   .name = there ? m->info.name : NULL,
                                   .place = m->place,
                                   .g = there ? m->engine : NULL};
        api_set_model(s->api, i, &now);
    }
}

static status open_http(service *s, err *e) {
    const config *c = s->c;
    api_config a = {.jobs = s->jobs,
                    .blobs = s->blobs,
                    .hook = s->hook,
                    .metrics = s->metrics,
                    .events = s->events,
                    .worker = s->worker,
                    .fleet = s->fleet,
                    .works = serve_works(c),
                    .probes_only = !serve_answers(c),
                    .upkeep = s->upkeep,
                    .outbox = s->outbox,
                    .limits = {.seconds_max = c->duration_max,
                               .body_max = (size_t)c->body_max,
                               .url_check = check_url,
                               .url_arg = s->hook},
                    .keys = c->api_keys,
                    .queue_max = (int)c->queue_max,
                    .workers = (int)c->workers,
                    .readers_max = (int)c->http_threads / 2,
                    .redirect = strcmp(c->stem_delivery, "redirect") == 0,
                    .weights = c->weights,
                    .gpu = strncmp(serve_device(c), "cuda", 4) == 0};
    status rc = api_open(&s->api, &a, e);
    if (rc) return rc;
    s->models = serve_models_of(c);
    set_models(s, API_MODEL_LOADING);
    char listen[SERVE_LISTEN_MAX];
    serve_listen(c, listen);
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
    if (serve_answers(c))
        log_address(c->listen_addr, http_server_port(s->http));
    else
        log_info("serve", "Probes and metrics on %s", listen);
    return OK;
}

static status open_all(service *s, err *e) {
    status rc = metrics_open(&s->metrics, e);
    if (!rc) rc = events_open(&s->events, e);
    if (!rc) rc = open_storage(s, e);
    if (!rc) rc = open_jobs(s, e);
    if (!rc) rc = open_hook(s, e);
    if (!rc) rc = open_worker(s, e);
    if (!rc) rc = open_ties(s, e);
    if (!rc) rc = open_http(s, e);
    if (!rc) log_info("serve", "Storage: %s %s", blob_kind(s->blobs), blob_place(s->blobs));
    return rc;
}

static void close_all(service *s) {
    http_server_close(s->http);
    relay_close(s->relay);
    fleet_close(s->fleet);
    worker_close(s->worker);
    pace_close(s->pace);
    upkeep_close(s->upkeep);
    outbox_close(s->outbox);
    events_close(s->events);
    api_close(s->api);
    hook_close(s->hook);
    job_store_close(s->jobs);
    blob_close(s->blobs);
    metrics_close(s->metrics);
    serve_models_close(&s->models);
}

static status start_worker(service *s, err *e) {
    worker_model list[WORKER_MODELS_MAX];
    stemforge_info infos[WORKER_MODELS_MAX];
    size_t n = s->models.count;
    for (size_t i = 0; i < n; i++) {
        served_model *m = &s->models.list[i];
        list[i] = (worker_model){m->engine, &m->source.base};
        infos[i] = m->info;
    }
    status rc = worker_start(s->worker, list, n, e);
    if (rc) log_error("serve", "%s", e->text);
    bool gpu = !rc && stemforge_engine_stats(list[0].engine).on_gpu;
    if (!rc) fleet_begin(s->fleet, infos, n, gpu);
    return rc;
}

static void *load(void *arg) {
    service *s = arg;
    err e;
    status rc = serve_models_load(&s->models, s->jobs, &e);
    if (!rc) rc = start_worker(s, &e);
    if (rc) {
        log_error("serve", NO_MODEL);
        set_models(s, API_MODEL_NONE);
        s->model_refused = rc == ERR_ARG || rc == ERR_NOT_FOUND || rc == ERR_FORMAT;
        atomic_store(&s->load_failed, true);
    } else {
        set_models(s, API_MODEL_AVAILABLE);
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
    if (serve_works(s->c)) {
        s->loader_runs = pthread_create(&s->loader, NULL, load, s) == 0;
        if (!s->loader_runs) return 1;
    } else {
        atomic_store(&s->loaded, true); // nothing to load
    }
    while (!os_stop_requested() && !atomic_load(&s->load_failed) && !broken(s))
        os_sleep_ms(POLL_MS);
    if (!atomic_load(&s->loaded)) {
        // A model that is being loaded cannot be stopped, and nothing runs yet.
        log_info("serve", "Stopped while the model was loading");
        _exit(0);
    }
    if (s->loader_runs) pthread_join(s->loader, NULL);
    if (atomic_load(&s->load_failed)) return s->model_refused ? EXIT_USAGE : 1;
    drain(s);
    return broken(s) ? 1 : 0;
}

// Calls say with each line of text.
static void each_line(const buf *text, void (*say)(const char *line, size_t n)) {
    const char *line = buf_str(text);
    for (size_t n; *line; line += n + 1) {
        n = strcspn(line, "\n");
        say(line, n);
    }
}

// A model that is not there is also said as operators know it.
static void say_fault(const char *line, size_t n) {
    fprintf(stderr, "stemforge serve: %.*s\n", (int)n, line);
    if (strncmp(line, "MODEL: ", 7) == 0 || strncmp(line, "STABLE_AUDIO_MODEL: ", 20) == 0)
        fprintf(stderr, "stemforge serve: " NO_MODEL "\n");
}

static void say_warning(const char *line, size_t n) {
    fprintf(stderr, "stemforge serve: warning: %.*s\n", (int)n, line);
}

static void log_warning(const char *line, size_t n) {
    log_warn("serve", "%.*s", (int)n, line);
}

// What --check-config says: all that is wrong, or what would be used.
static int check(const config *c, config_report *r) {
    if (r->count == 0) serve_check_model(c, r);
    each_line(&r->warnings, say_warning);
    each_line(&r->faults, say_fault);
    if (r->count) return EXIT_USAGE;
    printf("The settings are good. serve would use:\n");
    config_show(stdout, c);
    return 0;
}

static int serve(const config *c, const config_report *r) {
    each_line(&r->faults, say_fault);
    if (r->count) return EXIT_USAGE;
    err e;
    service s = {.c = c};
    int result = 1;
    log_level level = LOG_INFO;
    log_level_parse(c->log_level, &level);
    log_setup(level, strcmp(c->log_format, "json") == 0);
    os_stop_on_signals();
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    keep_others_out(c->database);
    each_line(&r->warnings, log_warning);
    if (open_all(&s, &e))
        log_error("serve", "%s", e.text);
    else
        result = run(&s);
    close_all(&s);
    if (result == 0) log_info("serve", "Bye");
    return result;
}

// Whether a flag asks for print alone.
static bool prints(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        usage_form form = usage_form_of(argv[i]);
        if (form != USAGE_NONE) config_usage(form);
        if (form != USAGE_NONE || config_print_settings(argv[i])) return true;
    }
    return false;
}

int serve_main(int argc, char **argv) {
    if (prints(argc, argv)) return 0;
    config c;
    config_report r;
    config_report_init(&r);
    config_load(&c, argc, argv, &r);
    log_setup(LOG_OFF, false); // what the checks find is in the report
    serve_check(&c, &r);
    int result = c.check ? check(&c, &r) : serve(&c, &r);
    config_report_deinit(&r);
    config_deinit(&c);
    return result;
}
