// fetch.c - see fetch.h. The only file that includes curl.
#include "net/fetch.h"

#include <assert.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/os.h"

// libcurl 7.85 brought CURLOPT_PROTOCOLS_STR.
#if LIBCURL_VERSION_NUM < 0x075500
#error "libcurl 7.85 or newer is needed"
#endif

#define STALL_BYTES_PER_S 1024
#define CONN_IDLE_S_MAX 60L   // servers hang up on idle connections; Azurite after 5 s
#define CONN_LIFE_S_MAX 3600L // so that new certificates and DNS answers are seen

struct fetch_client {
    CURL *easy; // keeps its connections between requests
};

// What the callbacks of one transfer share.
typedef struct {
    CURL *easy;
    const fetch_request *q;
    fetch_response *r;
    int64_t sent;       // offset of the next body byte to send
    int asked, allowed; // addresses judged, and let through
    bool head_done;     // the blank line behind the headers was seen
    bool cut;           // the rest of an error body was not wanted
    status rc;          // a callback of ours ended the transfer with this
    err why;
} transfer;

fetch_request fetch_request_default(void) {
    return (fetch_request){.method = "GET",
                           .response_max = (int64_t)1 << 20,
                           .connect_ms = 5000,
                           .total_ms = 100000,
                           .stall_ms = 30000};
}

const char *fetch_failure_name(fetch_failure f) {
    static const char *const names[] = {"answered", "refused", "blocked", "no_host", "connect",
                                        "tls",      "timeout", "broken",  "stopped", "no_file"};
    return (size_t)f < ARRAY_LEN(names) ? names[f] : "unknown";
}

// ---- curl's callbacks

static size_t on_header(char *p, size_t size, size_t count, void *arg) {
    transfer *t = arg;
    size_t n = size * count;
    // A status line begins the next answer: after a redirect or a 100.
    if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) buf_clear(&t->r->headers);
    t->head_done = n <= 2 && (p[0] == '\r' || p[0] == '\n');
    buf_add(&t->r->headers, p, n);
    t->rc = buf_status(&t->r->headers, NULL);
    if (t->rc == OK) return n;
    err_set(&t->why, t->rc, "answer has more than %zu bytes of headers", FETCH_HEADERS_MAX);
    return 0;
}

// Takes the status code while the body arrives: a sink may ask for it.
static int code_now(transfer *t) {
    long code = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    return (int)code;
}

static status take_body(transfer *t, bytes piece) {
    fetch_response *r = t->r;
    if (piece.n > (uint64_t)(t->q->response_max - r->body_len)) {
        return err_set(&t->why, ERR_LIMIT, "answer is longer than %lld bytes",
                       (long long)t->q->response_max);
    }
    if (t->q->sink) {
        status rc = t->q->sink(t->q->sink_arg, r, piece, &t->why);
        if (rc) return rc;
    } else {
        buf_add(&r->body, piece.p, piece.n);
        status rc = buf_status(&r->body, &t->why);
        if (rc) return rc;
    }
    r->body_len += (int64_t)piece.n;
    return OK;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg) {
    transfer *t = arg;
    size_t n = size * count;
    t->r->code = code_now(t);
    if (t->r->code / 100 == 2) {
        t->rc = take_body(t, (bytes){(const uint8_t *)p, n});
        return t->rc ? 0 : n;
    }
    size_t room = FETCH_ERROR_BODY_MAX - t->r->body.n;
    buf_add(&t->r->body, p, MIN(n, room));
    t->r->body_len += (int64_t)MIN(n, room);
    t->cut = n > room; // enough to say what was wrong; the rest is not waited for
    return t->cut ? 0 : n;
}

static int64_t body_size(const fetch_request *q) {
    return q->source ? q->source_len : (int64_t)q->body.n;
}

static size_t on_read(char *to, size_t size, size_t count, void *arg) {
    transfer *t = arg;
    int64_t left = body_size(t->q) - t->sent;
    size_t n = (size_t)MIN((int64_t)(size * count), left);
    if (n == 0) return 0;
    if (t->q->source) {
        t->rc = t->q->source(t->q->source_arg, t->sent, (uint8_t *)to, n, &t->why);
        if (t->rc) return CURL_READFUNC_ABORT;
    } else {
        memcpy(to, t->q->body.p + t->sent, n);
    }
    t->sent += (int64_t)n;
    return n;
}

// A kept connection that died idle makes curl send the body once more.
static int on_seek(void *arg, curl_off_t offset, int origin) {
    transfer *t = arg;
    if (origin != SEEK_SET || offset < 0 || offset > body_size(t->q)) return CURL_SEEKFUNC_FAIL;
    t->sent = offset;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a, (void)b, (void)c, (void)d;
    const transfer *t = arg;
    return t->q->stop && atomic_load(t->q->stop);
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to) {
    transfer *t = arg;
    (void)purpose;
    t->asked++;
    if (t->q->address_check(t->q->address_arg, &to->addr, &t->why)) return CURL_SOCKET_BAD;
    t->allowed++;
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

// ---- one transfer

static bool header_ok(const fetch_header *h) {
    return h->name && h->value && h->name[0] && !strpbrk(h->name, "\r\n: \t") &&
           !strpbrk(h->value, "\r\n");
}

static bool list_add(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer) *list = longer;
    return longer != NULL;
}

static status header_list(struct curl_slist **list, const fetch_request *q, err *e) {
    // Expect would cost a round trip per upload; 100-continue is not waited for.
    if (!list_add(list, "Expect:")) return err_set(e, ERR_OOM, "request headers");
    for (size_t i = 0; i < q->header_count; i++) {
        const fetch_header *h = &q->headers[i];
        if (!header_ok(h)) return err_set(e, ERR_ARG, "header %zu cannot be sent", i);
        buf line;
        buf_init(&line, FETCH_HEADERS_MAX);
        if (h->value[0]) {
            buf_printf(&line, "%s: %s", h->name, h->value);
        } else {
            buf_printf(&line, "%s;", h->name); // how curl is told of an empty value
        }
        status rc = buf_status(&line, e);
        if (!rc && !list_add(list, buf_str(&line))) rc = err_set(e, ERR_OOM, "request headers");
        buf_deinit(&line);
        if (rc) return rc;
    }
    return OK;
}

static void set_limits(CURL *c, const fetch_request *q) {
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)MAX(q->connect_ms, 1));
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)q->total_ms);
    if (q->stall_ms > 0) {
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES_PER_S);
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)MAX(q->stall_ms / 1000, 1));
    }
    if (q->scope) curl_easy_setopt(c, CURLOPT_ADDRESS_SCOPE, (long)q->scope);
    curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, CONN_IDLE_S_MAX);
    curl_easy_setopt(c, CURLOPT_MAXLIFETIME_CONN, CONN_LIFE_S_MAX);
}

// libcurl does not read these by itself.
static void set_roots(CURL *c) {
    const char *file = getenv("SSL_CERT_FILE"), *folder = getenv("SSL_CERT_DIR");
    if (file && *file) curl_easy_setopt(c, CURLOPT_CAINFO, file);
    if (folder && *folder) curl_easy_setopt(c, CURLOPT_CAPATH, folder);
}

// What may be spoken, to whom, and through what.
static void set_trust(CURL *c, const fetch_request *q, transfer *t) {
    bool https = strncasecmp(q->url, "https:", 6) == 0;
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
    curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    bool free_hand = q->user_environment && !q->address_check;
    if (free_hand)
        set_roots(c);
    else
        curl_easy_setopt(c, CURLOPT_PROXY, ""); // also keeps http_proxy of the environment out
    curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (q->ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, q->ca_file);
    bool follow = q->redirects_max > 0 && !q->address_check;
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, follow ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)q->redirects_max);
    if (!q->address_check) return;
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L);
}

static void set_body(CURL *c, const fetch_request *q, transfer *t) {
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    if (strcmp(q->method, "HEAD") == 0) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else if (strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)body_size(q));
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(c, CURLOPT_READDATA, t);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    } else if (strcmp(q->method, "GET") != 0) {
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    }
}

static void set_request(CURL *c, const fetch_request *q, transfer *t, struct curl_slist *headers,
                        char *message) {
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, message);
    curl_easy_setopt(c, CURLOPT_URL, q->url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); // what was signed is what is sent
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "stemforge/" STEMFORGE_VERSION);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    if (q->range) curl_easy_setopt(c, CURLOPT_RANGE, q->range);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, q->stop ? 0L : 1L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    set_limits(c, q);
    set_trust(c, q, t);
    set_body(c, q, t);
}

static fetch_failure failure_of(const transfer *t, CURLcode code) {
    switch (code) {
    case CURLE_OK: return FETCH_ANSWERED;
    case CURLE_URL_MALFORMAT:
    case CURLE_LOGIN_DENIED: // a redirect to a URL with userinfo
    case CURLE_OUT_OF_MEMORY: return FETCH_REFUSED;
    case CURLE_SSL_CACERT_BADFILE: return FETCH_NO_FILE;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST: return FETCH_NO_HOST;
    case CURLE_COULDNT_CONNECT:
        return t->asked > 0 && t->allowed == 0 ? FETCH_BLOCKED : FETCH_NO_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER: return FETCH_BAD_TLS;
    case CURLE_OPERATION_TIMEDOUT: return FETCH_TIMEOUT;
    case CURLE_ABORTED_BY_CALLBACK: return FETCH_STOPPED;
    default: return FETCH_BROKEN;
    }
}

// "GET https://host:port/path": the query may carry a signature, so it is left out.
static void describe(const fetch_request *q, const fetch_url *u, char *out, size_t cap) {
    char origin[300];
    fetch_url_origin(u, origin, sizeof origin);
    snprintf(out, cap, "%s %s%.150s", q->method, origin, u->path);
}

static status outcome(transfer *t, CURLcode code, const char *message, const fetch_url *u, err *e) {
    char what[512];
    describe(t->q, u, what, sizeof what);
    if (t->rc) {
        t->r->failure = FETCH_REFUSED;
        t->why.code = t->rc;
        return err_set(e, t->rc, "%s: %s", what, t->why.text);
    }
    if (t->cut) code = CURLE_OK;
    // curl is content with an answer that ends within its headers; who knows what they would say.
    if (code == CURLE_OK && !t->head_done) code = CURLE_PARTIAL_FILE;
    t->r->failure = failure_of(t, code);
    const char *text = message[0] ? message : curl_easy_strerror(code);
    switch (t->r->failure) {
    case FETCH_ANSWERED: return OK;
    case FETCH_BLOCKED: return err_set(e, ERR_ARG, "%s: %s", what, t->why.text);
    case FETCH_STOPPED: return err_set(e, ERR_CANCELED, "%s: stopped", what);
    case FETCH_REFUSED:
        return err_set(e, code == CURLE_OUT_OF_MEMORY ? ERR_OOM : ERR_ARG, "%s: %s", what, text);
    default: return err_set(e, ERR_IO, "%s: %s", what, text);
    }
}

static status perform(CURL *easy, const fetch_request *q, const fetch_url *u, fetch_response *r,
                      err *e) {
    transfer t = {.easy = easy, .q = q, .r = r};
    char message[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    status rc = header_list(&headers, q, e);
    if (rc) goto done;
    set_request(easy, q, &t, headers, message);
    double began = os_seconds();
    CURLcode code = curl_easy_perform(easy);
    r->seconds = os_seconds() - began;
    long connects = 0;
    curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
    r->connects = (int)connects;
    rc = outcome(&t, code, message, u, e);
    r->code = rc ? 0 : code_now(&t);
done:
    curl_slist_free_all(headers);
    curl_easy_reset(easy); // keeps the connections, forgets what the options point to
    return rc;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;
static void curl_start(void) {
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static status check_request(const fetch_request *q, fetch_url *u, err *e) {
    if (!q->url || !q->method) return err_set(e, ERR_ARG, "request without method or URL");
    if (curl_ready) return err_set(e, ERR_OOM, "libcurl: %s", curl_easy_strerror(curl_ready));
    bool body = strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0;
    if (!body && body_size(q)) return err_set(e, ERR_ARG, "%s cannot carry a body", q->method);
    if (q->source_len < 0 || q->response_max < 0) return err_set(e, ERR_ARG, "negative size");
    return fetch_url_parse(u, q->url, e);
}

status fetch_send(fetch_client *c, const fetch_request *q, fetch_response *r, err *e) {
    assert(c || q->address_check);
    pthread_once(&curl_once, curl_start);
    *r = (fetch_response){.failure = FETCH_REFUSED};
    buf_init(&r->body, (size_t)MAX(q->response_max, (int64_t)FETCH_ERROR_BODY_MAX));
    buf_init(&r->headers, FETCH_HEADERS_MAX);
    fetch_url *u = mem_alloc(sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "request");
    CURL *fresh = NULL;
    status rc = check_request(q, u, e);
    if (rc) goto done;
    // A kept connection would skip the check of its address, so judged requests never share one.
    if (q->address_check && !(fresh = curl_easy_init())) {
        rc = err_set(e, ERR_OOM, "curl handle");
        goto done;
    }
    rc = perform(fresh ? fresh : c->easy, q, u, r, e);
done:
    if (fresh) curl_easy_cleanup(fresh);
    mem_free(u);
    return rc;
}

void fetch_response_deinit(fetch_response *r) {
    buf_deinit(&r->body);
    buf_deinit(&r->headers);
}

// Finds the end of the line at p; *n is its length without CR and LF.
static const char *line_end(const char *p, const char *end, size_t *n) {
    const char *nl = memchr(p, '\n', (size_t)(end - p));
    const char *stop = nl ? nl : end;
    *n = (size_t)(stop - p);
    while (*n && (p[*n - 1] == '\r' || p[*n - 1] == ' ' || p[*n - 1] == '\t')) --*n;
    return nl ? nl + 1 : end;
}

bool fetch_find_header(const fetch_response *r, const char *name, char *out, size_t cap) {
    out[0] = 0;
    size_t len = strlen(name);
    const char *p = r->headers.p, *end = p ? p + r->headers.n : NULL;
    while (p < end) {
        const char *line = p;
        size_t n;
        p = line_end(line, end, &n);
        if (n <= len || line[len] != ':' || strncasecmp(line, name, len) != 0) continue;
        const char *v = line + len + 1, *stop = line + n;
        while (v < stop && (*v == ' ' || *v == '\t')) v++;
        snprintf(out, cap, "%.*s", (int)(stop - v), v);
        return true;
    }
    return false;
}

status fetch_client_open(fetch_client **out, err *e) {
    *out = NULL;
    pthread_once(&curl_once, curl_start);
    if (curl_ready) return err_set(e, ERR_OOM, "libcurl: %s", curl_easy_strerror(curl_ready));
    fetch_client *c = mem_calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_OOM, "HTTP client");
    c->easy = curl_easy_init();
    if (!c->easy) {
        mem_free(c);
        return err_set(e, ERR_OOM, "curl handle");
    }
    *out = c;
    return OK;
}

void fetch_client_close(fetch_client *c) {
    if (!c) return;
    curl_easy_cleanup(c->easy);
    mem_free(c);
}

// ---- URLs

static status url_refused(err *e, const char *why) {
    return err_set(e, ERR_ARG, "URL: %s", why);
}

// What curl_url would let pass and we do not want to reason about.
static status url_check_text(const char *s, err *e) {
    size_t n = strnlen(s, FETCH_URL_MAX + 1);
    if (n > FETCH_URL_MAX) return err_set(e, ERR_ARG, "URL is longer than %d bytes", FETCH_URL_MAX);
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)s[i];
        if (ch <= 0x20 || ch >= 0x7f) {
            return url_refused(e, "blanks, control and non-ASCII characters must be encoded");
        }
        if (ch == '\\') return url_refused(e, "backslash");
        if (ch == '#') return url_refused(e, "fragment");
    }
    size_t skip = strncasecmp(s, "http://", 7) == 0 ? 7 : strncasecmp(s, "https://", 8) ? 0 : 8;
    if (!skip) return url_refused(e, "expected http:// or https://");
    if (s[skip] == '/' || s[skip] == 0) return url_refused(e, "no host");
    return OK;
}

// Copies a part of u, "" when absent. False when it does not fit.
static bool url_part(CURLU *u, CURLUPart part, unsigned flags, char *out, size_t cap) {
    char *s = NULL;
    out[0] = 0;
    CURLUcode rc = curl_url_get(u, part, &s, flags);
    if (rc) return rc == CURLUE_NO_QUERY || rc == CURLUE_NO_ZONEID;
    size_t n = strlen(s);
    bool fits = n < cap;
    if (fits) memcpy(out, s, n + 1);
    curl_free(s);
    return fits;
}

static void lower(char *s) {
    for (; *s; s++) {
        if (*s >= 'A' && *s <= 'Z') *s = (char)(*s + ('a' - 'A'));
    }
}

// Names and addresses only. curl decodes %xx in hosts, so "%2561" would become "%61" and mean
// something else to whoever reads it next.
static bool host_ok(const char *host) {
    static const char name[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_",
                      v6[] = "[0123456789abcdef:.]";
    size_t n = strlen(host);
    return n && strspn(host, host[0] == '[' ? v6 : name) == n;
}

static void host_unbracket(char *host) {
    size_t n = strlen(host);
    if (n < 2 || host[0] != '[') return;
    memmove(host, host + 1, n - 2);
    host[n - 2] = 0;
}

static status url_read_parts(fetch_url *out, CURLU *u, err *e) {
    char port[8], zone[8];
    if (!url_part(u, CURLUPART_ZONEID, 0, zone, sizeof zone) || zone[0]) {
        return url_refused(e, "zone id");
    }
    if (!url_part(u, CURLUPART_SCHEME, 0, out->scheme, sizeof out->scheme) ||
        !url_part(u, CURLUPART_HOST, 0, out->host, sizeof out->host) ||
        !url_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof port) ||
        !url_part(u, CURLUPART_PATH, 0, out->path, sizeof out->path) ||
        !url_part(u, CURLUPART_QUERY, 0, out->query, sizeof out->query)) {
        return url_refused(e, "a part of it is too long");
    }
    lower(out->scheme);
    lower(out->host);
    if (!host_ok(out->host)) return url_refused(e, "the host is neither a name nor an address");
    host_unbracket(out->host);
    out->port = 0;
    for (const char *p = port; *p; p++) out->port = out->port * 10 + (*p - '0');
    if (out->port < 1 || out->port > 65535) return url_refused(e, "port out of 1..65535");
    return OK;
}

status fetch_url_parse(fetch_url *out, const char *url, err *e) {
    status rc = url_check_text(url, e);
    if (rc) return rc;
    CURLU *u = curl_url();
    if (!u) return err_set(e, ERR_OOM, "URL");
    CURLUcode code = curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS | CURLU_DISALLOW_USER);
    if (code == CURLUE_OUT_OF_MEMORY) {
        rc = err_set(e, ERR_OOM, "URL");
    } else if (code) {
        rc =
            url_refused(e, code == CURLUE_USER_NOT_ALLOWED ? "user name" : curl_url_strerror(code));
    } else {
        rc = url_read_parts(out, u, e);
    }
    curl_url_cleanup(u);
    return rc;
}

// As fetch_url_join, into a URL of curl's.
static CURLUcode join(CURLU *u, const char *url, const char *ref) {
    bool whole = strncasecmp(ref, "http://", 7) == 0 || strncasecmp(ref, "https://", 8) == 0;
    CURLUcode code = curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS);
    if (!code) code = curl_url_set(u, CURLUPART_URL, ref, whole ? CURLU_PATH_AS_IS : 0);
    return code ? code : curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
}

status fetch_url_join(char out[FETCH_URL_MAX], const char *url, const char *ref, err *e) {
    CURLU *u = curl_url();
    fetch_url *checked = mem_alloc(sizeof *checked);
    if (!u || !checked) {
        curl_url_cleanup(u);
        mem_free(checked);
        return err_set(e, ERR_OOM, "URL");
    }
    CURLUcode code = *ref ? join(u, url, ref) : CURLUE_MALFORMED_INPUT;
    status rc = OK;
    if (code)
        rc = code == CURLUE_OUT_OF_MEMORY ? err_set(e, ERR_OOM, "URL")
                                          : url_refused(e, curl_url_strerror(code));
    else if (!url_part(u, CURLUPART_URL, 0, out, FETCH_URL_MAX))
        rc = url_refused(e, "too long");
    if (!rc) rc = fetch_url_parse(checked, out, e);
    curl_url_cleanup(u);
    mem_free(checked);
    return rc;
}

void fetch_url_origin(const fetch_url *u, char *out, size_t cap) {
    bool v6 = strchr(u->host, ':') != NULL;
    int usual = strcmp(u->scheme, "https") == 0 ? 443 : 80;
    int n = snprintf(out, cap, "%s://%s%s%s", u->scheme, v6 ? "[" : "", u->host, v6 ? "]" : "");
    if (u->port != usual && n > 0 && (size_t)n < cap) {
        snprintf(out + n, cap - (size_t)n, ":%d", u->port);
    }
}

void fetch_escape(buf *to, bytes text, const char *keep) {
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char ch = text.p[i];
        bool plain = (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') ||
                     (ch >= '0' && ch <= '9') || (ch && strchr("-._~", ch)) ||
                     (ch && strchr(keep, ch));
        if (plain) {
            buf_add_char(to, (char)ch);
        } else {
            char pct[3] = {'%', hex[ch >> 4], hex[ch & 15]};
            buf_add(to, pct, 3);
        }
    }
}
