// jobs.h - a store with jobs for the tests of the queue and of the outbox.
#pragma once
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue.h"
#include "store/job_hook.h"
#include "store/source.h"

static const job_time T0 = {.wall_ms = 1700000000000, .mono_ms = 5000};

// The store's jobs as a worker gets them.
static inline source *jobs_of(job_store *s) {
    static _Thread_local source_jobs local;
    return source_jobs_open(&local, s, NULL);
}

static inline job_time at(int64_t ms) {
    return (job_time){T0.wall_ms + ms, T0.mono_ms + ms};
}

// The callback's body: enough to see what was stored when it was rendered.
static inline status render(void *arg, const job *j, buf *body, err *e) {
    const status *fail = arg;
    if (fail && *fail) return err_set(e, *fail, "renderer says no");
    int done = 0;
    for (size_t i = 0; i < j->stem_count; i++) done += j->stems[i].done;
    buf_printf(body, "%s %s %d/%zu %s", j->id, job_state_name(j->state), done, j->stem_count,
               j->error ? j->error : "-");
    return OK;
}

static inline job_config config(void) {
    job_config c = job_config_default();
    c.render = render;
    c.caller_time = true;
    return c;
}

static inline job_store *open_at(const char *path) {
    job_store *s = NULL;
    err e = {.text = ""};
    job_config c = config();
    cr_assert_eq(job_store_open(&s, path, &c, &e), OK, "%s", e.text);
    return s;
}

static const char *const STEMS[] = {"drums", "bass"};

static inline job_new make(const char *id) {
    return (job_new){.id = id,
                     .audio_file_id = "audio-1",
                     .stems = STEMS,
                     .stem_count = 2,
                     .request = bytes_of("{ \"a\": 1 }"),
                     .canonical = bytes_of("{\"a\":1}"),
                     .callback_url = "http://api:5000/done",
                     .trace = "req-7",
                     .seed = UINT64_C(0xfedcba9876543210),
                     .work = 20.5};
}

static inline void submit(job_store *s, const char *id) {
    job_new n = make(id);
    job_submitted out;
    err e;
    cr_assert_eq(job_submit(s, &n, T0, &out, &e), OK, "%s", e.text);
    cr_assert_not(out.existed);
}

static inline claim_token claim(job_store *s, job_time now, const char *want_id) {
    claim_token c;
    job j;
    err e;
    cr_assert_eq(source_claim(jobs_of(s), now, &c, &j, &e), OK, "%s", e.text);
    cr_assert_str_eq(j.id, want_id);
    cr_assert_eq(j.state, JOB_RUNNING);
    job_deinit(&j);
    return c;
}

// Ends a claimed job through the source.
static inline status finish(job_store *s, claim_token c, job_state end, const char *code,
                            const char *text, job_time now, err *e) {
    source_end how = {.state = end, .code = code, .text = text};
    return source_finish(jobs_of(s), c, &how, now, NULL, e);
}

static inline job get(job_store *s, const char *id) {
    job j;
    err e;
    cr_assert_eq(job_get(s, id, &j, &e), OK, "%s", e.text);
    return j;
}

static inline void store_stem(job_store *s, claim_token c, const char *stem, job_time now) {
    char facts[] = "{\"measured\":{}}";
    job_result r = {.size = 44,
                    .facts = facts,
                    .md5 = "bWQ1",
                    .etag = "\"0x1\"",
                    .sample_rate = 44100,
                    .channels = 2,
                    .seconds = 10};
    snprintf(r.key, sizeof r.key, "audio-1/generated/x/%s.wav", stem);
    err e;
    cr_assert_eq(source_landed(jobs_of(s), c, stem, &r, now, &e), OK, "%s", e.text);
}

static inline void temp_path(char out[64]) {
    strcpy(out, "/tmp/stemforge-job-XXXXXX");
    cr_assert_not_null(mkdtemp(out));
    strcat(out, "/jobs.db");
}

static inline void remove_db(char *path) {
    static const char *const ends[] = {"", "-wal", "-journal", "-shm"};
    char name[80];
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
    *strrchr(path, '/') = 0;
    rmdir(path);
}

static inline void end_job(job_store *s, const char *id, job_time now) {
    submit(s, id);
    claim_token c = claim(s, now, id);
    cr_assert_eq(finish(s, c, JOB_FAILED, "x", "why", now, NULL), OK);
}

static inline void take_hook(job_store *s, job_time now, job_hook *h) {
    err e;
    cr_assert_eq(job_hook_claim(s, now, NULL, 0, h, &e), OK, "%s", e.text);
}

static inline job_hook_state record(job_store *s, const job_hook *h, job_hook_verdict v,
                                    int64_t after, double jitter, job_time now) {
    job_hook_record r = {
        .verdict = v, .code = 500, .error = "HTTP 500", .retry_after_ms = after, .jitter = jitter};
    job_hook_state state;
    err e;
    cr_assert_eq(job_hook_done(s, h, &r, now, &state, &e), OK, "%s", e.text);
    return state;
}
