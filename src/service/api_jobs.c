// api_jobs.c - the answers about jobs: looking, canceling, sending again, following.
#include <stdio.h>
#include <string.h>

#include "service/api_inside.h"
#include "service/job_recipe.h"
#include "service/view.h"

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
