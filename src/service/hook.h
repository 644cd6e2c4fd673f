// hook.h - the callback client: where it may go, what it signs, what an answer means.
//
// Signed as Standard Webhooks 1.0.0 say: webhook-id is constant for a job's callback, the timestamp
// is that of the attempt, the signature is HMAC-SHA256 over "id.timestamp.body". The address is
// judged at connect time, after DNS, on a connection used for nothing else; redirects are not
// followed. A hook may be used by several threads.
#pragma once
#include "base/err.h"
#include "base/trace.h"
#include "store/job_hook.h"

#define HOOK_URL_MAX 2048

typedef struct hook hook;

typedef struct {
    const char *secret;           // CALLBACK_SECRET: "whsec_" + base64, or raw text; NULL: unsigned
    const char *secret_old;       // signs a second time while receivers change over; NULL
    const char *allowed_origins;  // "https://api.example.com,http://api:8080"; NULL: any allowed
    bool allow_private;           // CALLBACK_ALLOW_PRIVATE when there is no list; default true
    int timeout_ms;               // whole attempt; default 15,000
    int threads;                  // that call hook_deliver; default 4
    const char *ca_file;          // PEM roots instead of the system's; NULL
    job_time (*clock)(void *arg); // for tests; NULL: job_time_now
    void *clock_arg;
} hook_config;

hook_config hook_config_default(void);

// ERR_ARG names what is wrong with a setting.
status hook_open(hook **out, const hook_config *c, err *e);
void hook_close(hook *h); // NULL is fine

// Whether a callback_url is acceptable at submission: http or https, no userinfo, no fragment, at
// most HOOK_URL_MAX bytes, on the list if there is one, a literal address not refused, port 80 or
// 443 unless private addresses are allowed or the origin is listed. Sends nothing and asks no DNS.
status hook_check_url(const hook *h, const char *url, err *e);

typedef enum {
    HOOK_DELIVERED, // 2xx
    HOOK_RETRY,     // no answer, 3xx, 4xx, 5xx
    HOOK_GONE,      // 410: the receiver wants no more of it
    HOOK_BLOCKED,   // our policy refuses the address; final
    HOOK_UNSENT,    // not tried for a reason of ours, as a file that is missing for a moment
} hook_outcome;

typedef struct {
    hook_outcome outcome;
    int code; // HTTP status, 0 when there was no answer
    // For metrics: "2xx" "3xx" "4xx" "410" "429" "5xx" "timeout" "connect" "blocked" "local".
    const char *label;
    int64_t retry_after_ms; // -1 unless the receiver asked for a delay; at most an hour
    double seconds;
    char text[256]; // why, in one line; "" when delivered. Never holds the answer's body.
} hook_result;

typedef struct {
    const char *url, *webhook_id;
    const char *trace; // a traceparent that goes on with it; NULL or another text: none
    bytes body;
} hook_message;

// Makes one attempt to POST a message. now_ms: wall clock, signed as the timestamp. Never fails:
// what went wrong is the result.
void hook_send(hook *h, const hook_message *m, int64_t now_ms, hook_result *out);

// The signature header's value for one secret, for tests and docs: "v1,<base64>".
#define HOOK_SIGNATURE_SIZE 48
status hook_sign(const char *secret, const char *webhook_id, int64_t timestamp_s, bytes body,
                 char out[HOOK_SIGNATURE_SIZE], err *e);

typedef struct {
    char id[JOB_ID_MAX + 1];
    char url[HOOK_URL_MAX + 1];   // without its query, for the line "Sent success callback to URL"
    bool ended_well;              // the job completed: success callback; else error callback
    int attempt;                  // 1 for the first
    job_hook_state state;         // after this attempt: delivered, pending (a retry is due), dead
    char trace[TRACE_ID_LEN + 1]; // of the job; "": none
    hook_result result;
} hook_report;

// One turn of a sender thread: takes a due callback from the outbox, sends it, records the outcome
// and the next due time. ERR_NOT_FOUND when there is none to send now; callbacks whose origin must
// wait (origins.h) are left without counting an attempt, so job_hook_next may say 0 meanwhile: wait
// a little then. Failing to record is returned too; the attempt then repeats after its lease
// (at least once).
status hook_deliver(hook *h, job_store *jobs, hook_report *out, err *e);
