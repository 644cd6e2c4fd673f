// loopback.c - see loopback.h: a thread that accepts, and one for each connection.
#include "loopback.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define REQUEST_MAX ((size_t)64 << 20)

struct loopback {
    loopback_handler handler;
    void *arg;
    int listener, port;
    pthread_t acceptor;
    pthread_mutex_t mu; // guards what follows, and the handler
    int requests, connections;
    bool stopping;
    int fd[CONNECTIONS_MAX];
    pthread_t thread[CONNECTIONS_MAX];
};

typedef struct {
    loopback *l;
    int fd, index;
} connection;

void loopback_reply(buf *reply, int code, const char *headers, const char *body) {
    buf_printf(reply, "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n%s", code, headers,
               strlen(body), body);
}

const char *loopback_header(const loopback_request *q, const char *name, char *out, size_t cap) {
    out[0] = 0;
    for (const char *p = strchr(q->head, '\n'); p; p = strchr(p, '\n')) {
        p++;
        size_t n = strlen(name);
        if (strncasecmp(p, name, n) || p[n] != ':') continue;
        p += n + 1;
        while (*p == ' ') p++;
        snprintf(out, cap, "%.*s", (int)strcspn(p, "\r\n"), p);
        break;
    }
    return out;
}

// Reads one request into in; false when the peer is gone. *head_len is its length with the blank
// line, *body_len what Content-Length promises.
static bool read_request(int fd, buf *in, size_t *head_len, size_t *body_len) {
    char piece[65536];
    *head_len = 0;
    for (;;) {
        char *end = in->p ? strstr(in->p, "\r\n\r\n") : NULL;
        if (end && !*head_len) {
            *head_len = (size_t)(end - in->p) + 4;
            char v[32];
            loopback_request q = {.head = in->p};
            *body_len = strtoul(loopback_header(&q, "Content-Length", v, sizeof v), NULL, 10);
        }
        if (*head_len && in->n >= *head_len + *body_len) return true;
        ssize_t n = read(fd, piece, sizeof piece);
        if (n <= 0) return false;
        buf_add(in, piece, (size_t)n);
        if (buf_status(in, NULL)) return false;
    }
}

static bool write_all(int fd, bytes b) {
    while (b.n) {
        ssize_t n = send(fd, b.p, b.n, MSG_NOSIGNAL);
        if (n <= 0) return false;
        b.p += n, b.n -= (size_t)n;
    }
    return true;
}

// Answers one request. False ends the connection.
static bool serve_one(connection *c, buf *in) {
    size_t head = 0, body = 0;
    if (!read_request(c->fd, in, &head, &body)) return false;
    char *text = strndup(in->p, head);
    buf reply;
    buf_init(&reply, REQUEST_MAX);
    pthread_mutex_lock(&c->l->mu);
    loopback_request q = {c->l->requests++, c->index, text, {(uint8_t *)in->p + head, body}};
    loopback_next next = c->l->handler(c->l->arg, &q, &reply);
    pthread_mutex_unlock(&c->l->mu);
    bool alive = write_all(c->fd, buf_bytes(&reply));
    free(text);
    buf_deinit(&reply);
    buf_clear(in); // clients of ours do not pipeline
    if (next == LOOPBACK_RESET) {
        struct linger now = {1, 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    if (next == LOOPBACK_HANG) {
        char byte;
        while (read(c->fd, &byte, 1) > 0) continue; // until the peer or loopback_stop gives up
    }
    return alive && next == LOOPBACK_KEEP;
}

static void *serve(void *arg) {
    connection *c = arg;
    buf in;
    buf_init(&in, REQUEST_MAX);
    while (serve_one(c, &in)) continue;
    buf_deinit(&in);
    pthread_mutex_lock(&c->l->mu);
    close(c->fd);
    c->l->fd[c->index] = -1;
    pthread_mutex_unlock(&c->l->mu);
    free(c);
    return NULL;
}

static void *accept_all(void *arg) {
    loopback *l = arg;
    for (;;) {
        int fd = accept(l->listener, NULL, NULL);
        pthread_mutex_lock(&l->mu);
        bool over = l->stopping || fd < 0 || l->connections == CONNECTIONS_MAX;
        if (!over) {
            connection *c = malloc(sizeof *c);
            *c = (connection){l, fd, l->connections};
            l->fd[c->index] = fd;
            l->connections++;
            pthread_create(&l->thread[c->index], NULL, serve, c);
        }
        pthread_mutex_unlock(&l->mu);
        if (!over) continue;
        if (fd >= 0) close(fd);
        return NULL;
    }
}

loopback *loopback_start(loopback_handler h, void *arg) {
    loopback *l = calloc(1, sizeof *l);
    l->handler = h, l->arg = arg;
    pthread_mutex_init(&l->mu, NULL);
    l->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    cr_assert_eq(bind(l->listener, (struct sockaddr *)&a, sizeof a), 0);
    cr_assert_eq(listen(l->listener, 64), 0);
    cr_assert_eq(getsockname(l->listener, (struct sockaddr *)&a, &n), 0);
    l->port = ntohs(a.sin_port);
    pthread_create(&l->acceptor, NULL, accept_all, l);
    return l;
}

int loopback_port(const loopback *l) {
    return l->port;
}

int loopback_requests(loopback *l) {
    pthread_mutex_lock(&l->mu);
    int n = l->requests;
    pthread_mutex_unlock(&l->mu);
    return n;
}

void loopback_stop(loopback *l) {
    pthread_mutex_lock(&l->mu);
    l->stopping = true;
    shutdown(l->listener, SHUT_RDWR);
    for (int i = 0; i < l->connections; i++) {
        if (l->fd[i] >= 0) shutdown(l->fd[i], SHUT_RDWR);
    }
    pthread_mutex_unlock(&l->mu);
    pthread_join(l->acceptor, NULL);
    for (int i = 0; i < l->connections; i++) pthread_join(l->thread[i], NULL);
    close(l->listener);
    pthread_mutex_destroy(&l->mu);
    free(l);
}
