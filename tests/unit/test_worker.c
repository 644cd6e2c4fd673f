// test_worker.c - claim, generate, store, finish, with the real engine and a model that makes a
// tone.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tone/tone.h"
#include "base/log.h"
#include "base/os.h"
#include "loopback.h"
#include "queue.h"
#include "service/view.h"
#include "service/worker.h"
#include "wall_clock.h"

typedef struct {
    char dir[64];
    job_store *jobs;
    source_jobs source;
    blob_store *blobs;
    metrics *metrics;
    events *events;
    hook *hook;
    outbox *outbox;
    upkeep *upkeep;
    worker *worker;
    stemforge_engine *engine;
    loopback *azure; // an account, instead of a folder for stems
} rig;

// The source with a pause between the claim, which the queue knows, and its return to the worker.
static source_ops late;
static status (*claim_now)(source *s, job_time now, claim_token *claim, job *out, err *e);
static atomic_bool claims_are_late, claimed;

static status claim_late(source *s, job_time now, claim_token *claim, job *out, err *e) {
    status rc = claim_now(s, now, claim, out, e);
    if (rc) return rc;
    atomic_store(&claimed, true);
    os_sleep_ms(300);
    return OK;
}

static source *source_of(rig *g) {
    source *s = source_jobs_open(&g->source, g->jobs, NULL);
    if (!atomic_load(&claims_are_late)) return s;
    late = *s->ops;
    claim_now = late.claim;
    late.claim = claim_late;
    s->ops = &late;
    return s;
}

static void open_worker(rig *g, double seconds_max) {
    worker_config w = {.blobs = g->blobs,
                       .metrics = g->metrics,
                       .events = g->events,
                       .outbox = g->outbox,
                       .upkeep = g->upkeep,
                       .workers = 2,
                       .lease_ms = 300,
                       .job_seconds_max = seconds_max,
                       .storage_seconds_max = 10};
    err e;
    cr_assert_eq(worker_open(&g->worker, &w, &e), OK, "%s", e.text);
    const worker_model m = {g->engine, source_of(g)};
    cr_assert_eq(worker_start(g->worker, &m, 1, &e), OK, "%s", e.text);
}

static atomic_bool storage_away;

static loopback_next azure_answers(void *arg, const loopback_request *q, buf *reply) {
    (void)arg, (void)q;
    if (atomic_load(&storage_away)) {
        loopback_reply(reply, 503, "Retry-After: 3600\r\n", ""); // too long for one put to wait
    } else {
        loopback_reply(reply, 201, "x-ms-request-id: 1\r\nETag: \"1\"\r\n", "");
    }
    return LOOPBACK_KEEP;
}

// connection: of an Azure account; NULL: stems go into a folder.
static rig *rig_open_at(double seconds_max, const char *connection) {
    static rig g;
    log_setup(LOG_ERROR, false);
    atomic_store(&tone_hold, false);
    atomic_store(&tone_device_back, false);
    for (size_t i = 0; i < ARRAY_LEN(tone_made); i++) atomic_store(&tone_made[i], 0);
    snprintf(g.dir, sizeof g.dir, "/tmp/worker_XXXXXX");
    cr_assert_not_null(mkdtemp(g.dir));
    err e;
    blob_config b = blob_config_default();
    b.dir = g.dir;
    b.public_url = "http://x/files";
    b.connection = connection;
    cr_assert_eq(blob_open(&g.blobs, &b, &e), OK, "%s", e.text);
    job_config j = job_config_default();
    j.lease_ms = 300;
    j.render = view_callback;
    j.render_arg = g.blobs;
    cr_assert_eq(job_store_open(&g.jobs, new_queue(), &j, &e), OK, "%s", e.text);
    hook_config h = hook_config_default();
    cr_assert_eq(hook_open(&g.hook, &h, &e), OK);
    cr_assert_eq(metrics_open(&g.metrics, &e), OK);
    cr_assert_eq(events_open(&g.events, &e), OK);
    cr_assert_eq(outbox_open(&g.outbox, g.jobs, g.hook, g.metrics, 1, &e), OK);
    upkeep_config u = {.jobs = g.jobs, .blobs = g.blobs, .check_ms = 50};
    cr_assert_eq(upkeep_open(&g.upkeep, &u, &e), OK);
    stemforge_options o = stemforge_options_default();
    o.model = TONE_MODEL;
    o.threads = 1;
    cr_assert_eq(stemforge_open(&g.engine, &o, &e), OK, "%s", e.text);
    open_worker(&g, seconds_max);
    return &g;
}

static rig *rig_open(double seconds_max) {
    return rig_open_at(seconds_max, NULL);
}

static rig *rig_open_azure(double seconds_max) {
    loopback *l = loopback_start(azure_answers, NULL);
    char text[200];
    snprintf(text, sizeof text,
             "AccountName=a;AccountKey=MDEyMzQ1Njc4OQ==;BlobEndpoint=http://127.0.0.1:%d/a",
             loopback_port(l));
    rig *g = rig_open_at(seconds_max, text);
    g->azure = l;
    return g;
}

static void rig_close(rig *g) {
    worker_close(g->worker);
    stemforge_close(g->engine);
    upkeep_close(g->upkeep);
    outbox_close(g->outbox);
    events_close(g->events);
    metrics_close(g->metrics);
    hook_close(g->hook);
    job_store_close(g->jobs);
    blob_close(g->blobs);
    if (g->azure) loopback_stop(g->azure);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", g->dir);
    cr_assert_eq(system(command), 0);
}

// prompt: the words of tone.h.
static void submit(rig *g, const char *id, const char *prompt) {
    static const char *const stems[] = {"drums", "bass", "piano"};
    char text[300];
    snprintf(text, sizeof text,
             "{\"generation_request_id\":\"%s\",\"audio_file_id\":\"a\",\"target_stems\":"
             "[\"drums\",\"bass\",\"piano\"],\"parameters\":{\"duration_seconds\":1,"
             "\"prompt\":\"%s\"}}",
             id, prompt);
    job_new n = {.id = id,
                 .audio_file_id = "a",
                 .stems = stems,
                 .stem_count = 3,
                 .request = bytes_of(text),
                 .canonical = bytes_of(text),
                 .seed = 1,
                 .work = 30};
    job_submitted done;
    err e;
    cr_assert_eq(job_submit(g->jobs, &n, job_time_now(), &done, &e), OK, "%s", e.text);
    worker_wake(g->worker);
}

// Waits until the job is in that state, and hands it over.
static void await(rig *g, const char *id, job_state want, job *j) {
    for (int i = 0; i < 1000; i++) {
        *j = (job){0};
        cr_assert_eq(job_get(g->jobs, id, j, NULL), OK);
        if (j->state == want) return;
        cr_assert(!job_state_ended(j->state), "%s is %s: %s", id, job_state_name(j->state),
                  j->error ? j->error : "");
        job_deinit(j);
        os_sleep_ms(10);
    }
    cr_assert(false, "%s did not become %s", id, job_state_name(want));
}

// Waits until a stem stands still in the middle; tone_hold is set.
static void await_held(void) {
    int seen = atomic_load(&tone_held);
    for (int i = 0; i < 500 && atomic_load(&tone_held) == seen; i++) os_sleep_ms(10);
    cr_assert(atomic_load(&tone_held) > seen);
}

Test(worker, makes_stores_and_finishes_a_job) {
    rig *g = rig_open(100);
    submit(g, "one", "");
    job j;
    await(g, "one", JOB_COMPLETED, &j);
    cr_assert_str_eq(j.stems[2].result.key, "a/generated/one/piano.wav");
    cr_assert_gt(j.stems[2].result.size, 44 + 44100 * 2 * 2); // a second of 16 bits, stereo
    buf b;
    buf_init(&b, 1 << 20);
    cr_assert_eq(blob_get(g->blobs, j.stems[2].result.key, 0, 1 << 20, &b, NULL), OK);
    cr_assert_eq(b.n, (size_t)j.stems[2].result.size);
    cr_assert_eq(memcmp(b.p + b.n - 44100 * 2 * 2 - 8, "data\x10\xb1\x02\0", 8), 0,
                 "the samples are not at the end");
    b.n = 0;
    cr_assert_eq(blob_get(g->blobs, j.stems[1].result.key, 0, 12, &b, NULL), OK);
    cr_assert_eq(memcmp(b.p, "RIFF", 4), 0);
    cr_assert_eq(memcmp(b.p + 8, "WAVE", 4), 0);
    buf_deinit(&b);
    job_deinit(&j);
    cr_assert_eq(metrics_get(g->metrics, "stemforge_jobs_finished_total",
                             "status=\"completed\",reason=\"ok\""),
                 1);
    rig_close(g);
}

Test(worker, a_failing_stem_fails_the_job_and_keeps_what_landed) {
    rig *g = rig_open(100);
    submit(g, "bad", "fail:bass");
    job j;
    await(g, "bad", JOB_FAILED, &j);
    cr_assert_str_eq(j.error_code, "model_error");
    cr_assert_str_eq(j.error, "stem 'bass': the tone broke");
    cr_assert(j.stems[0].done && !j.stems[1].done && !j.stems[2].done);
    job_deinit(&j);
    cr_assert_eq(metrics_get(g->metrics, "stemforge_stem_errors_total", "stem=\"bass\""), 1);
    rig_close(g);
}

Test(worker, names_the_stem_that_failed_not_the_first_that_is_missing) {
    rig *g = rig_open(100);
    submit(g, "bad", "slow:100 nomemory:piano");
    job j;
    await(g, "bad", JOB_FAILED, &j);
    cr_assert_str_eq(j.error_code, "out_of_memory");
    cr_assert_str_eq(j.error, "stem 'piano': no memory for a tone");
    cr_assert(!j.stems[0].done && !j.stems[1].done && !j.stems[2].done);
    job_deinit(&j);
    cr_assert_eq(metrics_get(g->metrics, "stemforge_stem_errors_total", "stem=\"piano\""), 1);
    rig_close(g);
}

Test(worker, a_running_job_is_canceled_and_another_runs_beside_it) {
    rig *g = rig_open(100);
    atomic_store(&tone_hold, true);
    submit(g, "one", "");
    submit(g, "two", "");
    await_held();
    job j;
    await(g, "one", JOB_RUNNING, &j);
    job_deinit(&j);
    await(g, "two", JOB_RUNNING, &j);
    job_deinit(&j);
    cr_assert_eq(worker_busy(g->worker), 2);
    job_cancel_answer how;
    cr_assert_eq(job_cancel(g->jobs, "one", job_time_now(), &how, NULL), OK);
    cr_assert_eq(how, JOB_CANCEL_ASKED);
    // Nobody calls worker_cancel: the renewal of the lease brings the news too.
    await(g, "one", JOB_CANCELED, &j);
    job_deinit(&j);
    atomic_store(&tone_hold, false);
    await(g, "two", JOB_COMPLETED, &j);
    job_deinit(&j);
    rig_close(g);
}

Test(worker, a_lease_is_renewed_for_as_long_as_a_job_runs) {
    rig *g = rig_open(100);
    atomic_store(&tone_hold, true);
    submit(g, "long", "");
    os_sleep_ms(1200); // four leases
    atomic_store(&tone_hold, false);
    job j;
    await(g, "long", JOB_COMPLETED, &j);
    job_deinit(&j);
    cr_assert_eq(atomic_load(&tone_made[0]), 1); // nobody else took it up meanwhile
    rig_close(g);
}

// A wait that ends at a point of the wall clock lasts five minutes longer when the clock is set
// back by that much after the wait began. Here the clock is ahead when each wait begins, which is
// the same to such a wait.
Test(worker, a_wall_clock_that_steps_back_five_minutes_loses_no_lease) {
    rig *g = rig_open(100);
    atomic_store(&tone_hold, true);
    wall_clock_shift(300 * 1000);
    submit(g, "long", "");
    await_held();
    os_sleep_ms(1200);      // four leases
    submit(g, "other", ""); // wakes the second worker, which would take a job whose lease is over
    job j;
    await(g, "other", JOB_RUNNING, &j);
    job_deinit(&j);
    wall_clock_shift(0);
    atomic_store(&tone_hold, false);
    await(g, "long", JOB_COMPLETED, &j);
    cr_assert_eq(j.attempt, 1);
    job_deinit(&j);
    await(g, "other", JOB_COMPLETED, &j);
    job_deinit(&j);
    cr_assert_eq(atomic_load(&tone_made[0]), 2); // once each
    rig_close(g);
}

Test(worker, a_job_that_takes_too_long_fails) {
    rig *g = rig_open(0.2);
    atomic_store(&tone_hold, true);
    submit(g, "slow", "");
    job j;
    await(g, "slow", JOB_FAILED, &j);
    cr_assert_str_eq(j.error_code, "timeout");
    job_deinit(&j);
    rig_close(g);
}

// The limit is for the model. However long storage is away, what was made is not dropped.
Test(worker, storage_that_is_away_longer_than_a_job_may_run_drops_no_stem) {
    atomic_store(&storage_away, true);
    rig *g = rig_open_azure(2);
    submit(g, "patient", "");
    for (int i = 0; i < 500 && !atomic_load(&tone_made[0]); i++) os_sleep_ms(10);
    cr_assert_eq(atomic_load(&tone_made[0]), 1);
    os_sleep_ms(3000); // longer than a job may run
    job j = {0};
    cr_assert_eq(job_get(g->jobs, "patient", &j, NULL), OK);
    cr_assert_eq(j.state, JOB_RUNNING, "%s: %s", job_state_name(j.state), j.error);
    job_deinit(&j);
    cr_assert_not(upkeep_storage_ok(g->upkeep));
    atomic_store(&storage_away, false);
    await(g, "patient", JOB_COMPLETED, &j);
    cr_assert_eq(j.attempt, 1);
    job_deinit(&j);
    rig_close(g);
}

Test(worker, draining_gives_back_what_does_not_end_and_a_new_worker_makes_only_the_rest) {
    rig *g = rig_open(100);
    submit(g, "given", "device:bass");
    for (int i = 0; i < 500 && !worker_broken(g->worker); i++) os_sleep_ms(10);
    cr_assert(worker_broken(g->worker));
    worker_close(g->worker);
    job j = {0};
    cr_assert_eq(job_get(g->jobs, "given", &j, NULL), OK);
    cr_assert_eq(j.state, JOB_QUEUED);
    cr_assert(j.stems[0].done);
    job_deinit(&j);
    atomic_store(&tone_device_back, true);
    atomic_store(&tone_hold, true);
    open_worker(g, 100);
    await_held();
    worker_drain(g->worker, os_clock_ns() + 100000000);
    worker_close(g->worker);
    cr_assert_eq(job_get(g->jobs, "given", &j, NULL), OK);
    cr_assert_eq(j.state, JOB_QUEUED);
    job_deinit(&j);
    atomic_store(&tone_hold, false);
    open_worker(g, 100);
    await(g, "given", JOB_COMPLETED, &j);
    job_deinit(&j);
    cr_assert_eq(atomic_load(&tone_made[0]), 1);
    rig_close(g);
}

Test(worker, a_job_whose_claim_is_under_way_is_drained_too) {
    rig *g = rig_open(100);
    worker_close(g->worker);
    atomic_store(&claims_are_late, true);
    atomic_store(&claimed, false);
    open_worker(g, 100);
    submit(g, "one", "");
    for (int i = 0; i < 1000 && !atomic_load(&claimed); i++) os_sleep_ms(1);
    cr_assert(atomic_load(&claimed));
    worker_drain(g->worker, os_clock_ns() + 20000000000);
    job j = {0};
    cr_assert_eq(job_get(g->jobs, "one", &j, NULL), OK);
    cr_assert_eq(j.state, JOB_COMPLETED, "it is %s", job_state_name(j.state));
    job_deinit(&j);
    atomic_store(&claims_are_late, false);
    rig_close(g);
}

Test(worker, progress_is_known_while_a_job_runs) {
    rig *g = rig_open(100);
    atomic_store(&tone_hold, true);
    submit(g, "p", "");
    await_held();
    double p[3] = {0};
    for (int i = 0; i < 200 && p[0] == 0; i++) {
        cr_assert(events_find(g->events, "p", p, 3));
        os_sleep_ms(10);
    }
    cr_assert_float_eq(p[0], 0.495, 1e-9);
    atomic_store(&tone_hold, false);
    job j;
    await(g, "p", JOB_COMPLETED, &j);
    job_deinit(&j);
    for (int i = 0; i < 200 && events_find(g->events, "p", p, 3); i++) os_sleep_ms(10);
    cr_assert_not(events_find(g->events, "p", p, 3));
    rig_close(g);
}
