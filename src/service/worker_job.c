// worker_job.c - one job from its claim to its end: generate, encode, store, record, finish.
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/trace.h"
#include "request/length.h"
#include "service/facts.h"
#include "service/recording.h"
#include "service/request.h"
#include "service/stem_file.h"
#include "service/view.h"
#include "service/worker_inside.h"

#define RETRY_MS_MAX 10000 // between tries while storage or database refuse
#define RATE_WEIGHT 0.3    // of the newest job in the running mean of seconds per work
#define NS 1000000000.0

// One job in the hands of a worker.
typedef struct {
    worker *w;
    slot *s;
    const job *j;
    request *r;
    int64_t start_ns;
    // Time spent on storing and recording stems. It is not the job's: while storage or database are
    // away a job waits, however long it may run.
    atomic_int_fast64_t outside_ns;
    atomic_int_fast64_t outside_since_ns; // when the stay that goes on now began; 0: none does
    bool timed_out;
    bool landed[JOB_STEMS_MAX];  // of this time
    json *others[JOB_STEMS_MAX]; // array: the takes of a stem that were not chosen, this time
    double made;                 // seconds of audio this time
    const char *code;            // why, when it was not the model
} run;

static int64_t deadline_after(int64_t ms) {
    return os_clock_ns() + ms * 1000000;
}

static void go_outside(run *x) {
    atomic_store(&x->outside_since_ns, os_clock_ns());
}

static void come_back(run *x) {
    atomic_fetch_add(&x->outside_ns, os_clock_ns() - atomic_load(&x->outside_since_ns));
    atomic_store(&x->outside_since_ns, 0);
}

// Seconds that the job has run, without what it spent outside.
static double seconds_run(run *x) {
    int64_t now = os_clock_ns(), since = atomic_load(&x->outside_since_ns);
    int64_t outside = atomic_load(&x->outside_ns) + (since ? now - since : 0);
    return (double)(now - x->start_ns - outside) / NS;
}

// Whether the job is to be stopped, for whatever reason.
static bool stopped(void *arg) {
    run *x = arg;
    if (seconds_run(x) > x->w->config.job_seconds_max) x->timed_out = true;
    return x->timed_out || atomic_load(&x->s->canceled) || atomic_load(&x->s->lost) ||
           atomic_load(&x->w->give_back);
}

static void on_progress(void *arg, size_t i, int64_t done, int64_t total) {
    run *x = arg;
    if (total <= 0 || i >= x->j->stem_count) return;
    // The last hundredth is for what follows the model: encoding and storing.
    double f = 0.99 * (double)MIN(done, total) / (double)total;
    events_progress(x->w->config.events, x->j->id, i, f);
}

// Between two tries while the outside refuses. False: give up, the job is to be stopped.
static bool pause_retry(run *x, int *tries) {
    int64_t ms = MIN(100LL << MIN(*tries, 10), RETRY_MS_MAX);
    int64_t until = deadline_after(ms);
    (*tries)++;
    while (os_clock_ns() < until) {
        if (stopped(x)) return false;
        os_sleep_ms(20);
    }
    return true;
}

static status store_stem(run *x, const char *key, bytes wav, blob_info *info, err *e) {
    worker *w = x->w;
    int64_t start = os_clock_ns();
    for (int tries = 0;;) {
        status rc = blob_put(w->config.blobs, key, wav, STEM_FILE_TYPE, info, e);
        double waited = (double)(os_clock_ns() - start) / NS;
        metrics_count(w->config.metrics, "stemforge_uploads_total", "outcome=\"%s\"",
                      rc ? status_name(rc) : "ok");
        if (rc == OK) {
            metrics_observe(w->config.metrics, "stemforge_job_upload_seconds", NULL, waited);
            return OK;
        }
        bool away = rc == ERR_BUSY || rc == ERR_IO || rc == ERR_OOM;
        if (!away || waited > w->config.storage_seconds_max) return rc;
        upkeep_storage_away(w->config.upkeep);
        log_warn("worker", "storage refuses %s, its job waits: %s", key, e->text);
        if (!pause_retry(x, &tries)) return err_set(e, ERR_CANCELED, "stopped while storing");
    }
}

// The database may be full or read-only for a while: what was achieved is worth waiting for.
static status record_stem(run *x, const char *stem, const job_result *r, err *e) {
    for (int tries = 0;;) {
        status rc = source_landed(x->s->m->source, x->s->claim, stem, r, job_time_now(), e);
        if (rc == ERR_CANCELED) atomic_store(&x->s->lost, true);
        if (rc != ERR_IO && rc != ERR_BUSY && rc != ERR_OOM) return rc;
        log_warn("worker", "database refuses a stem of %s, its job waits: %s", x->j->id, e->text);
        if (!pause_retry(x, &tries)) return err_set(e, ERR_CANCELED, "stopped while recording");
    }
}

static status name_file(const run *x, const stemforge_stem *stem, job_result *r, err *e) {
    const job *j = x->j;
    char name[REQUEST_FILE_NAME_MAX + 1];
    stemforge_request asked = x->r->ask;
    asked.seed = j->seed;
    status rc = request_file_name(name, &asked, stem->name, e);
    if (rc) return rc;
    if (stem->chosen)
        stem_file_key(r->key, sizeof r->key, j->audio_file_id, j->id, name);
    else
        stem_file_take_key(r->key, sizeof r->key, j->audio_file_id, j->id, name, stem->take);
    return OK;
}

// Encodes and stores the take's file; r says where.
static status store_file(run *x, const stemforge_stem *stem, job_result *r, err *e) {
    uint8_t *wav = NULL;
    size_t size = 0;
    double start = os_seconds();
    status rc = name_file(x, stem, r, e);
    if (!rc) rc = stemforge_stem_wav(stem, &wav, &size, e);
    metrics_observe(x->w->config.metrics, "stemforge_job_encode_seconds", NULL,
                    os_seconds() - start);
    blob_info info = {0};
    go_outside(x);
    if (rc == OK) rc = store_stem(x, r->key, (bytes){wav, size}, &info, e);
    come_back(x);
    stemforge_free(wav);
    if (rc) return rc;
    log_info("worker", "Uploaded generated audio to blob storage");
    r->size = (int64_t)size;
    snprintf(r->md5, sizeof r->md5, "%s", info.md5);
    snprintf(r->etag, sizeof r->etag, "%s", info.etag);
    return OK;
}

// A take that was not chosen is kept in mind until the chosen one is recorded.
static status land_stem(run *x, size_t i, const stemforge_stem *stem, err *e) {
    job_result r = {.sample_rate = stem->sample_rate,
                    .channels = stem->channels,
                    .seconds = (double)stem->frames / stem->sample_rate};
    status rc = store_file(x, stem, &r, e);
    if (!rc && !stem->chosen) {
        if (!x->others[i]) x->others[i] = json_new_array();
        bool ok = json_add(x->others[i], facts_of_take(stem, &r));
        return ok ? OK : err_set(e, ERR_OOM, "no memory for a take");
    }
    if (!rc) rc = facts_write(&r.facts, stem, x->others[i], e);
    go_outside(x);
    if (!rc) rc = record_stem(x, stem->name, &r, e);
    come_back(x);
    mem_free(r.facts);
    return rc;
}

static status take_stem(run *x, size_t i, const stemforge_stem *stem, err *e) {
    worker *w = x->w;
    double seconds = (double)stem->frames / stem->sample_rate;
    log_info("worker", "%s generated %.1fs of audio for stem '%s'", x->s->m->title, seconds,
             stem->name);
    metrics_observe(w->config.metrics, "stemforge_job_predict_seconds", NULL, stem->seconds_spent);
    char label[40];
    snprintf(label, sizeof label, "stem=\"%s\"", stem->name);
    metrics_add(w->config.metrics, "stemforge_audio_seconds_generated_total", label, seconds);
    x->made += seconds;
    status rc = land_stem(x, i, stem, e);
    if (rc) {
        x->code = "upload_failed";
        err_within(e, rc, "storing the stem");
        return rc;
    }
    if (!stem->chosen) return OK;
    x->landed[i] = true;
    events_progress(w->config.events, x->j->id, i, 1);
    return OK;
}

static status on_stem(void *arg, size_t i, const stemforge_stem *stem, err *e) {
    run *x = arg;
    log_fields before = log_set_fields(
        (log_fields){.job = x->j->id, .stem = stem->name, .seconds = stem->seconds_spent});
    status rc = take_stem(x, i, stem, e);
    log_set_fields(before);
    return rc;
}

// The stem that a failure names; of one that names none, the first stem that is not there.
static const char *failed_stem(const run *x, const err *why) {
    for (size_t i = 0; i < x->j->stem_count; i++) {
        if (strcmp(why->where, x->j->stems[i].name) == 0) return x->j->stems[i].name;
    }
    for (size_t i = 0; i < x->j->stem_count; i++) {
        if (!x->j->stems[i].done && !x->landed[i]) return x->j->stems[i].name;
    }
    return x->j->stems[0].name;
}

static void say_end(worker *w, const job *ended) {
    events_say(w->config.events, ended->id, job_state_name(ended->state),
               view_job(ended, NULL, w->config.blobs), true);
    metrics_observe(w->config.metrics, "stemforge_job_total_seconds", NULL,
                    (double)MAX(0, ended->ended_ms - ended->created_ms) / 1000);
}

static void end_job(run *x, job_state end, const char *code, const char *text) {
    worker *w = x->w;
    source_end how = {.state = end, .code = code, .text = text};
    job ended = {0};
    err e;
    int tries = 0;
    status rc;
    do {
        rc = source_finish(x->s->m->source, x->s->claim, &how, job_time_now(), &ended, &e);
        if (rc == OK || rc == ERR_CANCELED || rc == ERR_ARG || rc == ERR_LIMIT) break;
        log_warn("worker", "the end of %s cannot be recorded, trying on: %s", x->j->id, e.text);
        int64_t until = deadline_after(MIN(100LL << MIN(tries++, 10), RETRY_MS_MAX));
        while (os_clock_ns() < until && !atomic_load(&w->give_back)) os_sleep_ms(20);
    } while (!atomic_load(&w->give_back));
    if (rc) {
        log_error("worker", "request_id=%s did not end here: %s", x->j->id, e.text);
        return;
    }
    metrics_count(w->config.metrics, "stemforge_jobs_finished_total", "status=\"%s\",reason=\"%s\"",
                  job_state_name(end), code ? code : "ok");
    if (x->j->callback_url) outbox_wake(w->config.outbox);
    say_end(w, &ended);
    job_deinit(&ended);
}

static void give_back(run *x, bool counted) {
    err e;
    status rc = source_release(x->s->m->source, x->s->claim, counted, 0, job_time_now(), &e);
    log_info("worker", "Gave request_id=%s back to the queue%s%s", x->j->id, rc ? ": " : "",
             rc ? e.text : "");
}

static void end_failed(run *x, const err *why) {
    worker *w = x->w;
    const char *stem = failed_stem(x, why);
    char text[JOB_TEXT_MAX];
    snprintf(text, sizeof text, "stem '%s': %.460s", stem, why->text);
    log_fields before =
        log_set_fields((log_fields){.job = x->j->id, .stem = stem, .seconds = seconds_run(x)});
    log_error("worker", "%s generation failed for stem '%s': %s", x->s->m->title, stem, why->text);
    log_set_fields(before);
    metrics_count(w->config.metrics, "stemforge_stem_errors_total", "stem=\"%s\"", stem);
    if (why->code == ERR_DEVICE) {
        // Another process may do better; this one will not, so it claims nothing more.
        pthread_mutex_lock(&w->mu);
        w->stopping = true;
        pthread_mutex_unlock(&w->mu);
        atomic_store(&w->broken, true);
        give_back(x, true);
        return;
    }
    const char *code = x->code                ? x->code
                       : why->code == ERR_OOM ? "out_of_memory"
                       : why->code == ERR_ARG ? "invalid"
                                              : "model_error";
    end_job(x, JOB_FAILED, code, text);
}

static void note_rate(run *x) {
    worker *w = x->w;
    double spent = seconds_run(x);
    if (x->made <= 0) return;
    loaded_model *m = x->s->m;
    pthread_mutex_lock(&w->mu);
    double now = spent / x->made, old = m->seconds_per_work;
    m->seconds_per_work = old < 0 ? now : old + RATE_WEIGHT * (now - old);
    pthread_mutex_unlock(&w->mu);
    char label[48];
    snprintf(label, sizeof label, "model=\"%s\"", m->key);
    metrics_set(w->config.metrics, "stemforge_real_time_factor", label, x->made / MAX(spent, 1e-9));
}

static void settle(run *x, status rc, const err *why) {
    if (atomic_load(&x->s->lost)) {
        metrics_add(x->w->config.metrics, "stemforge_leases_lost_total", NULL, 1);
        log_warn("worker", "Lost the lease of request_id=%s, dropping the work", x->j->id);
    } else if (rc == OK) {
        note_rate(x);
        end_job(x, JOB_COMPLETED, NULL, NULL);
    } else if (rc == ERR_CANCELED && atomic_load(&x->s->canceled)) {
        log_info("worker", "Canceled generation for request_id=%s", x->j->id);
        end_job(x, JOB_CANCELED, "canceled", "canceled on request");
    } else if (rc == ERR_CANCELED && x->timed_out) {
        err late;
        err_set(&late, rc, "not finished within %.0f seconds", x->w->config.job_seconds_max);
        log_error("worker", "%s generation failed for stem '%s': %s", x->s->m->title,
                  failed_stem(x, &late), late.text);
        end_job(x, JOB_FAILED, "timeout", late.text);
    } else if (rc == ERR_CANCELED && atomic_load(&x->w->give_back)) {
        give_back(x, false);
    } else {
        end_failed(x, why);
    }
}

// While storage is away the job waits, as it does with a finished stem.
static status fetch_recording(run *x, buf *out, err *e) {
    worker *w = x->w;
    int64_t start = os_clock_ns();
    for (int tries = 0;;) {
        buf_clear(out);
        status rc = recording_fetch(out, w->config.blobs, x->j->audio_file_id, &w->config.recording,
                                    stopped, x, e);
        double waited = (double)(os_clock_ns() - start) / NS;
        bool away = rc == ERR_BUSY || rc == ERR_IO;
        if (!away || waited > w->config.storage_seconds_max) return rc;
        upkeep_storage_away(w->config.upkeep);
        log_warn("worker", "storage refuses the recording %s, its job waits: %s",
                 x->j->audio_file_id, e->text);
        if (!pause_retry(x, &tries)) return err_set(e, ERR_CANCELED, "stopped while fetching");
    }
}

// Makes what is left of the job; a request that follows a recording with that recording.
static status make(run *x, const bool *skip, err *why) {
    stemforge_request q = x->r->ask;
    buf recording;
    buf_init(&recording, (size_t)x->w->config.recording.bytes_max);
    q.seed = x->j->seed;
    q.skip = skip;
    stemforge_events ev = {
        .arg = x, .stem_done = on_stem, .progress = on_progress, .canceled = stopped};
    go_outside(x);
    status rc = q.follow_count ? fetch_recording(x, &recording, why) : OK;
    come_back(x);
    if (rc) err_about(why, "recording");
    q.recording_image = recording.p;
    q.recording_size = recording.n;
    if (!rc) rc = stemforge_generate(x->s->m->engine, &q, &ev, why);
    bool about_it = strcmp(why->where, "recording") == 0 || strncmp(why->where, "follow", 6) == 0;
    if (rc && about_it) x->code = "recording";
    buf_deinit(&recording);
    return rc;
}

static void generate(run *x) {
    const job *j = x->j;
    bool skip[JOB_STEMS_MAX] = {0};
    size_t left = 0;
    for (size_t i = 0; i < j->stem_count; i++) {
        skip[i] = j->stems[i].done;
        left += !skip[i];
        if (!skip[i]) {
            log_fields before =
                log_set_fields((log_fields){.job = j->id, .stem = j->stems[i].name});
            log_info("worker", "Generating stem type: %s, duration: %.1fs", j->stems[i].name,
                     length_seconds(&x->r->ask));
            log_set_fields(before);
        }
    }
    err why = {0};
    status rc = OK;
    if (left) rc = make(x, skip, &why);
    settle(x, rc, &why);
}

static void run_job(slot *s, const job *j) {
    worker *w = s->w;
    request r;
    run x = {.w = w, .s = s, .j = j, .r = &r, .start_ns = os_clock_ns()};
    err e;
    if (j->attempt == 1) {
        metrics_observe(w->config.metrics, "stemforge_job_queue_seconds", NULL,
                        (double)MAX(0, os_time_ms() - j->created_ms) / 1000);
    }
    log_info("worker", "Starting generation for request_id=%s, audio_file_id=%s", j->id,
             j->audio_file_id);
    events_begin(w->config.events, j);
    view_live live = {.seconds_left = -1};
    events_say(w->config.events, j->id, "status", view_job(j, &live, w->config.blobs), false);
    if (request_reparse(&r, bytes_of(j->request), j->work, &e)) {
        e.code = ERR_ARG;
        settle(&x, ERR_ARG, &e);
    } else {
        pace_begin(w->config.pace, j, r.progress_seconds);
        generate(&x);
        for (size_t i = 0; i < JOB_STEMS_MAX; i++) json_free(x.others[i]);
        request_deinit(&r);
    }
    pace_end(w->config.pace, j->id);
    events_forget(w->config.events, j->id);
}

void worker_run_job(slot *s, const job *j) {
    char trace[TRACE_ID_LEN + 1];
    trace_id(trace, j->trace);
    log_fields before = log_set_fields(
        (log_fields){.job = j->id, .attempt = j->attempt, .trace = trace[0] ? trace : NULL});
    run_job(s, j);
    log_set_fields(before);
}
