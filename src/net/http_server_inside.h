// http_server_inside.h - what the files of the HTTP server share; for net/http_*.c alone.
//
// http_server.c   listener, threads, connections and their deadlines
// http_listen.c   the address: names, families, the socket
// http_request.c  a request's head: what is refused before a handler sees it; what a handler asks
// http_reply.c    finished answers: bytes, problems, files with ranges
// http_stream.c   answers that are written bit by bit
//
// These files alone include libmicrohttpd.
#pragma once
#include <microhttpd.h>
#include <pthread.h>

#include "net/http_server.h"

#define HTTP_REPLY_HEADERS_MAX 12
#define HTTP_ID_MAX 64
#define HTTP_ADDRESS_MAX 64
// A body over the limit is read and dropped up to this many times the limit, so that the client
// gets to see its 413; beyond that the connection is cut.
#define HTTP_DRAIN_FACTOR 16

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
    char id[HTTP_ID_MAX + 1];
    char client[HTTP_ADDRESS_MAX];
    char *query[8]; // decoded values handed out
    int query_count;
    struct {
        const char *name;
        char *value;
    } headers[HTTP_REPLY_HEADERS_MAX];
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
    pthread_cond_t room; // pending was read, or nobody will read any more
    buf pending;
    size_t taken; // of pending
    bool suspended, ended, gone;
    bool hurry; // the server closes: nobody waits for the reader
    int owners;
};

// A request whose head has arrived. NULL without memory, or on a connection we know nothing of.
http_request *http_request_new(http_server *s, struct MHD_Connection *mhd, const char *url,
                               const char *method);
void http_request_free(http_request *q); // NULL is fine
// Looks at a request's head; answers it at once when it is no good.
void http_request_judge(http_request *q);

// Hands the finished response over: at once when the request is still in the hands of the thread
// that moves bytes, else by waking its connection. r NULL: the connection is closed.
// size: bytes of the body; UINT64_MAX for a stream.
void http_answer(http_request *q, int code, struct MHD_Response *r, uint64_t size);
void http_type_header(struct MHD_Response *r, const char *type); // either may be NULL

// Opens the socket of options.listen. *fd is -1 unless OK.
status http_listen(int *fd, int *port, const char *at, err *e);

void http_streams_hurry(http_server *s); // ends the waits of their senders
void http_streams_end(http_server *s);   // ends all, as if each had called http_stream_end
