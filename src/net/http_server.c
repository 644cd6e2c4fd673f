// http_server.c - see http_server.h. The only file that includes libmicrohttpd.
//
// A request that needs a handler thread suspends its connection, is queued, and resumes when it is
// answered; a stream suspends its connection while it has nothing to send. So one thread carries
// all sockets, and no slow client or slow disk holds up another.
#include "net/http_server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

#define LISTEN_BACKLOG 1024
#define REPLY_HEADERS_MAX 12
#define ID_MAX 64
#define ADDRESS_MAX 64
#define HEADER_FIELDS_MAX 64
#define PATH_BYTES_MAX 2048
// A body over the limit is read and dropped up to this many times the limit, so that the client
// gets to see its 413; beyond that the connection is cut.
#define DRAIN_FACTOR 16
// Slowest reader we keep: an answer must be taken at this rate, beside idle_ms.
#define READ_BYTES_PER_MS_MIN 16
#define REAP_MS 250

// One accepted connection. Guarded by server.mu: deadline and the list.
typedef struct conn {
    http_server *server;
    struct conn *prev, *next;
    int fd;
    int64_t deadline_ns; // when it is cut off; 0: not while things stand as they do
} conn;

struct http_request {
    http_server *server;
    struct MHD_Connection *mhd;
    conn *conn;
    http_request *next; // in the handler queue
    int64_t start_ns;
    const char *method;
    const char *route;
    char *path;
    buf body;
    size_t body_seen;
    bool too_large, asked, quick; // quick: inside the quick callback, so there is nothing to resume
    char id[ID_MAX + 1];
    char client[ADDRESS_MAX];
    char *query[8]; // decoded values handed out
    int query_count;
    struct {
        const char *name;
        char *value;
    } headers[REPLY_HEADERS_MAX];
    int header_count;
    struct MHD_Response *response;
    int status;
    uint64_t response_size;
};

struct http_server {
    http_options options;
    http_handler handler;
    struct MHD_Daemon *daemon;
    int listen_fd, port;
    pthread_mutex_t mu; // guards everything below
    pthread_cond_t work;
    pthread_cond_t idle;
    http_request *head, *tail; // waiting for a handler thread
    int unanswered;            // suspended for an answer
    bool stopping;
    conn *conns;
    int conn_count;
    http_stream *streams;
    pthread_t *threads;
    int thread_count;
    pthread_t reaper;
    bool reaper_runs;
};

// Two own it: libmicrohttpd until the connection is done with it, and the caller until
// http_stream_end. Guarded by mu: everything but the list, which server.mu guards.
struct http_stream {
    pthread_mutex_t mu;
    http_server *server;
    http_stream *prev, *next;
    struct MHD_Connection *mhd;
    buf pending;
    size_t taken; // of pending
    bool suspended, ended, gone;
    int owners;
};

http_options http_options_default(void) {
    return (http_options){.listen = "127.0.0.1:8080",
                          .threads = 16,
                          .body_max = (size_t)64 << 10,
                          .head_max = (size_t)16 << 10,
                          .connections_max = 1024,
                          .client_max = 768,
                          .head_ms = 10000,
                          .body_ms = 20000,
                          .idle_ms = 60000};
}

static void conn_deadline(conn *c, int64_t ms) {
    http_server *s = c->server;
    pthread_mutex_lock(&s->mu);
    c->deadline_ns = ms ? os_clock_ns() + ms * 1000000 : 0;
    pthread_mutex_unlock(&s->mu);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    http_server *s = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        conn *c = mem_calloc(1, sizeof *c);
        const union MHD_ConnectionInfo *fd =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = c;
        if (!c) return; // its requests are answered 503
        c->server = s;
        c->fd = fd ? (int)fd->connect_fd : -1;
        int one = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_mutex_lock(&s->mu);
        c->deadline_ns = os_clock_ns() + (int64_t)s->options.head_ms * 1000000;
        c->next = s->conns;
        if (s->conns) s->conns->prev = c;
        s->conns = c;
        s->conn_count++;
        pthread_mutex_unlock(&s->mu);
        return;
    }
    conn *c = *context;
    if (!c) return;
    pthread_mutex_lock(&s->mu);
    if (c->prev) c->prev->next = c->next;
    if (c->next) c->next->prev = c->prev;
    if (s->conns == c) s->conns = c->next;
    s->conn_count--;
    pthread_mutex_unlock(&s->mu);
    mem_free(c);
}

// libmicrohttpd's own timeout counts from the last byte, so one byte now and then would keep a
// connection for ever; ours counts from the start of the phase. Shutting the socket down is enough:
// the other thread sees its end and closes it. (It tells us before it closes, under s->mu, so the
// number still means this connection.)
static void *reap(void *arg) {
    http_server *s = arg;
    pthread_mutex_lock(&s->mu);
    while (!s->stopping) {
        int64_t now = os_clock_ns();
        for (conn *c = s->conns; c; c = c->next) {
            if (!c->deadline_ns || now < c->deadline_ns) continue;
            c->deadline_ns = 0;
            shutdown(c->fd, SHUT_RDWR);
        }
        pthread_mutex_unlock(&s->mu);
        os_sleep_ms(REAP_MS);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

static bool is_token(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c)) return false;
    }
    return n > 0;
}

static bool is_safe_id(const char *s) {
    size_t n = strlen(s);
    if (n == 0 || n > ID_MAX) return false;
    return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool decode(char *s, bool is_query) {
    char *to = s;
    for (; *s; s++) {
        if (is_query && *s == '+') {
            *to++ = ' ';
            continue;
        }
        if (*s != '%') {
            *to++ = *s;
            continue;
        }
        int hi = hex_value(s[1]), lo = hi < 0 ? -1 : hex_value(s[2]);
        if (lo < 0) return false;
        char c = (char)(hi * 16 + lo);
        if (!c || (!is_query && (c == '/' || c == '\\'))) return false;
        *to++ = c;
        s += 2;
    }
    *to = 0;
    return true;
}

bool http_path_decode(char *s) {
    return decode(s, false);
}

typedef struct {
    int lengths, encodings, fields;
    bool odd;
    const char *why;
} head_check;

static enum MHD_Result check_field(void *arg, enum MHD_ValueKind kind, const char *key,
                                   size_t key_n, const char *value, size_t value_n) {
    (void)kind;
    head_check *h = arg;
    h->fields++;
    if (!is_token(key, key_n)) h->why = "a header's name holds a character that no name may hold";
    if (value && memchr(value, 0, value_n)) h->why = "a header's value holds a NUL";
    if (strcasecmp(key, "Content-Length") == 0) h->lengths++;
    if (strcasecmp(key, "Transfer-Encoding") == 0) {
        h->encodings++;
        h->odd |= !value || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

// What a proxy in front of us and we ourselves might read differently is refused.
static const char *head_wrong(http_request *q) {
    head_check h = {0};
    MHD_get_connection_values_n(q->mhd, MHD_HEADER_KIND, check_field, &h);
    if (h.why) return h.why;
    if (h.fields > HEADER_FIELDS_MAX) return "more than 64 header fields";
    if (h.lengths > 1) return "Content-Length more than once";
    if (h.encodings > 1 || h.odd) return "Transfer-Encoding other than a single chunked";
    if (h.lengths && h.encodings) return "both Content-Length and Transfer-Encoding";
    return NULL;
}

static void request_free(http_request *q) {
    if (!q) return;
    for (int i = 0; i < q->header_count; i++) mem_free(q->headers[i].value);
    for (int i = 0; i < q->query_count; i++) mem_free(q->query[i]);
    if (q->response) MHD_destroy_response(q->response);
    buf_deinit(&q->body);
    mem_free(q->path);
    mem_free(q);
}

static void request_name(http_request *q) {
    const char *asked = http_header(q, "X-Request-Id");
    if (asked && is_safe_id(asked)) {
        snprintf(q->id, sizeof q->id, "%s", asked);
    } else {
        uint8_t raw[8] = {0};
        random_bytes(raw, sizeof raw, NULL);
        hex_encode(q->id, raw, sizeof raw);
    }
    const union MHD_ConnectionInfo *from =
        MHD_get_connection_info(q->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = from ? from->client_addr : NULL;
    socklen_t len =
        a && a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (!a || getnameinfo(a, len, q->client, sizeof q->client, NULL, 0, NI_NUMERICHOST)) {
        snprintf(q->client, sizeof q->client, "unknown");
    }
}

static http_request *request_new(http_server *s, struct MHD_Connection *mhd, const char *url,
                                 const char *method) {
    const union MHD_ConnectionInfo *at =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    http_request *q = at && at->socket_context ? mem_calloc(1, sizeof *q) : NULL;
    if (!q) return NULL;
    q->server = s;
    q->mhd = mhd;
    q->conn = at->socket_context;
    q->start_ns = os_clock_ns();
    q->method = method;
    q->route = "other";
    q->path = mem_strdup(url);
    buf_init(&q->body, s->options.body_max);
    if (!q->path) {
        request_free(q);
        return NULL;
    }
    request_name(q);
    return q;
}

static void reply_closing(http_request *q, int code, const char *kind, const char *title,
                          const char *why) {
    http_add_header(q, "Connection", "close");
    http_reply_problem(q, code, kind, title, why, NULL);
}

// Looks at a request's head; answers it at once when it is no good.
static void judge_head(http_request *q) {
    q->quick = true; // an answer from here needs no resuming
    const char *why = head_wrong(q);
    if (why) {
        reply_closing(q, 400, "bad-request", "Bad request", why);
    } else if (strlen(q->path) > PATH_BYTES_MAX) {
        reply_closing(q, 414, "too-long", "URI too long", "the path is over 2048 bytes");
    } else if (!http_path_decode(q->path)) {
        reply_closing(q, 400, "bad-request", "Bad request",
                      "the path holds a broken escape, or one that hides a separator");
    } else {
        const char *length = http_header(q, "Content-Length");
        uint64_t n = length ? strtoull(length, NULL, 10) : 0;
        size_t most = q->server->options.body_max;
        q->too_large = n > most;
        if (n / DRAIN_FACTOR > most || (q->too_large && http_header(q, "Expect"))) {
            char text[80];
            snprintf(text, sizeof text, "the body may have at most %zu bytes", most);
            reply_closing(q, 413, "too-large", "Body too large", text);
        }
    }
    q->quick = false;
}

static enum MHD_Result send_reply(http_request *q) {
    const http_options *o = &q->server->options;
    bool endless = q->response_size == UINT64_MAX;
    int64_t ms = o->idle_ms + (int64_t)(q->response_size / READ_BYTES_PER_MS_MIN);
    conn_deadline(q->conn, endless ? 0 : ms);
    enum MHD_Result r = MHD_queue_response(q->mhd, (unsigned)q->status, q->response);
    MHD_destroy_response(q->response);
    q->response = NULL;
    return r;
}

static enum MHD_Result take_body(http_request *q, const char *data, size_t *n) {
    q->body_seen += *n;
    size_t most = q->server->options.body_max;
    if (q->body_seen > most) q->too_large = true;
    if (q->body_seen / DRAIN_FACTOR > most) return MHD_NO;
    if (!q->too_large) buf_add(&q->body, data, *n);
    *n = 0;
    return MHD_YES;
}

static enum MHD_Result dispatch(http_request *q) {
    http_server *s = q->server;
    q->asked = true;
    conn_deadline(q->conn, 0);
    q->quick = true;
    if (q->too_large) {
        char text[80];
        snprintf(text, sizeof text, "the body may have at most %zu bytes", s->options.body_max);
        http_reply_problem(q, 413, "too-large", "Body too large", text, NULL);
    } else if (q->body.failed) {
        http_reply_problem(q, 503, "busy", "Out of memory", NULL, NULL);
    } else if (s->handler.quick) {
        s->handler.quick(s->handler.arg, q);
    }
    q->quick = false;
    if (q->response) return send_reply(q);
    pthread_mutex_lock(&s->mu);
    bool stopping = s->stopping;
    if (!stopping) {
        MHD_suspend_connection(q->mhd);
        s->unanswered++;
        if (s->tail) s->tail->next = q;
        s->tail = q;
        if (!s->head) s->head = q;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->mu);
    return stopping ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_n, void **context) {
    (void)version;
    http_server *s = arg;
    http_request *q = *context;
    if (!q) {
        q = *context = request_new(s, mhd, url, method);
        if (!q) return MHD_NO;
        conn_deadline(q->conn, s->options.body_ms);
        judge_head(q);
        return q->response ? send_reply(q) : MHD_YES;
    }
    if (*data_n) return take_body(q, data, data_n);
    if (q->response) return send_reply(q);
    return q->asked ? MHD_NO : dispatch(q);
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)mhd;
    (void)code;
    http_server *s = arg;
    http_request *q = *context;
    *context = NULL;
    if (!q) return;
    conn_deadline(q->conn, s->options.idle_ms);
    double seconds = (double)(os_clock_ns() - q->start_ns) * 1e-9;
    if (q->status && s->handler.done) s->handler.done(s->handler.arg, q, q->status, seconds);
    request_free(q);
}

// Decoding is ours (http_path_decode): libmicrohttpd's would cut a path at %00.
static size_t keep_escapes(void *arg, struct MHD_Connection *mhd, char *s) {
    (void)arg;
    (void)mhd;
    return strlen(s);
}

static void *run_handlers(void *arg) {
    http_server *s = arg;
    pthread_mutex_lock(&s->mu);
    for (;;) {
        while (!s->head && !s->stopping) pthread_cond_wait(&s->work, &s->mu);
        http_request *q = s->head;
        if (!q) break; // stopping, and nothing left to answer
        s->head = q->next;
        if (!s->head) s->tail = NULL;
        pthread_mutex_unlock(&s->mu);
        s->handler.handle(s->handler.arg, q);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

// "host:port" or "[v6]:port" into host and port; "*" as host means every address.
static status split_listen(const char *listen, char *host, size_t host_cap, char *port,
                           size_t port_cap, err *e) {
    const char *colon = strrchr(listen, ':');
    size_t n = colon ? (size_t)(colon - listen) : 0;
    const char *from = listen;
    if (n >= 2 && listen[0] == '[' && listen[n - 1] == ']') from++, n -= 2;
    char *end = NULL;
    long number = colon ? strtol(colon + 1, &end, 10) : -1;
    if (n == 0 || n >= host_cap || !end || *end || end == colon + 1 || number < 0 ||
        number > 65535) {
        return err_set(e, ERR_ARG, "listen: expected HOST:PORT, found \"%s\"", listen);
    }
    memcpy(host, from, n);
    host[n] = 0;
    if (strcmp(host, "*") == 0) host[0] = 0;
    snprintf(port, port_cap, "%ld", number);
    return OK;
}

static int bind_one(const struct addrinfo *a) {
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0) return -1;
    int one = 1, zero = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static status listen_on(http_server *s, err *e) {
    char host[256], port[8];
    const char *at = s->options.listen;
    status rc = split_listen(at, host, sizeof host, port, sizeof port, e);
    if (rc) return rc;
    struct addrinfo hint = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    int code = getaddrinfo(host[0] ? host : NULL, port, &hint, &list);
    if (code) return err_set(e, ERR_ARG, "listen on %s: %s", at, gai_strerror(code));
    for (const struct addrinfo *a = list; a && s->listen_fd < 0; a = a->ai_next) {
        s->listen_fd = bind_one(a);
    }
    freeaddrinfo(list);
    if (s->listen_fd < 0) return err_errno(e, "listen on %s", at);
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    if (getsockname(s->listen_fd, (struct sockaddr *)&bound, &n) == 0) {
        s->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                    : ((struct sockaddr_in *)&bound)->sin_port);
    }
    return OK;
}

static void log_mhd(void *arg, const char *fmt, va_list ap) {
    (void)arg;
    char text[400];
    vsnprintf(text, sizeof text, fmt, ap);
    log_debug("http", "%s", text);
}

static status start(http_server *s, err *e) {
    const http_options *o = &s->options;
    // Room for the answer's headers and the chunk that is being moved, beside the request's head.
    size_t memory = o->head_max + 16384;
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL,
        MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)o->client_max, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(o->idle_ms + 999) / 1000, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes,
        NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!s->daemon) return err_set(e, ERR_IO, "the HTTP server did not start");
    s->threads = mem_calloc((size_t)o->threads, sizeof *s->threads);
    if (!s->threads) return err_set(e, ERR_OOM, "HTTP handler threads");
    while (s->thread_count < o->threads) {
        if (pthread_create(&s->threads[s->thread_count], NULL, run_handlers, s)) {
            return err_set(e, ERR_IO, "no more threads for the HTTP server");
        }
        s->thread_count++;
    }
    s->reaper_runs = pthread_create(&s->reaper, NULL, reap, s) == 0;
    return s->reaper_runs ? OK : err_set(e, ERR_IO, "no thread for the HTTP server's timeouts");
}

status http_server_open(http_server **out, const http_options *o, const http_handler *h, err *e) {
    *out = NULL;
    http_server *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "HTTP server");
    s->options = *o;
    s->handler = *h;
    s->listen_fd = -1;
    pthread_mutex_init(&s->mu, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->idle, NULL);
    status rc = listen_on(s, e);
    if (!rc) rc = start(s, e);
    if (!rc) {
        *out = s;
        s = NULL;
    }
    http_server_close(s);
    return rc;
}

int http_server_port(const http_server *s) {
    return s->port;
}

int http_server_connections(const http_server *s) {
    http_server *m = (http_server *)s; // only the lock is touched
    pthread_mutex_lock(&m->mu);
    int n = m->conn_count;
    pthread_mutex_unlock(&m->mu);
    return n;
}

static void end_streams(http_server *s) {
    pthread_mutex_lock(&s->mu);
    for (http_stream *t = s->streams; t; t = t->next) {
        pthread_mutex_lock(&t->mu);
        t->ended = true;
        if (t->suspended) MHD_resume_connection(t->mhd);
        t->suspended = false;
        pthread_mutex_unlock(&t->mu);
    }
    pthread_mutex_unlock(&s->mu);
}

// What was answered should also arrive: waits for the sockets to drain, but not for long.
static void linger(http_server *s) {
    for (int i = 0; i < 40; i++) {
        pthread_mutex_lock(&s->mu);
        bool busy = s->streams != NULL;
        pthread_mutex_unlock(&s->mu);
        if (!busy && i > 2) return;
        os_sleep_ms(10);
    }
}

void http_server_close(http_server *s) {
    if (!s) return;
    pthread_mutex_lock(&s->mu);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->mu);
    if (s->daemon) MHD_quiesce_daemon(s->daemon);
    for (int i = 0; i < s->thread_count; i++) pthread_join(s->threads[i], NULL);
    pthread_mutex_lock(&s->mu);
    while (s->unanswered) pthread_cond_wait(&s->idle, &s->mu);
    pthread_mutex_unlock(&s->mu);
    if (s->reaper_runs) pthread_join(s->reaper, NULL);
    end_streams(s);
    if (s->daemon) {
        linger(s);
        MHD_stop_daemon(s->daemon);
    }
    if (s->listen_fd >= 0) close(s->listen_fd);
    pthread_cond_destroy(&s->idle);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->mu);
    mem_free(s->threads);
    mem_free(s);
}

const char *http_method(const http_request *q) {
    return q->method;
}
const char *http_path(const http_request *q) {
    return q->path;
}
const char *http_header(const http_request *q, const char *name) {
    return MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, name);
}
bytes http_body(const http_request *q) {
    return buf_bytes(&q->body);
}
const char *http_id(const http_request *q) {
    return q->id;
}
const char *http_client(const http_request *q) {
    return q->client;
}
const char *http_route(const http_request *q) {
    return q->route;
}
void http_set_route(http_request *q, const char *route) {
    q->route = route;
}

const char *http_query(const http_request *q, const char *name) {
    http_request *m = (http_request *)q; // remembers what it handed out
    const char *raw = MHD_lookup_connection_value(q->mhd, MHD_GET_ARGUMENT_KIND, name);
    if (!raw || m->query_count == (int)ARRAY_LEN(m->query)) return NULL;
    char *s = mem_strdup(raw);
    if (!s) return NULL;
    m->query[m->query_count++] = s;
    return decode(s, true) ? s : "";
}

void http_add_header(http_request *q, const char *name, const char *value) {
    assert(q->header_count < REPLY_HEADERS_MAX);
    char *copy = mem_strdup(value);
    if (!copy) return;
    q->headers[q->header_count].name = name;
    q->headers[q->header_count++].value = copy;
}

// Hands the finished response over: at once when the request is still in the hands of the thread
// that moves bytes, else by waking its connection.
static void answer(http_request *q, int code, struct MHD_Response *r, uint64_t size) {
    for (int i = 0; r && i < q->header_count; i++) {
        MHD_add_response_header(r, q->headers[i].name, q->headers[i].value);
    }
    if (r) MHD_add_response_header(r, "X-Request-Id", q->id);
    if (r) MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    q->response = r;
    q->status = code;
    q->response_size = size;
    if (q->quick) return;
    http_server *s = q->server;
    MHD_resume_connection(q->mhd); // without a response the connection is closed (on_request)
    pthread_mutex_lock(&s->mu);
    if (--s->unanswered == 0) pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->mu);
}

static void type_header(struct MHD_Response *r, const char *type) {
    if (r && type) MHD_add_response_header(r, "Content-Type", type);
}

void http_reply(http_request *q, int code, const char *type, bytes body) {
    struct MHD_Response *r =
        MHD_create_response_from_buffer(body.n, (void *)body.p, MHD_RESPMEM_MUST_COPY);
    type_header(r, type);
    answer(q, code, r, body.n);
}

void http_reply_problem(http_request *q, int code, const char *kind, const char *title,
                        const char *detail, json *errors) {
    char urn[96];
    snprintf(urn, sizeof urn, "urn:stemforge:problem:%s", kind);
    json *j = json_new_object();
    json_set_str(j, "type", urn);
    json_set_str(j, "title", title);
    json_set_int(j, "status", code);
    if (detail) json_set_str(j, "detail", detail);
    json_set_str(j, "instance", q->id);
    if (errors) json_set(j, "errors", errors);
    buf b;
    buf_init(&b, (size_t)64 << 10);
    json_write(&b, j, JSON_TIGHT, NULL);
    json_free(j);
    http_reply(q, code, "application/problem+json", buf_bytes(&b));
    buf_deinit(&b);
}

static bool digits(const char **p, uint64_t *out) {
    const char *s = *p;
    uint64_t v = 0;
    for (; *s >= '0' && *s <= '9'; s++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *s - '0', &v))
            return false;
    }
    if (s == *p) return false;
    *p = s;
    *out = v;
    return true;
}

http_range_kind http_range_parse(const char *header, uint64_t size, uint64_t *first,
                                 uint64_t *count) {
    if (!header || strncasecmp(header, "bytes=", 6) != 0) return HTTP_RANGE_NONE;
    const char *p = header + 6;
    uint64_t a = 0, b = 0;
    if (*p == '-') {
        p++;
        if (!digits(&p, &b) || *p) return HTTP_RANGE_NONE;
        if (b == 0 || size == 0) return HTTP_RANGE_UNSATISFIABLE;
        *count = MIN(b, size);
        *first = size - *count;
        return HTTP_RANGE_OK;
    }
    if (!digits(&p, &a) || *p++ != '-') return HTTP_RANGE_NONE;
    if (!*p) {
        b = UINT64_MAX;
    } else if (!digits(&p, &b) || *p || b < a) {
        return HTTP_RANGE_NONE;
    }
    if (a >= size) return HTTP_RANGE_UNSATISFIABLE;
    *first = a;
    *count = MIN(b, size - 1) - a + 1;
    return HTTP_RANGE_OK;
}

void http_reply_file(http_request *q, int fd, const char *type) {
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        http_reply_problem(q, 404, "not-found", "Not found", NULL, NULL);
        return;
    }
    uint64_t size = (uint64_t)st.st_size, first = 0, count = size;
    char tag[64], text[96];
    snprintf(tag, sizeof tag, "\"%llx-%llx-%lx\"", (unsigned long long)size,
             (unsigned long long)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
    http_add_header(q, "ETag", tag);
    http_add_header(q, "Accept-Ranges", "bytes");
    const char *have = http_header(q, "If-None-Match"), *if_range = http_header(q, "If-Range");
    if (have && strstr(have, tag)) {
        close(fd);
        http_reply(q, 304, NULL, (bytes){0});
        return;
    }
    http_range_kind kind = HTTP_RANGE_NONE;
    if (!if_range || strcmp(if_range, tag) == 0)
        kind = http_range_parse(http_header(q, "Range"), size, &first, &count);
    if (kind == HTTP_RANGE_UNSATISFIABLE) {
        close(fd);
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)size);
        http_add_header(q, "Content-Range", text);
        http_reply_problem(q, 416, "range", "Range not satisfiable", NULL, NULL);
        return;
    }
    if (kind == HTTP_RANGE_OK) {
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)first,
                 (unsigned long long)(first + count - 1), (unsigned long long)size);
        http_add_header(q, "Content-Range", text);
    }
    struct MHD_Response *r = MHD_create_response_from_fd_at_offset64(count, fd, first);
    if (!r) close(fd);
    type_header(r, type);
    answer(q, kind == HTTP_RANGE_OK ? 206 : 200, r, count);
}

static void stream_release(http_stream *t) {
    pthread_mutex_lock(&t->mu);
    int owners = --t->owners;
    pthread_mutex_unlock(&t->mu);
    if (owners) return;
    pthread_mutex_destroy(&t->mu);
    buf_deinit(&t->pending);
    mem_free(t);
}

static void on_stream_gone(void *arg) {
    http_stream *t = arg;
    http_server *s = t->server;
    pthread_mutex_lock(&s->mu);
    if (t->prev) t->prev->next = t->next;
    if (t->next) t->next->prev = t->prev;
    if (s->streams == t) s->streams = t->next;
    pthread_mutex_unlock(&s->mu);
    pthread_mutex_lock(&t->mu);
    t->gone = true;
    pthread_mutex_unlock(&t->mu);
    stream_release(t);
}

static ssize_t on_stream_read(void *arg, uint64_t pos, char *to, size_t most) {
    (void)pos;
    http_stream *t = arg;
    ssize_t got = 0;
    pthread_mutex_lock(&t->mu);
    size_t have = t->pending.n - t->taken;
    if (have) {
        size_t n = MIN(have, most);
        memcpy(to, t->pending.p + t->taken, n);
        t->taken += n;
        if (t->taken == t->pending.n) buf_clear(&t->pending), t->taken = 0;
        got = (ssize_t)n;
    } else if (t->ended) {
        got = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        t->suspended = true;
        MHD_suspend_connection(t->mhd);
    }
    pthread_mutex_unlock(&t->mu);
    return got;
}

http_stream *http_reply_stream(http_request *q, const char *type) {
    http_server *s = q->server;
    http_stream *t = mem_calloc(1, sizeof *t);
    struct MHD_Response *r = NULL;
    if (t) {
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, on_stream_read, t,
                                              on_stream_gone);
    }
    if (!r) {
        mem_free(t);
        http_reply_problem(q, 500, "busy", "Out of memory", NULL, NULL);
        return NULL;
    }
    type_header(r, type);
    pthread_mutex_init(&t->mu, NULL);
    t->server = s;
    t->mhd = q->mhd;
    t->owners = 2;
    buf_init(&t->pending, HTTP_STREAM_PENDING_MAX);
    pthread_mutex_lock(&s->mu);
    t->next = s->streams;
    if (s->streams) s->streams->prev = t;
    s->streams = t;
    pthread_mutex_unlock(&s->mu);
    answer(q, 200, r, UINT64_MAX);
    return t;
}

static void stream_wake(http_stream *t) {
    if (t->suspended) MHD_resume_connection(t->mhd);
    t->suspended = false;
}

bool http_stream_send(http_stream *t, bytes data) {
    pthread_mutex_lock(&t->mu);
    if (t->taken) {
        memmove(t->pending.p, t->pending.p + t->taken, t->pending.n - t->taken);
        t->pending.n -= t->taken;
        t->taken = 0;
    }
    bool ok = !t->gone && !t->ended;
    if (ok) {
        buf_add(&t->pending, data.p, data.n);
        ok = t->pending.failed == OK;
        if (!ok) t->ended = true; // it does not read; what it has not got it will not get
        stream_wake(t);
    }
    pthread_mutex_unlock(&t->mu);
    return ok;
}

void http_stream_end(http_stream *t) {
    if (!t) return;
    pthread_mutex_lock(&t->mu);
    t->ended = true;
    if (!t->gone) stream_wake(t);
    pthread_mutex_unlock(&t->mu);
    stream_release(t);
}
