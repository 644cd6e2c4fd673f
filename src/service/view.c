// view.c - see view.h.
#include "service/view.h"

#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "base/utf8.h"
#include "service/facts.h"
#include "service/stem_file.h"

#define PARAMETERS_MAX ((size_t)256 << 10)
#define WARNINGS_BYTES ((size_t)256 << 10)

static void set_time(json *j, const char *key, int64_t wall_ms) {
    char text[OS_TIME_SIZE];
    if (!wall_ms) {
        json_set(j, key, json_new_null());
        return;
    }
    os_time_text(text, wall_ms, true);
    json_set_str(j, key, text);
}

static json *result_json(const job_stem *s, blob_store *blobs) {
    const job_result *r = &s->result;
    char url[BLOB_URL_MAX] = "";
    json *j = json_new_object();
    if (blob_link(blobs, r->key, os_time_ms(), url, sizeof url, NULL))
        snprintf(url, sizeof url, "%s", r->key);
    json_set_str(j, "stem_type", s->name);
    json_set_str(j, "blob_url", url);
    json_set_int(j, "file_size_bytes", r->size);
    json_set_str(j, "format", STEM_FILE_FORMAT);
    json_set_int(j, "sample_rate", r->sample_rate);
    json_set_int(j, "channels", r->channels);
    json_set_num(j, "duration_seconds", r->seconds);
    if (r->md5[0]) json_set_str(j, "content_md5", r->md5);
    facts_show(j, r->facts, blobs);
    return j;
}

static json *results_json(const job *j, blob_store *blobs) {
    json *list = json_new_array();
    for (size_t i = 0; i < j->stem_count; i++) {
        if (j->stems[i].done) json_add(list, result_json(&j->stems[i], blobs));
    }
    return list;
}

static const char *stem_state(const job *j, size_t i) {
    if (j->stems[i].done) return "completed";
    if (j->state == JOB_RUNNING) return "processing";
    return j->state == JOB_QUEUED ? "queued" : job_state_name(j->state);
}

static json *stems_json(const job *j, double *all) {
    json *list = json_new_array();
    *all = 0;
    for (size_t i = 0; i < j->stem_count; i++) {
        double p = j->stems[i].done ? 1 : j->stems[i].progress;
        *all += p / (double)j->stem_count;
        json *one = json_new_object();
        json_set_str(one, "stem_type", j->stems[i].name);
        json_set_str(one, "status", stem_state(j, i));
        json_set_num(one, "progress", p);
        json_add(list, one);
    }
    return list;
}

static json *hook_json(const job *j) {
    json *h = json_new_object();
    json_set_str(h, "state", job_hook_state_name(j->hook.state));
    json_set_str(h, "webhook_id", j->hook.id);
    json_set_int(h, "attempts", j->hook.attempts);
    json_set_int(h, "last_status", j->hook.last_code);
    set_time(h, "last_attempt_at", j->hook.last_ms);
    set_time(h, "next_attempt_at", j->hook.state == JOB_HOOK_PENDING ? j->hook.next_ms : 0);
    char text[sizeof j->hook.last_error];
    memcpy(text, j->hook.last_error, sizeof text);
    utf8_mend(text); // it is kept cut
    if (text[0]) json_set_str(h, "last_error", text);
    return h;
}

static void set_head(json *v, const job *j) {
    json_set_str(v, "generation_request_id", j->id);
    json_set_str(v, "audio_file_id", j->audio_file_id);
    json_set_str(v, "status", job_state_name(j->state));
    if (j->model[0]) json_set_str(v, "model", j->model);
    if (j->priority) json_set_str(v, "priority", j->priority < 0 ? "low" : "high");
}

static void set_times(json *v, const job *j) {
    set_time(v, "created_at", j->created_ms);
    set_time(v, "started_at", j->started_ms);
    set_time(v, "completed_at", j->ended_ms);
}

static void set_error(json *v, const job *j) {
    if (!j->error && !j->error_code) return;
    json_set_str(v, "error_message", j->error ? j->error : j->error_code);
    json *e = json_new_object();
    if (j->error_code) json_set_str(e, "code", j->error_code);
    json_set_str(e, "detail", j->error ? j->error : j->error_code);
    json_set(v, "error", e);
}

static json *parameters_json(const job *j) {
    json *p = NULL;
    bytes text = j->request ? json_member_text(bytes_of(j->request), "parameters") : (bytes){0};
    if (text.n) json_parse_any(&p, text, PARAMETERS_MAX, NULL);
    if (json_is_object(p)) return p;
    json_free(p);
    return json_new_object();
}

// What was said when it was accepted, and then of each finished stem.
static void set_warnings(json *v, const job *j) {
    json *list = NULL;
    if (!j->warnings || json_parse_any(&list, bytes_of(j->warnings), WARNINGS_BYTES, NULL))
        list = json_new_array();
    for (size_t i = 0; i < j->stem_count; i++)
        if (j->stems[i].done) facts_add_warnings(list, j->stems[i].result.facts);
    if (json_len(list))
        json_set(v, "warnings", list);
    else
        json_free(list);
}

json *view_job(const job *j, const view_live *live, blob_store *blobs) {
    json *v = json_new_object();
    double all;
    json *stems = stems_json(j, &all);
    set_head(v, j);
    json_set_num(v, "progress", all);
    json_set(v, "stems", stems);
    if (j->state == JOB_QUEUED && live) json_set_int(v, "position", live->ahead);
    if (!job_state_ended(j->state) && live && live->seconds_left >= 0)
        json_set_num(v, "estimated_seconds_left", (double)(int64_t)(live->seconds_left * 10) / 10);
    set_times(v, j);
    json_set_num(v, "processing_time_seconds", j->run_seconds);
    json_set_int(v, "attempt", j->attempt);
    json_set_bool(v, "cancel_requested", j->cancel_asked);
    json_set_int(v, "random_seed", (int64_t)j->seed);
    json_set(v, "generated_stems", results_json(j, blobs));
    set_error(v, j);
    json_set(v, "parameters", parameters_json(j));
    set_warnings(v, j);
    json_set(v, "callback", hook_json(j));
    return v;
}

static json *stem_names_json(const job *j) {
    json *list = json_new_array();
    for (size_t i = 0; i < j->stem_count; i++) json_add(list, json_new_str(j->stems[i].name));
    return list;
}

json *view_job_short(const job *j, bool details) {
    json *v = json_new_object();
    double all;
    json_free(stems_json(j, &all));
    set_head(v, j);
    json_set_num(v, "progress", all);
    json_set_int(v, "stem_count", (int64_t)j->stem_count);
    json_set(v, "target_stems", stem_names_json(j));
    if (details) json_set_int(v, "random_seed", (int64_t)j->seed);
    if (details) json_set(v, "parameters", parameters_json(j));
    set_times(v, j);
    if (j->error_code) json_set_str(v, "error_code", j->error_code);
    json_set_str(v, "callback_state", job_hook_state_name(j->hook.state));
    return v;
}

status view_callback(void *arg, const job *j, buf *body, err *e) {
    // A canceled job says "failed", the one word besides "completed" that the contract knows.
    json *v = json_new_object();
    json_set_str(v, "generation_request_id", j->id);
    json_set_str(v, "audio_file_id", j->audio_file_id);
    json_set_str(v, "status", j->state == JOB_COMPLETED ? "completed" : "failed");
    json_set_num(v, "processing_time_seconds", (double)(int64_t)(j->run_seconds * 1000) / 1000);
    json_set(v, "generated_stems", results_json(j, arg));
    if (j->state != JOB_COMPLETED) set_error(v, j);
    char when[OS_TIME_SIZE];
    os_time_text(when, j->ended_ms, true);
    json_set_str(v, "timestamp", when);
    json_set_int(v, "random_seed", (int64_t)j->seed);
    set_warnings(v, j);
    status rc = json_write(body, v, JSON_TIGHT, e);
    json_free(v);
    if (rc) return rc;
    bytes p = j->request ? json_member_text(bytes_of(j->request), "parameters") : (bytes){0};
    if (!p.n || p.p[0] != '{') p = bytes_of("{}");
    body->n--; // opens the object again
    buf_add_str(body, ",\"parameters\":");
    buf_add(body, p.p, p.n);
    buf_add_char(body, '}');
    return buf_status(body, e);
}
