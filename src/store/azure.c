// azure.c - see azure.h: one signed request and the retry policy of the .NET SDK (6 tries, 0.8 s
// doubling to at most 60 s, full jitter, Retry-After wins).
#include "store/azure.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/azure_inside.h"

#define SLEEP_SLICE_MS 50           // how soon azure_client_stop is noticed
#define SKEW_MS_MAX (5 * 60 * 1000) // Azure refuses dates 15 minutes off
#define SKEW_MS_SMALL (60 * 1000)   // a Date says whole seconds and travels a while
#define BYTES_PER_MS_MIN 64         // slowest upload that is waited for
#define ANSWER_MS_MAX 100000        // besides the upload; the .NET SDK's network timeout
#define ONCE_MS_MAX 4000
#define HEADERS_MAX 24

azure_policy azure_policy_default(void) {
    return (azure_policy){
        .tries_max = 6, .delay_first_ms = 800, .delay_max_ms = 60000, .stall_ms = 30000};
}

// ---- clock and waiting

static int64_t wall_ms(azure_client *c) {
    return c->policy.wall_ms ? c->policy.wall_ms(c->policy.arg) : os_time_ms();
}

int64_t azure_client_now_ms(azure_client *c) {
    return wall_ms(c) + atomic_load(&c->skew_ms);
}

int64_t azure_client_skew_ms(azure_client *c) {
    return atomic_load(&c->skew_ms);
}

static void wait_ms(azure_client *c, int64_t ms) {
    if (c->policy.sleep_ms) {
        c->policy.sleep_ms(c->policy.arg, ms);
        return;
    }
    for (; ms > 0 && !atomic_load(&c->stop); ms -= SLEEP_SLICE_MS) {
        os_sleep_ms((int)MIN(ms, SLEEP_SLICE_MS));
    }
}

static int64_t jittered(int64_t bound) {
    uint32_t r = 0;
    if (random_bytes((uint8_t *)&r, sizeof r, NULL)) return bound / 2;
    return (int64_t)((double)bound * ((double)r / 4294967296.0));
}

// ---- connections

static status client_take(azure_client *c, fetch_client **out, err *e) {
    *out = NULL;
    pthread_mutex_lock(&c->mu);
    if (c->idle_count) *out = c->idle[--c->idle_count];
    pthread_mutex_unlock(&c->mu);
    return *out ? OK : fetch_client_open(out, e);
}

static void client_give(azure_client *c, fetch_client *f) {
    pthread_mutex_lock(&c->mu);
    bool keep = c->idle_count < AZURE_CLIENTS_MAX;
    if (keep) c->idle[c->idle_count++] = f;
    pthread_mutex_unlock(&c->mu);
    if (!keep) fetch_client_close(f);
}

// ---- answers

bool azure_xml_find(const char *xml, const char *tag, char *out, size_t cap) {
    char open[80], shut[80];
    out[0] = 0;
    snprintf(open, sizeof open, "<%.70s>", tag);
    snprintf(shut, sizeof shut, "</%.70s>", tag);
    const char *from = strstr(xml, open);
    const char *to = from ? strstr(from, shut) : NULL;
    if (!to) return false;
    from += strlen(open);
    size_t n = (size_t)(to - from);
    if (n >= cap) return false;
    memcpy(out, from, n);
    out[n] = 0;
    return true;
}

// The header stands also in answers to HEAD; some answers have the code in the body only, or none.
static void read_error_code(const fetch_response *r, char code[AZURE_CODE_MAX]) {
    code[0] = 0;
    if (r->code / 100 == 2 || r->code == 0) return;
    if (fetch_find_header(r, "x-ms-error-code", code, AZURE_CODE_MAX)) return;
    azure_xml_find(buf_str(&r->body), "Code", code, AZURE_CODE_MAX);
}

static bool one_of(const char *code, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(code, list[i]) == 0) return true;
    }
    return false;
}

static bool transient_failure(fetch_failure f) {
    return f == FETCH_NO_HOST || f == FETCH_NO_CONNECT || f == FETCH_TIMEOUT || f == FETCH_BROKEN ||
           f == FETCH_BAD_TLS || f == FETCH_NO_FILE;
}

static bool genuine(const azure_exchange *x, const fetch_response *r, const char *code) {
    return !x->genuine || x->genuine(x, r, code);
}

static bool succeeded(const azure_exchange *x, const fetch_response *r, const char *code) {
    return !r->failure && r->code / 100 == 2 && genuine(x, r, code);
}

static bool transient(const azure_exchange *x, const fetch_response *r, const char *code) {
    static const char *const codes[] = {"InternalError", "OperationTimedOut", "ServerBusy",
                                        "ContainerBeingDeleted"};
    if (r->failure) return transient_failure(r->failure);
    if (!genuine(x, r, code)) return true;
    if (strcmp(code, "FeatureNotSupported") == 0) return false; // the emulator's 500 for good
    if (one_of(code, codes, ARRAY_LEN(codes))) return true;
    switch (r->code) {
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504: return true;
    case 404:
    case 410: return x->imds;
    default: return false;
    }
}

static status answer_status(const fetch_response *r) {
    switch (r->code) {
    case 401:
    case 403: return ERR_BUSY;
    case 404: return ERR_NOT_FOUND;
    case 409:
    case 412: return ERR_CONFLICT;
    default: return r->code / 100 == 4 ? ERR_ARG : ERR_IO;
    }
}

static const char *hint_of(const char *code) {
    if (strcmp(code, "KeyBasedAuthenticationNotPermitted") == 0) {
        return "; account keys are switched off: use workload identity";
    }
    bool denied = strcmp(code, "AuthenticationFailed") == 0 ||
                  strcmp(code, "AuthorizationFailure") == 0 ||
                  strcmp(code, "AuthorizationPermissionMismatch") == 0;
    return denied ? "; check the key, the SAS or the role" : "";
}

// Puts the outcome into words. why is fetch's text when there was no answer.
static status report(const azure_exchange *x, const fetch_response *r, const char *code, bool spent,
                     const err *why, err *e) {
    if (r->failure) return err_set(e, spent ? ERR_BUSY : why->code, "storage: %s", why->text);
    if (succeeded(x, r, code)) return OK;
    if (!genuine(x, r, code)) {
        return err_set(e, ERR_BUSY,
                       "storage: %s was answered %d without what Azure says with it (a request id, "
                       "an ETag, an error code), so by something in between; check the endpoint",
                       x->q.method, r->code);
    }
    char id[64];
    fetch_find_header(r, "x-ms-request-id", id, sizeof id);
    return err_set(e, spent ? ERR_BUSY : answer_status(r), "storage: %s answered %d %s%s%s%s%s",
                   x->q.method, r->code, code[0] ? code : "without a code", hint_of(code),
                   id[0] ? " (request " : "", id, id[0] ? ")" : "");
}

// ---- one exchange

static status try_once(azure_client *c, azure_exchange *x, fetch_response *r, err *e) {
    fetch_client *f = NULL;
    *r = (fetch_response){.failure = FETCH_REFUSED};
    status rc = x->prepare ? x->prepare(x, e) : OK;
    if (!rc) rc = client_take(c, &f, e);
    if (rc) return rc;
    atomic_fetch_add(&c->tries, 1);
    x->q.stop = &c->stop;
    rc = fetch_send(f, &x->q, r, e);
    client_give(c, f);
    if (!rc && r->code / 100 == 2) atomic_fetch_add(&c->up, x->q.body.n);
    atomic_fetch_add(&c->down, (uint64_t)r->body_len);
    return rc;
}

// Delay before try n+1, or -1 when it is not worth waiting for.
static int64_t delay_ms(azure_client *c, const fetch_response *r, int n) {
    const azure_policy *p = &c->policy;
    int64_t asked = r->failure ? -1 : fetch_retry_after_ms(r, wall_ms(c));
    if (asked > p->delay_max_ms) return -1;
    if (asked >= 0) return asked;
    int64_t bound = p->delay_first_ms;
    for (int i = 0; i < n && bound < p->delay_max_ms; i++) bound *= 2;
    return jittered(MIN(bound, p->delay_max_ms));
}

// Takes over the service's clock when ours is off by more than so much. True: it was.
static bool learn_clock(azure_client *c, const fetch_response *r, int64_t off_max_ms) {
    char date[64];
    int64_t theirs = fetch_find_header(r, "Date", date, sizeof date) ? fetch_date_parse(date) : -1;
    if (theirs < 0) return false;
    int64_t off = theirs - azure_client_now_ms(c);
    if (off < off_max_ms && off > -off_max_ms) return false;
    atomic_store(&c->skew_ms, theirs - wall_ms(c));
    log_warn("azure", "this machine's clock is %lld s off the storage service's; corrected here",
             (long long)(-off / 1000));
    return true;
}

// At once: answers that x->again can put right (a token, the clock); at most twice, so that a
// service that keeps refusing is believed.
#define AGAIN_MAX 2

status azure_exchange_run(azure_client *c, azure_exchange *x, fetch_response *r,
                          char code[AZURE_CODE_MAX], err *e) {
    int again = 0;
    for (int n = 0;; n++) {
        err why = {.code = OK, .text = ""};
        status rc = try_once(c, x, r, &why);
        read_error_code(r, code);
        if (rc == ERR_CANCELED && atomic_load(&c->stop)) return err_set(e, rc, "storage: stopped");
        if (rc == OK && x->again && again < AGAIN_MAX && x->again(x, r, code)) {
            again++;
            n--; // not one of the tries
            fetch_response_deinit(r);
            continue;
        }
        // Links and tokens count on the time, and a wrong date is not always refused.
        if (x->genuine && succeeded(x, r, code)) learn_clock(c, r, SKEW_MS_SMALL);
        bool retry = (rc == OK || rc == ERR_IO) && !succeeded(x, r, code) && transient(x, r, code);
        int64_t delay = retry && n + 1 < x->tries_max ? delay_ms(c, r, n) : -1;
        if (delay < 0) return report(x, r, code, retry, &why, e);
        log_debug("azure", "try %d: %s; again in %lld ms", n + 1,
                  r->failure ? fetch_failure_name(r->failure) : code, (long long)delay);
        fetch_response_deinit(r);
        atomic_fetch_add(&c->retries, 1);
        wait_ms(c, delay);
        if (atomic_load(&c->stop)) {
            *r = (fetch_response){.failure = FETCH_STOPPED};
            return err_set(e, ERR_CANCELED, "storage: stopped");
        }
    }
}

// ---- a signed request

typedef struct {
    azure_client *c;
    const azure_request *q;
    char path[FETCH_URL_MAX]; // with the endpoint's
    char url[FETCH_URL_MAX];
    char date[FETCH_DATE_SIZE], id[40];
    buf authorization;
    fetch_header headers[HEADERS_MAX];
} signed_request;

static status request_id(char out[40], err *e) {
    uint8_t r[16];
    char hex[33];
    status rc = random_bytes(r, sizeof r, e);
    if (rc) return rc;
    hex_encode(hex, r, sizeof r);
    snprintf(out, 40, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return OK;
}

static status build_url(signed_request *s, err *e) {
    const azure_client *c = s->c;
    const char *query = s->q->query ? s->q->query : "";
    const char *sas = c->account.auth == AZURE_SAS ? c->account.sas : "";
    buf b;
    buf_init(&b, sizeof s->url - 1);
    buf_printf(&b, "%s%s", c->account.endpoint, s->q->path);
    if (query[0] || sas[0]) buf_printf(&b, "?%s%s%s", query, query[0] && sas[0] ? "&" : "", sas);
    status rc = buf_status(&b, e);
    if (!rc) memcpy(s->url, buf_str(&b), b.n + 1);
    buf_clear(&b);
    buf_printf(&b, "%s%s", c->base_path, s->q->path);
    if (!rc) rc = buf_status(&b, e);
    if (!rc) memcpy(s->path, buf_str(&b), b.n + 1);
    buf_deinit(&b);
    return rc;
}

static status authorize(signed_request *s, size_t header_count, err *e) {
    azure_client *c = s->c;
    buf_clear(&s->authorization);
    if (c->account.auth == AZURE_SHARED_KEY) {
        azure_to_sign t = {.verb = s->q->verb,
                           .path = s->path,
                           .query = s->q->query ? s->q->query : "",
                           .headers = s->headers,
                           .header_count = header_count,
                           .content_length = (int64_t)s->q->body.n};
        return azure_authorization(&c->account, &t, &s->authorization, e);
    }
    if (c->account.auth == AZURE_WORKLOAD || c->account.auth == AZURE_MANAGED) {
        char *token = mem_alloc(AZURE_TOKEN_MAX);
        if (!token) return err_set(e, ERR_OOM, "token");
        status rc = azure_token_get(c, token, AZURE_TOKEN_MAX, e);
        if (!rc) buf_printf(&s->authorization, "Bearer %s", token);
        mem_free(token);
        return rc ? rc : buf_status(&s->authorization, e);
    }
    return OK;
}

// Signs anew for each try: the date is part of what is signed.
static status prepare(azure_exchange *x, err *e) {
    signed_request *s = x->arg;
    size_t n = s->q->header_count;
    if (n + 4 > HEADERS_MAX) return err_set(e, ERR_ARG, "too many headers");
    if (n) memcpy(s->headers, s->q->headers, n * sizeof *s->headers);
    fetch_date_format(s->date, azure_client_now_ms(s->c));
    s->headers[n++] = (fetch_header){"x-ms-date", s->date};
    s->headers[n++] = (fetch_header){"x-ms-version", AZURE_VERSION};
    s->headers[n++] = (fetch_header){"x-ms-client-request-id", s->id};
    status rc = authorize(s, n, e);
    if (rc) return rc;
    if (s->authorization.n) {
        s->headers[n++] = (fetch_header){"Authorization", buf_str(&s->authorization)};
    }
    x->q.header_count = n;
    return OK;
}

static bool put_right(azure_exchange *x, const fetch_response *r, const char *code) {
    (void)code;
    azure_client *c = ((signed_request *)x->arg)->c;
    if (r->code == 401 && c->account.auth >= AZURE_WORKLOAD) {
        azure_token_drop(c);
        return true;
    }
    return r->code == 403 && learn_clock(c, r, SKEW_MS_MAX);
}

// The service names itself in a success that it promises, and a refusal has its error code. 401,
// 403, 408, 429 and outages mean the same whoever sends them.
static bool from_service(const azure_exchange *x, const fetch_response *r, const char *code) {
    const azure_request *q = ((const signed_request *)x->arg)->q;
    char text[80];
    switch (r->code) {
    case 401:
    case 403:
    case 408:
    case 429: return true;
    default: break;
    }
    if (r->code / 100 != 2) return code[0] || r->code / 100 == 5;
    if (!q->promised) return true;
    if (r->code != q->promised) return false;
    if (q->etag && !fetch_find_header(r, "ETag", text, sizeof text)) return false;
    return fetch_find_header(r, "x-ms-request-id", text, sizeof text);
}

static fetch_request fetch_of(const azure_client *c, const azure_request *q, signed_request *s) {
    fetch_request f = fetch_request_default();
    f.method = q->verb;
    f.url = s->url;
    f.headers = s->headers;
    f.body = q->body;
    f.sink = q->sink;
    f.sink_arg = q->sink_arg;
    f.ca_file = c->ca_file;
    if (q->response_max) f.response_max = q->response_max;
    f.stall_ms = c->policy.stall_ms;
    f.total_ms = (int)MIN(ANSWER_MS_MAX + q->body.n / BYTES_PER_MS_MIN, (size_t)INT32_MAX);
    if (q->once) f.total_ms = ONCE_MS_MAX, f.connect_ms = ONCE_MS_MAX / 2;
    return f;
}

status azure_send(azure_client *c, const azure_request *q, fetch_response *r,
                  char code[AZURE_CODE_MAX], err *e) {
    char unwanted[AZURE_CODE_MAX];
    if (!code) code = unwanted;
    code[0] = 0;
    *r = (fetch_response){.failure = FETCH_REFUSED};
    signed_request *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "storage request");
    s->c = c;
    s->q = q;
    buf_init(&s->authorization, AZURE_TOKEN_MAX + 16);
    status rc = request_id(s->id, e);
    if (!rc) rc = build_url(s, e);
    if (!rc) {
        azure_exchange x = {.q = fetch_of(c, q, s),
                            .prepare = prepare,
                            .again = put_right,
                            .genuine = from_service,
                            .tries_max = q->once ? 1 : c->policy.tries_max,
                            .arg = s};
        rc = azure_exchange_run(c, &x, r, code, e);
    }
    if (s->authorization.p) explicit_bzero(s->authorization.p, s->authorization.n);
    buf_deinit(&s->authorization);
    mem_free(s);
    return rc;
}

// ---- opening

static status copy_text(char **to, const char *from, err *e) {
    if (!from) return OK;
    *to = mem_strdup(from);
    return *to ? OK : err_set(e, ERR_OOM, "storage client");
}

static status copy_identity(azure_client *c, const azure_identity *id, err *e) {
    azure_identity_copy *to = &c->identity;
    status rc = copy_text(&to->client_id, id->client_id, e);
    if (!rc) rc = copy_text(&to->tenant_id, id->tenant_id, e);
    if (!rc) rc = copy_text(&to->token_file, id->token_file, e);
    const char *authority = id->authority ? id->authority : "https://login.microsoftonline.com";
    const char *imds = id->imds ? id->imds : "http://169.254.169.254";
    if (!rc) rc = copy_text(&to->authority, authority, e);
    if (!rc) rc = copy_text(&to->imds, imds, e);
    return rc;
}

// A bearer token or a key's use over plain HTTP is for the emulator and tests on this machine only.
static bool loopback_host(const char *host) {
    return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "localhost") == 0 ||
           strcmp(host, "::1") == 0;
}

static status read_endpoint(azure_client *c, err *e) {
    if (!c->account.endpoint) return err_set(e, ERR_ARG, "storage: no endpoint");
    fetch_url *u = mem_alloc(sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "storage client");
    status rc = fetch_url_parse(u, c->account.endpoint, e);
    if (!rc) {
        c->https = strcmp(u->scheme, "https") == 0;
        bool tokens = c->account.auth >= AZURE_WORKLOAD;
        if (tokens && !c->https && !loopback_host(u->host)) {
            rc = err_set(e, ERR_ARG, "storage: tokens are sent over https only");
        }
    }
    if (!rc) rc = copy_text(&c->base_path, strcmp(u->path, "/") ? u->path : "", e);
    mem_free(u);
    return rc;
}

status azure_client_open(azure_client **out, azure_account *a, const azure_identity *id,
                         const azure_policy *p, err *e) {
    *out = NULL;
    azure_client *c = mem_calloc(1, sizeof *c);
    if (!c) {
        azure_account_deinit(a);
        return err_set(e, ERR_OOM, "storage client");
    }
    c->account = *a; // with its pointers
    explicit_bzero(a, sizeof *a);
    c->policy = *p;
    pthread_mutex_init(&c->mu, NULL);
    pthread_mutex_init(&c->token_mu, NULL);
    status rc = copy_text(&c->ca_file, p->ca_file, e);
    if (!rc && c->account.auth >= AZURE_WORKLOAD) {
        rc = id ? copy_identity(c, id, e) : err_set(e, ERR_ARG, "storage: no identity");
    }
    if (!rc) rc = read_endpoint(c, e);
    if (rc) {
        azure_client_close(c);
        return rc;
    }
    *out = c;
    return OK;
}

void azure_client_close(azure_client *c) {
    if (!c) return;
    for (int i = 0; i < c->idle_count; i++) fetch_client_close(c->idle[i]);
    azure_token_drop(c);
    azure_account_deinit(&c->account);
    mem_free(c->identity.client_id);
    mem_free(c->identity.tenant_id);
    mem_free(c->identity.token_file);
    mem_free(c->identity.authority);
    mem_free(c->identity.imds);
    mem_free(c->ca_file);
    mem_free(c->base_path);
    pthread_mutex_destroy(&c->mu);
    pthread_mutex_destroy(&c->token_mu);
    explicit_bzero(c, sizeof *c);
    mem_free(c);
}

const azure_account *azure_client_account(const azure_client *c) {
    return &c->account;
}

void azure_client_stop(azure_client *c) {
    atomic_store(&c->stop, true);
}

void azure_read_counts(azure_client *c, azure_counts *out) {
    *out = (azure_counts){.tries = atomic_load(&c->tries),
                          .retries = atomic_load(&c->retries),
                          .bytes_up = atomic_load(&c->up),
                          .bytes_down = atomic_load(&c->down)};
}
