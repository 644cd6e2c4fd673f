// fuzz_url.c - callback URLs and the dates and delays that peers send. What the strict policy lets
// pass as a literal address must be a public one, and an origin must parse to itself.
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/fetch.h"
#include "service/hook.h"

static void check_host(const char *host) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        assert(fetch_addr_classify((struct sockaddr *)&v4) == FETCH_ADDR_PUBLIC);
    } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        assert(fetch_addr_classify((struct sockaddr *)&v6) == FETCH_ADDR_PUBLIC);
    }
}

static void check_origin(const fetch_url *u) {
    static fetch_url again;
    char origin[300], same[300];
    fetch_url_origin(u, origin, sizeof origin);
    status rc = fetch_url_parse(&again, origin, NULL);
    assert(rc == OK);
    (void)rc;
    fetch_url_origin(&again, same, sizeof same);
    assert(strcmp(origin, same) == 0);
    assert(again.port == u->port && strcmp(again.host, u->host) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static hook *strict;
    static fetch_url u;
    if (!strict) {
        hook_config c = hook_config_default();
        c.allow_private = false;
        if (hook_open(&strict, &c, NULL)) abort();
    }
    char *text = mem_strndup((const char *)p, n);
    if (fetch_url_parse(&u, text, NULL) == OK) {
        assert(u.host[0] && u.port > 0 && u.path[0] == '/');
        check_origin(&u);
        if (hook_check_url(strict, text, NULL) == OK) check_host(u.host);
    } else {
        assert(hook_check_url(strict, text, NULL) != OK);
    }
    assert(fetch_date_parse(text) >= -1);
    fetch_response r = {0};
    buf_init(&r.headers, FETCH_HEADERS_MAX);
    buf_add_str(&r.headers, "HTTP/1.1 503 X\r\nRetry-After: ");
    buf_add_str(&r.headers, text);
    assert(fetch_retry_after_ms(&r, 0) >= -1);
    fetch_response_deinit(&r);
    mem_free(text);
    return 0;
}
