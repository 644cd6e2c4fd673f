// test_job.c - the queue and the outbox: nothing acknowledged is lost, nothing ends twice.
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "store/job_hook.h"
#include "store/source.h"

static const job_time T0 = {.wall_ms = 1700000000000, .mono_ms = 5000};

// The store's jobs as a worker gets them.
static source *jobs_of(job_store *s) {
    static _Thread_local source_local local;
    return source_local_open(&local, s);
}

static job_time at(int64_t ms) {
    return (job_time){T0.wall_ms + ms, T0.mono_ms + ms};
}

// The callback's body: enough to see what was stored when it was rendered.
static status render(void *arg, const job *j, buf *body, err *e) {
    const status *fail = arg;
    if (fail && *fail) return err_set(e, *fail, "renderer says no");
    int done = 0;
    for (size_t i = 0; i < j->stem_count; i++) done += j->stems[i].done;
    buf_printf(body, "%s %s %d/%zu %s", j->id, job_state_name(j->state), done, j->stem_count,
               j->error ? j->error : "-");
    return OK;
}

static job_config config(void) {
    job_config c = job_config_default();
    c.render = render;
    return c;
}

static job_store *open_at(const char *path) {
    job_store *s = NULL;
    err e = {.text = ""};
    job_config c = config();
    cr_assert_eq(job_store_open(&s, path, &c, &e), OK, "%s", e.text);
    return s;
}

static const char *const STEMS[] = {"drums", "bass"};

static job_new make(const char *id) {
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

static void submit(job_store *s, const char *id) {
    job_new n = make(id);
    job_submitted out;
    err e;
    cr_assert_eq(job_submit(s, &n, T0, &out, &e), OK, "%s", e.text);
    cr_assert_not(out.existed);
}

static claim_token claim(job_store *s, job_time now, const char *want_id) {
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
static status finish(job_store *s, claim_token c, job_state end, const char *code, const char *text,
                     job_time now, err *e) {
    source_end how = {.state = end, .code = code, .text = text};
    return source_finish(jobs_of(s), c, &how, now, NULL, e);
}

static job get(job_store *s, const char *id) {
    job j;
    err e;
    cr_assert_eq(job_get(s, id, &j, &e), OK, "%s", e.text);
    return j;
}

static void store_stem(job_store *s, claim_token c, const char *stem, job_time now) {
    job_result r = {.size = 44,
                    .md5 = "bWQ1",
                    .etag = "\"0x1\"",
                    .sample_rate = 44100,
                    .channels = 2,
                    .seconds = 10};
    snprintf(r.key, sizeof r.key, "audio-1/generated/x/%s.wav", stem);
    err e;
    cr_assert_eq(source_landed(jobs_of(s), c, stem, &r, now, &e), OK, "%s", e.text);
}

static void temp_path(char out[64]) {
    strcpy(out, "/tmp/stemforge-job-XXXXXX");
    cr_assert_not_null(mkdtemp(out));
    strcat(out, "/jobs.db");
}

static void remove_db(char *path) {
    static const char *const ends[] = {"", "-wal", "-journal", "-shm"};
    char name[80];
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
    *strrchr(path, '/') = 0;
    rmdir(path);
}

Test(job, what_was_submitted_comes_back_whole) {
    job_store *s = open_at(":memory:");
    submit(s, "j1");
    job j = get(s, "j1");
    cr_assert_eq(j.state, JOB_QUEUED);
    cr_assert_str_eq(j.audio_file_id, "audio-1");
    cr_assert_str_eq(j.request, "{ \"a\": 1 }");
    cr_assert_str_eq(j.callback_url, "http://api:5000/done");
    cr_assert_str_eq(j.trace, "req-7");
    cr_assert_eq(j.seed, UINT64_C(0xfedcba9876543210));
    cr_assert_eq(j.work, 20.5);
    cr_assert_eq(j.created_ms, T0.wall_ms);
    cr_assert_eq(j.started_ms, 0);
    cr_assert_eq(j.stem_count, 2);
    cr_assert_str_eq(j.stems[1].name, "bass");
    cr_assert_not(j.stems[1].done);
    cr_assert_null(j.error);
    cr_assert_eq(j.hook.state, JOB_HOOK_NONE);
    job_deinit(&j);
    cr_assert_eq(job_get(s, "j2", &j, NULL), ERR_NOT_FOUND);
    job_store_close(s);
}

Test(job, same_id_and_body_is_the_same_job_and_another_body_a_conflict) {
    job_store *s = open_at(":memory:");
    submit(s, "j1");
    job_new n = make("j1");
    job_submitted out;
    n.request = bytes_of("{\"a\":1}"); // other spelling, same canonical form
    n.seed = 5;
    cr_assert_eq(job_submit(s, &n, at(1), &out, NULL), OK);
    cr_assert(out.existed);
    cr_assert_eq(out.state, JOB_QUEUED);
    job j = get(s, "j1");
    cr_assert_eq(j.seed, UINT64_C(0xfedcba9876543210));
    job_deinit(&j);
    n.canonical = bytes_of("{\"a\":2}");
    cr_assert_eq(job_submit(s, &n, at(1), &out, NULL), ERR_CONFLICT);
    job_store_close(s);
}

Test(job, full_queue_refuses_new_jobs_but_not_repeated_ones) {
    job_config c = config();
    c.queue_max = 2;
    job_store *s;
    cr_assert_eq(job_store_open(&s, ":memory:", &c, NULL), OK);
    submit(s, "a");
    submit(s, "b");
    job_new n = make("c");
    job_submitted out;
    err e;
    cr_assert_eq(job_submit(s, &n, T0, &out, &e), ERR_LIMIT);
    cr_assert_str_eq(e.text, "the queue is full: 2 jobs are waiting");
    n = make("a");
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), OK);
    claim(s, T0, "a"); // leaves the queue
    n = make("c");
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), OK);
    job_store_close(s);
}

Test(job, submit_refuses_what_does_not_fit_its_columns) {
    job_store *s = open_at(":memory:");
    job_submitted out;
    char long_id[JOB_ID_MAX + 2];
    memset(long_id, 'x', sizeof long_id);
    long_id[JOB_ID_MAX + 1] = 0;
    job_new n = make(long_id);
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), ERR_ARG);
    n = make("");
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), ERR_ARG);
    n = make("a"), n.stem_count = 0;
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), ERR_ARG);
    n = make("a"), n.work = -1;
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), ERR_ARG);
    n = make("a"), n.request.n = JOB_REQUEST_MAX + 1;
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), ERR_LIMIT);
    job_store_close(s);
}

Test(job, jobs_are_claimed_in_order_and_only_once) {
    job_store *s = open_at(":memory:");
    submit(s, "a");
    submit(s, "b");
    claim(s, at(1), "a");
    claim(s, at(2), "b");
    claim_token c;
    job j;
    cr_assert_eq(source_claim(jobs_of(s), at(3), &c, &j, NULL), ERR_NOT_FOUND);
    j = get(s, "b");
    cr_assert_eq(j.started_ms, T0.wall_ms + 2);
    cr_assert_eq(j.attempt, 1);
    job_deinit(&j);
    job_store_close(s);
}

Test(job, job_of_a_hung_worker_comes_back_and_the_old_claim_is_refused) {
    job_store *s = open_at(":memory:");
    submit(s, "a");
    claim_token old = claim(s, at(0), "a");
    cr_assert_eq(source_renew(jobs_of(s), old, NULL, at(30000), NULL, NULL), OK);
    claim_token c;
    job j;
    cr_assert_eq(source_claim(jobs_of(s), at(89999), &c, &j, NULL), ERR_NOT_FOUND);
    claim_token fresh = claim(s, at(90000), "a");
    job_result r = {0};
    cr_assert_eq(source_renew(jobs_of(s), old, NULL, at(90001), NULL, NULL), ERR_CANCELED);
    cr_assert_eq(source_landed(jobs_of(s), old, "drums", &r, at(90001), NULL), ERR_CANCELED);
    cr_assert_eq(finish(s, old, JOB_FAILED, "x", "y", at(90001), NULL), ERR_CANCELED);
    cr_assert_eq(source_release(jobs_of(s), old, true, 0, at(90001), NULL), ERR_CANCELED);
    cr_assert_eq(source_renew(jobs_of(s), fresh, NULL, at(90001), NULL, NULL), OK);
    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    cr_assert_eq(st.leases_lost, 1);
    j = get(s, "a");
    cr_assert_eq(j.attempt, 2);
    job_deinit(&j);
    job_store_close(s);
}

Test(job, wall_clock_jumps_do_not_touch_leases) {
    job_store *s = open_at(":memory:");
    submit(s, "a");
    claim_token c = claim(s, at(0), "a");
    claim_token other;
    job j;
    static const int64_t jumps[] = {INT64_C(10) * 365 * 86400000, -INT64_C(10) * 365 * 86400000};
    for (size_t i = 0; i < ARRAY_LEN(jumps); i++) {
        job_time now = {T0.wall_ms + jumps[i], T0.mono_ms + 1000};
        cr_assert_eq(source_claim(jobs_of(s), now, &other, &j, NULL), ERR_NOT_FOUND);
        cr_assert_eq(source_renew(jobs_of(s), c, NULL, now, NULL, NULL), OK);
    }
    job_store_close(s);
}

Test(job, completed_needs_every_stem_and_counts_the_time_it_ran) {
    job_store *s = open_at(":memory:");
    submit(s, "a");
    claim_token c = claim(s, at(0), "a");
    store_stem(s, c, "drums", at(1500));
    err e;
    cr_assert_eq(finish(s, c, JOB_COMPLETED, NULL, NULL, at(2000), &e), ERR_ARG);
    cr_assert_str_eq(e.text, "1 stems are not stored yet");
    job_result r = {0};
    cr_assert_eq(source_landed(jobs_of(s), c, "flute", &r, at(2000), NULL), ERR_ARG);
    store_stem(s, c, "bass", at(2500));
    cr_assert_eq(finish(s, c, JOB_COMPLETED, NULL, NULL, at(3200), NULL), OK);
    cr_assert_eq(finish(s, c, JOB_FAILED, "x", "y", at(3300), NULL), ERR_CANCELED);
    job j = get(s, "a");
    cr_assert_eq(j.state, JOB_COMPLETED);
    cr_assert_float_eq(j.run_seconds, 3.2, 1e-9);
    cr_assert_eq(j.ended_ms, T0.wall_ms + 3200);
    cr_assert_str_eq(j.stems[1].result.key, "audio-1/generated/x/bass.wav");
    cr_assert_eq(j.stems[1].result.sample_rate, 44100);
    cr_assert_eq(j.stems[1].done_ms, T0.wall_ms + 2500);
    cr_assert_eq(j.hook.state, JOB_HOOK_PENDING);
    job_deinit(&j);
    job_store_close(s);
}

Test(job, end_and_callback_are_one_transaction) {
    status fail = ERR_OOM;
    job_config cfg = config();
    cfg.render_arg = &fail;
    job_store *s;
    cr_assert_eq(job_store_open(&s, ":memory:", &cfg, NULL), OK);
    submit(s, "a");
    claim_token c = claim(s, at(0), "a");
    cr_assert_eq(finish(s, c, JOB_FAILED, "model_error", "broken", at(1), NULL), ERR_OOM);
    job j = get(s, "a");
    cr_assert_eq(j.state, JOB_RUNNING);
    job_deinit(&j);
    fail = OK;
    cr_assert_eq(finish(s, c, JOB_FAILED, "model_error", "broken", at(1), NULL), OK);
    j = get(s, "a");
    cr_assert_eq(j.state, JOB_FAILED);
    cr_assert_str_eq(j.error, "broken");
    cr_assert_str_eq(j.error_code, "model_error");
    cr_assert_eq(j.hook.state, JOB_HOOK_PENDING);
    job_deinit(&j);
    job_store_close(s);
}

Test(job, long_error_is_cut_between_characters) {
    job_store *s = open_at(":memory:");
    submit(s, "a");
    char text[800] = "x";
    for (int i = 0; i < 300; i++) strcat(text, "\xc3\xa9"); // two bytes each, at odd offsets
    claim_token c = claim(s, at(0), "a");
    cr_assert_eq(finish(s, c, JOB_FAILED, "x", text, at(1), NULL), OK);
    job j = get(s, "a");
    cr_assert_eq(strlen(j.error), 499); // 1 + 2 * 249
    job_deinit(&j);
    job_store_close(s);
}

Test(job, cancel_ends_a_waiting_job_at_once_and_asks_a_running_one) {
    job_store *s = open_at(":memory:");
    job_cancel_answer answer;
    submit(s, "a");
    submit(s, "b");
    cr_assert_eq(job_cancel(s, "a", at(1), &answer, NULL), OK);
    cr_assert_eq(answer, JOB_CANCEL_DONE);
    cr_assert_eq(job_cancel(s, "a", at(2), &answer, NULL), OK);
    cr_assert_eq(answer, JOB_CANCEL_DONE);
    job j = get(s, "a");
    cr_assert_eq(j.state, JOB_CANCELED);
    cr_assert_eq(j.hook.state, JOB_HOOK_PENDING); // a canceled job calls back too
    cr_assert_eq(j.ended_ms, T0.wall_ms + 1);
    job_deinit(&j);

    claim_token c = claim(s, at(3), "b");
    bool cancel = true;
    cr_assert_eq(source_renew(jobs_of(s), c, NULL, at(4), &cancel, NULL), OK);
    cr_assert_not(cancel);
    cr_assert_eq(job_cancel(s, "b", at(5), &answer, NULL), OK);
    cr_assert_eq(answer, JOB_CANCEL_ASKED);
    cr_assert_eq(source_renew(jobs_of(s), c, NULL, at(6), &cancel, NULL), OK);
    cr_assert(cancel);
    cr_assert_eq(finish(s, c, JOB_CANCELED, "canceled", "stopped", at(7), NULL), OK);
    cr_assert_eq(job_cancel(s, "zz", at(8), &answer, NULL), ERR_NOT_FOUND);

    submit(s, "c");
    c = claim(s, at(9), "c");
    cr_assert_eq(finish(s, c, JOB_FAILED, "x", "y", at(10), NULL), OK);
    cr_assert_eq(job_cancel(s, "c", at(11), &answer, NULL), OK);
    cr_assert_eq(answer, JOB_CANCEL_ENDED);
    job_store_close(s);
}

Test(job, cancel_is_remembered_when_the_worker_dies_or_gives_the_job_back) {
    job_store *s = open_at(":memory:");
    job_cancel_answer answer;
    submit(s, "a");
    claim(s, at(0), "a");
    cr_assert_eq(job_cancel(s, "a", at(1), &answer, NULL), OK);
    claim_token c;
    job j;
    cr_assert_eq(source_claim(jobs_of(s), at(70000), &c, &j, NULL),
                 ERR_NOT_FOUND); // lease over: it ends
    j = get(s, "a");
    cr_assert_eq(j.state, JOB_CANCELED);
    job_deinit(&j);
    submit(s, "b");
    c = claim(s, at(0), "b");
    cr_assert_eq(job_cancel(s, "b", at(1), &answer, NULL), OK);
    cr_assert_eq(source_release(jobs_of(s), c, true, 0, at(2), NULL), OK);
    j = get(s, "b");
    cr_assert_eq(j.state, JOB_CANCELED);
    job_deinit(&j);
    job_store_close(s);
}

Test(job, released_job_waits_its_delay_and_keeps_its_place) {
    job_store *s = open_at(":memory:");
    submit(s, "a");
    submit(s, "b");
    claim_token c = claim(s, at(0), "a");
    cr_assert_eq(source_release(jobs_of(s), c, false, 5000, at(1000), NULL), OK);
    claim_token b = claim(s, at(1001), "b");
    cr_assert_eq(source_release(jobs_of(s), b, true, 0, at(1002), NULL), OK);
    claim(s, at(6000), "a");
    claim(s, at(6000), "b");
    job j = get(s, "a");
    cr_assert_eq(j.attempt, 1); // the uncounted one was taken back
    job_deinit(&j);
    j = get(s, "b");
    cr_assert_eq(j.attempt, 2);
    job_deinit(&j);
    job_store_close(s);
}

Test(job, job_that_never_ends_fails_as_poison_unless_it_achieves_something) {
    job_store *s = open_at(":memory:");
    submit(s, "a");
    job_time now = T0;
    for (int i = 0; i < 5; i++, now = at((i + 1) * 100000)) claim(s, now, "a");
    claim_token c;
    job j;
    cr_assert_eq(source_claim(jobs_of(s), now, &c, &j, NULL), ERR_NOT_FOUND);
    j = get(s, "a");
    cr_assert_eq(j.state, JOB_FAILED);
    cr_assert_str_eq(j.error_code, "poison");
    cr_assert_eq(j.hook.state, JOB_HOOK_PENDING);
    job_deinit(&j);

    submit(s, "b");
    for (int i = 0; i < 12; i++, now = at((i + 20) * 100000)) {
        c = claim(s, now, "b");
        if (i % 4 == 3) store_stem(s, c, i < 6 ? "drums" : "bass", now);
    }
    job_store_close(s);
}

static void expect_none(job_store *s, job_time now) {
    claim_token c;
    job j;
    cr_assert_eq(source_claim(jobs_of(s), now, &c, &j, NULL), ERR_NOT_FOUND);
}

// Four workers, and one job whose every start ends the process.
Test(job, poison_does_not_take_the_jobs_that_ran_beside_it_along) {
    char path[64];
    temp_path(path);
    static const char *const ids[] = {"poison", "b", "c", "d"};
    job_store *s = open_at(path);
    for (int i = 0; i < 4; i++) submit(s, ids[i]);
    for (int crash = 0; crash < 2; crash++) {
        for (int i = 0; i < 4; i++) claim(s, at(0), ids[i]);
        job_store_close(s); // what a dead process leaves
        s = open_at(path);
    }
    submit(s, "new");
    for (int crash = 2; crash < 5; crash++) { // five attempts in all
        claim(s, at(0), "poison");
        expect_none(s, at(0));
        job_store_close(s);
        s = open_at(path);
    }
    for (int i = 1; i < 4; i++) {
        claim_token c = claim(s, at(1), ids[i]);
        expect_none(s, at(1)); // neither the next suspect nor the new one
        store_stem(s, c, "drums", at(2));
        if (i < 3) expect_none(s, at(2)); // the next suspect waits for it to end
        store_stem(s, c, "bass", at(2));
        cr_assert_eq(finish(s, c, JOB_COMPLETED, NULL, NULL, at(3), NULL), OK);
    }
    claim(s, at(4), "new");
    job j = get(s, "poison");
    cr_assert_eq(j.state, JOB_FAILED);
    cr_assert_str_eq(j.error_code, "poison");
    job_deinit(&j);
    job_store_close(s);
    remove_db(path);
}

Test(job, restart_gives_back_what_ran_and_keeps_finished_stems) {
    char path[64];
    temp_path(path);
    job_store *s = open_at(path);
    submit(s, "a");
    claim_token c = claim(s, at(0), "a");
    store_stem(s, c, "drums", at(10));
    double progress[] = {1, 0.25};
    cr_assert_eq(source_renew(jobs_of(s), c, progress, at(20), NULL, NULL), OK);
    job_store_close(s); // as if the process had died: nothing was given back

    s = open_at(path);
    job_time reborn = {T0.wall_ms + 1000, 7}; // the monotonic clock starts anew
    claim_token again;
    job j;
    cr_assert_eq(source_claim(jobs_of(s), reborn, &again, &j, NULL), OK);
    cr_assert(!claim_token_same(&again, &c));
    cr_assert(j.stems[0].done);
    cr_assert_str_eq(j.stems[0].result.md5, "bWQ1");
    cr_assert_not(j.stems[1].done);
    cr_assert_eq(j.stems[1].progress, 0.25);
    job_deinit(&j);
    cr_assert_eq(source_renew(jobs_of(s), c, NULL, reborn, NULL, NULL), ERR_CANCELED);
    job_store_close(s);
    remove_db(path);
}

// ---- the outbox

static void end_job(job_store *s, const char *id, job_time now) {
    submit(s, id);
    claim_token c = claim(s, now, id);
    cr_assert_eq(finish(s, c, JOB_FAILED, "x", "why", now, NULL), OK);
}

static void take_hook(job_store *s, job_time now, job_hook *h) {
    err e;
    cr_assert_eq(job_hook_claim(s, now, NULL, 0, h, &e), OK, "%s", e.text);
}

static job_hook_state record(job_store *s, const job_hook *h, job_hook_verdict v, int64_t after,
                             double jitter, job_time now) {
    job_hook_record r = {
        .verdict = v, .code = 500, .error = "HTTP 500", .retry_after_ms = after, .jitter = jitter};
    job_hook_state state;
    err e;
    cr_assert_eq(job_hook_done(s, h, &r, now, &state, &e), OK, "%s", e.text);
    return state;
}

Test(outbox, callback_keeps_its_id_and_body_over_all_attempts_and_dies_at_last) {
    job_config cfg = config();
    cfg.hook_attempts_max = 4;
    job_store *s;
    cr_assert_eq(job_store_open(&s, ":memory:", &cfg, NULL), OK);
    end_job(s, "a", at(0));
    char id[40] = "";
    int64_t now = 0;
    for (int attempt = 1; attempt <= 4; attempt++) {
        job_hook h;
        take_hook(s, at(now), &h);
        cr_assert_eq(h.attempt, attempt);
        cr_assert_str_eq(h.url, "http://api:5000/done");
        cr_assert_str_eq(buf_str(&h.body), "a failed 0/2 why");
        cr_assert_eq(h.end, JOB_FAILED);
        if (attempt == 1) {
            strcpy(id, h.webhook_id);
            cr_assert_eq(strlen(id), 30);
            cr_assert(strncmp(id, "msg_", 4) == 0);
        }
        cr_assert_str_eq(h.webhook_id, id);
        job_hook again;
        cr_assert_eq(job_hook_claim(s, at(now), NULL, 0, &again, NULL), ERR_NOT_FOUND); // leased
        job_hook_state st = record(s, &h, JOB_HOOK_AGAIN, -1, 0.999999, at(now));
        cr_assert_eq(st, attempt == 4 ? JOB_HOOK_DEAD : JOB_HOOK_PENDING);
        job_hook_deinit(&h);
        int64_t bound = INT64_C(5000) << (attempt - 1), due;
        cr_assert_eq(job_hook_next(s, &due, NULL), OK);
        if (attempt == 4) cr_assert_eq(due, INT64_MAX);
        if (attempt == 4) break;
        cr_assert_leq(due, T0.mono_ms + now + bound);
        cr_assert_geq(due, T0.mono_ms + now + bound - 10);
        cr_assert_eq(job_hook_claim(s, at(now + bound - 11), NULL, 0, &h, NULL), ERR_NOT_FOUND);
        now += bound;
    }
    job j = get(s, "a");
    cr_assert_eq(j.hook.state, JOB_HOOK_DEAD);
    cr_assert_eq(j.hook.attempts, 4);
    cr_assert_eq(j.hook.last_code, 500);
    cr_assert_str_eq(j.hook.last_error, "HTTP 500");
    job_deinit(&j);

    cr_assert_eq(job_redeliver(s, "a", at(now), NULL), OK);
    job_hook h;
    take_hook(s, at(now), &h);
    cr_assert_str_eq(h.webhook_id, id);
    cr_assert_eq(h.attempt, 1);
    cr_assert_eq(record(s, &h, JOB_HOOK_OK, -1, 0, at(now)), JOB_HOOK_DELIVERED);
    job_hook_deinit(&h);
    cr_assert_eq(job_hook_claim(s, at(now + 1), NULL, 0, &h, NULL), ERR_NOT_FOUND);
    job_store_close(s);
}

Test(outbox, delay_is_jittered_capped_and_not_shorter_than_retry_after) {
    job_store *s = open_at(":memory:");
    end_job(s, "a", at(0));
    static const struct {
        double jitter;
        int64_t after, want;
    } steps[] = {{0, -1, 0},         {0.5, -1, 5000},         {0, 7000, 7000},
                 {0.5, 1000, 20000}, {0, 999999999, 3600000}, {0.5, -1, 80000}};
    int64_t now = 0;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) { // bounds: 5, 10, 20, 40, 80, 160 s
        job_hook h;
        take_hook(s, at(now), &h);
        record(s, &h, JOB_HOOK_AGAIN, steps[i].after, steps[i].jitter, at(now));
        job_hook_deinit(&h);
        int64_t due;
        cr_assert_eq(job_hook_next(s, &due, NULL), OK);
        cr_assert_eq(due - T0.mono_ms - now, steps[i].want, "step %zu: %lld", i,
                     (long long)(due - T0.mono_ms - now));
        now += steps[i].want;
    }
    for (int i = 0; i < 20; i++) { // far out the bound is the cap
        job_hook h;
        take_hook(s, at(now), &h);
        record(s, &h, JOB_HOOK_AGAIN, -1, 1, at(now));
        job_hook_deinit(&h);
        int64_t due;
        cr_assert_eq(job_hook_next(s, &due, NULL), OK);
        cr_assert_leq(due - T0.mono_ms - now, INT64_C(4) * 3600 * 1000);
        now = due - T0.mono_ms;
    }
    job_store_close(s);
}

Test(outbox, attempt_of_a_dead_sender_is_repeated_and_its_late_record_refused) {
    job_store *s = open_at(":memory:");
    end_job(s, "a", at(0));
    job_hook first, second;
    take_hook(s, at(0), &first);
    cr_assert_eq(job_hook_claim(s, at(59999), NULL, 0, &second, NULL), ERR_NOT_FOUND);
    take_hook(s, at(60000), &second);
    cr_assert_eq(second.attempt, 1); // the first was never recorded
    job_hook_record r = {.verdict = JOB_HOOK_OK};
    job_hook_state state;
    cr_assert_eq(job_hook_done(s, &first, &r, at(60001), &state, NULL), ERR_CANCELED);
    cr_assert_eq(job_hook_done(s, &second, &r, at(60002), &state, NULL), OK);
    job_hook_deinit(&first);
    job_hook_deinit(&second);
    job_store_close(s);
}

// The clock on the wall is off by years, in either direction, while delays run and over restarts.
Test(outbox, a_wrong_wall_clock_neither_parks_nor_hurries_callbacks) {
    static const int64_t years = INT64_C(10) * 365 * 86400000;
    static const int64_t steps[] = {-years, years, -300000, 300000};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        char path[64];
        temp_path(path);
        job_store *s = open_at(path);
        end_job(s, "a", at(0));
        job_hook h;
        take_hook(s, at(0), &h);
        record(s, &h, JOB_HOOK_AGAIN, -1, 1, at(0)); // 5 s
        job_hook_deinit(&h);
        job_time stepped = {T0.wall_ms + steps[i], T0.mono_ms + 4999};
        cr_assert_eq(job_hook_claim(s, stepped, NULL, 0, &h, NULL), ERR_NOT_FOUND);
        stepped.mono_ms++;
        take_hook(s, stepped, &h);
        record(s, &h, JOB_HOOK_AGAIN, -1, 1, stepped); // 10 s
        job_hook_deinit(&h);

        job_store_close(s);
        s = open_at(path);                      // and the clock was put right before
        job_time anew = {T0.wall_ms + 5000, 7}; // a monotonic clock that begins anew
        status rc = job_hook_claim(s, anew, NULL, 0, &h, NULL);
        if (steps[i] < 0) { // the delay has long passed
            cr_assert_eq(rc, OK);
        } else { // it seems to lie far ahead, but was 10 s
            cr_assert_eq(rc, ERR_NOT_FOUND);
            cr_assert_eq(job_hook_claim(s, (job_time){anew.wall_ms, 10006}, NULL, 0, &h, NULL),
                         ERR_NOT_FOUND);
            take_hook(s, (job_time){anew.wall_ms, 10007}, &h);
        }
        job_hook_deinit(&h);
        job_store_close(s);
        remove_db(path);
    }
}

Test(outbox, skipped_and_postponed_origins_do_not_hold_the_others) {
    job_store *s = open_at(":memory:");
    end_job(s, "a", at(0));
    job_new n = make("b");
    n.callback_url = "https://other/x";
    job_submitted out;
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), OK);
    claim_token c = claim(s, at(1), "b");
    cr_assert_eq(finish(s, c, JOB_FAILED, "x", "y", at(1), NULL), OK);
    const char *skip[] = {"http://api:5000/"};
    job_hook h;
    cr_assert_eq(job_hook_claim(s, at(2), skip, 1, &h, NULL), OK);
    cr_assert_str_eq(h.id, "b");
    job_hook_deinit(&h);
    take_hook(s, at(2), &h);
    cr_assert_str_eq(h.id, "a");
    cr_assert_eq(record(s, &h, JOB_HOOK_LATER, 30000, 1, at(2)), JOB_HOOK_PENDING);
    job_hook_deinit(&h);
    job j = get(s, "a");
    cr_assert_eq(j.hook.attempts, 0); // not an attempt
    cr_assert_eq(j.hook.next_ms, T0.wall_ms + 30002);
    job_deinit(&j);
    job_store_close(s);
}

Test(outbox, job_without_callback_has_none_to_send_or_resend) {
    job_store *s = open_at(":memory:");
    job_new n = make("a");
    n.callback_url = NULL;
    job_submitted out;
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), OK);
    cr_assert_eq(job_redeliver(s, "a", T0, NULL), ERR_CONFLICT);
    job_cancel_answer answer;
    cr_assert_eq(job_cancel(s, "a", T0, &answer, NULL), OK);
    cr_assert_eq(job_redeliver(s, "a", T0, NULL), ERR_ARG);
    job_hook h;
    cr_assert_eq(job_hook_claim(s, at(1), NULL, 0, &h, NULL), ERR_NOT_FOUND);
    job_store_close(s);
}

// ---- looking and clearing up

Test(job, list_position_and_counts_agree_with_what_was_done) {
    job_store *s = open_at(":memory:");
    char id[8];
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "j%d", i);
        submit(s, id);
    }
    claim_token c0 = claim(s, at(0), "j0");
    claim(s, at(0), "j1");
    double half[] = {0.5, 0.5};
    cr_assert_eq(source_renew(jobs_of(s), c0, half, at(1), NULL, NULL), OK);
    job_cancel_answer answer;
    cr_assert_eq(job_cancel(s, "j4", at(2), &answer, NULL), OK);

    int ahead;
    double work;
    cr_assert_eq(job_position(s, "j6", &ahead, &work, NULL), OK);
    cr_assert_eq(ahead, 3); // j2 j3 j5
    cr_assert_float_eq(work, 20.5 * (3 + 0.5 + 1), 1e-9);
    cr_assert_eq(job_position(s, "j0", &ahead, &work, NULL), OK);
    cr_assert_eq(ahead, 0);
    cr_assert_eq(job_position(s, "zz", &ahead, &work, NULL), ERR_NOT_FOUND);

    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    static const int64_t want[] = {7, 2, 0, 0, 1};
    for (int i = 0; i < JOB_STATES; i++) {
        cr_assert_eq(st.jobs[i], want[i]);
        cr_assert_float_eq(st.work[i], 20.5 * (double)want[i], 1e-9);
    }
    cr_assert_eq(st.hooks[JOB_HOOK_PENDING], 1);
    cr_assert_eq(st.hooks[JOB_HOOK_NONE], 0);
    cr_assert_eq(st.oldest_queued_ms, T0.wall_ms);
    cr_assert_eq(st.oldest_hook_ms, T0.wall_ms + 2);

    job *list;
    size_t n;
    job_filter f = {.limit = 3};
    cr_assert_eq(job_list(s, &f, &list, &n, NULL), OK);
    cr_assert_eq(n, 3);
    cr_assert_str_eq(list[0].id, "j9");
    cr_assert_null(list[0].request);
    f.below_seq = list[2].seq;
    job_list_free(list, n);
    f.states = 1u << JOB_CANCELED | 1u << JOB_RUNNING;
    f.limit = 100;
    cr_assert_eq(job_list(s, &f, &list, &n, NULL), OK);
    cr_assert_eq(n, 3);
    cr_assert_str_eq(list[0].id, "j4");
    cr_assert_str_eq(list[2].id, "j0");
    job_list_free(list, n);
    f.limit = JOB_LIST_MAX + 1;
    cr_assert_eq(job_list(s, &f, &list, &n, NULL), ERR_ARG);
    job_store_close(s);
}

Test(job, delete_and_purge_spare_what_is_not_over) {
    job_store *s = open_at(":memory:");
    submit(s, "a");
    cr_assert_eq(job_delete(s, "a", NULL), ERR_CONFLICT);
    claim_token c = claim(s, at(0), "a");
    cr_assert_eq(job_delete(s, "a", NULL), ERR_CONFLICT);
    cr_assert_eq(finish(s, c, JOB_FAILED, "x", "y", at(1), NULL), OK);
    cr_assert_eq(job_delete(s, "a", NULL), ERR_CONFLICT); // its callback is pending
    int count;
    cr_assert_eq(job_purge(s, INT64_MAX, 10, &count, NULL), OK);
    cr_assert_eq(count, 0);
    job_hook h;
    take_hook(s, at(2), &h);
    char first_id[40];
    strcpy(first_id, h.webhook_id);
    record(s, &h, JOB_HOOK_OK, -1, 0, at(3));
    job_hook_deinit(&h);
    cr_assert_eq(job_purge(s, T0.wall_ms, 10, &count, NULL), OK); // ended later than that
    cr_assert_eq(count, 0);
    cr_assert_eq(job_delete(s, "a", NULL), OK);
    cr_assert_eq(job_delete(s, "a", NULL), ERR_NOT_FOUND);

    end_job(s, "a", at(10)); // the old id anew: another event, another webhook-id
    take_hook(s, at(11), &h);
    cr_assert_str_neq(h.webhook_id, first_id);
    record(s, &h, JOB_HOOK_FINAL, -1, 0, at(12));
    job_hook_deinit(&h);
    submit(s, "b");
    cr_assert_eq(job_purge(s, T0.wall_ms + 100, 10, &count, NULL), OK);
    cr_assert_eq(count, 1);
    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    cr_assert_eq(st.jobs[JOB_QUEUED], 1);
    cr_assert_eq(st.jobs[JOB_FAILED], 0);
    cr_assert_eq(st.hooks[JOB_HOOK_DEAD], 0);
    job_store_close(s);
}

// ---- many at once

typedef struct {
    job_store *s;
    int thread, count;
} submitter;

static void *submit_many(void *arg) {
    submitter *w = arg;
    for (int i = 0; i < w->count; i++) {
        char id[32];
        snprintf(id, sizeof id, "t%d-%d", w->thread, i);
        job_new n = make(id);
        job_submitted out;
        cr_assert_eq(job_submit(w->s, &n, T0, &out, NULL), OK);
    }
    return NULL;
}

Test(job, submissions_of_many_threads_share_commits) {
    char path[64];
    temp_path(path);
    job_store *s = open_at(path);
    pthread_t threads[16];
    submitter w[16];
    for (int i = 0; i < 16; i++) {
        w[i] = (submitter){s, i, 25};
        pthread_create(&threads[i], NULL, submit_many, &w[i]);
    }
    for (int i = 0; i < 16; i++) pthread_join(threads[i], NULL);
    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    cr_assert_eq(st.jobs[JOB_QUEUED], 400);
    cr_assert_geq(st.writes, 400);
    cr_assert_lt(st.commits, st.writes * 3 / 4, "%llu commits for %llu writes",
                 (unsigned long long)st.commits, (unsigned long long)st.writes);
    job_store_close(s);
    remove_db(path);
}

static void *conflict_many(void *arg) {
    submitter *w = arg;
    int kept = 0;
    for (int i = 0; i < w->count; i++) {
        char id[32], body[32];
        snprintf(id, sizeof id, "same-%d", i);
        snprintf(body, sizeof body, "{\"a\":%d}", w->thread);
        job_new n = make(id);
        n.canonical = bytes_of(body);
        job_submitted out;
        status rc = job_submit(w->s, &n, T0, &out, NULL);
        cr_assert(rc == OK || rc == ERR_CONFLICT);
        kept += rc == OK;
    }
    w->count = kept;
    return NULL;
}

Test(job, of_racing_submissions_with_one_id_exactly_one_wins) {
    job_store *s = open_at(":memory:");
    pthread_t threads[8];
    submitter w[8];
    for (int i = 0; i < 8; i++) {
        w[i] = (submitter){s, i, 50};
        pthread_create(&threads[i], NULL, conflict_many, &w[i]);
    }
    int kept = 0;
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        kept += w[i].count;
    }
    cr_assert_eq(kept, 50);
    job_store_close(s);
}

// ---- when things fail

// A child submits, claims and finishes from several threads, and writes the id of each submission
// that was acknowledged to the pipe.
static void *child_work(void *arg) {
    submitter *w = arg;
    for (int i = 0;; i++) {
        char id[32];
        snprintf(id, sizeof id, "%d-%d-%06d", w->count, w->thread, i);
        job_new n = make(id);
        job_submitted out;
        if (job_submit(w->s, &n, job_time_now(), &out, NULL)) _exit(1);
        char line[32] = {0};
        strcpy(line, id);
        if (write(3, line, sizeof line) != (ssize_t)sizeof line) _exit(1);
        claim_token c;
        job j;
        if (i % 2 == 0 && source_claim(jobs_of(w->s), job_time_now(), &c, &j, NULL) == OK) {
            if (finish(w->s, c, JOB_FAILED, "x", "y", job_time_now(), NULL)) _exit(1);
            job_deinit(&j);
        }
    }
    return NULL;
}

static void child(const char *path, int round, int fd) {
    dup2(fd, 3);
    job_config cfg = config();
    cfg.queue_max = 1000000;
    job_store *s;
    if (job_store_open(&s, path, &cfg, NULL)) _exit(2);
    pthread_t t;
    static submitter w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (submitter){s, i, round};
        pthread_create(&t, NULL, child_work, &w[i]);
    }
    pause();
}

// Reads every acknowledged id and asks for its job.
static int check_acknowledged(const char *path, int fd) {
    job_store *s = open_at(path);
    char line[32];
    int count = 0;
    while (read(fd, line, sizeof line) == (ssize_t)sizeof line) {
        job j = get(s, line);
        // An ended job has its callback, one that has not ended has none.
        cr_assert_eq(job_state_ended(j.state), j.hook.state == JOB_HOOK_PENDING);
        job_deinit(&j);
        count++;
    }
    job_store_close(s);
    return count;
}

Test(job, every_acknowledged_submission_survives_kill_9, .timeout = 120) {
    char path[64];
    temp_path(path);
    int total = 0;
    for (int round = 0; round < 12; round++) {
        int fd[2];
        cr_assert_eq(pipe(fd), 0);
        pid_t pid = fork();
        if (pid == 0) child(path, round, fd[1]);
        close(fd[1]);
        char first[32]; // on a busy machine the start may take long: kill when it works
        cr_assert_eq(read(fd[0], first, sizeof first), (ssize_t)sizeof first);
        usleep((useconds_t)(round * 7919 % 60) * 1000);
        kill(pid, SIGKILL);
        int how;
        waitpid(pid, &how, 0);
        cr_assert(WIFSIGNALED(how), "the child failed by itself: %d", WEXITSTATUS(how));
        total += check_acknowledged(path, fd[0]);
        close(fd[0]);
    }
    cr_assert_gt(total, 0);
    sqlite3 *raw;
    sqlite3_stmt *q;
    cr_assert_eq(sqlite3_open(path, &raw), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(raw, "PRAGMA integrity_check", -1, &q, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_step(q), SQLITE_ROW);
    cr_assert_str_eq((const char *)sqlite3_column_text(q, 0), "ok");
    sqlite3_finalize(q);
    sqlite3_close(raw);
    remove_db(path);
}

Test(job, full_disk_is_an_error_and_loses_nothing) {
    char path[64];
    temp_path(path);
    job_store *s = open_at(path);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {400000, RLIM_INFINITY}, large = {RLIM_INFINITY, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0); // no file may grow beyond this
    int kept = 0;
    err e = {.text = ""};
    status rc = OK;
    char id[16];
    while (kept < 5000) {
        snprintf(id, sizeof id, "j%d", kept);
        job_new n = make(id);
        job_submitted out;
        rc = job_submit(s, &n, T0, &out, &e);
        if (rc) break;
        kept++;
    }
    cr_assert_eq(rc, ERR_IO, "after %d: %s", kept, e.text);
    cr_assert(strncmp(e.text, "database: ", 10) == 0);
    cr_assert_gt(kept, 10);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
    submit(s, id); // room again: the refused one goes in now
    job_store_close(s);
    s = open_at(path);
    for (int i = 0; i <= kept; i++) {
        snprintf(id, sizeof id, "j%d", i);
        job j = get(s, id);
        job_deinit(&j);
    }
    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    cr_assert_eq(st.jobs[JOB_QUEUED], kept + 1);
    job_store_close(s);
    remove_db(path);
}

Test(job, read_only_database_is_refused_at_open) {
    char path[64];
    temp_path(path);
    job_store_close(open_at(path));
    cr_assert_eq(chmod(path, 0444), 0);
    if (getuid() == 0) { // root may write anything
        char dir[64];
        strcpy(dir, path);
        *strrchr(dir, '/') = 0;
        cr_assert_eq(chmod(dir, 0755), 0);
        cr_assert_eq(seteuid(65534), 0);
    }
    job_store *s;
    job_config c = config();
    err e;
    cr_assert_eq(job_store_open(&s, path, &c, &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "read-only"), "%s", e.text);
    cr_assert_null(s);
    if (getuid() == 0) cr_assert_eq(seteuid(0), 0);
    remove_db(path);
}

Test(job, second_owner_foreign_and_newer_files_are_refused) {
    char path[64];
    temp_path(path);
    job_store *s = open_at(path), *other;
    job_config c = config();
    err e;
    cr_assert_eq(job_store_open(&other, path, &c, &e), ERR_BUSY);
    cr_assert_not_null(strstr(e.text, "another process"), "%s", e.text);
    job_store_close(s);

    static const char *const edits[] = {"PRAGMA user_version=99", "PRAGMA application_id=5"};
    static const char *const want[] = {"version 99", "another program"};
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        sqlite3 *raw;
        cr_assert_eq(sqlite3_open(path, &raw), SQLITE_OK);
        cr_assert_eq(sqlite3_exec(raw, edits[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(raw);
        cr_assert_eq(job_store_open(&s, path, &c, &e), ERR_FORMAT);
        cr_assert_not_null(strstr(e.text, want[i]), "%s", e.text);
    }
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 2000; i++) fputs("not a database ", f);
    fclose(f);
    cr_assert_eq(job_store_open(&s, path, &c, &e), ERR_FORMAT);
    remove_db(path);
    cr_assert_eq(job_store_open(&s, "/no/such/folder/x.db", &c, &e), ERR_IO);
}

// One job's whole life, in which each allocation may fail. Returns the first failure.
static status life(job_store *s, int n) {
    char id[16];
    snprintf(id, sizeof id, "j%d", n);
    job_new nw = make(id);
    job_submitted out;
    claim_token c;
    job j;
    job_result r = {0};
    status rc = job_submit(s, &nw, T0, &out, NULL);
    if (rc) return rc;
    rc = source_claim(jobs_of(s), at(1), &c, &j, NULL);
    if (rc) return rc;
    job_deinit(&j);
    for (int i = 0; !rc && i < 2; i++) rc = source_landed(jobs_of(s), c, STEMS[i], &r, at(2), NULL);
    if (!rc) rc = finish(s, c, JOB_COMPLETED, NULL, NULL, at(3), NULL);
    if (rc) return rc;
    job_hook h;
    rc = job_hook_claim(s, at(4), NULL, 0, &h, NULL);
    if (rc) return rc;
    job_hook_record rec = {.verdict = JOB_HOOK_OK};
    job_hook_state state;
    rc = job_hook_done(s, &h, &rec, at(5), &state, NULL);
    job_hook_deinit(&h);
    return rc;
}

Test(job, life_survives_each_failed_allocation, .timeout = 120) {
    job_config cfg = config();
    for (int n = 0;; n++) {
        job_store *s = NULL;
        mem_fail_after(n);
        status rc = job_store_open(&s, ":memory:", &cfg, NULL);
        mem_fail_after(-1);
        cr_assert(rc == OK || (rc == ERR_OOM && !s), "open %d: %s", n, status_name(rc));
        if (rc == OK) {
            job_store_close(s);
            break;
        }
    }
    job_store *s = open_at(":memory:");
    int failures = 0;
    for (int n = 0; n < 3000; n++) {
        mem_fail_after(n);
        status rc = life(s, n);
        mem_fail_after(-1);
        if (rc == OK) break;
        cr_assert_eq(rc, ERR_OOM, "%d: %s", n, status_name(rc));
        failures++;
        // What was half done is still there and whole: clear it away for the next round.
        char id[16];
        snprintf(id, sizeof id, "j%d", n);
        job_cancel_answer answer;
        job j;
        claim_token c;
        status found = job_get(s, id, &j, NULL);
        if (found == ERR_NOT_FOUND) continue;
        cr_assert_eq(found, OK);
        cr_assert_eq(j.stem_count, 2);
        job_deinit(&j);
        cr_assert_eq(job_cancel(s, id, at(6), &answer, NULL), OK);
        cr_assert_eq(source_claim(jobs_of(s), at(100000), &c, &j, NULL), ERR_NOT_FOUND);
        job_hook h;
        while (job_hook_claim(s, at(100000), NULL, 0, &h, NULL) == OK) {
            record(s, &h, JOB_HOOK_OK, -1, 0, at(100000));
            job_hook_deinit(&h);
        }
    }
    cr_assert_gt(failures, 20);
    job_store_close(s);
}
