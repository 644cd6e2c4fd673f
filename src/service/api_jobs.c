// api_jobs.c - the answers about jobs: submitting, looking, listing, canceling, following.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "service/api_inside.h"
#include "service/job_recipe.h"
#include "service/view.h"

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

// The progress in j's row is as of the last renewal of its lease; that of a job which runs here is
// replaced by what it is now.
static void refresh_progress(api *a, job *j) {
    double now[JOB_STEMS_MAX];
    if (j->state != JOB_RUNNING || !events_find(a->config.events, j->id, now, JOB_STEMS_MAX))
        return;
    for (size_t i = 0; i < j->stem_count; i++) j->stems[i].progress = now[i];
}

static view_live live_of(api *a, const job *j) {
    view_live v = {.seconds_left = -1};
    const fleet_state f = fleet_read(a->config.fleet, j->model);
    double rate = f.seconds_per_work, ahead = 0, left = 0;
    for (size_t i = 0; i < j->stem_count; i++) {
        const job_stem *s = &j->stems[i];
        left += j->work / (double)j->stem_count * (s->done ? 0 : 1 - s->progress);
    }
    if (j->state == JOB_QUEUED) job_position(a->config.jobs, j->id, &v.ahead, &ahead, NULL);
    if (rate >= 0) v.seconds_left = (ahead / MAX(f.slots, 1) + left) * rate;
    return v;
}

static json *job_json(api *a, job *j) {
    refresh_progress(a, j);
    view_live live = live_of(a, j);
    return view_job(j, &live, a->config.blobs);
}

static bool json_body(const http_request *q) {
    const char *type = http_header(q, "Content-Type");
    if (!type || strncasecmp(type, API_JSON_TYPE, strlen(API_JSON_TYPE)) != 0) return false;
    const char *rest = type + strlen(API_JSON_TYPE);
    return (*rest == 0 || *rest == ';' || *rest == ' ') && !http_header(q, "Content-Encoding");
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

static void reply_accepted(http_request *q, const char *id, bool existed, const warnings *said) {
    json *j = json_new_object();
    json_set_str(j, "generation_request_id", id);
    json_set_str(j, "status", "processing");
    json_set_str(j, "message", "Generation started. Stems will be available shortly.");
    if (said->n) json_set(j, "warnings", request_warnings_json(said));
    char where[REQUEST_ID_MAX + 8];
    snprintf(where, sizeof where, "/jobs/%s", id);
    http_add_header(q, "Location", where);
    if (existed) http_add_header(q, "Idempotent-Replayed", "true");
    api_reply_json(q, 202, j);
}

static void reply_rejected(api *a, http_request *q, status rc, const err *e) {
    metrics *m = a->config.metrics;
    metrics_count(m, "stemforge_jobs_rejected_total", "reason=\"%s\"",
                  rc == ERR_LIMIT ? "queue_full" : status_name(rc));
    if (rc == ERR_LIMIT) {
        api_retry_after(q, seconds_to_place(a));
        http_reply_problem(q, 429, "queue-full", "Queue full", e->text, NULL);
    } else if (rc == ERR_CONFLICT) {
        http_reply_problem(q, 409, "conflict", "Conflict",
                           "this generation_request_id was submitted with another body", NULL);
    } else {
        api_reply_status(q, rc, e);
    }
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

static status submit(api *a, http_request *q, const request *r, const char *model,
                     const warnings *said, job_submitted *done, err *e) {
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
                     .request = http_body(q),
                     .canonical = buf_bytes(&canonical),
                     .warnings = sentences.n ? buf_str(&sentences) : NULL,
                     .callback_url = r->callback_url,
                     .trace = http_id(q),
                     .model = model,
                     .seed = r->ask.seed,
                     .work = r->work};
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

static void reply_invalid(api *a, http_request *q, status rc, const err *e, json *faults) {
    metrics_add(a->config.metrics, "stemforge_jobs_rejected_total", "reason=\"invalid\"", 1);
    api_reply_invalid(q, rc, e, faults);
}

// The request, once the fields and the model have let it through.
static void accept(api *a, http_request *q, request *r) {
    warnings said = {0};
    job_submitted done = {0};
    json *faults;
    err e;
    char key[JOB_MODEL_MAX + 1];
    status rc = api_choose_model(a, r, key, &faults, &e);
    if (!rc) rc = api_judge_request(a, r, key, &said, &faults, &e);
    if (rc == ERR_ARG) {
        reply_invalid(a, q, rc, &e, faults);
        return;
    }
    if (!rc) rc = submit(a, q, r, key, &said, &done, &e);
    if (rc) {
        reply_rejected(a, q, rc, &e);
        return;
    }
    if (!done.existed) {
        metrics_add(a->config.metrics, "stemforge_jobs_submitted_total", NULL, 1);
        worker_wake(a->config.worker);
    }
    reply_accepted(q, r->id, done.existed, &said);
}

void api_post_generate(api *a, http_request *q, const char *unused) {
    (void)unused;
    if (!accepting(a, q) || !api_take_json(q)) return;
    request r;
    json *faults;
    err e;
    status rc = request_parse(&r, http_body(q), &a->config.limits, &faults, &e);
    if (rc == ERR_ARG || rc == ERR_FORMAT) {
        reply_invalid(a, q, rc, &e, faults);
    } else if (rc) {
        reply_rejected(a, q, rc, &e);
    } else {
        accept(a, q, &r);
        request_deinit(&r);
    }
}

bool api_find_job(api *a, http_request *q, const char *id, job *j) {
    err e;
    status rc = job_get(a->config.jobs, id, j, &e);
    if (rc) api_reply_status(q, rc, &e);
    return rc == OK;
}

void api_get_job(api *a, http_request *q, const char *id) {
    job j = {0};
    if (!api_find_job(a, q, id, &j)) return;
    if (!job_state_ended(j.state)) api_retry_after(q, 2);
    api_reply_json(q, 200, job_json(a, &j));
    job_deinit(&j);
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
    if (!api_find_job(a, q, id, &j)) return;
    say_ended(a, &j);
    api_reply_json(q, code, job_json(a, &j));
    job_deinit(&j);
}

// False: q is answered.
static bool cancel(api *a, http_request *q, const char *id, job_cancel_answer *how) {
    err e;
    status rc = job_cancel(a->config.jobs, id, job_time_now(), how, &e);
    if (rc) {
        api_reply_status(q, rc, &e);
        return false;
    }
    if (*how == JOB_CANCEL_ASKED) worker_cancel(a->config.worker, id);
    if (*how == JOB_CANCEL_DONE) outbox_wake(a->config.outbox);
    return true;
}

void api_post_cancel(api *a, http_request *q, const char *id) {
    job_cancel_answer how;
    if (!cancel(a, q, id, &how)) return;
    if (how == JOB_CANCEL_ENDED) {
        http_reply_problem(q, 409, "conflict", "Conflict", "the job has ended", NULL);
    } else {
        reply_job(a, q, id, how == JOB_CANCEL_ASKED ? 202 : 200);
    }
}

// A job that has not ended is canceled; one that has is removed.
void api_delete_job(api *a, http_request *q, const char *id) {
    job j = {0};
    err e;
    status rc = job_get(a->config.jobs, id, &j, &e);
    bool ended = job_state_ended(j.state);
    job_deinit(&j);
    if (rc == OK && !ended) {
        api_post_cancel(a, q, id);
        return;
    }
    if (rc == OK) rc = job_delete(a->config.jobs, id, &e);
    if (rc)
        api_reply_status(q, rc, &e);
    else
        http_reply(q, 204, NULL, (bytes){0});
}

void api_post_redeliver(api *a, http_request *q, const char *id) {
    err e;
    status rc = job_redeliver(a->config.jobs, id, job_time_now(), &e);
    if (rc) {
        api_reply_status(q, rc == ERR_ARG ? ERR_CONFLICT : rc, &e);
        return;
    }
    outbox_wake(a->config.outbox);
    reply_job(a, q, id, 202);
}

// With the model that made the job. One that is not here cannot say what it stands for.
static status write_recipe(json **out, api *a, const job *j, err *e) {
    job_recipe_model m = {0};
    stemforge_engine *g = api_judge(a, j->model, &m.model, &m.weights);
    if (!g)
        return err_set(e, ERR_CONFLICT,
                       "expected a model of %s, which the job is for, found none here", j->model);
    m.info = stemforge_engine_info(g);
    return job_recipe(out, j, &m, e);
}

void api_get_recipe(api *a, http_request *q, const char *id) {
    job j = {0};
    if (!api_judge(a, "", NULL, NULL)) {
        api_retry_after(q, API_RETRY_SECONDS);
        http_reply_problem(q, 503, "not-ready", "Not ready", "no model is loaded yet", NULL);
        return;
    }
    if (!api_find_job(a, q, id, &j)) return;
    json *recipe;
    err e;
    status rc = write_recipe(&recipe, a, &j, &e);
    if (rc)
        api_reply_status(q, rc, &e);
    else
        api_reply_json(q, 200, recipe);
    job_deinit(&j);
}

void api_get_events(api *a, http_request *q, const char *id) {
    job j = {0};
    if (!api_find_job(a, q, id, &j)) return;
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
    // The job may have ended after it was read and before the stream joined; then no event would
    // come.
    if (t && !ended && job_get(a->config.jobs, key, &j, NULL) == OK) {
        say_ended(a, &j);
        job_deinit(&j);
    }
}
