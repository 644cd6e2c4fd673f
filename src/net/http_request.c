// http_request.c - a request's head: what is refused at once, and what a handler may ask of it.
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "net/http_server_inside.h"

#define MAPPED "::ffff:"

#define HEADER_FIELDS_MAX 64
#define PATH_BYTES_MAX 2048

static bool is_token(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c)) return false;
    }
    return n > 0;
}

static bool is_safe_id(const char *s) {
    size_t n = strlen(s);
    if (n == 0 || n > HTTP_ID_MAX) return false;
    return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Percent-decodes s in place; in a query '+' is a space and separators may be escaped.
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

void http_request_free(http_request *q) {
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
    // IPv4 through a socket of IPv6: written as what it is.
    if (strncmp(q->client, MAPPED, strlen(MAPPED)) == 0 && strchr(q->client, '.'))
        memmove(q->client, q->client + strlen(MAPPED), strlen(q->client + strlen(MAPPED)) + 1);
}

http_request *http_request_new(http_server *s, struct MHD_Connection *mhd, const char *url,
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
        http_request_free(q);
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

void http_request_judge(http_request *q) {
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
        if (n / HTTP_DRAIN_FACTOR > most || (q->too_large && http_header(q, "Expect"))) {
            char text[80];
            snprintf(text, sizeof text, "the body may have at most %zu bytes", most);
            reply_closing(q, 413, "too-large", "Body too large", text);
        }
    }
    q->quick = false;
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
