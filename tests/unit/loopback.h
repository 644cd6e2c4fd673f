// loopback.h - a scripted HTTP server on 127.0.0.1 for tests of what speaks HTTP to others.
#pragma once
#include "base/buf.h"

typedef struct loopback loopback;

typedef struct {
    int index;        // of the request, over all connections, from 0
    int connection;   // from 0
    const char *head; // request line and headers
    bytes body;
} loopback_request;

// What happens after the reply was written.
typedef enum { LOOPBACK_KEEP, LOOPBACK_CLOSE, LOOPBACK_RESET, LOOPBACK_HANG } loopback_next;

// Fills reply (may stay empty) for a request. Called from the server's threads, one at a time.
typedef loopback_next (*loopback_handler)(void *arg, const loopback_request *q, buf *reply);

loopback *loopback_start(loopback_handler h, void *arg);
int loopback_port(const loopback *l);
int loopback_requests(loopback *l); // so far
void loopback_stop(loopback *l);

// "HTTP/1.1 <code> X", extra header lines ("" or "A: b\r\n"), Content-Length and body.
void loopback_reply(buf *reply, int code, const char *headers, const char *body);
// Value of a header line in head, "" when absent.
const char *loopback_header(const loopback_request *q, const char *name, char *out, size_t cap);
