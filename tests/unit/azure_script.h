// azure_script.h - a storage service on this machine that answers as a test has written down.
#pragma once
#include <criterion/criterion.h>
#include <stdio.h>

#include "loopback.h"
#include "store/azure.h"

#define EMULATOR_KEY                                                                               \
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define T0 INT64_C(1709210096000) // 2024-02-29T12:34:56Z

#define SCRIPT_MAX 16
#define GENUINE "x-ms-request-id: 5a1f\r\nETag: \"0x1\"\r\n"
typedef struct {
    struct {
        int code;                   // 0: reset; -1: hang
        const char *headers, *body; // headers NULL: those that the service sends with a success
    } answer[SCRIPT_MAX];
    int count; // of requests
    char head[SCRIPT_MAX][2048];
    size_t body_n[SCRIPT_MAX];
    loopback *server;
    azure_client *client;
    int64_t now_ms, slept[SCRIPT_MAX];
    int sleeps;
} script;

static inline loopback_next play(void *arg, const loopback_request *q, buf *reply) {
    script *s = arg;
    int i = MIN(s->count, SCRIPT_MAX - 1);
    snprintf(s->head[i], sizeof s->head[i], "%s", q->head);
    s->body_n[i] = q->body.n;
    s->count++;
    if (s->answer[i].code == 0) return LOOPBACK_RESET;
    if (s->answer[i].code < 0) return LOOPBACK_HANG;
    const char *usual = s->answer[i].code / 100 == 2 ? GENUINE : "";
    loopback_reply(reply, s->answer[i].code, s->answer[i].headers ? s->answer[i].headers : usual,
                   s->answer[i].body ? s->answer[i].body : "");
    return LOOPBACK_KEEP;
}

static inline int64_t script_now(void *arg) {
    return ((script *)arg)->now_ms;
}

static inline void script_sleep(void *arg, int64_t ms) {
    script *s = arg;
    if (s->sleeps < SCRIPT_MAX) s->slept[s->sleeps++] = ms;
    s->now_ms += ms;
}

static inline void script_open(script *s) {
    s->now_ms = T0;
    s->server = loopback_start(play, s);
    char text[300];
    snprintf(text, sizeof text,
             "AccountName=devstoreaccount1;AccountKey=%s;BlobEndpoint=http://127.0.0.1:%d/"
             "devstoreaccount1",
             EMULATOR_KEY, loopback_port(s->server));
    azure_account a;
    cr_assert_eq(azure_account_parse(&a, text, NULL), OK);
    azure_policy p = azure_policy_default();
    p.wall_ms = script_now, p.sleep_ms = script_sleep, p.arg = s, p.stall_ms = 1000;
    cr_assert_eq(azure_client_open(&s->client, &a, NULL, &p, NULL), OK);
}

static inline void script_close(script *s) {
    azure_client_close(s->client);
    loopback_stop(s->server);
}

static inline status script_put(script *s, char code[AZURE_CODE_MAX], err *e) {
    azure_request q = {.verb = "PUT", .path = "/c/b", .body = bytes_of("hello")};
    fetch_response r;
    status rc = azure_send(s->client, &q, &r, code, e);
    fetch_response_deinit(&r);
    return rc;
}
