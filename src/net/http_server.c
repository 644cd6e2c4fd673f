// http_server.c - the listener, its threads and the life of a connection; see http_server.h.
//
// A request that needs a handler thread suspends its connection, is queued, and resumes when it is
// answered; a stream suspends its connection while it has nothing to send. So one thread carries
// all sockets, and no slow client or slow disk holds up another.
#include "net/http_server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "net/http_server_inside.h"

// Slowest reader we keep: an answer must be taken at this rate, beside idle_ms.
#define READ_BYTES_PER_MS_MIN 16
#define REAP_MS 250

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
    if (q->body_seen / HTTP_DRAIN_FACTOR > most) return MHD_NO;
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
        q = *context = http_request_new(s, mhd, url, method);
        if (!q) return MHD_NO;
        conn_deadline(q->conn, s->options.body_ms);
        http_request_judge(q);
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
    http_request_free(q);
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
    status rc = http_listen(&s->listen_fd, &s->port, o->listen, e);
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
    http_streams_hurry(s);
    if (s->daemon) MHD_quiesce_daemon(s->daemon);
    for (int i = 0; i < s->thread_count; i++) pthread_join(s->threads[i], NULL);
    pthread_mutex_lock(&s->mu);
    while (s->unanswered) pthread_cond_wait(&s->idle, &s->mu);
    pthread_mutex_unlock(&s->mu);
    if (s->reaper_runs) pthread_join(s->reaper, NULL);
    http_streams_end(s);
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
