// test_fetch_rules.c - URLs, addresses, dates and headers as net/fetch reads them; no network.
#include "base/mem.h"
#include "net/fetch.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

Test(fetch, url_is_taken_apart_as_it_will_be_sent) {
    fetch_url u;
    cr_assert_eq(fetch_url_parse(&u, "HTTPS://Example.COM:8443/a/../b%2f?x=1&y=%20", NULL), OK);
    cr_assert_str_eq(u.scheme, "https");
    cr_assert_str_eq(u.host, "example.com");
    cr_assert_eq(u.port, 8443);
    cr_assert_str_eq(u.path, "/a/../b%2f");
    cr_assert_str_eq(u.query, "x=1&y=%20");
    char origin[300];
    fetch_url_origin(&u, origin, sizeof origin);
    cr_assert_str_eq(origin, "https://example.com:8443");
    cr_assert_eq(fetch_url_parse(&u, "http://[2001:DB8::1]", NULL), OK);
    cr_assert_str_eq(u.host, "2001:db8::1");
    cr_assert_eq(u.port, 80);
    cr_assert_str_eq(u.path, "/");
    cr_assert_str_eq(u.query, "");
    fetch_url_origin(&u, origin, sizeof origin);
    cr_assert_str_eq(origin, "http://[2001:db8::1]");
    cr_assert_eq(fetch_url_parse(&u, "http://2130706433/", NULL), OK);
    cr_assert_str_eq(u.host, "127.0.0.1");
}

Test(fetch, url_refuses_what_is_not_plain_http) {
    static const char *const bad[] = {"",
                                      "example.com",
                                      "/x",
                                      "ftp://a/",
                                      "file:///etc/passwd",
                                      "gopher://a/",
                                      "http:/a",
                                      "http://",
                                      "http:///a",
                                      "http://user@a/",
                                      "http://user:pw@a/",
                                      "http://a/#frag",
                                      "http://a /",
                                      "http://a/\x01",
                                      "http://a/\xc3\xa9",
                                      "http://a\\b/",
                                      "http://a:0/",
                                      "http://a:65536/",
                                      "http://a:b/",
                                      "http://[fe80::1%25eth0]/",
                                      "http://[::1",
                                      "javascript:alert(1)",
                                      "http://a%2561/",
                                      "http://a%00b/",
                                      "http://a*b/",
                                      "http://a,b/",
                                      "http://a\r\nHost: b/"};
    fetch_url u;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_assert_eq(fetch_url_parse(&u, bad[i], NULL), ERR_ARG, "accepted: %s", bad[i]);
    }
    char long_url[FETCH_URL_MAX + 2] = "http://a/";
    memset(long_url + 9, 'x', FETCH_URL_MAX + 1 - 9);
    cr_assert_eq(fetch_url_parse(&u, long_url, NULL), ERR_ARG);
    long_url[FETCH_URL_MAX] = 0;
    cr_assert_eq(fetch_url_parse(&u, long_url, NULL), OK);
}

static const struct {
    const char *text;
    fetch_addr_kind want;
} address_cases[] = {
    {"8.8.8.8", FETCH_ADDR_PUBLIC},
    {"1.1.1.1", FETCH_ADDR_PUBLIC},
    {"9.255.255.255", FETCH_ADDR_PUBLIC},
    {"11.0.0.0", FETCH_ADDR_PUBLIC},
    {"172.15.255.255", FETCH_ADDR_PUBLIC},
    {"172.32.0.0", FETCH_ADDR_PUBLIC},
    {"100.63.255.255", FETCH_ADDR_PUBLIC},
    {"100.128.0.0", FETCH_ADDR_PUBLIC},
    {"223.255.255.255", FETCH_ADDR_PUBLIC},
    {"168.63.129.17", FETCH_ADDR_PUBLIC},
    {"10.0.0.0", FETCH_ADDR_PRIVATE},
    {"10.255.255.255", FETCH_ADDR_PRIVATE},
    {"127.0.0.1", FETCH_ADDR_PRIVATE},
    {"172.16.0.0", FETCH_ADDR_PRIVATE},
    {"172.31.255.255", FETCH_ADDR_PRIVATE},
    {"192.168.1.1", FETCH_ADDR_PRIVATE},
    {"100.64.0.1", FETCH_ADDR_PRIVATE},
    {"198.19.255.255", FETCH_ADDR_PRIVATE},
    {"0.0.0.0", FETCH_ADDR_NEVER},
    {"0.1.2.3", FETCH_ADDR_NEVER},
    {"169.254.169.254", FETCH_ADDR_NEVER},
    {"168.63.129.16", FETCH_ADDR_NEVER},
    {"100.100.100.200", FETCH_ADDR_NEVER},
    {"192.0.0.192", FETCH_ADDR_NEVER},
    {"224.0.0.1", FETCH_ADDR_NEVER},
    {"240.0.0.1", FETCH_ADDR_NEVER},
    {"255.255.255.255", FETCH_ADDR_NEVER},
    {"2606:4700::1111", FETCH_ADDR_PUBLIC},
    {"::", FETCH_ADDR_NEVER},
    {"::1", FETCH_ADDR_PRIVATE},
    {"::ffff:127.0.0.1", FETCH_ADDR_PRIVATE},
    {"::ffff:169.254.169.254", FETCH_ADDR_NEVER},
    {"::ffff:8.8.8.8", FETCH_ADDR_PUBLIC},
    {"::10.0.0.1", FETCH_ADDR_PRIVATE},
    {"64:ff9b::a9fe:a9fe", FETCH_ADDR_NEVER},
    {"64:ff9b::a00:1", FETCH_ADDR_PRIVATE},
    {"64:ff9b::808:808", FETCH_ADDR_PUBLIC},
    {"64:ff9b:1::808:808", FETCH_ADDR_PRIVATE},
    {"2002:a9fe:a9fe::", FETCH_ADDR_NEVER},
    {"2002:a00:1::", FETCH_ADDR_PRIVATE},
    {"2001::5601:5601", FETCH_ADDR_NEVER}, // Teredo of ~0x56015601 = 169.254.169.254
    {"fc00::1", FETCH_ADDR_PRIVATE},
    {"fdff::1", FETCH_ADDR_PRIVATE},
    {"fd00:ec2::254", FETCH_ADDR_NEVER},
    {"fe80::1", FETCH_ADDR_NEVER},
    {"febf::1", FETCH_ADDR_NEVER},
    {"fec0::1", FETCH_ADDR_PRIVATE},
    {"ff02::1", FETCH_ADDR_NEVER},
    {"::ffff:0:8.8.8.8", FETCH_ADDR_NEVER},
    {"4000::1", FETCH_ADDR_NEVER},
};

Test(fetch, addresses_are_judged_by_their_ranges) {
    for (size_t i = 0; i < ARRAY_LEN(address_cases); i++) {
        struct sockaddr_storage s = {0};
        if (strchr(address_cases[i].text, ':')) {
            struct sockaddr_in6 *a = (void *)&s;
            a->sin6_family = AF_INET6;
            cr_assert_eq(inet_pton(AF_INET6, address_cases[i].text, &a->sin6_addr), 1);
        } else {
            struct sockaddr_in *a = (void *)&s;
            a->sin_family = AF_INET;
            cr_assert_eq(inet_pton(AF_INET, address_cases[i].text, &a->sin_addr), 1);
        }
        cr_assert_eq(fetch_addr_classify((struct sockaddr *)&s), address_cases[i].want, "%s",
                     address_cases[i].text);
    }
    struct sockaddr unix_socket = {.sa_family = AF_UNIX};
    cr_assert_eq(fetch_addr_classify(&unix_socket), FETCH_ADDR_NEVER);
}

Test(fetch, dates_are_those_of_the_rfc) {
    // RFC 9110 section 5.6.7; the second pair from `date -u -d @1709210096`.
    cr_assert_eq(fetch_date_parse("Sun, 06 Nov 1994 08:49:37 GMT"), INT64_C(784111777000));
    cr_assert_eq(fetch_date_parse("Thu, 29 Feb 2024 12:34:56 GMT"), INT64_C(1709210096000));
    char s[FETCH_DATE_SIZE];
    fetch_date_format(s, INT64_C(784111777999));
    cr_assert_str_eq(s, "Sun, 06 Nov 1994 08:49:37 GMT");
    fetch_date_format(s, INT64_C(1709210096000));
    cr_assert_str_eq(s, "Thu, 29 Feb 2024 12:34:56 GMT");
    fetch_date_format(s, INT64_MAX);
    cr_assert_str_eq(s, "Fri, 31 Dec 9999 23:59:59 GMT");
    for (int64_t day = 0; day < 200000; day += 13) { // there and back, to the year 2517
        fetch_date_format(s, day * 86400000);
        cr_assert_eq(fetch_date_parse(s), day * 86400000, "%s", s);
    }
    static const char *const bad[] = {"",
                                      "now",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 06 Foo 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:00:00 GMT",
                                      "Sunday, 06-Nov-94 08:49:37 GMT"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) cr_assert_eq(fetch_date_parse(bad[i]), -1);
}

Test(fetch, retry_after_is_read_from_all_its_headers) {
    static const struct {
        const char *header;
        int64_t want;
    } cases[] = {{"Retry-After: 7\r\n", 7000},
                 {"retry-after: 7\r\nretry-after-ms: 250\r\n", 250},
                 {"x-ms-retry-after-ms: 31\r\n", 31},
                 {"Retry-After: Thu, 01 Jan 1970 00:01:40 GMT\r\n", 99000},
                 {"Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 0},
                 {"Retry-After: -5\r\n", -1},
                 {"Retry-After: 99999999999999999999\r\n", -1},
                 {"Retry-After: soon\r\n", -1},
                 {"X: 1\r\n", -1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fetch_response r = {0};
        buf_init(&r.headers, 1000);
        buf_add_str(&r.headers, "HTTP/1.1 503 X\r\n");
        buf_add_str(&r.headers, cases[i].header);
        cr_assert_eq(fetch_retry_after_ms(&r, 1000), cases[i].want, "%s", cases[i].header);
        fetch_response_deinit(&r);
    }
}

Test(fetch, escape_keeps_only_what_it_may) {
    buf b;
    buf_init(&b, 100);
    fetch_escape(&b, bytes_of("aZ09-._~/ +=&%\xc3\xa9"), "/");
    cr_assert_str_eq(buf_str(&b), "aZ09-._~/%20%2B%3D%26%25%C3%A9");
    buf_deinit(&b);
}

Test(fetch, a_location_is_joined_as_the_rfc_says) {
    static const struct {
        const char *ref, *want;
    } cases[] = {// RFC 3986, 5.4, with a base of http://a/b/c/d?q
                 {"g", "http://a/b/c/g"},      {"./g", "http://a/b/c/g"},
                 {"g/", "http://a/b/c/g/"},    {"/g", "http://a/g"},
                 {"//g/h", "http://g/h"},      {"?y", "http://a/b/c/d?y"},
                 {"g?y", "http://a/b/c/g?y"},  {"g#s", "http://a/b/c/g"},
                 {"../g", "http://a/b/g"},     {"../../g", "http://a/g"},
                 {"../../../g", "http://a/g"}, {"https://g:81/x?y=%2F", "https://g:81/x?y=%2F"}};
    char out[FETCH_URL_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        cr_assert_eq(fetch_url_join(out, "http://a/b/c/d?q", cases[i].ref, &e), OK, "%s: %s",
                     cases[i].ref, e.text);
        cr_assert_str_eq(out, cases[i].want);
    }
    static const char *const bad[] = {"",   "ftp://x/y", "file:///etc/passwd", "http://u:p@h/",
                                      "//", "http://"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(fetch_url_join(out, "http://a/b/c/d?q", bad[i], NULL), ERR_ARG, "%s", bad[i]);
}
