// api_submit.c - POST /generate and POST /generate/batch: what is asked for becomes jobs.
//
// Each request gets a verdict, which is answered alone or stands among those of a batch.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/trace.h"
#include "service/api_inside.h"

#define RETRY_SECONDS_MAX 3600

// How long until a place in a full queue is free: the mean waiting job's time on one of the
// workers.
static int64_t seconds_to_place(api *a) {
    job_stats s;
    const fleet_state f = fleet_read(a->config.fleet, "");
    double rate = f.seconds_per_work;
    if (rate < 0 || job_read_stats(a->config.jobs, &s, NULL) || !s.jobs[JOB_QUEUED])
        return API_RETRY_SECONDS;
    double work = s.work[JOB_QUEUED] / (double)s.jobs[JOB_QUEUED];
    double wait = work * rate / MAX(f.slots, 1);
    return (int64_t)MIN(MAX(wait + 0.5, 1), RETRY_SECONDS_MAX);
}

static bool json_body(const http_request *q) {
    const char *type = http_header(q, "Content-Type");
    if (!type || strncasecmp(type, API_JSON_TYPE, strlen(API_JSON_TYPE)) != 0) return false;
    const char *rest = type + strlen(API_JSON_TYPE);
    return (*rest == 0 || *rest == ';' || *rest == ' ') && !http_header(q, "Content-Encoding");
}

// What becomes of one request.
typedef struct {
    int code;                 // HTTP's
    const char *kind, *title; // of a problem; NULL: it was accepted
    char detail[sizeof(((err *)0)->text)];
    json *errors;                // of a problem, or NULL
    int64_t retry_s;             // when to come again; 0: not said
    char id[REQUEST_ID_MAX + 1]; // "" where none was read
    bool existed;                // it was accepted before
    json *warnings;              // of an accepted one, or NULL
} verdict;

static void verdict_deinit(verdict *v) {
    json_free(v->errors);
    json_free(v->warnings);
}

static bool accepting(api *a, http_request *q) {
    const char *why = NULL;
    if (api_model(a, NULL) != API_MODEL_AVAILABLE) why = "no model is loaded yet";
    if (!upkeep_jobs_ok(a->config.upkeep)) why = "jobs cannot be stored now; the log says why";
    if (atomic_load(&a->draining) || worker_broken(a->config.worker))
        why = "the worker is shutting down";
    if (!why) return true;
    metrics_add(a->config.metrics, "stemforge_jobs_rejected_total", "reason=\"not_ready\"", 1);
    api_retry_after(q, API_RETRY_SECONDS);
    http_reply_problem(q, 503, "not-ready", "Not ready", why, NULL);
    return false;
}

// The sentences as they are stored with the job; nothing when there are none.
static status write_warnings(buf *out, const warnings *said, err *e) {
    if (!said->n) return OK;
    json *list = request_warnings_json(said);
    status rc =
        list ? json_write(out, list, JSON_TIGHT, e) : err_set(e, ERR_OOM, "no memory for warnings");
    json_free(list);
    return rc ? rc : buf_status(out, e);
}

// Whether the job that has the id was made from the same body, by an earlier version's rules.
static bool was_same(api *a, const request *r, bytes canonical) {
    job j = {0};
    bool same = job_get(a->config.jobs, r->id, &j, NULL) == OK && j.request &&
                request_is_same(bytes_of(j.request), canonical);
    job_deinit(&j);
    return same;
}

// What the job remembers of who asked: a traceparent, or the request's id.
static const char *trace_of(const http_request *q) {
    const char *parent = http_header(q, "traceparent");
    return trace_ok(parent) ? parent : http_id(q);
}

static status submit(api *a, http_request *q, bytes text, const request *r, const char *model,
                     const warnings *said, job_submitted *done, err *e) {
    char client[JOB_CLIENT_MAX + 1];
    api_client(a, q, client);
    buf canonical, sentences;
    buf_init(&canonical, JOB_REQUEST_MAX);
    buf_init(&sentences, JOB_REQUEST_MAX);
    status rc = request_canonical(r, &canonical, e);
    if (!rc) rc = write_warnings(&sentences, said, e);
    if (rc == OK) {
        job_new n = {.id = r->id,
                     .audio_file_id = r->audio_file_id,
                     .stems = r->ask.stems,
                     .stem_count = r->ask.stem_count,
                     .request = text,
                     .canonical = buf_bytes(&canonical),
                     .warnings = sentences.n ? buf_str(&sentences) : NULL,
                     .callback_url = r->callback_url,
                     .trace = trace_of(q),
                     .model = model,
                     .seed = r->ask.seed,
                     .work = r->work,
                     .priority = (job_priority)r->priority,
                     .client = client};
        rc = job_submit(a->config.jobs, &n, job_time_now(), done, e);
        if (rc == ERR_CONFLICT && was_same(a, r, n.canonical)) {
            done->existed = true;
            rc = OK;
        }
        if (rc == ERR_IO || rc == ERR_FORMAT) upkeep_jobs_refused(a->config.upkeep, rc);
    }
    buf_deinit(&canonical);
    buf_deinit(&sentences);
    return rc;
}

bool api_take_json(http_request *q) {
    if (json_body(q)) return true;
    http_reply_problem(q, 415, "media-type", "Unsupported media type",
                       "expected Content-Type: application/json without Content-Encoding", NULL);
    return false;
}

void api_reply_invalid(http_request *q, status rc, const err *e, json *faults) {
    bool fields = rc == ERR_ARG;
    http_reply_problem(q, fields ? 422 : 400, fields ? "invalid-request" : "bad-json",
                       fields ? "Invalid request" : "Not JSON", e->text, faults);
}

// ---- verdicts

static void set_problem(verdict *v, int code, const char *kind, const char *title,
                        const char *detail) {
    v->code = code;
    v->kind = kind;
    v->title = title;
    snprintf(v->detail, sizeof v->detail, "%s", detail ? detail : "");
}

static void set_rejected(api *a, http_request *q, verdict *v, status rc, const job_submitted *done,
                         const err *e) {
    const char *reason = done->too_many ? "key_quota" : "queue_full";
    metrics_count(a->config.metrics, "stemforge_jobs_rejected_total", "reason=\"%s\"",
                  rc == ERR_LIMIT ? reason : status_name(rc));
    if (rc == ERR_LIMIT) {
        v->retry_s = seconds_to_place(a);
        set_problem(v, 429, done->too_many ? "key-quota" : "queue-full",
                    done->too_many ? "Too many jobs of this key" : "Queue full", e->text);
    } else if (rc == ERR_CONFLICT) {
        set_problem(v, 409, "conflict", "Conflict",
                    "this generation_request_id was submitted with another body");
    } else {
        log_error("api", "request=%s: %s", http_id(q), e->text);
        v->retry_s = API_RETRY_SECONDS;
        set_problem(v, 503, "busy", "Temporarily unable", "try again later");
    }
}

static void set_invalid(api *a, verdict *v, status rc, const err *e, json *faults) {
    bool fields = rc == ERR_ARG;
    metrics_add(a->config.metrics, "stemforge_jobs_rejected_total", "reason=\"invalid\"", 1);
    set_problem(v, fields ? 422 : 400, fields ? "invalid-request" : "bad-json",
                fields ? "Invalid request" : "Not JSON", e->text);
    v->errors = faults;
}

static void set_accepted(api *a, verdict *v, const job_submitted *done, const warnings *said) {
    v->code = 202;
    v->existed = done->existed;
    if (said->n) v->warnings = request_warnings_json(said);
    if (done->existed) return;
    metrics_add(a->config.metrics, "stemforge_jobs_submitted_total", NULL, 1);
    worker_wake(a->config.worker);
}

// The request, once its fields have let it through.
static void take_request(api *a, http_request *q, bytes text, request *r, verdict *v) {
    warnings said = {0};
    job_submitted done = {0};
    json *faults;
    err e;
    char key[JOB_MODEL_MAX + 1];
    snprintf(v->id, sizeof v->id, "%s", r->id);
    status rc = api_choose_model(a, r, key, &faults, &e);
    if (!rc) rc = api_judge_request(a, r, key, &said, &faults, &e);
    if (rc == ERR_ARG) {
        set_invalid(a, v, rc, &e, faults);
        return;
    }
    if (!rc) rc = submit(a, q, text, r, key, &said, &done, &e);
    if (rc)
        set_rejected(a, q, v, rc, &done, &e);
    else
        set_accepted(a, v, &done, &said);
}

static void judge(api *a, http_request *q, bytes text, verdict *v) {
    request r;
    json *faults;
    err e;
    *v = (verdict){0};
    status rc = request_parse(&r, text, &a->config.limits, &faults, &e);
    if (rc == ERR_ARG || rc == ERR_FORMAT) {
        set_invalid(a, v, rc, &e, faults);
    } else if (rc) {
        set_rejected(a, q, v, rc, &(job_submitted){0}, &e);
    } else {
        take_request(a, q, text, &r, v);
        request_deinit(&r);
    }
}

// Takes the warnings.
static json *accepted_json(verdict *v) {
    json *j = json_new_object();
    json_set_str(j, "generation_request_id", v->id);
    json_set_str(j, "status", "processing");
    json_set_str(j, "message", "Generation started. Stems will be available shortly.");
    if (v->warnings) json_set(j, "warnings", v->warnings);
    v->warnings = NULL;
    return j;
}

// ---- one request

static void reply_one(http_request *q, verdict *v) {
    char where[REQUEST_ID_MAX + 8];
    if (v->retry_s) api_retry_after(q, v->retry_s);
    if (v->kind) {
        http_reply_problem(q, v->code, v->kind, v->title, v->detail, v->errors);
        v->errors = NULL;
        return;
    }
    snprintf(where, sizeof where, "/jobs/%s", v->id);
    http_add_header(q, "Location", where);
    if (v->existed) http_add_header(q, "Idempotent-Replayed", "true");
    api_reply_json(q, v->code, accepted_json(v));
}

void api_post_generate(api *a, http_request *q, const char *unused) {
    (void)unused;
    verdict v;
    if (!accepting(a, q) || !api_take_json(q)) return;
    judge(a, q, http_body(q), &v);
    reply_one(q, &v);
    verdict_deinit(&v);
}

// ---- many

#define BATCH_MAX 100 // requests

// What one of a batch is answered: the code, and the body that it would have alone.
static json *result_json(http_request *q, verdict *v) {
    json *j = json_new_object();
    json_set_int(j, "status", v->code);
    if (v->id[0]) json_set_str(j, "generation_request_id", v->id);
    if (v->retry_s) json_set_int(j, "retry_after", v->retry_s);
    if (v->kind) {
        json_set(j, "problem", http_problem(q, v->code, v->kind, v->title, v->detail, v->errors));
        v->errors = NULL;
    } else {
        json_set_bool(j, "replayed", v->existed);
        json_set(j, "accepted", accepted_json(v));
    }
    return j;
}

// How many requests there are; 0: q is answered.
static size_t count_requests(http_request *q, size_t body_max) {
    json *tree = NULL;
    err e;
    status rc = json_parse_any(&tree, http_body(q), body_max, &e);
    const json *list = rc ? NULL : json_find(tree, "requests");
    size_t n = json_len(list);
    if (rc) {
        http_reply_problem(q, 400, "bad-json", "Not JSON", e.text, NULL);
    } else if (json_is_twice(http_body(q), "requests")) {
        err_set(&e, ERR_ARG, "requests: expected once, found twice");
    } else if (!json_is_array(list) || n < 1 || n > BATCH_MAX) {
        err_set(&e, ERR_ARG, "requests: expected an array of 1 to %d requests, found %s", BATCH_MAX,
                json_is_array(list) ? n ? "more" : "none" : json_kind(list));
    } else {
        json_free(tree);
        return n;
    }
    if (!rc) http_reply_problem(q, 422, "invalid-request", "Invalid request", e.text, NULL);
    json_free(tree);
    return 0;
}

void api_post_batch(api *a, http_request *q, const char *unused) {
    (void)unused;
    if (!accepting(a, q) || !api_take_json(q)) return;
    size_t n = count_requests(q, a->config.limits.body_max);
    if (!n) return;
    bytes list = json_member_text(http_body(q), "requests");
    json *results = json_new_array(), *all = json_new_object();
    for (size_t i = 0; i < n; i++) {
        verdict v;
        judge(a, q, json_item_text(list, i), &v);
        json_add(results, result_json(q, &v));
        verdict_deinit(&v);
    }
    json_set(all, "results", results);
    api_reply_json(q, 207, all);
}
