// test_request.c - POST /generate's body: what is accepted, what is named as wrong.
#include <criterion/criterion.h>
#include <string.h>

#include "service/request.h"

static const request_limits limits = {.seconds_max = 60, .body_max = 65536};

#define HEAD "{\"generation_request_id\":\"r-1\",\"audio_file_id\":\"a.b_c\","

static status parse(request *r, const char *text, json **faults) {
    err e;
    return request_parse(r, bytes_of(text), &limits, faults, &e);
}

// Asserts that text has exactly one fault, at pointer.
static void one_fault(const char *text, const char *pointer) {
    request r;
    json *faults;
    cr_assert_eq(parse(&r, text, &faults), ERR_ARG, "%s was accepted", text);
    cr_assert_eq(json_len(faults), 1, "%s: %zu faults", text, json_len(faults));
    const char *found = json_str_value(json_find(json_at(faults, 0), "pointer"));
    cr_assert_str_eq(found, pointer, "%s: %s", text, found);
    json_free(faults);
}

Test(request, fills_in_the_contracts_defaults) {
    request r;
    json *faults;
    cr_assert_eq(parse(&r, HEAD "\"target_stems\":[\"drums\",\"bass\"]}", &faults), OK);
    cr_assert_str_eq(r.id, "r-1");
    cr_assert_str_eq(r.audio_file_id, "a.b_c");
    cr_assert(r.seconds == 10 && r.temperature == 1 && r.bpm == 0 && r.work == 20);
    cr_assert(!r.seed_given && !r.prompt && !r.callback_url);
    uint64_t first = r.seed;
    request_deinit(&r);
    cr_assert_eq(parse(&r, HEAD "\"target_stems\":[\"drums\"]}", &faults), OK);
    cr_assert_neq(r.seed, first); // 1 in 2^53 to fail by chance
    request_deinit(&r);
}

Test(request, takes_every_field_and_null_for_absent) {
    request r;
    json *faults;
    const char *text =
        HEAD "\"target_stems\":[\"other\"],\"callback_url\":\"http://api/x\",\"unknown\":1,"
             "\"parameters\":{\"target_bpm\":120,\"duration_seconds\":2.5,\"style\":\"rock\","
             "\"key\":\"F# minor\",\"chord_progression\":[\"C\",\"G\"],\"prompt\":null,"
             "\"temperature\":0,\"random_seed\":-1}}";
    cr_assert_eq(parse(&r, text, &faults), OK);
    stemforge_request q = {0};
    request_for_engine(&r, &q);
    cr_assert(q.bpm == 120 && q.seconds == 2.5 && q.temperature == 0 && q.chord_count == 2);
    cr_assert_eq(q.seed, UINT64_MAX);
    cr_assert_str_eq(q.chords[1], "G");
    cr_assert_str_eq(q.key, "F# minor");
    cr_assert_null(q.prompt);
    request_deinit(&r);
}

Test(request, names_each_wrong_field) {
#define WITH(x) HEAD "\"target_stems\":[\"drums\"],\"parameters\":{" x "}}"
    one_fault("{\"audio_file_id\":\"a\",\"target_stems\":[\"drums\"]}", "/generation_request_id");
    one_fault(
        "{\"generation_request_id\":\"a\",\"audio_file_id\":\"a/b\",\"target_stems\":[\"bass\"]}",
        "/audio_file_id");
    one_fault(HEAD "\"target_stems\":[]}", "/target_stems");
    one_fault(HEAD "\"target_stems\":[\"drums\",\"drums\"]}", "/target_stems/1");
    one_fault(HEAD "\"target_stems\":[\"Drums\"]}", "/target_stems/0");
    one_fault(HEAD "\"target_stems\":[\"drums\"],\"callback_url\":\"ftp://x/\"}", "/callback_url");
    one_fault(WITH("\"target_bpm\":19"), "/parameters/target_bpm");
    one_fault(WITH("\"target_bpm\":\"120\""), "/parameters/target_bpm");
    one_fault(WITH("\"duration_seconds\":0"), "/parameters/duration_seconds");
    one_fault(WITH("\"duration_seconds\":60.5"), "/parameters/duration_seconds");
    one_fault(WITH("\"temperature\":2.01"), "/parameters/temperature");
    one_fault(WITH("\"random_seed\":1.5"), "/parameters/random_seed");
    one_fault(WITH("\"random_seed\":1e300"), "/parameters/random_seed");
    one_fault(WITH("\"chord_progression\":\"C\""), "/parameters/chord_progression");
    one_fault(WITH("\"chord_progression\":[\"C\",1]"), "/parameters/chord_progression/1");
    one_fault(WITH("\"chord_progression\":[\"\"]"), "/parameters/chord_progression/0");
    one_fault(WITH("\"style\":[]"), "/parameters/style");
    one_fault(HEAD "\"target_stems\":[\"drums\"],\"parameters\":[]}", "/parameters");
    request r;
    json *faults;
    cr_assert_eq(parse(&r, "{}", &faults), ERR_ARG);
    cr_assert_eq(json_len(faults), 3);
    json_free(faults);
    cr_assert_eq(parse(&r, "[]", &faults), ERR_FORMAT);
    cr_assert_eq(parse(&r, "{", &faults), ERR_FORMAT);
}

static const char *engine_field; // what the engine finds wrong

static status refuse(const request *r, err *e) {
    (void)r;
    err_set(e, ERR_ARG, "no");
    err_about(e, "%s", engine_field);
    return ERR_ARG;
}

Test(request, a_field_that_the_engine_names_becomes_a_pointer) {
    static const char *const cases[][2] = {
        {"stems[6]", "/target_stems/6"},
        {"bpm", "/parameters/target_bpm"},
        {"seconds", "/parameters/duration_seconds"},
        {"chords", "/parameters/chord_progression"},
        {"chords[255]", "/parameters/chord_progression/255"},
        {"key", "/parameters/key"},
        {"chordsx", "/parameters"},
        {"", "/parameters"},
    };
    const request_limits asks = {.seconds_max = 60, .body_max = 65536, .engine_check = refuse};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        request r;
        json *faults;
        err e;
        engine_field = cases[i][0];
        const char *text = HEAD "\"target_stems\":[\"drums\"]}";
        cr_assert_eq(request_parse(&r, bytes_of(text), &asks, &faults, &e), ERR_ARG);
        const char *found = json_str_value(json_find(json_at(faults, 0), "pointer"));
        cr_assert_str_eq(found, cases[i][1]);
        json_free(faults);
    }
}

Test(request, ids_cannot_leave_their_folder) {
    static const char *const bad[] = {"",    ".",  "..",  ".a",   "a.",   "a..b",
                                      "a/b", "-a", "a b", "a%2e", "a\\b", "\xc3\xa4"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) cr_assert_not(request_id_ok(bad[i]), "%s", bad[i]);
    char longest[130];
    memset(longest, 'x', 129);
    longest[129] = 0;
    cr_assert_not(request_id_ok(longest));
    longest[128] = 0;
    cr_assert(request_id_ok(longest));
    cr_assert(request_id_ok("3f2504e0-4f89-11d3-9a0c-0305e82c3301"));
}

Test(request, the_same_body_in_another_order_has_the_same_canonical_text) {
    request a, b;
    json *faults;
    cr_assert_eq(
        parse(&a, HEAD "\"target_stems\":[\"drums\"],\"parameters\":{\"style\":\"x\"}}", &faults),
        OK);
    cr_assert_eq(parse(&b,
                       "{ \"parameters\" : {\"style\":\"x\"}, \"target_stems\": [\"drums\"],"
                       "\"audio_file_id\":\"a.b_c\",\"generation_request_id\":\"r-1\"}",
                       &faults),
                 OK);
    buf x, y;
    buf_init(&x, 4096);
    buf_init(&y, 4096);
    cr_assert_eq(request_canonical(&a, &x, NULL), OK);
    cr_assert_eq(request_canonical(&b, &y, NULL), OK);
    cr_assert_str_eq(buf_str(&x), buf_str(&y));
    buf_deinit(&x);
    buf_deinit(&y);
    request_deinit(&a);
    request_deinit(&b);
}
