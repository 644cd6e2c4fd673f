// hook.c - see hook.h.
#include "service/hook.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "net/fetch.h"
#include "service/origins.h"

#define SECRET_MAX 256
#define ALLOWED_MAX 64 // origins on the list of allowed ones
#define ANSWER_MAX ((int64_t)64 << 10)
#define CONNECT_MS 5000
#define RETRY_AFTER_MAX_MS 3600000
#define CLAIMS_MAX 32  // put off in one turn before it ends
#define UNSENT_MS 5000 // until what failed for a reason of ours is tried again

typedef struct {
    uint8_t key[SECRET_MAX];
    size_t len; // 0: none
} secret;

struct hook {
    secret secrets[2];
    char (*allowed)[ORIGIN_SIZE]; // [allowed_count]
    size_t allowed_count;
    bool allow_private;
    int timeout_ms;
    char *ca_file;
    job_time (*clock)(void *arg);
    void *clock_arg;
    origins *origins;
    pthread_mutex_t claim_mu; // held from the look at origins until the claimed one is entered
};

// ---- settings

hook_config hook_config_default(void) {
    return (hook_config){.allow_private = true, .timeout_ms = 15000, .threads = 4};
}

static status secret_parse(secret *s, const char *text, err *e) {
    static const char prefix[] = "whsec_";
    *s = (secret){.len = sizeof s->key};
    if (strncmp(text, prefix, sizeof prefix - 1) == 0) {
        err why;
        if (base64_decode(s->key, &s->len, bytes_of(text + sizeof prefix - 1), &why)) {
            return err_set(e, ERR_ARG, "callback secret: whsec_ must be followed by base64");
        }
    } else {
        s->len = strlen(text);
        if (s->len > sizeof s->key) {
            return err_set(e, ERR_ARG, "callback secret: longer than %d bytes", SECRET_MAX);
        }
        memcpy(s->key, text, s->len);
    }
    return s->len ? OK : err_set(e, ERR_ARG, "callback secret: empty");
}

// One entry of the list: scheme, host and port, nothing behind.
static status origin_parse(char out[ORIGIN_SIZE], const char *text, size_t n, err *e) {
    char url[ORIGIN_SIZE];
    while (n && *text == ' ') text++, n--;
    while (n && text[n - 1] == ' ') n--;
    if (n >= sizeof url) return err_set(e, ERR_ARG, "allowed origin is too long");
    memcpy(url, text, n);
    url[n] = 0;
    fetch_url *u = mem_alloc(sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "allowed origin");
    status rc = fetch_url_parse(u, url, e);
    if (!rc && (strcmp(u->path, "/") != 0 || u->query[0])) {
        rc = err_set(e, ERR_ARG, "expected scheme://host:port and nothing behind");
    }
    if (rc) {
        err_within(e, rc, "allowed origin '%s'", url);
    } else {
        fetch_url_origin(u, out, ORIGIN_SIZE);
    }
    mem_free(u);
    return rc;
}

static status origins_parse(hook *h, const char *list, err *e) {
    h->allowed = mem_calloc(ALLOWED_MAX, sizeof *h->allowed);
    if (!h->allowed) return err_set(e, ERR_OOM, "allowed origins");
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (strspn(p, " ") < n) {
            if (h->allowed_count == ALLOWED_MAX) {
                return err_set(e, ERR_ARG, "more than %d allowed origins", ALLOWED_MAX);
            }
            status rc = origin_parse(h->allowed[h->allowed_count], p, n, e);
            if (rc) return rc;
            h->allowed_count++;
        }
        p += n + (p[n] == ',');
    }
    return OK;
}

static job_time clock_of_os(void *arg) {
    (void)arg;
    return job_time_now();
}

static status hook_fill(hook *h, const hook_config *c, err *e) {
    status rc = OK;
    if (c->secret && c->secret[0]) rc = secret_parse(&h->secrets[0], c->secret, e);
    if (!rc && c->secret_old && c->secret_old[0]) {
        rc = secret_parse(&h->secrets[1], c->secret_old, e);
    }
    if (!rc && c->allowed_origins) rc = origins_parse(h, c->allowed_origins, e);
    if (!rc && c->ca_file && !(h->ca_file = mem_strdup(c->ca_file))) {
        rc = err_set(e, ERR_OOM, "callback client");
    }
    return rc;
}

status hook_open(hook **out, const hook_config *c, err *e) {
    *out = NULL;
    hook *h = mem_calloc(1, sizeof *h);
    if (!h) return err_set(e, ERR_OOM, "callback client");
    h->allow_private = c->allow_private;
    h->timeout_ms = c->timeout_ms;
    h->clock = c->clock ? c->clock : clock_of_os;
    h->clock_arg = c->clock_arg;
    pthread_mutex_init(&h->claim_mu, NULL);
    status rc = origins_open(&h->origins, c->threads, e);
    if (!rc) rc = hook_fill(h, c, e);
    if (rc) {
        hook_close(h);
        return rc;
    }
    *out = h;
    return OK;
}

void hook_close(hook *h) {
    if (!h) return;
    origins_close(h->origins);
    pthread_mutex_destroy(&h->claim_mu);
    mem_free(h->allowed);
    mem_free(h->ca_file);
    explicit_bzero(h->secrets, sizeof h->secrets);
    mem_free(h);
}

// ---- where a callback may go

static bool listed(const hook *h, const char *origin) {
    for (size_t i = 0; i < h->allowed_count; i++) {
        if (strcmp(h->allowed[i], origin) == 0) return true;
    }
    return false;
}

// A literal address as a sockaddr; false when host is a name.
static bool literal_address(const char *host, struct sockaddr_storage *out) {
    *out = (struct sockaddr_storage){0};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(out, &v4, sizeof v4);
    } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(out, &v6, sizeof v6);
    } else {
        return false;
    }
    return true;
}

// trusted: the origin is on the list, or private addresses are allowed anyway.
static status check_address(const struct sockaddr *to, bool trusted, err *e) {
    char text[64];
    fetch_addr_text(to, text, sizeof text);
    switch (fetch_addr_classify(to)) {
    case FETCH_ADDR_PUBLIC: return OK;
    case FETCH_ADDR_PRIVATE:
        if (trusted) return OK;
        return err_set(e, ERR_ARG, "%s is a private address", text);
    default: return err_set(e, ERR_ARG, "%s is never allowed", text);
    }
}

// *trusted and origin are set on OK.
static status check_url(const hook *h, const fetch_url *u, char origin[ORIGIN_SIZE], bool *trusted,
                        err *e) {
    fetch_url_origin(u, origin, ORIGIN_SIZE);
    bool on_list = listed(h, origin);
    if (h->allowed && !on_list) {
        return err_set(e, ERR_ARG, "%s is not one of the allowed origins", origin);
    }
    *trusted = on_list || h->allow_private;
    if (!*trusted && u->port != 80 && u->port != 443) {
        return err_set(e, ERR_ARG, "port %d, expected 80 or 443", u->port);
    }
    struct sockaddr_storage address;
    if (!literal_address(u->host, &address)) return OK; // judged again when it is connected to
    return check_address((struct sockaddr *)&address, *trusted, e);
}

// Parses and checks. u is large, so it is the caller's.
static status admit(const hook *h, const char *url, fetch_url *u, char origin[ORIGIN_SIZE],
                    bool *trusted, err *e) {
    if (strnlen(url, HOOK_URL_MAX + 1) > HOOK_URL_MAX) {
        return err_set(e, ERR_ARG, "URL is longer than %d bytes", HOOK_URL_MAX);
    }
    status rc = fetch_url_parse(u, url, e);
    return rc ? rc : check_url(h, u, origin, trusted, e);
}

status hook_check_url(const hook *h, const char *url, err *e) {
    char origin[ORIGIN_SIZE];
    bool trusted;
    fetch_url *u = mem_alloc(sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "callback URL");
    status rc = admit(h, url, u, origin, &trusted, e);
    mem_free(u);
    return rc;
}

// ---- signing

static status sign_with(const secret *s, const char *webhook_id, int64_t timestamp_s, bytes body,
                        char out[HOOK_SIGNATURE_SIZE], err *e) {
    uint8_t mac[SHA256_LEN];
    buf text;
    buf_init(&text, JOB_BODY_MAX + 256);
    buf_printf(&text, "%s.%lld.", webhook_id, (long long)timestamp_s);
    buf_add(&text, body.p, body.n);
    status rc = buf_status(&text, e);
    if (!rc) rc = hash_hmac_sha256(mac, (bytes){s->key, s->len}, buf_bytes(&text), e);
    if (!rc) {
        memcpy(out, "v1,", 3);
        base64_encode(out + 3, (bytes){mac, sizeof mac});
    }
    buf_deinit(&text);
    return rc;
}

status hook_sign(const char *text, const char *webhook_id, int64_t timestamp_s, bytes body,
                 char out[HOOK_SIGNATURE_SIZE], err *e) {
    secret s;
    status rc = secret_parse(&s, text, e);
    if (!rc) rc = sign_with(&s, webhook_id, timestamp_s, body, out, e);
    explicit_bzero(&s, sizeof s);
    return rc;
}

// All signatures with a blank between; "" without a secret.
static status sign_all(const hook *h, const char *webhook_id, int64_t timestamp_s, bytes body,
                       char *out, err *e) {
    out[0] = 0;
    for (size_t i = 0; i < ARRAY_LEN(h->secrets); i++) {
        if (!h->secrets[i].len) continue;
        size_t n = strlen(out);
        if (n) out[n++] = ' ';
        status rc = sign_with(&h->secrets[i], webhook_id, timestamp_s, body, out + n, e);
        if (rc) return rc;
    }
    return OK;
}

// ---- one attempt

typedef struct {
    bool trusted;
    int code; // a 2xx whose body has begun
    int64_t taken;
} attempt;

static status judge(void *arg, const struct sockaddr *to, err *e) {
    const attempt *a = arg;
    return check_address(to, a->trusted, e);
}

// The answer's body is nobody's business: it is read so far as to be polite, and dropped.
static status drop(void *arg, const fetch_response *head, bytes piece, err *e) {
    attempt *a = arg;
    a->code = head->code;
    a->taken += (int64_t)piece.n;
    return a->taken < ANSWER_MAX ? OK : err_set(e, ERR_CANCELED, "the answer goes on and on");
}

static void read_code(hook_result *out, int code) {
    out->code = code;
    switch (code / 100) {
    case 2: out->outcome = HOOK_DELIVERED, out->label = "2xx"; break;
    case 3: out->label = "3xx"; break;
    case 4: out->label = code == 429 ? "429" : "4xx"; break;
    default: out->label = "5xx"; break;
    }
    if (code == 410) out->outcome = HOOK_GONE, out->label = "410";
    if (code / 100 != 2) snprintf(out->text, sizeof out->text, "HTTP %d", code);
}

// The attempt failed on our side (the file of trusted roots cannot be read, no memory), so it says
// nothing about the receiver.
static void set_unsent(hook_result *out, const err *why) {
    out->outcome = HOOK_UNSENT;
    out->label = "local";
    out->retry_after_ms = UNSENT_MS;
    snprintf(out->text, sizeof out->text, "%.250s", why->text);
}

static void read_failure(hook_result *out, const fetch_response *r, const attempt *a,
                         const err *why) {
    if (a->code / 100 == 2) { // answered, then cut or endless: the event was taken
        read_code(out, a->code);
        return;
    }
    bool refused = r->failure == FETCH_REFUSED && why->code == ERR_ARG;
    if (r->failure == FETCH_NO_FILE || (r->failure == FETCH_REFUSED && !refused)) {
        set_unsent(out, why);
        return;
    }
    bool blocked = r->failure == FETCH_BLOCKED || refused;
    if (blocked) out->outcome = HOOK_BLOCKED;
    out->label = blocked ? "blocked" : r->failure == FETCH_TIMEOUT ? "timeout" : "connect";
    snprintf(out->text, sizeof out->text, "%.250s", why->text);
}

static void post(const hook *h, const hook_message *m, const fetch_header *headers,
                 size_t header_count, attempt *a, int64_t now_ms, hook_result *out) {
    fetch_request q = fetch_request_default();
    q.method = "POST";
    q.url = m->url;
    q.headers = headers;
    q.header_count = header_count;
    q.body = m->body;
    q.sink = drop;
    q.sink_arg = a;
    q.response_max = INT64_MAX; // drop has its own limit, which is no failure
    q.connect_ms = MIN(CONNECT_MS, h->timeout_ms);
    q.total_ms = h->timeout_ms;
    q.stall_ms = 0; // total_ms is short enough
    q.ca_file = h->ca_file;
    q.address_check = judge;
    q.address_arg = a;
    fetch_response r;
    err why = {.text = ""};
    if (fetch_send(NULL, &q, &r, &why)) {
        read_failure(out, &r, a, &why);
    } else {
        read_code(out, r.code);
        int64_t after = fetch_retry_after_ms(&r, now_ms);
        out->retry_after_ms = MIN(after, RETRY_AFTER_MAX_MS);
    }
    out->seconds = r.seconds;
    fetch_response_deinit(&r);
}

static void refuse(hook_result *out, status rc, const err *why) {
    if (rc != ERR_ARG) {
        set_unsent(out, why);
        return;
    }
    out->outcome = HOOK_BLOCKED;
    out->label = "blocked";
    snprintf(out->text, sizeof out->text, "%.250s", why->text);
}

void hook_send(hook *h, const hook_message *m, int64_t now_ms, hook_result *out) {
    *out = (hook_result){.outcome = HOOK_RETRY, .label = "connect", .retry_after_ms = -1};
    char origin[ORIGIN_SIZE], stamp[24], signature[2 * HOOK_SIGNATURE_SIZE + 1];
    char parent[TRACE_PARENT_LEN + 1];
    attempt a = {0};
    err why = {.text = ""};
    fetch_url *u = mem_alloc(sizeof *u);
    status rc =
        u ? admit(h, m->url, u, origin, &a.trusted, &why) : err_set(&why, ERR_OOM, "callback");
    mem_free(u);
    int64_t now_s = now_ms / 1000;
    if (!rc) rc = sign_all(h, m->webhook_id, now_s, m->body, signature, &why);
    if (rc) {
        refuse(out, rc, &why);
        return;
    }
    snprintf(stamp, sizeof stamp, "%lld", (long long)now_s);
    fetch_header headers[5] = {{"Content-Type", "application/json; charset=utf-8"},
                               {"webhook-id", m->webhook_id},
                               {"webhook-timestamp", stamp}};
    size_t n = 3;
    if (signature[0]) headers[n++] = (fetch_header){"webhook-signature", signature};
    if (trace_ok(m->trace) && !trace_child(parent, m->trace, NULL))
        headers[n++] = (fetch_header){"traceparent", parent};
    post(h, m, headers, n, &a, now_ms, out);
}

// ---- the outbox

typedef struct {
    origins_list waiting;
    fetch_url url;
} turn; // large, so on the heap

// The origin of url. A URL that does not parse is its own origin; hook_send will refuse it.
static void origin_of(const char *url, fetch_url *u, char out[ORIGIN_SIZE]) {
    if (fetch_url_parse(u, url, NULL)) {
        snprintf(out, ORIGIN_SIZE, "%.*s", ORIGIN_SIZE - 1, url);
    } else {
        fetch_url_origin(u, out, ORIGIN_SIZE);
    }
}

static double random_01(void) {
    uint64_t r = 0;
    if (random_bytes((uint8_t *)&r, sizeof r, NULL)) return 0.5;
    return (double)(r >> 11) / 9007199254740992.0; // 53 bits
}

static job_hook_verdict verdict_of(hook_outcome o) {
    switch (o) {
    case HOOK_DELIVERED: return JOB_HOOK_OK;
    case HOOK_RETRY: return JOB_HOOK_AGAIN;
    case HOOK_UNSENT: return JOB_HOOK_LATER;
    default: return JOB_HOOK_FINAL;
    }
}

static status record_result(hook *h, job_store *jobs, const job_hook *k, hook_report *out, err *e) {
    const hook_result *r = &out->result;
    job_hook_record rec = {.verdict = verdict_of(r->outcome),
                           .code = r->code,
                           .error = r->text[0] ? r->text : NULL,
                           .retry_after_ms = r->retry_after_ms,
                           .jitter = random_01()};
    return job_hook_done(jobs, k, &rec, h->clock(h->clock_arg), &out->state, e);
}

// Any HTTP answer, a refusal too, shows that the origin is there.
static origin_outcome heard(const hook_result *r) {
    if (r->outcome == HOOK_BLOCKED || r->outcome == HOOK_UNSENT) return ORIGIN_NOT_ASKED;
    return r->code ? ORIGIN_ANSWERED : ORIGIN_SILENT;
}

static status send_claimed(hook *h, job_store *jobs, const job_hook *k, const char *origin,
                           hook_report *out, err *e) {
    job_time now = h->clock(h->clock_arg);
    *out = (hook_report){.ended_well = k->end == JOB_COMPLETED, .attempt = k->attempt};
    snprintf(out->id, sizeof out->id, "%s", k->id);
    snprintf(out->url, sizeof out->url, "%.*s", (int)strcspn(k->url, "?"), k->url);
    trace_id(out->trace, k->trace);
    const hook_message m = {k->url, k->webhook_id, k->trace, buf_bytes(&k->body)};
    hook_send(h, &m, now.wall_ms, &out->result);
    origins_leave(h->origins, origin, heard(&out->result), h->clock(h->clock_arg).mono_ms);
    return record_result(h, jobs, k, out, e);
}

static status put_off(hook *h, job_store *jobs, const job_hook *k, int64_t wait_ms, err *e) {
    job_hook_state state;
    job_hook_record rec = {.verdict = JOB_HOOK_LATER,
                           .error = "waiting for the receiver to recover",
                           .retry_after_ms = wait_ms};
    return job_hook_done(jobs, k, &rec, h->clock(h->clock_arg), &state, e);
}

// Takes the next callback whose origin may be sent to. *wait_ms: 0, or how long it must wait after
// all (its URL is written so that the list of waiting origins does not catch it).
static status claim_next(hook *h, job_store *jobs, turn *t, job_hook *k, char origin[ORIGIN_SIZE],
                         int64_t *wait_ms, err *e) {
    job_time now = h->clock(h->clock_arg);
    pthread_mutex_lock(&h->claim_mu);
    origins_waiting(h->origins, now.mono_ms, &t->waiting);
    status rc = job_hook_claim(jobs, now, t->waiting.prefix, t->waiting.count, k, e);
    if (!rc) {
        origin_of(k->url, &t->url, origin);
        *wait_ms = origins_enter(h->origins, origin, now.mono_ms);
    }
    pthread_mutex_unlock(&h->claim_mu);
    return rc;
}

status hook_deliver(hook *h, job_store *jobs, hook_report *out, err *e) {
    turn *t = mem_alloc(sizeof *t);
    if (!t) return err_set(e, ERR_OOM, "callback");
    status rc = OK;
    bool sent = false;
    for (int i = 0; !rc && !sent && i < CLAIMS_MAX; i++) {
        job_hook k;
        char origin[ORIGIN_SIZE];
        int64_t wait = 0;
        rc = claim_next(h, jobs, t, &k, origin, &wait, e);
        if (rc) break;
        sent = wait == 0;
        rc = sent ? send_claimed(h, jobs, &k, origin, out, e) : put_off(h, jobs, &k, wait, e);
        job_hook_deinit(&k);
    }
    mem_free(t);
    if (!rc && !sent) return err_set(e, ERR_NOT_FOUND, "no callback can be sent now");
    return rc;
}
