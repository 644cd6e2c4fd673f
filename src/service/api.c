// api.c - see api.h.
#include "service/api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "gen/openapi.h"
#include "gen/page.h"
#include "service/scrape.h"
#include "service/view.h"

#define KEYS_MAX 16
#define REPLY_MAX ((size_t)4 << 20)
#define LIST_DEFAULT 50
#define RETRY_SECONDS_MAX 3600
#define RETRY_SECONDS_UNKNOWN 10 // before the first job has told us how long one takes
#define JSON_TYPE "application/json"

struct api {
    api_config config;
    scrape_sources sources;
    uint8_t keys[KEYS_MAX][SHA256_LEN];
    int key_count;
    pthread_mutex_t mu; // guards model, model_name, sources.stats and sources.server
    api_model_state model;
    const char *model_name;
    atomic_bool draining;
};

typedef void (*answer)(api *a, http_request *q, const char *id);

static api_model_state model_state(api *a, const char **name) {
    pthread_mutex_lock(&a->mu);
    api_model_state s = a->model;
    if (name) *name = a->model_name;
    pthread_mutex_unlock(&a->mu);
    return s;
}

static void reply_json(http_request *q, int code, json *j) {
    buf b;
    buf_init(&b, REPLY_MAX);
    err e;
    if (!j || json_write(&b, j, JSON_TIGHT, &e)) {
        http_reply_problem(q, 503, "busy", "Out of memory", NULL, NULL);
    } else {
        http_add_header(q, "Cache-Control", "no-store");
        http_reply(q, code, JSON_TYPE, buf_bytes(&b));
    }
    json_free(j);
    buf_deinit(&b);
}

static void retry_after(http_request *q, int64_t seconds) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)seconds);
    http_add_header(q, "Retry-After", text);
}

// The answer to what the store says.
static void reply_status(http_request *q, status rc, const err *e) {
    switch (rc) {
    case ERR_NOT_FOUND:
        http_reply_problem(q, 404, "not-found", "Not found", "there is no job of this id", NULL);
        return;
    case ERR_CONFLICT: http_reply_problem(q, 409, "conflict", "Conflict", e->text, NULL); return;
    case ERR_ARG: http_reply_problem(q, 400, "bad-request", "Bad request", e->text, NULL); return;
    default:
        log_error("api", "request=%s: %s", http_id(q), e->text);
        retry_after(q, RETRY_SECONDS_UNKNOWN);
        http_reply_problem(q, 503, "busy", "Temporarily unable", "try again later", NULL);
    }
}

// How long until a place in a full queue is free: the mean waiting job's time on one of the
// workers.
static int64_t seconds_to_place(api *a) {
    job_stats s;
    double rate = worker_seconds_per_work(a->config.worker);
    if (rate < 0 || job_read_stats(a->config.jobs, &s, NULL) || !s.jobs[JOB_QUEUED])
        return RETRY_SECONDS_UNKNOWN;
    double work = s.work[JOB_QUEUED] / (double)s.jobs[JOB_QUEUED];
    double wait = work * rate / a->config.workers;
    return (int64_t)MIN(MAX(wait + 0.5, 1), RETRY_SECONDS_MAX);
}

static view_live live_of(api *a, const job *j) {
    view_live v = {.seconds_left = -1};
    v.has_progress =
        j->state == JOB_RUNNING && events_find(a->config.events, j->id, v.progress, JOB_STEMS_MAX);
    double rate = worker_seconds_per_work(a->config.worker), ahead = 0, left = 0;
    for (size_t i = 0; i < j->stem_count; i++) {
        double p = v.has_progress ? v.progress[i] : j->stems[i].progress;
        left += j->work / (double)j->stem_count * (j->stems[i].done ? 0 : 1 - p);
    }
    if (j->state == JOB_QUEUED) job_position(a->config.jobs, j->id, &v.ahead, &ahead, NULL);
    if (rate >= 0) v.seconds_left = (ahead / a->config.workers + left) * rate;
    return v;
}

static json *job_json(api *a, const job *j) {
    view_live live = live_of(a, j);
    return view_job(j, &live, a->config.blobs);
}

// ---- submitting

static bool json_body(const http_request *q) {
    const char *type = http_header(q, "Content-Type");
    if (!type || strncasecmp(type, JSON_TYPE, strlen(JSON_TYPE)) != 0) return false;
    const char *rest = type + strlen(JSON_TYPE);
    return (*rest == 0 || *rest == ';' || *rest == ' ') && !http_header(q, "Content-Encoding");
}

static bool accepting(api *a, http_request *q) {
    bool ready = model_state(a, NULL) == API_MODEL_AVAILABLE;
    if (ready && !atomic_load(&a->draining) && !worker_broken(a->config.worker)) return true;
    metrics_add(a->config.metrics, "stemforge_jobs_rejected_total", "reason=\"not_ready\"", 1);
    retry_after(q, RETRY_SECONDS_UNKNOWN);
    http_reply_problem(q, 503, "not-ready", "Not ready",
                       ready ? "the worker is shutting down" : "no model is loaded yet", NULL);
    return false;
}

static void reply_accepted(http_request *q, const char *id, bool existed) {
    json *j = json_new_object();
    json_set_str(j, "generation_request_id", id);
    json_set_str(j, "status", "processing");
    json_set_str(j, "message", "Generation started. Stems will be available shortly.");
    char where[REQUEST_ID_MAX + 8];
    snprintf(where, sizeof where, "/jobs/%s", id);
    http_add_header(q, "Location", where);
    if (existed) http_add_header(q, "Idempotent-Replayed", "true");
    reply_json(q, 202, j);
}

static void reply_rejected(api *a, http_request *q, status rc, const err *e) {
    metrics *m = a->config.metrics;
    metrics_count(m, "stemforge_jobs_rejected_total", "reason=\"%s\"",
                  rc == ERR_LIMIT ? "queue_full" : status_name(rc));
    if (rc == ERR_LIMIT) {
        retry_after(q, seconds_to_place(a));
        http_reply_problem(q, 429, "queue-full", "Queue full", e->text, NULL);
    } else if (rc == ERR_CONFLICT) {
        http_reply_problem(q, 409, "conflict", "Conflict",
                           "this generation_request_id was submitted with another body", NULL);
    } else {
        reply_status(q, rc, e);
    }
}

static status submit(api *a, http_request *q, const request *r, job_submitted *done, err *e) {
    buf canonical;
    buf_init(&canonical, JOB_REQUEST_MAX);
    status rc = request_canonical(r, &canonical, e);
    if (rc == OK) {
        job_new n = {.id = r->id,
                     .audio_file_id = r->audio_file_id,
                     .stems = r->stems,
                     .stem_count = r->stem_count,
                     .request = http_body(q),
                     .canonical = buf_bytes(&canonical),
                     .callback_url = r->callback_url,
                     .trace = http_id(q),
                     .seed = r->seed,
                     .work = r->work};
        rc = job_submit(a->config.jobs, &n, job_time_now(), done, e);
    }
    buf_deinit(&canonical);
    return rc;
}

static void post_generate(api *a, http_request *q, const char *unused) {
    (void)unused;
    if (!accepting(a, q)) return;
    if (!json_body(q)) {
        http_reply_problem(q, 415, "media-type", "Unsupported media type",
                           "expected Content-Type: application/json without Content-Encoding",
                           NULL);
        return;
    }
    request r;
    json *faults;
    err e;
    status rc = request_parse(&r, http_body(q), &a->config.limits, &faults, &e);
    if (rc == ERR_ARG || rc == ERR_FORMAT) {
        metrics_add(a->config.metrics, "stemforge_jobs_rejected_total", "reason=\"invalid\"", 1);
        bool fields = rc == ERR_ARG;
        http_reply_problem(q, fields ? 422 : 400, fields ? "invalid-request" : "bad-json",
                           fields ? "Invalid request" : "Not JSON", e.text, faults);
        return;
    }
    if (rc) {
        reply_rejected(a, q, rc, &e);
        return;
    }
    job_submitted done = {0};
    rc = submit(a, q, &r, &done, &e);
    if (rc) {
        reply_rejected(a, q, rc, &e);
    } else {
        if (!done.existed) {
            metrics_add(a->config.metrics, "stemforge_jobs_submitted_total", NULL, 1);
            worker_wake(a->config.worker);
        }
        reply_accepted(q, r.id, done.existed);
    }
    request_deinit(&r);
}

// ---- jobs

static void get_job(api *a, http_request *q, const char *id) {
    job j = {0};
    err e;
    status rc = job_get(a->config.jobs, id, &j, &e);
    if (rc) {
        reply_status(q, rc, &e);
        return;
    }
    if (!job_state_ended(j.state)) retry_after(q, 2);
    reply_json(q, 200, job_json(a, &j));
    job_deinit(&j);
}

static bool parse_count(const char *text, int64_t lo, int64_t hi, int64_t *out) {
    if (!text) return true;
    char *end;
    long long v = strtoll(text, &end, 10);
    if (!*text || *end || text[0] < '0' || text[0] > '9' || v < lo || v > hi) return false;
    *out = v;
    return true;
}

static bool parse_filter(http_request *q, job_filter *f, const char **wrong) {
    const char *state = http_query(q, "status");
    int64_t limit = LIST_DEFAULT, after = 0;
    job_state s;
    if (state && !job_state_parse(state, &s)) {
        *wrong = "status: expected queued, processing, completed, failed or canceled";
        return false;
    }
    if (!parse_count(http_query(q, "limit"), 1, JOB_LIST_MAX, &limit) ||
        !parse_count(http_query(q, "after"), 1, INT64_MAX, &after)) {
        *wrong = "limit: expected 1 to 500; after: expected the \"next\" of an earlier answer";
        return false;
    }
    *f = (job_filter){.states = state ? 1u << s : 0, .below_seq = after, .limit = (int)limit};
    return true;
}

static void get_jobs(api *a, http_request *q, const char *unused) {
    (void)unused;
    job_filter f;
    const char *wrong;
    if (!parse_filter(q, &f, &wrong)) {
        http_reply_problem(q, 400, "bad-request", "Bad request", wrong, NULL);
        return;
    }
    job *list;
    size_t n;
    err e;
    status rc = job_list(a->config.jobs, &f, &list, &n, &e);
    if (rc) {
        reply_status(q, rc, &e);
        return;
    }
    json *all = json_new_array(), *v = json_new_object();
    for (size_t i = 0; i < n; i++) json_add(all, view_job_short(&list[i]));
    json_set(v, "jobs", all);
    json_set(v, "next", n == (size_t)f.limit ? json_new_int(list[n - 1].seq) : json_new_null());
    job_list_free(list, n);
    reply_json(q, 200, v);
}

// Tells the streams of a job that it has ended without ever running.
static void say_ended(api *a, const job *j) {
    if (job_state_ended(j->state)) {
        events_say(a->config.events, j->id, job_state_name(j->state),
                   view_job(j, NULL, a->config.blobs), true);
    }
}

static void reply_job(api *a, http_request *q, const char *id, int code) {
    job j = {0};
    err e;
    status rc = job_get(a->config.jobs, id, &j, &e);
    if (rc) {
        reply_status(q, rc, &e);
        return;
    }
    say_ended(a, &j);
    reply_json(q, code, job_json(a, &j));
    job_deinit(&j);
}

// False: q is answered.
static bool cancel(api *a, http_request *q, const char *id, job_cancel_answer *how) {
    err e;
    status rc = job_cancel(a->config.jobs, id, job_time_now(), how, &e);
    if (rc) {
        reply_status(q, rc, &e);
        return false;
    }
    if (*how == JOB_CANCEL_ASKED) worker_cancel(a->config.worker, id);
    if (*how == JOB_CANCEL_DONE) outbox_wake(a->config.outbox);
    return true;
}

static void post_cancel(api *a, http_request *q, const char *id) {
    job_cancel_answer how;
    if (!cancel(a, q, id, &how)) return;
    if (how == JOB_CANCEL_ENDED) {
        http_reply_problem(q, 409, "conflict", "Conflict", "the job has ended", NULL);
    } else {
        reply_job(a, q, id, how == JOB_CANCEL_ASKED ? 202 : 200);
    }
}

// A job that has not ended is canceled; one that has is removed.
static void delete_job(api *a, http_request *q, const char *id) {
    job j = {0};
    err e;
    status rc = job_get(a->config.jobs, id, &j, &e);
    bool ended = job_state_ended(j.state);
    job_deinit(&j);
    if (rc == OK && !ended) {
        post_cancel(a, q, id);
        return;
    }
    if (rc == OK) rc = job_delete(a->config.jobs, id, &e);
    if (rc)
        reply_status(q, rc, &e);
    else
        http_reply(q, 204, NULL, (bytes){0});
}

static void post_redeliver(api *a, http_request *q, const char *id) {
    err e;
    status rc = job_redeliver(a->config.jobs, id, job_time_now(), &e);
    if (rc) {
        reply_status(q, rc == ERR_ARG ? ERR_CONFLICT : rc, &e);
        return;
    }
    outbox_wake(a->config.outbox);
    reply_job(a, q, id, 202);
}

static void get_events(api *a, http_request *q, const char *id) {
    job j = {0};
    err e;
    status rc = job_get(a->config.jobs, id, &j, &e);
    if (rc) {
        reply_status(q, rc, &e);
        return;
    }
    http_add_header(q, "Cache-Control", "no-store");
    http_add_header(q, "X-Accel-Buffering", "no");
    char key[REQUEST_ID_MAX + 1];
    snprintf(key, sizeof key, "%s", j.id); // id goes with q
    http_stream *t = http_reply_stream(q, "text/event-stream");
    bool ended = job_state_ended(j.state);
    if (t) {
        events_join(a->config.events, key, t, ended ? job_state_name(j.state) : "status",
                    job_json(a, &j), ended, NULL);
    }
    job_deinit(&j);
    // It may have ended between the look and the joining: then nobody else will say so.
    if (t && !ended && job_get(a->config.jobs, key, &j, NULL) == OK) {
        say_ended(a, &j);
        job_deinit(&j);
    }
}

// ---- files, page, probes

// {audio_file_id}/generated/{generation_request_id}/{stem}.wav, as the worker names them.
static bool is_stem_key(const char *key) {
    char part[REQUEST_ID_MAX + 1];
    for (int i = 0; i < 4; i++) {
        size_t n = strcspn(key, "/");
        if (n >= sizeof part || (i < 3) != (key[n] == '/')) return false;
        memcpy(part, key, n);
        part[n] = 0;
        if (!request_id_ok(part) || (i == 1 && strcmp(part, "generated") != 0)) return false;
        key += n + (i < 3);
    }
    return true;
}

static void get_file(api *a, http_request *q, const char *key) {
    int fd;
    err e;
    blob_info info = {0};
    if (strcmp(blob_kind(a->config.blobs), "dir") != 0 || !is_stem_key(key)) {
        http_reply_problem(q, 404, "not-found", "Not found", "no such file here", NULL);
        return;
    }
    status rc = blob_open_fd(a->config.blobs, key, &fd, &info, &e);
    if (rc) {
        http_reply_problem(q, rc == ERR_IO ? 503 : 404, rc == ERR_IO ? "busy" : "not-found",
                           rc == ERR_IO ? "Temporarily unable" : "Not found", NULL, NULL);
        return;
    }
    http_add_header(q, "Cache-Control", "private, max-age=0, must-revalidate");
    http_reply_file(q, fd, "audio/wav");
}

static void get_page(api *a, http_request *q, const char *unused) {
    (void)a;
    (void)unused;
    http_add_header(q, "Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; "
                    "form-action 'none'; frame-ancestors 'none'");
    http_reply(q, 200, "text/html; charset=utf-8", (bytes){page, sizeof page});
}

static void get_openapi(api *a, http_request *q, const char *unused) {
    (void)a;
    (void)unused;
    http_reply(q, 200, JSON_TYPE, (bytes){openapi, sizeof openapi});
}

static void get_metrics(api *a, http_request *q, const char *unused) {
    (void)unused;
    buf b;
    buf_init(&b, REPLY_MAX);
    pthread_mutex_lock(&a->mu);
    scrape_sources s = a->sources;
    s.model_loaded = a->model == API_MODEL_AVAILABLE;
    s.model_name = a->model_name;
    pthread_mutex_unlock(&a->mu);
    s.draining = atomic_load(&a->draining);
    scrape_gauges(&s);
    metrics_write(a->config.metrics, &b);
    if (b.failed)
        http_reply_problem(q, 503, "busy", "Out of memory", NULL, NULL);
    else
        http_reply(q, 200, "text/plain; version=0.0.4; charset=utf-8", buf_bytes(&b));
    buf_deinit(&b);
}

static void get_health(api *a, http_request *q, const char *unused) {
    (void)unused;
    static const char *const words[] = {"not_loaded", "loading", "available"};
    const char *name = NULL;
    api_model_state model = model_state(a, &name);
    bool healthy = model == API_MODEL_AVAILABLE && !worker_broken(a->config.worker);
    char when[40];
    time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now, &tm));
    json *v = json_new_object(), *s = json_new_object();
    json_set_str(v, "status", healthy ? "healthy" : "unhealthy");
    json_set_str(v, "timestamp", when);
    json_set_str(s, "musicgen", words[model]);
    json_set_str(s, "stable_audio", "not_loaded");
    json_set_str(s, "storage", worker_storage_ok(a->config.worker) ? "connected" : "disconnected");
    json_set_str(s, "device", a->config.device);
    json_set(v, "services", s);
    json_set_bool(v, "gpu_available", strcmp(a->config.device, "gpu") == 0);
    json_set_str(v, "version", STEMFORGE_VERSION);
    if (name) json_set_str(v, "model", name);
    json_set_bool(v, "draining", atomic_load(&a->draining));
    reply_json(q, healthy ? 200 : 503, v);
}

static void reply_probe(http_request *q, bool ok, const char *yes, const char *no) {
    json *v = json_new_object();
    json_set_str(v, "status", ok ? yes : no);
    reply_json(q, ok ? 200 : 503, v);
}

static void get_livez(api *a, http_request *q, const char *unused) {
    (void)unused;
    reply_probe(q, !worker_broken(a->config.worker), "live", "broken");
}

static void get_readyz(api *a, http_request *q, const char *unused) {
    (void)unused;
    bool ready = model_state(a, NULL) == API_MODEL_AVAILABLE && !atomic_load(&a->draining) &&
                 !worker_broken(a->config.worker);
    reply_probe(q, ready, "ready", "not ready");
}

// ---- routing

typedef struct {
    const char *method, *pattern; // {id}: one segment; a last *: the rest
    answer answer;
    bool open;  // needs no key
    bool quick; // does not wait for disk or locks held for long
} route;

static const route routes[] = {
    {"POST", "/generate", post_generate, false, false},
    {"GET", "/health", get_health, true, true},
    {"GET", "/livez", get_livez, true, true},
    {"GET", "/readyz", get_readyz, true, true},
    {"GET", "/metrics", get_metrics, true, false},
    {"GET", "/openapi.json", get_openapi, true, true},
    {"GET", "/", get_page, true, true},
    {"GET", "/jobs", get_jobs, false, false},
    {"GET", "/jobs/{id}", get_job, false, false},
    {"DELETE", "/jobs/{id}", delete_job, false, false},
    {"POST", "/jobs/{id}/cancel", post_cancel, false, false},
    {"POST", "/jobs/{id}/redeliver", post_redeliver, false, false},
    {"GET", "/jobs/{id}/events", get_events, false, false},
    {"GET", "/files/*", get_file, false, false},
};

// Matches path, and copies what {id} or * stands for.
static bool matches(const char *pattern, const char *path, char *id, size_t cap) {
    while (*pattern) {
        if (*pattern == '*') return snprintf(id, cap, "%s", path) < (int)cap && *path;
        if (*pattern == '{') {
            size_t n = strcspn(path, "/");
            if (n == 0 || n >= cap) return false;
            memcpy(id, path, n);
            id[n] = 0;
            path += n;
            pattern = strchr(pattern, '}') + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return !*path;
}

static bool method_is(const route *r, const char *method) {
    bool head = strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0;
    return head || strcmp(r->method, method) == 0;
}

// NULL: none. *allow gets the methods that the path knows.
static const route *find_route(const http_request *q, char *id, size_t cap, buf *allow) {
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const route *r = &routes[i];
        if (!matches(r->pattern, http_path(q), id, cap)) continue;
        if (method_is(r, http_method(q))) return r;
        if (allow) buf_printf(allow, "%s%s", allow->n ? ", " : "", r->method);
    }
    return NULL;
}

// Compares digests, so lengths are equal, and looks at all keys, so time tells nothing.
static bool key_ok(api *a, const http_request *q) {
    if (a->key_count == 0) return true;
    const char *given = http_header(q, "X-Api-Key");
    const char *bearer = http_header(q, "Authorization");
    if (!given && bearer && strncasecmp(bearer, "Bearer ", 7) == 0) given = bearer + 7;
    uint8_t digest[SHA256_LEN];
    if (!given || hash_sha256(digest, bytes_of(given), NULL)) return false;
    bool found = false;
    for (int i = 0; i < a->key_count; i++) {
        found |= bytes_equal_secret((bytes){digest, SHA256_LEN}, (bytes){a->keys[i], SHA256_LEN});
    }
    return found;
}

static void reply_no_route(http_request *q, const buf *allow) {
    if (allow->n) {
        http_add_header(q, "Allow", buf_str(allow));
        http_reply_problem(q, 405, "method", "Method not allowed", NULL, NULL);
    } else {
        http_reply_problem(q, 404, "not-found", "Not found", NULL, NULL);
    }
}

static void handle(void *arg, http_request *q) {
    api *a = arg;
    char id[BLOB_KEY_MAX + 1] = "";
    buf allow;
    buf_init(&allow, 128);
    const route *r = find_route(q, id, sizeof id, &allow);
    if (r) http_set_route(q, r->pattern);
    if (!r) {
        reply_no_route(q, &allow);
    } else if (!r->open && !key_ok(a, q)) {
        http_add_header(q, "WWW-Authenticate", "Bearer");
        http_reply_problem(q, 401, "unauthorized", "Unauthorized",
                           "expected a known key in Authorization: Bearer or X-Api-Key", NULL);
    } else if (strstr(r->pattern, "{id}") && !request_id_ok(id)) {
        http_reply_problem(q, 404, "not-found", "Not found", "there is no job of this id", NULL);
    } else {
        r->answer(a, q, id);
    }
    buf_deinit(&allow);
}

static bool quick(void *arg, http_request *q) {
    char id[BLOB_KEY_MAX + 1] = "";
    const route *r = find_route(q, id, sizeof id, NULL);
    if (!r || !r->quick) return false;
    http_set_route(q, r->pattern);
    r->answer(arg, q, id);
    return true;
}

static void done(void *arg, const http_request *q, int code, double seconds) {
    api *a = arg;
    const char *method = http_method(q);
    static const char *const known[] = {"GET", "POST", "DELETE", "HEAD", "PUT", "OPTIONS", "PATCH"};
    const char *label = "other";
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(known[i], method) == 0) label = known[i];
    }
    metrics_count(a->config.metrics, "stemforge_http_requests_total",
                  "route=\"%s\",method=\"%s\",code=\"%d\"", http_route(q), label, code);
    if (strstr(http_route(q), "/events") == NULL) {
        char route_label[64];
        snprintf(route_label, sizeof route_label, "route=\"%s\"", http_route(q));
        metrics_observe(a->config.metrics, "stemforge_http_request_seconds", route_label, seconds);
    }
    bool dull = strcmp(label, "GET") == 0 && code < 400;
    log_write(dull ? LOG_DEBUG : LOG_INFO, "http", "%s %s %d %.1fms request=%s client=%s", label,
              http_path(q), code, seconds * 1000, http_id(q), http_client(q));
}

static status take_keys(api *a, const char *list, err *e) {
    while (list && *list) {
        size_t n = strcspn(list, ",");
        while (n && *list == ' ') list++, n--;
        size_t len = n;
        while (len && list[len - 1] == ' ') len--;
        if (len && a->key_count == KEYS_MAX)
            return err_set(e, ERR_ARG, "API_KEYS: expected at most %d keys", KEYS_MAX);
        if (len) {
            status rc =
                hash_sha256(a->keys[a->key_count++], (bytes){(const uint8_t *)list, len}, e);
            if (rc) return rc;
        }
        list += n + (list[n] == ',');
    }
    return OK;
}

status api_open(api **out, const api_config *c, err *e) {
    *out = NULL;
    api *a = mem_calloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_OOM, "api");
    a->config = *c;
    a->config.keys = NULL;
    a->sources = (scrape_sources){.jobs = c->jobs,
                                  .blobs = c->blobs,
                                  .metrics = c->metrics,
                                  .events = c->events,
                                  .worker = c->worker,
                                  .queue_max = c->queue_max,
                                  .workers = c->workers,
                                  .started_ms = os_time_ms()};
    pthread_mutex_init(&a->mu, NULL);
    status rc = take_keys(a, c->keys, e);
    if (rc) {
        api_close(a);
        return rc;
    }
    *out = a;
    return OK;
}

void api_close(api *a) {
    if (!a) return;
    pthread_mutex_destroy(&a->mu);
    mem_free(a);
}

http_handler api_handler(api *a) {
    return (http_handler){.arg = a, .quick = quick, .handle = handle, .done = done};
}

void api_set_server(api *a, http_server *s) {
    pthread_mutex_lock(&a->mu);
    a->sources.server = s;
    pthread_mutex_unlock(&a->mu);
}

void api_set_model(api *a, api_model_state state, const char *name,
                   void (*stats)(void *arg, stemforge_stats *out), void *stats_arg) {
    pthread_mutex_lock(&a->mu);
    a->model = state;
    a->model_name = name;
    a->sources.stats = stats;
    a->sources.stats_arg = stats_arg;
    pthread_mutex_unlock(&a->mu);
}

void api_set_draining(api *a) {
    atomic_store(&a->draining, true);
}
