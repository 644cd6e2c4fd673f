// test_outbox.c - callbacks: each keeps its body, its attempts and its own time.
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "jobs.h"

Test(outbox, callback_keeps_its_id_and_body_over_all_attempts_and_dies_at_last) {
    job_config cfg = config();
    cfg.hook_attempts_max = 4;
    job_store *s;
    cr_assert_eq(job_store_open(&s, new_queue(), &cfg, NULL), OK);
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
        int64_t bound = INT64_C(5000) << (attempt - 1), wait;
        cr_assert_eq(job_hook_next(s, at(now), &wait, NULL), OK);
        if (attempt == 4) cr_assert_eq(wait, INT64_MAX);
        if (attempt == 4) break;
        cr_assert_leq(wait, bound);
        cr_assert_geq(wait, bound - 10);
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
    job_store *s = open_at(new_queue());
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
        int64_t wait;
        cr_assert_eq(job_hook_next(s, at(now), &wait, NULL), OK);
        cr_assert_eq(wait, steps[i].want, "step %zu: %lld", i, (long long)wait);
        now += steps[i].want;
    }
    for (int i = 0; i < 20; i++) { // far out the bound is the cap
        job_hook h;
        take_hook(s, at(now), &h);
        record(s, &h, JOB_HOOK_AGAIN, -1, 1, at(now));
        job_hook_deinit(&h);
        int64_t wait;
        cr_assert_eq(job_hook_next(s, at(now), &wait, NULL), OK);
        cr_assert_leq(wait, INT64_C(4) * 3600 * 1000);
        now += wait;
    }
    job_store_close(s);
}

Test(outbox, attempt_of_a_dead_sender_is_repeated_and_its_late_record_refused) {
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
    job_store *s = open_at(new_queue());
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
