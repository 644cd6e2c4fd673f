// fetch.h - outgoing HTTP(S): one request, one answer, over libcurl.
//
// A client keeps its connections open between requests and belongs to one thread at a time. Every
// wait and every answer has a maximum. Only http and https are spoken, certificates are always
// checked, TLS is 1.2 or newer, and neither proxy variables nor .netrc are read.
//
//     fetch_request q = fetch_request_default();
//     q.url = "https://example.com/x";
//     fetch_response r;
//     status rc = fetch_send(client, &q, &r, e); // OK: there was an answer, of any status code
//     if (!rc && r.code == 200) use(buf_bytes(&r.body));
//     fetch_response_deinit(&r);                 // always, also after a failure
#pragma once
#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"

struct sockaddr;

#define FETCH_URL_MAX 8192
#define FETCH_HEADERS_MAX ((size_t)64 << 10) // bytes of header lines kept of an answer

typedef struct fetch_client fetch_client;

typedef struct {
    const char *name, *value; // no CR or LF in either: fetch_send refuses them
} fetch_header;

typedef struct fetch_response fetch_response;

// Judges the address a connection is about to go to, after DNS and for each address tried. Anything
// but OK refuses it; the err's text ends up in fetch_send's.
typedef status (*fetch_address_check)(void *arg, const struct sockaddr *to, err *e);
// Gives the n bytes of the request body at offset (all of them; n is never 0). May be called for
// the same range twice: a connection that died idle is replaced and the body sent anew.
typedef status (*fetch_source)(void *arg, int64_t offset, uint8_t *to, size_t n, err *e);
// Takes the next piece of a 2xx answer's body. head has code and headers by then, so the first call
// can tell a 206 from a 200. Anything but OK ends the transfer with that status.
typedef status (*fetch_sink)(void *arg, const fetch_response *head, bytes piece, err *e);

typedef struct {
    const char *method; // "GET" "HEAD" "PUT" "POST" "DELETE"; default GET
    const char *url;    // http: or https:, no userinfo, at most FETCH_URL_MAX bytes, sent as it is
    const char *range;  // "0-99", "100-"; NULL for all
    const fetch_header *headers; // borrowed for the call. curl adds Host and Accept, nothing else;
    size_t header_count;         // Authorization is dropped when a redirect leaves the host

    bytes body;          // of PUT and POST; always sent with a Content-Length
    fetch_source source; // when set the body comes from here instead, source_len bytes of it
    void *source_arg;
    int64_t source_len;

    fetch_sink sink; // when set, bodies of 2xx answers go there and not to response.body
    void *sink_arg;
    int64_t response_max; // longest 2xx body in bytes; ERR_LIMIT beyond. Default 1 MiB.
                          // Bodies of other answers are cut at FETCH_ERROR_BODY_MAX instead.

    int connect_ms;      // default 5,000; includes DNS and TLS
    int total_ms;        // whole request; 0: no limit. Default 100,000 (as the .NET SDK has it)
    int stall_ms;        // ends a transfer below 1 KiB/s for this long; 0: never. Default 30,000
    int redirects_max;   // default 0: a 3xx is an answer like any other
    const char *ca_file; // PEM file with the roots to trust; NULL: the system's
    // Proxies (https_proxy, http_proxy, all_proxy, no_proxy) and roots (SSL_CERT_FILE,
    // SSL_CERT_DIR) as the environment says: for what a user fetches. Else there is no proxy.
    bool user_environment;
    unsigned scope;          // index of the interface for a link-local address of IPv6; 0: none
    const atomic_bool *stop; // when it turns true the request ends with ERR_CANCELED; may be NULL

    // With a check set: no proxy, never a kept connection (whose address was judged in the past),
    // no redirects whatever redirects_max says, and connections are closed afterwards.
    fetch_address_check address_check;
    void *address_arg;
} fetch_request;

#define FETCH_ERROR_BODY_MAX ((size_t)64 << 10)

fetch_request fetch_request_default(void);

// Why there was no answer: tells callers what to retry and metrics what to count.
typedef enum {
    FETCH_ANSWERED = 0,
    FETCH_REFUSED, // our own rules: URL, size of the answer, sink, out of memory
    FETCH_BLOCKED, // address_check said no
    FETCH_NO_HOST, // the name does not resolve
    FETCH_NO_CONNECT,
    FETCH_BAD_TLS, // certificate or handshake
    FETCH_TIMEOUT, // connect, total or stall
    FETCH_BROKEN,  // reset, cut or not HTTP
    FETCH_STOPPED, // *stop
    FETCH_NO_FILE, // ca_file cannot be read
} fetch_failure;

const char *fetch_failure_name(fetch_failure f); // "timeout", ...: for metric labels and logs

struct fetch_response {
    fetch_failure failure;
    int code;         // 200, 404, ...; 0 when there was no answer
    buf body;         // empty when a sink took it
    int64_t body_len; // bytes of body received, also by a sink
    double seconds;
    int connects; // connections opened for it: 0 when a kept one served
    buf headers;  // fetch's own: use fetch_find_header
};

// Sends q and waits for the whole answer. OK when there was an answer, of any status code. Else
// ERR_ARG (q is not sendable), ERR_LIMIT (answer too long), ERR_CANCELED, ERR_OOM, the sink's
// status, or ERR_IO. c may be NULL when q has an address_check. r->failure tells the kinds apart. r
// is filled in any case. The text never holds the query of the URL, since that may carry a
// signature.
status fetch_send(fetch_client *c, const fetch_request *q, fetch_response *r, err *e);
void fetch_response_deinit(fetch_response *r); // zeroed is fine

// Value of a header of the last answer (after redirects), any case, without blanks around it; the
// first one if it came twice. Copied into out and cut to cap. False, and "" in out, when absent.
bool fetch_find_header(const fetch_response *r, const char *name, char *out, size_t cap);

status fetch_client_open(fetch_client **out, err *e);
void fetch_client_close(fetch_client *c); // NULL is fine

// Retry-After in milliseconds, read from retry-after-ms, x-ms-retry-after-ms or retry-after
// (seconds or HTTP date, which needs now_ms, wall clock). -1 when there is none that makes sense.
int64_t fetch_retry_after_ms(const fetch_response *r, int64_t now_ms);
// Reads an HTTP date ("Sun, 06 Nov 1994 08:49:37 GMT"); ms since 1970, or -1.
int64_t fetch_date_parse(const char *s);
// Writes one: 29 characters and a NUL.
#define FETCH_DATE_SIZE 30
void fetch_date_format(char out[FETCH_DATE_SIZE], int64_t ms);

// A URL in its parts, by the same parser that sends it. Refused (ERR_ARG): other schemes, userinfo,
// fragments, control characters and blanks, no host, more than FETCH_URL_MAX bytes.
typedef struct {
    char scheme[8];            // "http" or "https"
    char host[256];            // lower case; IPv6 without brackets
    int port;                  // the scheme's default when the URL has none
    char path[FETCH_URL_MAX];  // as written, percent-encoding kept; "/" at least
    char query[FETCH_URL_MAX]; // without "?"; "" when absent
} fetch_url;
status fetch_url_parse(fetch_url *out, const char *url, err *e);
// Where ref, of a Location, leads from url: a URL, "//host/x", "/x", "../x", "x" or "?x". A
// fragment is dropped. ERR_ARG when that is no URL we send to.
status fetch_url_join(char out[FETCH_URL_MAX], const char *url, const char *ref, err *e);
// "https://host:port", the port only if it is not the scheme's. cap 300 is always enough.
void fetch_url_origin(const fetch_url *u, char *out, size_t cap);

// Percent-encodes everything but A-Z a-z 0-9 - . _ ~ and the characters in keep (may be "").
void fetch_escape(buf *to, bytes text, const char *keep);

// What callbacks may talk to (docs/OPERATIONS.md, "Callbacks").
typedef enum {
    FETCH_ADDR_PUBLIC,
    FETCH_ADDR_PRIVATE, // loopback, RFC 1918, carrier NAT, unique local: allowed by choice
    FETCH_ADDR_NEVER,   // link-local, metadata, multicast, broadcast, unspecified, reserved
} fetch_addr_kind;
// IPv4 inside IPv6 (mapped, compatible, NAT64, 6to4, Teredo) is unwrapped and judged as IPv4.
fetch_addr_kind fetch_addr_classify(const struct sockaddr *a);
// "192.0.2.1" or "2001:db8::1", for logs.
void fetch_addr_text(const struct sockaddr *a, char *out, size_t cap);
