// test_base.c - errors, buffers, arenas, JSON, digests, files.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/trace.h"

Test(err, text_is_one_line) {
    err e;
    cr_assert_eq(err_set(&e, ERR_FORMAT, "a\nb %d", 7), ERR_FORMAT);
    cr_assert_str_eq(e.text, "a b 7");
    cr_assert_eq(err_within(&e, ERR_FORMAT, "file %s", "x"), ERR_FORMAT);
    cr_assert_str_eq(e.text, "file x: a b 7");
}

Test(err, a_failure_keeps_its_code_where_nobody_reads_its_text) {
    cr_assert_eq(err_within(NULL, ERR_OOM, "file %s", "x"), ERR_OOM);
    cr_assert_eq(err_within(NULL, ERR_NOT_FOUND, "file %s", "x"), ERR_NOT_FOUND);
    err e;
    err_set(&e, ERR_IO, "away");
    cr_assert_eq(err_within(&e, ERR_BUSY, "storage"), ERR_BUSY); // the caller knows better
    cr_assert_eq(e.code, ERR_BUSY);
    cr_assert_str_eq(e.text, "storage: away");
}

Test(err, where_is_kept_apart_from_the_text) {
    err e;
    cr_assert_eq(err_field(&e, "bpm", "expected %d", 20), ERR_ARG);
    cr_assert_str_eq(e.where, "bpm");
    cr_assert_str_eq(e.text, "bpm: expected 20");
    cr_assert_eq(err_within(&e, ERR_ARG, "request"), ERR_ARG);
    cr_assert_str_eq(e.where, "bpm");
    cr_assert_str_eq(e.text, "request: bpm: expected 20");
    err_about(&e, "stems[%d]\n", 1);
    cr_assert_str_eq(e.where, "stems[1] ");
    err_set(&e, ERR_IO, "another");
    cr_assert_str_eq(e.where, ""); // a new failure is about nothing yet
    cr_assert_eq(err_field(NULL, "bpm", "expected %d", 20), ERR_ARG);
    err_about(NULL, "bpm");
}

Test(buf, refuses_what_is_over_its_maximum_and_keeps_what_it_had) {
    buf b;
    buf_init(&b, 5);
    buf_add_str(&b, "abcde");
    cr_assert_eq(buf_status(&b, NULL), OK);
    buf_add_char(&b, 'f');
    cr_assert_eq(buf_status(&b, NULL), ERR_LIMIT);
    cr_assert_str_eq(buf_str(&b), "abcde");
    buf_deinit(&b);
}

Test(arena, stays_failed_after_one_failure) {
    arena a;
    arena_init(&a, 256);
    cr_assert_not_null(arena_alloc(&a, 100));
    cr_assert_null(arena_f32(&a, 1u << 20, 1u << 20));
    cr_assert_null(arena_alloc(&a, 1));
    arena_reset(&a);
    cr_assert_not_null(arena_alloc(&a, 1));
    arena_deinit(&a);
}

Test(json, getters_name_path_expectation_and_finding) {
    err e;
    json *j;
    bytes text = bytes_of("{\"a\":{\"n\":5,\"s\":\"x\"}}");
    cr_assert_eq(json_parse(&j, text, 1000, &e), OK);
    int64_t n = 0;
    cr_assert_eq(json_get_int(j, "a.n", 1, 9, &n, &e), OK);
    cr_assert_eq(n, 5);
    cr_assert_eq(json_get_int(j, "a.n", 6, 9, &n, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "a.n: expected 6 to 9, found 5");
    cr_assert_eq(json_get_int(j, "a.s", 6, 9, &n, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "a.s: expected an integer, found string");
    cr_assert_eq(json_get_int(j, "a.b.c", 6, 9, &n, &e), ERR_FORMAT);
    cr_assert_eq(json_opt_int(j, "a.b.c", 6, 9, &n, &e), OK);
    json_free(j);
}

Test(json, refuses_depth_size_and_duplicates) {
    err e;
    json *j;
    char deep[200];
    memset(deep, '[', sizeof deep);
    cr_assert_eq(json_parse(&j, (bytes){(uint8_t *)deep, sizeof deep}, 1000, &e), ERR_FORMAT);
    cr_assert_eq(json_parse(&j, bytes_of("[1,2,3]"), 3, &e), ERR_LIMIT);
    cr_assert_eq(json_parse(&j, bytes_of("{\"a\":1,\"a\":2}"), 100, &e), ERR_FORMAT);
    cr_assert_eq(json_parse(&j, bytes_of(""), 100, &e), ERR_FORMAT);
}

Test(json, parse_survives_each_failed_allocation) {
    for (int n = 0;; n++) {
        json *j;
        mem_fail_after(n);
        status rc = json_parse(&j, bytes_of("{\"a\":[1,2.5,\"x\"]}"), 100, NULL);
        mem_fail_after(-1);
        if (rc == OK) {
            json_free(j);
            break;
        }
        cr_assert_null(j);
        cr_assert_lt(n, 100);
    }
}

Test(hash, published_vectors) {
    uint8_t d[SHA256_LEN];
    char hex[2 * SHA256_LEN + 1];
    cr_assert_eq(hash_sha256(d, bytes_of("abc"), NULL), OK); // FIPS 180-4 example
    hex_encode(hex, d, sizeof d);
    cr_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    // RFC 4231 test case 2
    cr_assert_eq(
        hash_hmac_sha256(d, bytes_of("Jefe"), bytes_of("what do ya want for nothing?"), NULL), OK);
    hex_encode(hex, d, sizeof d);
    cr_assert_str_eq(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

Test(hash, base64_goes_there_and_back) {
    const char *const pairs[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) { // RFC 4648 section 10
        char text[32];
        uint8_t back[32];
        size_t n = sizeof back;
        base64_encode(text, bytes_of(pairs[i][0]));
        cr_assert_str_eq(text, pairs[i][1]);
        cr_assert_eq(base64_decode(back, &n, bytes_of(text), NULL), OK);
        cr_assert_eq(n, strlen(pairs[i][0]));
        cr_assert_eq(memcmp(back, pairs[i][0], n), 0);
    }
    uint8_t back[32];
    size_t n = sizeof back;
    cr_assert_eq(base64_decode(back, &n, bytes_of("Zm9v*mFy"), NULL), ERR_FORMAT);
    cr_assert_eq(base64_decode(back, &n, bytes_of("Zm9"), NULL), ERR_FORMAT);
}

static uint64_t sum_of(bytes b) {
    uint64_t sum = 0;
    for (size_t i = 0; i < b.n; i++) sum += b.p[i];
    return sum;
}

Test(os, a_time_is_written_in_utc_with_or_without_thousandths) {
    char text[OS_TIME_SIZE];
    os_time_text(text, 1772600767890, true);
    cr_assert_str_eq(text, "2026-03-04T05:06:07.890Z");
    os_time_text(text, 1772600767890, false);
    cr_assert_str_eq(text, "2026-03-04T05:06:07Z");
    os_time_text(text, -1, true);
    cr_assert_str_eq(text, "1969-12-31T23:59:59.999Z");
}

Test(os, forgotten_pages_leave_memory_and_come_back) {
    enum { SIZE = 32 << 20, MARGIN = 4 << 20 };
    char dir[] = "/tmp/sf-os-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/f", dir);
    uint8_t *data = mem_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) data[i] = (uint8_t)(i * 31 >> 7);
    uint64_t want = sum_of((bytes){data, SIZE});
    cr_assert_eq(os_write_atomic(path, (bytes){data, SIZE}, NULL), OK);
    mem_free(data);
    os_file_map m;
    cr_assert_eq(os_map_open(&m, path, NULL), OK);
    cr_assert_eq(sum_of(m.data), want);
    size_t touched = os_memory_resident();
    os_map_forget(&m, (bytes){m.data.p + 1, m.data.n - 2});
    cr_assert_lt(os_memory_resident() + SIZE - MARGIN, touched);
    cr_assert_eq(sum_of(m.data), want);
    os_map_close(&m);
    unlink(path);
    rmdir(dir);
}

Test(json, gives_a_member_back_byte_for_byte) {
    const char *text =
        " {\"a\" : [1, {\"x\":\"}\\\"\"}] , \"parameters\":{ \"t\":1.50e+1 ,\"u\":\"]\"},"
        "\"n\":12 }";
    bytes p = json_member_text(bytes_of(text), "parameters");
    cr_assert_eq(p.n, strlen("{ \"t\":1.50e+1 ,\"u\":\"]\"}"));
    cr_assert_eq(memcmp(p.p, "{ \"t\":1.50e+1 ,\"u\":\"]\"}", p.n), 0);
    p = json_member_text(bytes_of(text), "n");
    cr_assert(p.n == 2 && memcmp(p.p, "12", 2) == 0);
    cr_assert_eq(json_member_text(bytes_of(text), "x").n, 0);
    cr_assert_eq(json_member_text(bytes_of("{}"), "x").n, 0);
}

Test(json, items_as_they_stand_in_the_text) {
    static const char *const items[] = {"{\"a\": [1, \"],\"]}", "2.50", "\"x, y\"", "[]"};
    char text[128];
    snprintf(text, sizeof text, " [ %s,%s , %s\n, %s ] ", items[0], items[1], items[2], items[3]);
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        bytes found = json_item_text(bytes_of(text), i);
        cr_assert_eq(found.n, strlen(items[i]), "item %zu", i);
        cr_assert_eq(memcmp(found.p, items[i], found.n), 0, "item %zu", i);
    }
    cr_assert_eq(json_item_text(bytes_of(text), ARRAY_LEN(items)).n, 0);
    cr_assert_eq(json_item_text(bytes_of("[]"), 0).n, 0);
}

// The examples of W3C Trace Context, section 3.2.
#define TRACE_OF_W3C "4bf92f3577b34da6a3ce929d0e0e4736"

Test(trace, headers_that_may_be_passed_on_and_others) {
    static const char *const good[] = {"00-" TRACE_OF_W3C "-00f067aa0ba902b7-01",
                                       "00-" TRACE_OF_W3C "-00f067aa0ba902b7-00",
                                       "cc-" TRACE_OF_W3C "-00f067aa0ba902b7-01-what-comes-later"};
    static const char *const bad[] = {"",
                                      "00-" TRACE_OF_W3C "-00f067aa0ba902b7",
                                      "00-" TRACE_OF_W3C "-00f067aa0ba902b7-01-more",
                                      "00-" TRACE_OF_W3C "-00f067aa0ba902b7-1",
                                      "ff-" TRACE_OF_W3C "-00f067aa0ba902b7-01",
                                      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                                      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                                      "00-" TRACE_OF_W3C "-0000000000000000-01",
                                      "00_" TRACE_OF_W3C "_00f067aa0ba902b7_01"};
    char id[TRACE_ID_LEN + 1];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        cr_assert(trace_ok(good[i]), "%s", good[i]);
        trace_id(id, good[i]);
        cr_assert_str_eq(id, TRACE_OF_W3C);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) cr_assert_not(trace_ok(bad[i]), "%s", bad[i]);
    cr_assert_not(trace_ok(NULL));
    trace_id(id, NULL);
    cr_assert_str_eq(id, "");
}

Test(trace, what_we_send_is_of_the_same_trace_with_us_as_parent) {
    static const char *const from = "cc-" TRACE_OF_W3C "-00f067aa0ba902b7-01-later";
    char one[TRACE_PARENT_LEN + 1], two[TRACE_PARENT_LEN + 1], id[TRACE_ID_LEN + 1];
    cr_assert_eq(trace_child(one, from, NULL), OK);
    cr_assert_eq(trace_child(two, from, NULL), OK);
    cr_assert(trace_ok(one));
    trace_id(id, one);
    cr_assert_str_eq(id, TRACE_OF_W3C);
    cr_assert_eq(strncmp(one, "00-", 3), 0);
    cr_assert_str_eq(one + TRACE_PARENT_LEN - 3, "-01");
    cr_assert_str_neq(one, two);
    cr_assert_null(strstr(one, "00f067aa0ba902b7"));
}
