// test_hook.c - callbacks: where they may go, their signature, what answers mean, the outbox turn.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "loopback.h"
#include "queue.h"
#include "service/hook.h"
#include "service/origins.h"

static hook *open_hook(const hook_config *c) {
    hook *h;
    err e;
    cr_assert_eq(hook_open(&h, c, &e), OK, "%s", e.text);
    return h;
}

Test(hook, signature_is_that_of_the_standard) {
    // The vector of the Standard Webhooks libraries.
    char s[HOOK_SIGNATURE_SIZE];
    cr_assert_eq(hook_sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek",
                           1614265330, bytes_of("{\"test\": 2432232314}"), s, NULL),
                 OK);
    cr_assert_str_eq(s, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    // A raw secret; from: printf 'm.5.{}' | openssl dgst -sha256 -hmac 'plain secret' -binary |
    // base64
    cr_assert_eq(hook_sign("plain secret", "m", 5, bytes_of("{}"), s, NULL), OK);
    cr_assert_str_eq(s, "v1,qGHWqn2MV+GyWwxtBekwmiMiv+po2+XjCRyja/Ja/cs=");
    cr_assert_eq(hook_sign("whsec_!", "m", 5, bytes_of("{}"), s, NULL), ERR_ARG);
    cr_assert_eq(hook_sign("", "m", 5, bytes_of("{}"), s, NULL), ERR_ARG);
}

typedef struct {
    const char *url;
    bool ok;
} url_case;

static void check_urls(const hook_config *c, const url_case *cases, size_t n) {
    hook *h = open_hook(c);
    for (size_t i = 0; i < n; i++) {
        status rc = hook_check_url(h, cases[i].url, NULL);
        cr_assert_eq(rc, cases[i].ok ? OK : ERR_ARG, "%s: %s", cases[i].url, status_name(rc));
    }
    hook_close(h);
}

Test(hook, by_default_private_receivers_are_fine_and_metadata_never) {
    static const url_case cases[] = {
        {"http://api:5000/done", true},
        {"https://api.example.com/x?y=1", true},
        {"http://127.0.0.1:9/", true},
        {"http://10.0.0.7:8080/", true},
        {"http://[::1]/", true},
        {"http://169.254.169.254/latest/meta-data", false},
        {"http://2852039166/", false}, // 169.254.169.254 as one number
        {"http://0xa9.0xfe.0xa9.0xfe/", false},
        {"http://[::ffff:169.254.169.254]/", false},
        {"http://168.63.129.16/", false},
        {"http://0.0.0.0/", false},
        {"http://[fe80::1]/", false},
        {"http://224.0.0.1/", false},
        {"http://255.255.255.255/", false},
        {"http://[64:ff9b::a9fe:a9fe]/", false},
        {"ftp://api/", false},
        {"file:///etc/passwd", false},
        {"http://user:pw@api/", false},
        {"http://api/#x", false},
        {"http://api /", false},
        {"api/done", false},
    };
    hook_config c = hook_config_default();
    check_urls(&c, cases, ARRAY_LEN(cases));
    char long_url[HOOK_URL_MAX + 2] = "http://api/";
    memset(long_url + 11, 'x', HOOK_URL_MAX + 1 - 11);
    hook *h = open_hook(&c);
    cr_assert_eq(hook_check_url(h, long_url, NULL), ERR_ARG);
    long_url[HOOK_URL_MAX] = 0;
    cr_assert_eq(hook_check_url(h, long_url, NULL), OK);
    hook_close(h);
}

Test(hook, without_private_only_public_addresses_and_usual_ports) {
    static const url_case cases[] = {
        {"https://api.example.com/x", true},
        {"http://8.8.8.8/", true},
        {"http://127.0.0.1/", false},
        {"http://127.1/", false},
        {"http://2130706433/", false},
        {"http://0177.0.0.1/", false},
        {"http://0x7f.1/", false},
        {"http://[::1]/", false},
        {"http://[::ffff:127.0.0.1]/", false},
        {"http://10.1.2.3/", false},
        {"http://192.168.0.1/", false},
        {"http://[fd00::1]/", false},
        {"http://api.example.com:8080/", false},
    };
    hook_config c = hook_config_default();
    c.allow_private = false;
    check_urls(&c, cases, ARRAY_LEN(cases));
}

Test(hook, with_a_list_only_its_origins_which_may_be_private) {
    static const url_case cases[] = {
        {"https://api.example.com/any", true},
        {"https://API.example.com:443/", true},
        {"http://10.0.0.7:8080/x", true},
        {"http://api.example.com/", false},
        {"https://api.example.com:444/", false},
        {"https://api.example.com.evil.org/", false},
        {"http://10.0.0.7/", false},
        {"http://169.254.169.254/", false},
    };
    hook_config c = hook_config_default();
    c.allow_private = false;
    c.allowed_origins = " https://api.example.com , http://10.0.0.7:8080,, http://169.254.169.254 ";
    static const url_case all_but_last[] = {{"http://169.254.169.254/", false}}; // listed, and yet
    check_urls(&c, cases, ARRAY_LEN(cases));
    check_urls(&c, all_but_last, 1);
    static const char *const bad[] = {"api.example.com", "https://a/path", "https://a/?q",
                                      "ftp://a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        hook *h;
        c.allowed_origins = bad[i];
        cr_assert_eq(hook_open(&h, &c, NULL), ERR_ARG, "%s", bad[i]);
        cr_assert_null(h);
    }
}

typedef struct {
    int code;           // answered; 0: reset, -1: hang, -2: endless 2xx, -3: 2xx then cut
    const char *header; // extra
    char last[4096];    // head and body of the last request
    int count;
} receiver;

static loopback_next receive(void *arg, const loopback_request *q, buf *reply) {
    receiver *r = arg;
    r->count++;
    snprintf(r->last, sizeof r->last, "%s%.*s", q->head, (int)q->body.n, (const char *)q->body.p);
    switch (r->code) {
    case 0: return LOOPBACK_RESET;
    case -1: return LOOPBACK_HANG;
    case -2:
        buf_add_str(reply, "HTTP/1.1 200 X\r\n\r\n");
        for (int i = 0; i < 40000; i++) buf_add_str(reply, "endless ");
        return LOOPBACK_HANG;
    case -3:
        buf_add_str(reply, "HTTP/1.1 202 X\r\nContent-Length: 99\r\n\r\nthanks");
        return LOOPBACK_RESET;
    default:
        loopback_reply(reply, r->code, r->header ? r->header : "", "body");
        return LOOPBACK_KEEP;
    }
}

// Receivers of this test. settle takes their locks, after which their notes may be read: TSan does
// not see that an answer came later than the request.
static loopback *running[2];
static int running_count;

static loopback *listen_for(receiver *r) {
    return running[running_count++] = loopback_start(receive, r);
}

static void settle(void) {
    for (int i = 0; i < running_count; i++) loopback_requests(running[i]);
}

static const int64_t NOW = 1614265330123;

static hook_result send_to(hook *h, const char *url) {
    hook_result r;
    hook_send(h, &(hook_message){.url = url, .webhook_id = "msg_1", .body = bytes_of("{\"a\":1}")},
              NOW, &r);
    settle();
    return r;
}

Test(hook, attempt_is_signed_and_its_answer_understood) {
    static const struct {
        int code;
        hook_outcome want;
        const char *label;
    } cases[] = {
        {200, HOOK_DELIVERED, "2xx"}, {204, HOOK_DELIVERED, "2xx"}, {302, HOOK_RETRY, "3xx"},
        {404, HOOK_RETRY, "4xx"},     {410, HOOK_GONE, "410"},      {429, HOOK_RETRY, "429"},
        {500, HOOK_RETRY, "5xx"},     {0, HOOK_RETRY, "connect"},   {-1, HOOK_RETRY, "timeout"},
        {-2, HOOK_DELIVERED, "2xx"},  {-3, HOOK_DELIVERED, "2xx"}};
    receiver rec = {.header = "Location: http://127.0.0.1:1/\r\nRetry-After: 7\r\n"};
    loopback *l = listen_for(&rec);
    char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/done?key=k", loopback_port(l));
    hook_config c = hook_config_default();
    c.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    c.secret_old = "plain secret";
    c.timeout_ms = 700;
    hook *h = open_hook(&c);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rec.code = cases[i].code;
        rec.count = 0;
        hook_result r = send_to(h, url);
        cr_assert_eq(r.outcome, cases[i].want, "%d: %d %s", rec.code, r.outcome, r.text);
        cr_assert_str_eq(r.label, cases[i].label, "%d", rec.code);
        cr_assert_eq(r.text[0] == 0, r.outcome == HOOK_DELIVERED);
        cr_assert_null(strstr(r.text, "body"));
        cr_assert_null(strstr(r.text, "key=k"));
        cr_assert_eq(rec.count, 1); // no redirect, no retry by itself
        if (rec.code == 500) cr_assert_eq(r.retry_after_ms, 7000);
    }
    cr_assert_not_null(strstr(rec.last, "POST /done?key=k HTTP/1.1\r\n"));
    cr_assert_not_null(strstr(rec.last, "Content-Type: application/json; charset=utf-8\r\n"));
    cr_assert_not_null(strstr(rec.last, "webhook-id: msg_1\r\n"));
    cr_assert_not_null(strstr(rec.last, "webhook-timestamp: 1614265330\r\n"));
    char one[HOOK_SIGNATURE_SIZE], two[HOOK_SIGNATURE_SIZE], line[256];
    cr_assert_eq(hook_sign(c.secret, "msg_1", 1614265330, bytes_of("{\"a\":1}"), one, NULL), OK);
    cr_assert_eq(hook_sign(c.secret_old, "msg_1", 1614265330, bytes_of("{\"a\":1}"), two, NULL),
                 OK);
    snprintf(line, sizeof line, "webhook-signature: %s %s\r\n", one, two);
    cr_assert_not_null(strstr(rec.last, line), "%s", rec.last);
    cr_assert_not_null(strstr(rec.last, "\r\n\r\n{\"a\":1}"));
    hook_close(h);
    loopback_stop(l);
}

Test(hook, name_that_resolves_to_a_private_address_is_blocked_at_connect_time) {
    receiver rec = {.code = 200};
    loopback *l = listen_for(&rec);
    hook_config c = hook_config_default();
    char url[160], origin[128];
    snprintf(origin, sizeof origin, "http://localhost:%d", loopback_port(l));
    snprintf(url, sizeof url, "%s/x", origin);
    c.allow_private = false;
    hook *h = open_hook(&c);
    // The port alone would be refused; port 80 reaches the check of the address.
    hook_result r = send_to(h, "http://localhost/x");
    cr_assert_eq(r.outcome, HOOK_BLOCKED, "%s", r.text);
    cr_assert_str_eq(r.label, "blocked");
    cr_assert_not_null(strstr(r.text, "is a private address"), "%s", r.text);
    hook_close(h);
    c.allowed_origins = origin;
    h = open_hook(&c);
    cr_assert_eq(send_to(h, url).outcome, HOOK_DELIVERED);
    cr_assert_eq(rec.count, 1);
    hook_close(h);
    loopback_stop(l);
}

// ---- with the outbox

static status render(void *arg, const job *j, buf *body, err *e) {
    (void)arg, (void)e;
    buf_printf(body, "{\"id\":\"%s\"}", j->id);
    return OK;
}

static job_time sim; // simulated time

static job_time sim_clock(void *arg) {
    (void)arg;
    return sim;
}

static job_store *open_jobs(void) {
    job_store *s;
    job_config c = job_config_default();
    c.render = render;
    c.caller_time = true;
    cr_assert_eq(job_store_open(&s, new_queue(), &c, NULL), OK);
    sim = (job_time){NOW, 1000};
    return s;
}

static void end_job(job_store *s, const char *id, const char *url) {
    static const char *const stems[] = {"bass"};
    job_new n = {.id = id,
                 .audio_file_id = "a",
                 .stems = stems,
                 .stem_count = 1,
                 .request = bytes_of("{}"),
                 .canonical = bytes_of("{}"),
                 .callback_url = url,
                 .work = 1};
    job_submitted out;
    job_cancel_answer answer;
    cr_assert_eq(job_submit(s, &n, sim, &out, NULL), OK);
    cr_assert_eq(job_cancel(s, id, sim, &answer, NULL), OK);
}

// Turns until nothing can be sent; returns how many were sent.
static int turns(hook *h, job_store *s) {
    int n = 0;
    hook_report r;
    err e;
    status rc;
    while ((rc = hook_deliver(h, s, &r, &e)) == OK) n++;
    cr_assert_eq(rc, ERR_NOT_FOUND, "%s", e.text);
    settle();
    return n;
}

Test(hook, receiver_that_is_down_for_an_hour_gets_its_callback_with_one_id) {
    receiver rec = {.code = 500};
    loopback *l = listen_for(&rec);
    char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/done?k=1", loopback_port(l));
    hook_config c = hook_config_default();
    c.clock = sim_clock;
    hook *h = open_hook(&c);
    job_store *s = open_jobs();
    end_job(s, "j1", url);
    char id[64] = "";
    int attempts = 0;
    for (int minute = 0; minute < 60 * 6; minute++) {
        if (minute == 60) rec.code = 200;
        int n = turns(h, s);
        attempts += n;
        if (n) {
            char *line = strstr(rec.last, "webhook-id: ");
            cr_assert_not_null(line);
            if (!id[0]) snprintf(id, sizeof id, "%.42s", line);
            cr_assert(strncmp(line, id, 42) == 0);
            cr_assert_not_null(strstr(rec.last, "{\"id\":\"j1\"}"));
        }
        sim.wall_ms += 60000, sim.mono_ms += 60000;
    }
    job j;
    cr_assert_eq(job_get(s, "j1", &j, NULL), OK);
    cr_assert_eq(j.hook.state, JOB_HOOK_DELIVERED);
    cr_assert_eq(j.hook.attempts, attempts);
    cr_assert_geq(attempts, 5);
    cr_assert_eq(rec.count, attempts);
    job_deinit(&j);
    job_store_close(s);
    hook_close(h);
    loopback_stop(l);
}

Test(hook, dead_receiver_is_probed_and_does_not_hold_the_others) {
    receiver down = {.code = 0}, up = {.code = 200};
    loopback *a = listen_for(&down), *b = listen_for(&up);
    char url_a[128], url_b[128], id[16];
    snprintf(url_a, sizeof url_a, "http://127.0.0.1:%d/x", loopback_port(a));
    snprintf(url_b, sizeof url_b, "http://127.0.0.1:%d/x", loopback_port(b));
    hook_config c = hook_config_default();
    c.clock = sim_clock;
    hook *h = open_hook(&c);
    job_store *s = open_jobs();
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "a%d", i);
        end_job(s, id, url_a);
    }
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "b%d", i);
        end_job(s, id, url_b);
    }
    turns(h, s);
    cr_assert_eq(up.count, 5);
    cr_assert_eq(down.count, ORIGIN_SILENCES_MAX); // then no more
    sim.wall_ms += ORIGIN_PROBE_MS + 1, sim.mono_ms += ORIGIN_PROBE_MS + 1;
    turns(h, s);
    cr_assert_eq(down.count, ORIGIN_SILENCES_MAX + 1); // one probe
    down.code = 200;
    sim.wall_ms += 3600000, sim.mono_ms += 3600000;
    turns(h, s);
    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    cr_assert_eq(st.hooks[JOB_HOOK_DELIVERED], 25);
    job_store_close(s);
    hook_close(h);
    loopback_stop(a);
    loopback_stop(b);
}

typedef struct {
    int good, bad;
    int bad_code;
} two_minds;

static loopback_next by_path(void *arg, const loopback_request *q, buf *reply) {
    two_minds *m = arg;
    bool bad = strncmp(q->head, "POST /bad", 9) == 0;
    m->bad += bad, m->good += !bad;
    loopback_reply(reply, bad ? m->bad_code : 200, "", "");
    return LOOPBACK_KEEP;
}

// What an origin answers to some callbacks is no reason to keep the others waiting.
Test(hook, refused_callbacks_do_not_hold_others_of_the_same_origin) {
    static const int codes[] = {302, 400, 404, 429, 500, 503};
    for (size_t n = 0; n < ARRAY_LEN(codes); n++) {
        two_minds m = {.bad_code = codes[n]};
        loopback *l = loopback_start(by_path, &m);
        char bad[128], good[128], id[16];
        snprintf(bad, sizeof bad, "http://127.0.0.1:%d/bad", loopback_port(l));
        snprintf(good, sizeof good, "http://127.0.0.1:%d/good", loopback_port(l));
        hook_config c = hook_config_default();
        c.clock = sim_clock;
        hook *h = open_hook(&c);
        job_store *s = open_jobs();
        for (int i = 0; i < 30; i++) {
            snprintf(id, sizeof id, "b%d", i);
            end_job(s, id, bad);
        }
        end_job(s, "good", good);
        // At least 31: full jitter may draw a delay of 0 ms, which is due again at once.
        cr_assert_geq(turns(h, s), 31, "%d", codes[n]);
        cr_assert_eq(m.good, 1);
        cr_assert_geq(m.bad, 30);
        job_store_close(s);
        hook_close(h);
        loopback_stop(l);
    }
}

Test(hook, a_file_of_roots_that_is_missing_for_a_moment_costs_no_attempt) {
    receiver rec = {.code = 200};
    loopback *l = listen_for(&rec);
    char url[128], path[] = "/tmp/hook_roots_XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    unlink(path);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/x", loopback_port(l));
    hook_config c = hook_config_default();
    c.clock = sim_clock;
    c.ca_file = path;
    hook *h = open_hook(&c);
    job_store *s = open_jobs();
    end_job(s, "j1", url);
    hook_report r;
    for (int i = 0; i < 50; i++) { // more often than a callback may fail
        cr_assert_eq(hook_deliver(h, s, &r, NULL), OK);
        cr_assert_eq(r.result.outcome, HOOK_UNSENT, "%s", r.result.text);
        cr_assert_eq(r.state, JOB_HOOK_PENDING);
        sim.wall_ms += 5001, sim.mono_ms += 5001;
    }
    job j;
    cr_assert_eq(job_get(s, "j1", &j, NULL), OK);
    cr_assert_eq(j.hook.attempts, 0);
    job_deinit(&j);
    job_store_close(s);
    hook_close(h);
    loopback_stop(l);
}

Test(origins, a_silent_or_slow_origin_never_holds_all_threads) {
    origins *o;
    cr_assert_eq(origins_open(&o, 4, NULL), OK);
    cr_assert_eq(origins_enter(o, "http://a", 0), 0);
    cr_assert_gt(origins_enter(o, "http://a", 0), 0); // it has not answered yet
    origins_leave(o, "http://a", ORIGIN_ANSWERED, 1);
    for (int i = 0; i < 8; i++) { // an origin that answers well
        cr_assert_eq(origins_enter(o, "http://a", 1), 0);
        origins_leave(o, "http://a", ORIGIN_ANSWERED, 1);
    }
    for (int i = 0; i < 3; i++) cr_assert_eq(origins_enter(o, "http://a", 2), 0);
    cr_assert_gt(origins_enter(o, "http://a", 2), 0); // the last thread is for others
    origins_list *w = calloc(1, sizeof *w);
    origins_waiting(o, 2, w);
    cr_assert_eq(w->count, 1);
    cr_assert_str_eq(w->prefix[0], "http://a/");
    cr_assert_eq(origins_enter(o, "http://b", 2), 0);
    origins_leave(o, "http://b", ORIGIN_ANSWERED, 3);
    origins_leave(o, "http://a", ORIGIN_SILENT, 3); // it hangs now: one at a time again
    cr_assert_gt(origins_enter(o, "http://a", 3), 0);
    free(w);
    origins_close(o);
}

Test(origins, several_silent_origins_leave_a_thread_for_those_that_answer) {
    static const char *const silent[] = {"http://a", "http://b", "http://c", "http://d"};
    origins *o;
    cr_assert_eq(origins_open(&o, 4, NULL), OK);
    for (int i = 0; i < 4; i++) cr_assert_eq(origins_enter(o, silent[i], 0), 0); // nothing is known
    for (int i = 0; i < 4; i++) origins_leave(o, silent[i], ORIGIN_SILENT, 15000);
    for (int i = 0; i < 3; i++) cr_assert_eq(origins_enter(o, silent[i], 20000), 0);
    cr_assert_gt(origins_enter(o, silent[3], 20000), 0);
    cr_assert_eq(origins_enter(o, "http://good", 20000), 0);
    origins_close(o);
}

Test(origins, what_was_never_sent_says_nothing_about_an_origin) {
    origins *o;
    cr_assert_eq(origins_open(&o, 2, NULL), OK);
    for (int i = 0; i < ORIGIN_SILENCES_MAX; i++) {
        cr_assert_eq(origins_enter(o, "http://a", 0), 0);
        origins_leave(o, "http://a", ORIGIN_SILENT, 0);
        if (i == 0) continue;
        cr_assert_eq(i + 1 < ORIGIN_SILENCES_MAX ? origins_enter(o, "http://a", 0) : 0, 0);
        if (i + 1 < ORIGIN_SILENCES_MAX) origins_leave(o, "http://a", ORIGIN_NOT_ASKED, 0);
    }
    cr_assert_eq(origins_enter(o, "http://a", 10), ORIGIN_PROBE_MS - 10);
    cr_assert_eq(origins_enter(o, "http://a", ORIGIN_PROBE_MS), 0); // the probe
    cr_assert_eq(origins_enter(o, "http://a", ORIGIN_PROBE_MS), ORIGIN_PROBE_MS);
    origins_leave(o, "http://a", ORIGIN_ANSWERED, ORIGIN_PROBE_MS);
    cr_assert_eq(origins_enter(o, "http://a", ORIGIN_PROBE_MS), 0);
    origins_close(o);
}

Test(hook, report_says_what_an_operator_wants_to_know) {
    receiver rec = {.code = 410};
    loopback *l = listen_for(&rec);
    char url[160], want[128];
    snprintf(want, sizeof want, "http://127.0.0.1:%d/x", loopback_port(l));
    snprintf(url, sizeof url, "%s?token=secret", want);
    hook_config c = hook_config_default();
    c.clock = sim_clock;
    hook *h = open_hook(&c);
    job_store *s = open_jobs();
    end_job(s, "j1", url);
    hook_report r;
    cr_assert_eq(hook_deliver(h, s, &r, NULL), OK);
    cr_assert_str_eq(r.id, "j1");
    cr_assert_str_eq(r.url, want);
    cr_assert_not(r.ended_well);
    cr_assert_eq(r.attempt, 1);
    cr_assert_eq(r.state, JOB_HOOK_DEAD);
    cr_assert_eq(r.result.outcome, HOOK_GONE);
    job_store_close(s);
    hook_close(h);
    loopback_stop(l);
}

static void *deliver_all(void *arg) {
    void **a = arg;
    hook_report r;
    for (int idle = 0; idle < 3;) {
        status rc = hook_deliver(a[0], a[1], &r, NULL);
        idle = rc == OK ? 0 : idle + 1;
        if (rc) usleep(20000);
    }
    return NULL;
}

Test(hook, several_senders_deliver_each_callback_once) {
    receiver rec = {.code = 200};
    loopback *l = listen_for(&rec);
    char url[128], id[16];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/x", loopback_port(l));
    hook_config c = hook_config_default();
    hook *h = open_hook(&c);
    job_store *s = open_jobs();
    for (int i = 0; i < 60; i++) {
        snprintf(id, sizeof id, "j%d", i);
        end_job(s, id, url);
    }
    pthread_t t[4];
    void *arg[] = {h, s};
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, deliver_all, arg);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    cr_assert_eq(loopback_requests(l), 60);
    job_store_close(s);
    hook_close(h);
    loopback_stop(l);
}

Test(hook, open_and_send_survive_each_failed_allocation) {
    hook_config c = hook_config_default();
    c.secret = "plain secret";
    c.allowed_origins = "http://127.0.0.1:9";
    hook *h = NULL;
    for (int n = 0;; n++) {
        mem_fail_after(n);
        status rc = hook_open(&h, &c, NULL);
        mem_fail_after(-1);
        if (rc == OK) break;
        cr_assert(rc == ERR_OOM && !h);
    }
    for (int n = 0; n < 4; n++) {
        hook_result r;
        mem_fail_after(n);
        hook_send(h,
                  &(hook_message){
                      .url = "http://127.0.0.1:9/", .webhook_id = "m", .body = bytes_of("{}")},
                  NOW, &r);
        mem_fail_after(-1);
        cr_assert_eq(r.outcome, HOOK_UNSENT);
        cr_assert_neq(r.text[0], 0);
    }
    hook_close(h);
}
