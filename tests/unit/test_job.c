// test_job.c - the queue: jobs come back whole, in order, and end once.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs.h"

Test(job, what_was_submitted_comes_back_whole) {
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
    cr_assert_eq(job_store_open(&s, new_queue(), &c, NULL), OK);
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
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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

static void submit_for(job_store *s, const char *id, const char *model) {
    job_new n = make(id);
    job_submitted out;
    n.model = model;
    cr_assert_eq(job_submit(s, &n, T0, &out, NULL), OK);
}

Test(job, job_for_a_model_waits_for_it_and_holds_no_other_back) {
    job_store *s = open_at(new_queue());
    submit_for(s, "a1", "a");
    submit_for(s, "a2", "a");
    submit_for(s, "b1", "b");
    submit_for(s, "any", NULL);
    source_jobs from_a, from_b;
    source *a = source_jobs_open(&from_a, s, "a"), *b = source_jobs_open(&from_b, s, "b");
    static const char *const want[] = {"b1", "any", NULL};
    claim_token c;
    job j;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        status rc = source_claim(b, at(1), &c, &j, NULL);
        cr_assert_eq(rc, want[i] ? OK : ERR_NOT_FOUND);
        if (want[i]) cr_assert_str_eq(j.id, want[i]);
        job_deinit(&j);
    }
    int ahead;
    double work;
    cr_assert_eq(job_position(s, "a2", &ahead, &work, NULL), OK);
    cr_assert_eq(ahead, 1);
    cr_assert_float_eq(work, 20.5, 1e-9, "b1 and any run, by another model: %g", work);
    cr_assert_eq(source_claim(a, at(2), &c, &j, NULL), OK);
    cr_assert_str_eq(j.id, "a1");
    cr_assert_str_eq(j.model, "a");
    job_deinit(&j);
    claim(s, at(3), "a2"); // who takes whatever comes takes it too
    job_store_close(s);
}

Test(job, job_of_a_hung_worker_comes_back_and_the_old_claim_is_refused) {
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
    cr_assert_eq(job_store_open(&s, new_queue(), &cfg, NULL), OK);
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
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
    cr_assert_str_eq(j.stems[0].result.facts, "{\"measured\":{}}");
    cr_assert_null(j.stems[1].result.facts);
    cr_assert_not(j.stems[1].done);
    cr_assert_eq(j.stems[1].progress, 0.25);
    job_deinit(&j);
    cr_assert_eq(source_renew(jobs_of(s), c, NULL, reborn, NULL, NULL), ERR_CANCELED);
    job_store_close(s);
    remove_db(path);
}

// ---- looking and clearing up

Test(job, list_position_and_counts_agree_with_what_was_done) {
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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

// ---- whose turn it is

static void submit_as(job_store *s, const char *id, job_priority priority) {
    job_new n = make(id);
    job_submitted out;
    err e;
    n.priority = priority;
    cr_assert_eq(job_submit(s, &n, T0, &out, &e), OK, "%s", e.text);
}

static int ahead_of(job_store *s, const char *id) {
    int ahead = -1;
    double work;
    cr_assert_eq(job_position(s, id, &ahead, &work, NULL), OK);
    return ahead;
}

Test(job, a_high_priority_passes_what_waits_and_a_low_one_lets_pass) {
    job_store *s = open_at(new_queue());
    submit_as(s, "low", JOB_PRIORITY_LOW);
    submit_as(s, "first", JOB_PRIORITY_NORMAL);
    submit_as(s, "second", JOB_PRIORITY_NORMAL);
    submit_as(s, "high", JOB_PRIORITY_HIGH);
    cr_assert_eq(ahead_of(s, "high"), 0);
    cr_assert_eq(ahead_of(s, "first"), 1);
    cr_assert_eq(ahead_of(s, "second"), 2);
    cr_assert_eq(ahead_of(s, "low"), 3);
    job j = get(s, "high");
    cr_assert_eq(j.priority, JOB_PRIORITY_HIGH);
    job_deinit(&j);
    static const char *const order[] = {"high", "first", "second", "low"};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) claim(s, at(1), order[i]);
    job_store_close(s);
}

Test(job, nobody_is_passed_by_more_than_the_step) {
    job_config c = config();
    c.queue_max = 2 * JOB_PRIORITY_STEP;
    job_store *s;
    char id[16];
    cr_assert_eq(job_store_open(&s, new_queue(), &c, NULL), OK);
    submit(s, "old");
    for (int i = 1; i < JOB_PRIORITY_STEP + 20; i++) {
        snprintf(id, sizeof id, "h%d", i);
        submit_as(s, id, JOB_PRIORITY_HIGH);
    }
    // Number 1 + 500 has the same rank and came later.
    cr_assert_eq(ahead_of(s, "old"), JOB_PRIORITY_STEP - 1);
    job_store_close(s);
}

static status submit_of(job_store *s, const char *id, const char *client, job_submitted *out) {
    job_new n = make(id);
    n.client = client;
    return job_submit(s, &n, T0, out, NULL);
}

Test(job, one_client_may_have_so_many_jobs_and_others_are_not_concerned) {
    job_config c = config();
    c.client_max = 2;
    job_store *s;
    job_submitted out;
    cr_assert_eq(job_store_open(&s, new_queue(), &c, NULL), OK);
    cr_assert_eq(submit_of(s, "a", "k1", &out), OK);
    cr_assert_eq(submit_of(s, "b", "k1", &out), OK);
    cr_assert_eq(submit_of(s, "c", "k1", &out), ERR_LIMIT);
    cr_assert(out.too_many);
    cr_assert_eq(submit_of(s, "a", "k1", &out), OK); // again: it is there
    cr_assert(out.existed);
    cr_assert_eq(submit_of(s, "d", "k2", &out), OK);
    for (int i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "n%d", i);
        cr_assert_eq(submit_of(s, id, NULL, &out), OK); // of nobody: not counted
    }
    claim_token t = claim(s, at(1), "a"); // it runs, and counts
    cr_assert_eq(submit_of(s, "c", "k1", &out), ERR_LIMIT);
    cr_assert_eq(finish(s, t, JOB_FAILED, "x", "y", at(2), NULL), OK);
    cr_assert_eq(submit_of(s, "c", "k1", &out), OK);
    cr_assert_not(out.too_many);
    job_store_close(s);
}
