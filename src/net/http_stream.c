// http_stream.c - answers that are written bit by bit.
//
// A stream suspends its connection while it has nothing to send.
#include <string.h>

#include "base/mem.h"
#include "net/http_server_inside.h"

#define READ_BLOCK 16384 // bytes that libmicrohttpd asks for at once

void http_streams_hurry(http_server *s) {
    pthread_mutex_lock(&s->mu);
    for (http_stream *t = s->streams; t; t = t->next) {
        pthread_mutex_lock(&t->mu);
        t->hurry = true;
        pthread_cond_signal(&t->room);
        pthread_mutex_unlock(&t->mu);
    }
    pthread_mutex_unlock(&s->mu);
}

void http_streams_end(http_server *s) {
    pthread_mutex_lock(&s->mu);
    for (http_stream *t = s->streams; t; t = t->next) {
        pthread_mutex_lock(&t->mu);
        t->ended = true;
        if (t->suspended) MHD_resume_connection(t->mhd);
        t->suspended = false;
        pthread_cond_signal(&t->room);
        pthread_mutex_unlock(&t->mu);
    }
    pthread_mutex_unlock(&s->mu);
}

static void stream_release(http_stream *t) {
    pthread_mutex_lock(&t->mu);
    int owners = --t->owners;
    pthread_mutex_unlock(&t->mu);
    if (owners) return;
    pthread_cond_destroy(&t->room);
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
    pthread_cond_signal(&t->room);
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
        pthread_cond_signal(&t->room);
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

http_stream *http_reply_stream_sized(http_request *q, int code, const char *type, uint64_t size) {
    http_server *s = q->server;
    http_stream *t = mem_calloc(1, sizeof *t);
    struct MHD_Response *r = NULL;
    if (t) {
        r = MHD_create_response_from_callback(size, READ_BLOCK, on_stream_read, t, on_stream_gone);
    }
    if (!r) {
        mem_free(t);
        http_reply_problem(q, 500, "busy", "Out of memory", NULL, NULL);
        return NULL;
    }
    http_type_header(r, type);
    pthread_mutex_init(&t->mu, NULL);
    pthread_cond_init(&t->room, NULL);
    t->server = s;
    t->mhd = q->mhd;
    t->owners = 2;
    buf_init(&t->pending, HTTP_STREAM_PENDING_MAX + HTTP_STREAM_PIECE_MAX); // > UNREAD_MAX
    pthread_mutex_lock(&s->mu);
    t->next = s->streams;
    t->hurry = s->stopping;
    if (s->streams) s->streams->prev = t;
    s->streams = t;
    pthread_mutex_unlock(&s->mu);
    http_answer(q, code, r, size);
    return t;
}

http_stream *http_reply_stream(http_request *q, const char *type) {
    return http_reply_stream_sized(q, 200, type, MHD_SIZE_UNKNOWN); // UINT64_MAX
}

bool http_stream_wait(http_stream *t) {
    pthread_mutex_lock(&t->mu);
    while (!t->gone && !t->ended && !t->hurry &&
           t->pending.n - t->taken > HTTP_STREAM_PENDING_MAX) {
        pthread_cond_wait(&t->room, &t->mu);
    }
    bool open = !t->gone && !t->ended && !t->hurry;
    pthread_mutex_unlock(&t->mu);
    return open;
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
        ok = t->pending.n <= HTTP_STREAM_PENDING_MAX ||
             t->pending.n + data.n <= HTTP_STREAM_UNREAD_MAX;
        if (ok) buf_add(&t->pending, data.p, data.n);
        ok = ok && t->pending.failed == OK;
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
