// api.c - from path to answer: routes, keys, logging; see api.h.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/trace.h"
#include "service/api_inside.h"

void api_reply_json(http_request *q, int code, json *j) {
    buf b;
    buf_init(&b, API_REPLY_MAX);
    err e;
    if (!j || json_write(&b, j, JSON_TIGHT, &e)) {
        http_reply_problem(q, 503, "busy", "Out of memory", NULL, NULL);
    } else {
        http_add_header(q, "Cache-Control", "no-store");
        http_reply(q, code, API_JSON_TYPE, buf_bytes(&b));
    }
    json_free(j);
    buf_deinit(&b);
}

void api_retry_after(http_request *q, int64_t seconds) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)seconds);
    http_add_header(q, "Retry-After", text);
}

void api_reply_status(http_request *q, status rc, const err *e) {
    switch (rc) {
    case ERR_NOT_FOUND:
        http_reply_problem(q, 404, "not-found", "Not found", "there is no job of this id", NULL);
        return;
    case ERR_CONFLICT: http_reply_problem(q, 409, "conflict", "Conflict", e->text, NULL); return;
    case ERR_ARG: http_reply_problem(q, 400, "bad-request", "Bad request", e->text, NULL); return;
    default:
        log_error("api", "request=%s: %s", http_id(q), e->text);
        api_retry_after(q, API_RETRY_SECONDS);
        http_reply_problem(q, 503, "busy", "Temporarily unable", "try again later", NULL);
    }
}

bool api_enter_reader(api *a, http_request *q) {
    if (atomic_fetch_add(&a->readers, 1) < MAX(a->config.readers_max, 1)) return true;
    atomic_fetch_sub(&a->readers, 1);
    api_retry_after(q, 1);
    http_reply_problem(q, 503, "busy", "Temporarily unable", "too many stems are being read", NULL);
    return false;
}

void api_leave_reader(api *a) {
    atomic_fetch_sub(&a->readers, 1);
}

typedef struct {
    // {id}: one segment; a last *: the rest, which the answer is given unless there is an {id}
    const char *method, *pattern;
    api_answer answer;
    bool open;  // needs no key
    bool quick; // does not wait for disk or locks held for long
    bool probe; // also where nothing else is answered
} route;

static const route routes[] = {
    {"POST", "/generate", api_post_generate, false, false, false},
    {"POST", "/generate/batch", api_post_batch, false, false, false},
    {"POST", "/check", api_post_check, false, false, false},
    {"GET", "/health", api_get_health, true, true, true},
    {"GET", "/livez", api_get_livez, true, true, true},
    {"GET", "/readyz", api_get_readyz, true, true, true},
    {"GET", "/metrics", api_get_metrics, true, false, true},
    {"GET", "/openapi.json", api_get_openapi, true, true, false},
    {"GET", "/openapi-3.0.json", api_get_openapi30, true, true, false},
    {"GET", "/", api_get_page, true, true, false},
    {"GET", "/page/*", api_get_page_file, true, true, false},
    {"GET", "/jobs", api_get_jobs, false, false, false},
    {"GET", "/jobs/{id}", api_get_job, false, false, false},
    {"DELETE", "/jobs/{id}", api_delete_job, false, false, false},
    {"POST", "/jobs/{id}/cancel", api_post_cancel, false, false, false},
    {"POST", "/jobs/{id}/redeliver", api_post_redeliver, false, false, false},
    {"GET", "/jobs/{id}/events", api_get_events, false, false, false},
    {"GET", "/jobs/{id}/recipe.json", api_get_recipe, false, false, false},
    {"GET", "/jobs/{id}/click.wav", api_get_click, false, false, false},
    {"GET", "/jobs/{id}/chords.mid", api_get_midi, false, false, false},
    {"GET", "/jobs/{id}/stems/*", api_get_stem, false, false, false},
    {"GET", "/files/*", api_get_file, false, false, false},
};

// Matches path, and copies what {id} or * stands for.
static bool matches(const char *pattern, const char *path, char *id, size_t cap) {
    *id = 0;
    while (*pattern) {
        if (*pattern == '*' && *id) return *path && !strchr(path, '/');
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
static const route *find_route(const api *a, const http_request *q, char *id, size_t cap,
                               buf *allow) {
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const route *r = &routes[i];
        if (a->config.probes_only && !r->probe) continue;
        if (!matches(r->pattern, http_path(q), id, cap)) continue;
        if (method_is(r, http_method(q))) return r;
        if (allow) buf_printf(allow, "%s%s", allow->n ? ", " : "", r->method);
    }
    return NULL;
}

// False: no key was given.
static bool digest_key(const http_request *q, uint8_t digest[SHA256_LEN]) {
    const char *given = http_header(q, "X-Api-Key");
    const char *bearer = http_header(q, "Authorization");
    if (!given && bearer && strncasecmp(bearer, "Bearer ", 7) == 0) given = bearer + 7;
    return given && hash_sha256(digest, bytes_of(given), NULL) == OK;
}

void api_client(const api *a, const http_request *q, char out[JOB_CLIENT_MAX + 1]) {
    uint8_t digest[SHA256_LEN];
    *out = 0;
    if (a->key_count && digest_key(q, digest)) hex_encode(out, digest, JOB_CLIENT_MAX / 2);
}

// Compares digests, so lengths are equal, and looks at all keys, so time tells nothing.
static bool key_ok(api *a, const http_request *q) {
    if (a->key_count == 0) return true;
    uint8_t digest[SHA256_LEN];
    if (!digest_key(q, digest)) return false;
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
    char trace[TRACE_ID_LEN + 1];
    const route *r = find_route(a, q, id, sizeof id, &allow);
    if (r) http_set_route(q, r->pattern);
    trace_id(trace, http_header(q, "traceparent"));
    log_fields before = log_set_fields((log_fields){.request = http_id(q),
                                                    .method = http_method(q),
                                                    .route = http_route(q),
                                                    .trace = trace[0] ? trace : NULL});
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
    log_set_fields(before);
    buf_deinit(&allow);
}

static bool quick(void *arg, http_request *q) {
    char id[BLOB_KEY_MAX + 1] = "";
    const route *r = find_route(arg, q, id, sizeof id, NULL);
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
    char trace[TRACE_ID_LEN + 1];
    trace_id(trace, http_header(q, "traceparent"));
    log_fields before = log_set_fields((log_fields){.request = http_id(q),
                                                    .trace = trace[0] ? trace : NULL,
                                                    .method = label,
                                                    .route = http_route(q),
                                                    .client = http_client(q),
                                                    .status = code,
                                                    .seconds = seconds});
    log_write(dull ? LOG_DEBUG : LOG_INFO, "http", "%s %s %d %.1fms request=%s client=%s", label,
              http_path(q), code, seconds * 1000, http_id(q), http_client(q));
    log_set_fields(before);
}

static status take_keys(api *a, const char *list, err *e) {
    while (list && *list) {
        size_t n = strcspn(list, ",");
        while (n && *list == ' ') list++, n--;
        size_t len = n;
        while (len && list[len - 1] == ' ') len--;
        if (len && a->key_count == API_KEYS_MAX)
            return err_set(e, ERR_ARG, "API_KEYS: expected at most %d keys", API_KEYS_MAX);
        if (len) {
            status rc =
                hash_sha256(a->keys[a->key_count++], (bytes){(const uint8_t *)list, len}, e);
            if (rc) return rc;
        }
        list += n + (list[n] == ',');
    }
    return OK;
}

// Requests are counted from 0 for the codes that each route answers with, or should never.
static void begin_counters(metrics *m) {
    static const char *const post[] = {"202", "207", "400", "401", "409", "413",
                                       "415", "422", "429", "500", "503", NULL};
    static const char *const rest[] = {"200", "401", "404", "500", "503", NULL};
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        char label[160];
        const char *const one[] = {label, NULL};
        const route *r = &routes[i];
        bool submits = strncmp(r->pattern, "/generate", 9) == 0;
        for (const char *const *code = submits ? post : rest; *code; code++) {
            snprintf(label, sizeof label, "route=\"%s\",method=\"%s\",code=\"%s\"", r->pattern,
                     r->method, *code);
            metrics_begin(m, "stemforge_http_requests_total", one);
        }
        if (strstr(r->pattern, "/events")) continue;
        snprintf(label, sizeof label, "route=\"%s\"", r->pattern);
        metrics_begin(m, "stemforge_http_request_seconds", one);
    }
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
                                  .fleet = c->fleet,
                                  .upkeep = c->upkeep,
                                  .queue_max = c->queue_max,
                                  .workers = c->workers,
                                  .started_ms = os_time_ms()};
    pthread_mutex_init(&a->mu, NULL);
    status rc = take_keys(a, c->keys, e);
    if (rc) {
        api_close(a);
        return rc;
    }
    begin_counters(c->metrics);
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

void api_set_draining(api *a) {
    atomic_store(&a->draining, true);
}
