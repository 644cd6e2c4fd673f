// test_http_server.c - the server over real loopback sockets, spoken to in raw bytes.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"
#include "net/http_server.h"

#define SIZED_PIECE ((size_t)1 << 20)

typedef struct {
    http_server *server;
    _Atomic(http_stream *) stream;
    atomic_int handled;
    const char *file;
} app;

static bool quick(void *arg, http_request *q) {
    (void)arg;
    if (strcmp(http_path(q), "/quick") != 0) return false;
    http_reply(q, 200, "text/plain", bytes_of("now"));
    return true;
}

static void handle(void *arg, http_request *q) {
    app *a = arg;
    atomic_fetch_add(&a->handled, 1);
    if (strcmp(http_path(q), "/stream") == 0) {
        a->stream = http_reply_stream(q, "text/event-stream");
        return;
    }
    if (strcmp(http_path(q), "/sized") == 0) {
        a->stream = http_reply_stream_sized(q, 206, "audio/wav", 3 * SIZED_PIECE);
        return;
    }
    if (strcmp(http_path(q), "/file") == 0) {
        http_reply_file(q, open(a->file, O_RDONLY), "audio/wav");
        return;
    }
    if (strcmp(http_path(q), "/slow") == 0) os_sleep_ms(300);
    char text[300];
    const char *x = http_query(q, "x");
    int n = snprintf(text, sizeof text, "%s %s x=%s body=%.*s", http_method(q), http_path(q),
                     x ? x : "-", (int)http_body(q).n, (const char *)http_body(q).p);
    http_add_header(q, "X-Extra", "yes");
    http_reply(q, 200, "text/plain", (bytes){(const uint8_t *)text, (size_t)n});
}

static app *app_open(http_options o) {
    static app a;
    http_handler h = {.arg = &a, .quick = quick, .handle = handle};
    err e;
    o.listen = "127.0.0.1:0";
    cr_assert_eq(http_server_open(&a.server, &o, &h, &e), OK, "%s", e.text);
    return &a;
}

static int dial(const app *a) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)http_server_port(a->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    struct timeval tv = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

// Reads until the peer closes, or until want has arrived when it is not NULL.
static const char *hear(int fd, const char *want) {
    static char text[200000];
    size_t n = 0;
    for (;;) {
        ssize_t got = read(fd, text + n, sizeof text - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
        text[n] = 0;
        if (want && strstr(text, want)) break;
    }
    text[n] = 0;
    return text;
}

static const char *ask(const app *a, const char *text) {
    int fd = dial(a);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    const char *r = hear(fd, NULL);
    close(fd);
    return r;
}

#define HOST "Host: x\r\nConnection: close\r\n"

Test(http_server, answers_quick_questions_and_handled_ones_with_a_request_id) {
    app *a = app_open(http_options_default());
    cr_assert_not_null(strstr(ask(a, "GET /quick HTTP/1.1\r\n" HOST "\r\n"), "\r\n\r\nnow"));
    const char *r = ask(a, "POST /a%20b?x=1%2B+2 HTTP/1.1\r\n" HOST
                           "X-Request-Id: me-1\r\nContent-Length: 3\r\n\r\nabc");
    cr_assert_not_null(strstr(r, "200 OK"));
    cr_assert_not_null(strstr(r, "POST /a b x=1+ 2 body=abc"));
    cr_assert_not_null(strstr(r, "X-Request-Id: me-1\r\n"));
    cr_assert_not_null(strstr(r, "X-Extra: yes\r\n"));
    http_server_close(a->server);
}

Test(http_server, refuses_heads_that_two_parsers_could_read_differently) {
    app *a = app_open(http_options_default());
    static const char *const bad[] = {
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\n" HOST "Content-Length : 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET /a%2fb HTTP/1.1\r\n" HOST "\r\n",
        "GET /a%00b HTTP/1.1\r\n" HOST "\r\n",
        "GET /a%zz HTTP/1.1\r\n" HOST "\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *r = ask(a, bad[i]);
        cr_assert(strncmp(r, "HTTP/1.1 400", 12) == 0, "case %zu: %s", i, r);
    }
    cr_assert_eq(atomic_load(&a->handled), 0);
    http_server_close(a->server);
}

Test(http_server, says_413_to_a_large_body_by_length_and_by_chunks) {
    http_options o = http_options_default();
    o.body_max = 10;
    app *a = app_open(o);
    const char *r = ask(a, "POST / HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\nabcdefghijk");
    cr_assert_not_null(strstr(r, "HTTP/1.1 413"), "%s", r);
    r = ask(a, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
               "b\r\nabcdefghijk\r\n0\r\n\r\n");
    cr_assert_not_null(strstr(r, "HTTP/1.1 413"), "%s", r);
    r = ask(a, "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999\r\n\r\n");
    cr_assert_not_null(strstr(r, "HTTP/1.1 413"), "%s", r);
    cr_assert_eq(atomic_load(&a->handled), 0);
    http_server_close(a->server);
}

// Whether the server has hung up. What it said before is dropped.
static bool hung_up(int fd) {
    char said[512];
    ssize_t n;
    do {
        n = recv(fd, said, sizeof said, MSG_DONTWAIT);
    } while (n > 0);
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

Test(http_server, cuts_off_clients_that_drip_their_request) {
    http_options o = http_options_default();
    o.head_ms = 500;
    o.body_ms = 500;
    app *a = app_open(o);
    int head = dial(a), body = dial(a);
    dprintf(body, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n");
    // Each byte comes well within any timeout that counts from the last byte.
    bool both = false;
    for (int drips = 0; drips < 200 && !both; drips++) {
        (void)!send(head, "G", 1, MSG_NOSIGNAL);
        (void)!send(body, "x", 1, MSG_NOSIGNAL);
        os_sleep_ms(60);
        both = hung_up(head) && hung_up(body);
    }
    cr_assert(both, "still listening after 12 s of one byte each 60 ms");
    cr_assert_eq(atomic_load(&a->handled), 0);
    close(head);
    close(body);
    http_server_close(a->server);
}

// The client can see the head of the answer before the handler has the stream in hand.
static http_stream *stream_of(app *a) {
    while (!a->stream) os_sleep_ms(1);
    return a->stream;
}

Test(http_server, streams_what_is_sent_later_and_notices_a_client_that_left) {
    app *a = app_open(http_options_default());
    int fd = dial(a);
    dprintf(fd, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    hear(fd, "\r\n\r\n");
    os_sleep_ms(50); // the stream is idle, its connection suspended
    cr_assert(http_stream_send(stream_of(a), bytes_of("data: 1\n\n")));
    cr_assert_not_null(strstr(hear(fd, "data: 1"), "data: 1"));
    close(fd);
    bool open = true;
    for (int i = 0; i < 100 && open; i++) {
        open = http_stream_send(stream_of(a), bytes_of("data: 2\n\n"));
        os_sleep_ms(10);
    }
    cr_assert_not(open);
    http_stream_end(stream_of(a));
    http_server_close(a->server);
}

Test(http_server, gives_up_on_a_stream_whose_client_does_not_read) {
    app *a = app_open(http_options_default());
    int fd = dial(a);
    dprintf(fd, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    hear(fd, "\r\n\r\n");
    static char block[8192];
    memset(block, 'x', sizeof block);
    bool open = true;
    for (int i = 0; i < 20000 && open; i++) {
        open = http_stream_send(stream_of(a), (bytes){(const uint8_t *)block, sizeof block});
        if (i % 100 == 0) os_sleep_ms(1);
    }
    cr_assert_not(open);
    http_stream_end(stream_of(a));
    close(fd);
    http_server_close(a->server);
}

// A job of 250 KB is told when a stream joins, when it runs and when it ends, and that may be
// within a moment. The client's window is small, so nearly all of it waits here.
Test(http_server, keeps_a_reader_that_is_some_large_pieces_behind) {
    app *a = app_open(http_options_default());
    int fd = dial(a);
    int window = 4096;
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window), 0);
    dprintf(fd, "GET /stream HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    static char piece[250000], got[65536];
    memset(piece, 'x', sizeof piece);
    http_stream *t = stream_of(a);
    for (int i = 0; i < 3; i++)
        cr_assert(http_stream_send(t, (bytes){(const uint8_t *)piece, sizeof piece}));
    http_stream_end(t);
    size_t sum = 0;
    for (ssize_t n; (n = recv(fd, got, sizeof got, 0)) > 0;) {
        for (ssize_t i = 0; i < n; i++) sum += got[i] == 'x';
    }
    cr_assert(sum >= 3 * sizeof piece); // "text" has one more
    close(fd);
    http_server_close(a->server);
}

// What is sent is large against the buffers of the sockets: the sender waits for the reader.
Test(http_server, sends_a_known_size_by_pieces_as_fast_as_it_is_read) {
    app *a = app_open(http_options_default());
    int fd = dial(a);
    dprintf(fd, "GET /sized HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    static char piece[SIZED_PIECE], got[65536];
    memset(piece, 'x', sizeof piece);
    http_stream *t = stream_of(a);
    size_t sum = 0, sent = 0, n;
    for (; sent < 3; sent++) {
        cr_assert(http_stream_send(t, (bytes){(const uint8_t *)piece, sizeof piece}));
        while (sum < (sent + 1) * sizeof piece && (n = (size_t)recv(fd, got, sizeof got, 0)) > 0) {
            if (!sum) cr_assert(strstr(got, "206 ") && strstr(got, "Content-Length: 3145728"));
            sum += n;
        }
        cr_assert(sent == 2 || http_stream_wait(t)); // after the last nobody reads any more
    }
    http_stream_end(t);
    while ((n = (size_t)recv(fd, got, sizeof got, 0)) > 0) sum += n;
    cr_assert(sum > 3 * sizeof piece && sum < 3 * sizeof piece + 1000); // and the head
    close(fd);
    http_server_close(a->server);
}

static void *close_server(void *arg) {
    http_server_close(arg);
    return NULL;
}

Test(http_server, ends_the_wait_for_a_slow_reader_when_it_closes) {
    app *a = app_open(http_options_default());
    int fd = dial(a);
    dprintf(fd, "GET /sized HTTP/1.1\r\n" HOST "\r\n");
    static char piece[HTTP_STREAM_PIECE_MAX];
    http_stream *t = stream_of(a);
    cr_assert(http_stream_send(t, (bytes){(const uint8_t *)piece, sizeof piece}));
    pthread_t closing;
    pthread_create(&closing, NULL, close_server, a->server);
    while (http_stream_wait(t)) os_sleep_ms(1);
    http_stream_end(t);
    pthread_join(closing, NULL);
    close(fd);
}

Test(http_server, ends_the_wait_for_a_reader_that_has_left) {
    app *a = app_open(http_options_default());
    int fd = dial(a);
    dprintf(fd, "GET /sized HTTP/1.1\r\n" HOST "\r\n");
    static char piece[SIZED_PIECE];
    http_stream *t = stream_of(a);
    close(fd);
    while (http_stream_wait(t) && http_stream_send(t, (bytes){(const uint8_t *)piece, SIZED_PIECE}))
        continue;
    cr_assert_not(http_stream_wait(t));
    http_stream_end(t);
    http_server_close(a->server);
}

Test(http_server, closes_with_streams_and_slow_handlers_open) {
    app *a = app_open(http_options_default());
    int stream = dial(a), slow = dial(a);
    dprintf(stream, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    hear(stream, "\r\n\r\n");
    dprintf(slow, "GET /slow HTTP/1.1\r\n" HOST "\r\n");
    os_sleep_ms(100);
    http_server_close(a->server);
    cr_assert_not_null(strstr(hear(slow, NULL), "200 OK"));
    http_stream_end(stream_of(a));
    close(stream);
    close(slow);
}

Test(http_server, sends_parts_of_a_file) {
    char path[] = "/tmp/http_server_XXXXXX";
    int file = mkstemp(path);
    cr_assert_eq(write(file, "0123456789", 10), 10);
    close(file);
    app *a = app_open(http_options_default());
    a->file = path;
    const char *r = ask(a, "GET /file HTTP/1.1\r\n" HOST "\r\n");
    cr_assert_not_null(strstr(r, "\r\n\r\n0123456789"));
    char tag[80];
    cr_assert_eq(sscanf(strstr(r, "ETag: "), "ETag: %79s", tag), 1);
    r = ask(a, "GET /file HTTP/1.1\r\n" HOST "Range: bytes=2-4\r\n\r\n");
    cr_assert_not_null(strstr(r, "HTTP/1.1 206"));
    cr_assert_not_null(strstr(r, "Content-Range: bytes 2-4/10\r\n"));
    cr_assert_not_null(strstr(r, "\r\n\r\n234"));
    r = ask(a, "GET /file HTTP/1.1\r\n" HOST "Range: bytes=10-\r\n\r\n");
    cr_assert_not_null(strstr(r, "HTTP/1.1 416"));
    cr_assert_not_null(strstr(r, "Content-Range: bytes */10\r\n"));
    char text[300];
    snprintf(text, sizeof text, "GET /file HTTP/1.1\r\n" HOST "If-None-Match: %s\r\n\r\n", tag);
    cr_assert_not_null(strstr(ask(a, text), "HTTP/1.1 304"));
    unlink(path);
    http_server_close(a->server);
}

Test(http_range, follows_rfc_9110) {
    static const struct {
        const char *header;
        http_range_kind kind;
        uint64_t first, count;
    } cases[] = {
        {NULL, HTTP_RANGE_NONE, 0, 0},
        {"bytes=0-0", HTTP_RANGE_OK, 0, 1},
        {"bytes=5-", HTTP_RANGE_OK, 5, 95},
        {"bytes=-10", HTTP_RANGE_OK, 90, 10},
        {"bytes=-1000", HTTP_RANGE_OK, 0, 100},
        {"bytes=90-200", HTTP_RANGE_OK, 90, 10},
        {"bytes=100-", HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", HTTP_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=5-4", HTTP_RANGE_NONE, 0, 0},
        {"bytes=1-2,4-5", HTTP_RANGE_NONE, 0, 0},
        {"bytes=", HTTP_RANGE_NONE, 0, 0},
        {"bytes=+1-2", HTTP_RANGE_NONE, 0, 0},
        {"bytes=99999999999999999999-", HTTP_RANGE_NONE, 0, 0},
        {"items=0-1", HTTP_RANGE_NONE, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t first = 0, count = 0;
        http_range_kind kind = http_range_parse(cases[i].header, 100, &first, &count);
        cr_assert_eq(kind, cases[i].kind, "case %zu", i);
        if (kind != HTTP_RANGE_OK) continue;
        cr_assert(first == cases[i].first && count == cases[i].count, "case %zu", i);
    }
}
