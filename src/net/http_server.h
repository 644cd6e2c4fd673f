// http_server.h - an HTTP/1.1 server as bytes and sockets: listener, limits, timeouts, streams.
//
// One thread moves bytes; `threads` more run the handler, so a handler may block. A handler answers
// each request exactly once with one of the http_reply functions, before it returns or later and
// from any thread; the request is gone after that. Every limit below is enforced before a handler
// sees the request: too large a body is 413, too large a head 431, and a client that sends its head
// or body too slowly, or reads its answer too slowly, is cut off. A request that carries both
// Content-Length and Transfer-Encoding, or either in a form that two parsers might read
// differently, is 400 and its connection closed.
//
// Paths reach the handler percent-decoded; a path whose escapes are broken or hide a slash, a
// backslash or a NUL is 400.
#pragma once
#include "base/err.h"
#include "base/json.h"

typedef struct http_server http_server;
typedef struct http_request http_request;
typedef struct http_stream http_stream;

typedef struct {
    const char *listen;  // "127.0.0.1:8080", "[::1]:8080", "*:8080"; port 0: any free one.
                         // "*" and "::" are all addresses, of IPv6 and IPv4
    int threads;         // that run the handler
    size_t body_max;     // bytes
    size_t head_max;     // bytes of a request's line and headers
    int connections_max; // in all; more wait in the listen queue
    int client_max;      // connections of one address; 0: no limit of its own
    int head_ms;         // from accept to the last header
    int body_ms;         // from there to the end of the body
    int idle_ms;         // between requests; also the longest pause while an answer is read
} http_options;

http_options http_options_default(void);

typedef struct {
    void *arg;
    // Called on the thread that moves bytes, which must not block: answers cheap questions (probes)
    // at once. False: handle gets the request. May be NULL.
    bool (*quick)(void *arg, http_request *q);
    void (*handle)(void *arg, http_request *q);
    // After each answer was handed over. route is what http_set_route said, or "other".
    void (*done)(void *arg, const http_request *q, int code, double seconds);
} http_handler;

// Whether a server could listen there now. ERR_BUSY: the port is taken.
status http_listen_check(const char *listen, err *e);
// Binds and listens first, so that a taken port is an error here; then serves at once.
status http_server_open(http_server **out, const http_options *o, const http_handler *h, err *e);
int http_server_port(const http_server *s);
int http_server_connections(const http_server *s); // open now
// Stops accepting, waits for handlers that run, ends streams, frees. NULL is fine.
void http_server_close(http_server *s);

// The request. All strings are borrowed, valid until the answer.
const char *http_method(const http_request *q);
const char *http_path(const http_request *q);                     // decoded, without the query
const char *http_query(const http_request *q, const char *name);  // decoded; NULL when absent
const char *http_header(const http_request *q, const char *name); // NULL when absent
bytes http_body(const http_request *q);
const char *http_id(const http_request *q); // X-Request-Id if the client sent a sane one, or ours
const char *http_client(const http_request *q); // address
const char *http_route(const http_request *q);
void http_set_route(http_request *q, const char *route); // a constant, for the metrics

// The answer. Headers first; then exactly one of the replies, which consumes q.
void http_add_header(http_request *q, const char *name, const char *value);
void http_reply(http_request *q, int code, const char *type, bytes body); // body is copied
// An RFC 9457 body. kind is the last part of the type URN; detail may be NULL; errors becomes the
// member of that name, is taken, and may be NULL. http_problem gives the JSON alone, the caller's.
json *http_problem(const http_request *q, int code, const char *kind, const char *title,
                   const char *detail, json *errors);
void http_reply_problem(http_request *q, int code, const char *kind, const char *title,
                        const char *detail, json *errors);
// A file, with Range (one range), If-Range and If-None-Match honoured. Takes fd.
void http_reply_file(http_request *q, int fd, const char *type);
// An answer that is written bit by bit. NULL (and q answered 500) when there is no memory.
http_stream *http_reply_stream(http_request *q, const char *type);
// The same for a body whose size is known: code is 200 or 206, and exactly size bytes are to be
// sent. A stream that ends before is a broken answer to the client.
http_stream *http_reply_stream_sized(http_request *q, int code, const char *type, uint64_t size);

#define HTTP_STREAM_PENDING_MAX ((size_t)64 << 10)
#define HTTP_STREAM_UNREAD_MAX ((size_t)1 << 20)
#define HTTP_STREAM_PIECE_MAX ((size_t)4 << 20)
// Queues data, at most HTTP_STREAM_PIECE_MAX bytes, for the client. False when it has gone, or is
// too slow: it has not read more than HTTP_STREAM_PENDING_MAX bytes of what was queued before, and
// with data more than HTTP_STREAM_UNREAD_MAX would wait. Then the stream has ended.
bool http_stream_send(http_stream *t, bytes data);
// Waits until http_stream_send would take data. False: it never will. The client has gone, has read
// nothing for so long that it was cut off, or the server closes.
bool http_stream_wait(http_stream *t);
// The last call for t: what is queued is still sent, then the answer ends.
void http_stream_end(http_stream *t);

// What a Range header asks of size bytes. Public for its tests.
typedef enum { HTTP_RANGE_NONE, HTTP_RANGE_OK, HTTP_RANGE_UNSATISFIABLE } http_range_kind;
// "bytes=a-b", "bytes=a-", "bytes=-n". NONE: absent, malformed or several ranges: send everything.
http_range_kind http_range_parse(const char *header, uint64_t size, uint64_t *first,
                                 uint64_t *count);
// Percent-decodes s in place. False: a broken escape, or one that hides '/', '\\' or NUL.
bool http_path_decode(char *s);
