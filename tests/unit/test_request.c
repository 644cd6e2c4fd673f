// test_request.c - POST /generate's body: what is accepted, what is named as wrong.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "request/fields.h"
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
    cr_assert(r.ask.seconds == 10 && r.ask.temperature == 1 && r.ask.bpm == 0 && r.work == 20);
    cr_assert(!r.seed_given && !r.ask.prompt && !r.callback_url);
    uint64_t first = r.ask.seed;
    request_deinit(&r);
    cr_assert_eq(parse(&r, HEAD "\"target_stems\":[\"drums\"]}", &faults), OK);
    cr_assert_neq(r.ask.seed, first); // 1 in 2^53 to fail by chance
    request_deinit(&r);
}

Test(request, takes_bars_loops_and_fades) {
    request r;
    json *faults;
    const char *text = HEAD "\"target_stems\":[\"bass\",\"drums\"],\"parameters\":{\"bars\":4,"
                            "\"target_bpm\":96,\"loop\":true,\"fade_in_seconds\":null}}";
    cr_assert_eq(parse(&r, text, &faults), OK);
    cr_assert(r.ask.bars == 4 && r.ask.loop && r.ask.seconds < 0 && r.ask.fade_in_seconds < 0);
    cr_assert_eq(r.work, 20);
    request_deinit(&r);
    err e;
    cr_assert_eq(request_reparse(&r, bytes_of(text), 20, &e), OK, "%s", e.text);
    cr_assert_eq(stemforge_request_check(&r.ask, &e), OK, "the job cannot run: %s", e.text);
    request_deinit(&r);
#define STEM HEAD "\"target_stems\":[\"drums\"],\"parameters\":"
    one_fault(STEM "{\"bars\":4}}", "/parameters/bars");
    one_fault(STEM "{\"bars\":4,\"target_bpm\":96,\"duration_seconds\":10}}", "/parameters/bars");
    one_fault(STEM "{\"bars\":257,\"target_bpm\":96}}", "/parameters/bars");
    one_fault(STEM "{\"bars\":30,\"target_bpm\":96}}", "/parameters/bars"); // over a minute
    one_fault(STEM "{\"bars\":1.5,\"target_bpm\":96}}", "/parameters/bars");
    one_fault(STEM "{\"loop\":true}}", "/parameters/loop");
    one_fault(STEM "{\"loop\":\"yes\"}}", "/parameters/loop");
    one_fault(STEM "{\"loop\":1}}", "/parameters/loop");
    // What says "not given" inside the program says nothing here.
    one_fault(STEM "{\"duration_seconds\":-1}}", "/parameters/duration_seconds");
    one_fault(STEM "{\"fade_in_seconds\":-1}}", "/parameters/fade_in_seconds");
    one_fault(STEM "{\"fade_out_seconds\":30.5}}", "/parameters/fade_out_seconds");
    for (size_t i = 0; i < field_count; i++) {
        const field *f = &field_rows[i];
        bool number = f->kind == FIELD_NUMBER || f->kind == FIELD_INTEGER;
        if (!f->wire || !number || field_has_default(f)) continue;
        char wrong[300], pointer[80];
        snprintf(pointer, sizeof pointer, "/parameters/%s", field_wire_name(f));
        snprintf(wrong, sizeof wrong, STEM "{\"%s\":%g}}", field_wire_name(f), f->absent);
        one_fault(wrong, pointer);
    }
#undef STEM
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
    const stemforge_request q = r.ask;
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

// The pointers of all faults, apart by blanks.
static void faults_are(const char *text, const char *want) {
    request r;
    json *faults;
    buf all;
    buf_init(&all, 4096);
    cr_assert_eq(parse(&r, text, &faults), ERR_ARG, "%s was accepted", text);
    for (size_t i = 0; i < json_len(faults); i++)
        buf_printf(&all, "%s%s", i ? " " : "",
                   json_str_value(json_find(json_at(faults, i), "pointer")));
    cr_assert_str_eq(buf_str(&all), want);
    buf_deinit(&all);
    json_free(faults);
}

Test(request, names_all_wrong_fields_at_once_each_at_its_own_pointer) {
    one_fault(WITH("\"key\":\"power chords in E\""), "/parameters/key");
    faults_are(WITH("\"key\":\"H moll\",\"chord_progression\":[\"H\",\"C\",\"am\"]"),
               "/parameters/key /parameters/chord_progression/0 /parameters/chord_progression/2");
    faults_are(WITH("\"key\":\"H moll\",\"temperature\":3,\"random_seed\":\"x\""),
               "/parameters/key /parameters/random_seed /parameters/temperature");
    faults_are("{\"target_stems\":[\"drums\",3,\"kazoo\"],\"callback_url\":7,\"parameters\":{"
               "\"target_bpm\":true,\"chord_progression\":[null,{},\"C\",\"\"]}}",
               "/generation_request_id /audio_file_id /target_stems/1 /target_stems/2 "
               "/parameters/target_bpm /parameters/chord_progression/1 "
               "/parameters/chord_progression/0 /parameters/chord_progression/3 /callback_url");
}

// What a sentence quotes is cut, and may be cut inside a character: it is told all the same.
Test(request, a_wrong_text_of_any_length_is_named) {
    static const struct {
        const char *form, *pointer;
    } cases[] = {
        {HEAD "\"target_stems\":[\"%s\"]}", "/target_stems/0"},
        {WITH("\"follow\":[\"%s\"]"), "/parameters/follow/0"},
        {WITH("\"chord_progression\":[\"C%s\"]"), "/parameters/chord_progression/0"},
        {WITH("\"time_signature\":\"%s\""), "/parameters/time_signature"},
        {WITH("\"key\":\"%s\""), "/parameters/key"},
        {WITH("\"file_name\":\"{%s\""), "/parameters/file_name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char found[120 * 3 + 1] = "", body[1000];
        for (int n = 0; n < 120; n++) {
            strcat(found, "\u20ac");
            snprintf(body, sizeof body, cases[i].form, found);
            one_fault(body, cases[i].pointer);
        }
    }
}

Test(request, an_item_of_chords_may_hold_several_names) {
    request r;
    json *faults;
    const char *text = WITH("\"chord_progression\":[\"C G | Am\",\" F\\n\",\"C7(b9,#11)\"]");
    cr_assert_eq(parse(&r, text, &faults), OK);
    cr_assert_eq(r.ask.chord_count, 5);
    cr_assert_str_eq(r.ask.chords[2], "Am");
    cr_assert_str_eq(r.ask.chords[3], "F");
    cr_assert_str_eq(r.ask.chords[4], "C7(b9,#11)");
    request_deinit(&r);
    faults_are(WITH("\"chord_progression\":[\"C G\",\"Am\",\"F H\"]"),
               "/parameters/chord_progression/2");
}

Test(request, what_no_member_can_hold_is_refused_by_its_pointer) {
    one_fault(WITH("\"random_seed\":18446744073709551615"), "/parameters/random_seed");
    one_fault(WITH("\"random_seed\":9223372036854775808"), "/parameters/random_seed");
    one_fault(WITH("\"random_seed\":-9223372036854775809"), "/parameters/random_seed");
    one_fault(WITH("\"target_bpm\":1e400"), "/parameters/target_bpm");
    one_fault(WITH("\"duration_seconds\":-1E999"), "/parameters/duration_seconds");
    one_fault(WITH("\"prompt\":\"a\\u0000b\""), "/parameters/prompt");
    one_fault(WITH("\"prompt\":\"\\ud83d\""), "/parameters/prompt");
    one_fault(WITH("\"style\":\"\\ude00 x\""), "/parameters/style");
    one_fault(WITH("\"chord_progression\":[\"C\",\"\\ud83dG\"]"),
              "/parameters/chord_progression/1");
    one_fault(WITH("\"target_bpm\":100,\"style\":\"x\",\"target_bpm\":100"),
              "/parameters/target_bpm");
    one_fault(HEAD "\"target_stems\":[\"bass\"],\"target_stems\":[\"bass\"]}", "/target_stems");
    one_fault(HEAD "\"target_stems\":[\"bass\"],\"callback_url\":\"http://a/\\u0000\"}",
              "/callback_url");
    faults_are(
        WITH("\"random_seed\":99999999999999999999,\"target_bpm\":1e999,\"style\":\"\\udc00\""),
        "/parameters/target_bpm /parameters/style /parameters/random_seed");
}

Test(request, what_is_ignored_may_hold_anything) {
    static const char *const texts[] = {
        HEAD "\"target_stems\":[\"bass\"],\"trace_id\":18446744073709551616}",
        HEAD "\"target_stems\":[\"bass\"],\"x\":[-1e999,{\"y\":1E+400}]}",
        HEAD "\"target_stems\":[\"bass\"],\"x\":\"\\u0000\",\"\\ud800\":\"\\udfff\\ud800\"}",
        HEAD "\"target_stems\":[\"bass\"],\"x\":1,\"x\":2}",
        WITH("\"note\":99999999999999999999999999,\"note\":\"\\u0000\""),
        "\xEF\xBB\xBF" HEAD "\"target_stems\":[\"bass\"],\"parameters\":{\"target_bpm\":100}}",
        WITH("\"prompt\":\"\\ud83d\\ude00 \\\\u0000\",\"random_seed\":9223372036854775807"),
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        request r;
        json *faults = NULL;
        cr_assert_eq(parse(&r, texts[i], &faults), OK, "%s", texts[i]);
        request_deinit(&r);
    }
    static const char *const bad[] = {"{\"a\":0999999999999999999999}",
                                      "{\"a\":1.e400}",
                                      "{\"a\":99999999999999999999-1}",
                                      "{\"a\":\"\\u00\"}",
                                      "{\"a\":-}",
                                      "\xEF\xBB{}",
                                      "{\"a\":\"\\"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        request r;
        json *faults = NULL;
        cr_assert_eq(parse(&r, bad[i], &faults), ERR_FORMAT, "%s", bad[i]);
    }
}

static void canonical_of(buf *out, const char *text) {
    request r;
    json *faults = NULL;
    buf_init(out, 4096);
    cr_assert_eq(parse(&r, text, &faults), OK, "%s", text);
    cr_assert_eq(request_canonical(&r, out, NULL), OK);
    request_deinit(&r);
}

Test(request, serializers_agree_on_what_is_the_same_body) {
    static const char *const same[] = {
        WITH("\"target_bpm\":120,\"duration_seconds\":0.5"),
        WITH("\"duration_seconds\":5e-1,\"target_bpm\":120.0"),
        WITH("\"target_bpm\":1.2e2,\"style\":null,\"duration_seconds\":0.5,\"key\":null"),
        HEAD
        "\"callback_url\":null,\"target_stems\":[\"drums\"],\"meta\":{\"a\":null},\"parameters\":{"
        "\"target_bpm\":120,\"duration_seconds\":0.50}}",
    };
    static const char *const other[] = {
        WITH("\"target_bpm\":120.5,\"duration_seconds\":0.5"),
        WITH("\"target_bpm\":120,\"duration_seconds\":0.5,\"random_seed\":1"),
        WITH("\"target_bpm\":120"),
    };
    buf first, b;
    canonical_of(&first, same[0]);
    for (size_t i = 1; i < ARRAY_LEN(same); i++) {
        canonical_of(&b, same[i]);
        cr_assert_str_eq(buf_str(&b), buf_str(&first));
        buf_deinit(&b);
    }
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        canonical_of(&b, other[i]);
        cr_assert(strcmp(buf_str(&b), buf_str(&first)) != 0, "%s", other[i]);
        buf_deinit(&b);
    }
    buf_deinit(&first);
}

Test(request, unknown_parameters_are_warned_of) {
    static const char *const cases[][2] = {
        {"targetBpm", "parameters.targetBpm is unknown and was ignored, did you mean target_bpm?"},
        {"durationSeconds",
         "parameters.durationSeconds is unknown and was ignored, did you mean duration_seconds?"},
        {"bpm", "parameters.bpm is unknown and was ignored, did you mean target_bpm?"},
        {"seed", "parameters.seed is unknown and was ignored, did you mean random_seed?"},
        {"ChordProgression",
         "parameters.ChordProgression is unknown and was ignored, did you mean chord_progression?"},
        {"reverb", "parameters.reverb is unknown and was ignored"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[200];
        snprintf(text, sizeof text, WITH("\"style\":\"x\",\"%s\":1e999"), cases[i][0]);
        request r;
        json *faults;
        warnings w = {0};
        cr_assert_eq(parse(&r, text, &faults), OK, "%s", cases[i][0]);
        request_warn_unknown(&r, &w);
        json *list = request_warnings_json(&w);
        const json *one = json_at(list, 0);
        cr_assert_eq(json_len(list), 1, "%s", cases[i][0]);
        cr_assert_str_eq(json_str_value(json_find(one, "code")), "unknown_member");
        cr_assert_str_eq(json_str_value(json_find(one, "detail")), cases[i][1]);
        snprintf(text, sizeof text, "/parameters/%s", cases[i][0]);
        cr_assert_str_eq(json_str_value(json_find(one, "pointer")), text);
        json_free(list);
        request_deinit(&r);
    }
}

Test(request, a_member_beside_parameters_that_is_nearly_ours_is_told) {
    static const char *const cases[][2] = {
        {"callbackUrl", "callbackUrl is unknown and was ignored, did you mean callback_url?"},
        {"targetStems", "targetStems is unknown and was ignored, did you mean target_stems?"},
        {"target_bpm",
         "target_bpm is unknown and was ignored, did you mean parameters.target_bpm?"},
        {"prompt", "prompt is unknown and was ignored, did you mean parameters.prompt?"},
        {"tenant", NULL}, // another system's
        {"trace", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[300];
        snprintf(text, sizeof text,
                 "{\"generation_request_id\":\"a\",\"audio_file_id\":\"a\",\"target_stems\":"
                 "[\"drums\"],\"%s\":\"http://a.b\"}",
                 cases[i][0]);
        request r;
        json *faults;
        warnings w = {0};
        cr_assert_eq(parse(&r, text, &faults), OK, "%s", cases[i][0]);
        request_warn_unknown(&r, &w);
        json *list = request_warnings_json(&w);
        const json *one = json_at(list, 0);
        cr_assert_eq(json_len(list), cases[i][1] ? 1 : 0, "%s", cases[i][0]);
        snprintf(text, sizeof text, "/%s", cases[i][0]);
        if (one) {
            cr_assert_str_eq(json_str_value(json_find(one, "detail")), cases[i][1]);
            cr_assert_str_eq(json_str_value(json_find(one, "pointer")), text);
        }
        json_free(list);
        request_deinit(&r);
    }
}

Test(request, a_pointer_to_a_stranger_is_escaped) {
    request r;
    json *faults;
    warnings w = {0};
    cr_assert_eq(parse(&r, WITH("\"a/b~c\":1"), &faults), OK);
    request_warn_unknown(&r, &w);
    json *list = request_warnings_json(&w);
    cr_assert_str_eq(json_str_value(json_find(json_at(list, 0), "pointer")), "/parameters/a~1b~0c");
    json_free(list);
    request_deinit(&r);
}

Test(request, a_stored_job_with_a_number_that_once_said_nothing_runs_on) {
    request r;
    cr_assert_eq(request_reparse(&r, bytes_of(WITH("\"takes\":0")), 10, NULL), OK);
    request_deinit(&r);
}

Test(request, a_stored_text_that_is_read_again_draws_no_seed) {
    request r;
    cr_assert_eq(request_reparse(&r, bytes_of(HEAD "\"target_stems\":[\"drums\"]}"), 10, NULL), OK);
    cr_assert_eq(r.ask.seed, 0);
    cr_assert_not(r.seed_given);
    request_deinit(&r);
}

Test(request, parse_survives_each_failed_allocation) {
    const char *text = WITH("\"style\":\"rock\",\"chord_progression\":[\"C G\"]");
    for (int n = 0;; n++) {
        request r;
        json *faults = NULL;
        mem_fail_after(n);
        status rc = parse(&r, text, &faults);
        mem_fail_after(-1);
        json_free(faults);
        if (!rc) {
            request_deinit(&r);
            cr_assert_gt(n, 3);
            break;
        }
        cr_assert_eq(rc, ERR_OOM, "allocation %d", n);
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

Test(request, a_length_that_was_not_named_stays_the_one_that_was_accepted) {
    const request_limits shorter = {.seconds_max = 5.1, .body_max = 65536};
    const char *text = HEAD "\"target_stems\":[\"drums\",\"bass\",\"other\"]}";
    request r;
    json *faults;
    cr_assert_eq(request_parse(&r, bytes_of(text), &shorter, &faults, NULL), OK);
    double work = r.work;
    cr_assert(r.ask.seconds == 5.1);
    request_deinit(&r);
    cr_assert_eq(request_reparse(&r, bytes_of(text), work, NULL), OK);
    cr_assert(r.ask.seconds == 5.1 && r.work == work, "%.17g", r.ask.seconds);
    request_deinit(&r);
    cr_assert_eq(request_reparse(&r, bytes_of(WITH("\"duration_seconds\":7")), 21, NULL), OK);
    cr_assert(r.ask.seconds == 7); // named: the text says it, whatever the limit is now
    request_deinit(&r);
}

Test(request, a_stored_text_is_the_same_by_todays_rules) {
    request r;
    json *faults;
    buf b;
    cr_assert_eq(parse(&r, WITH("\"target_bpm\":120"), &faults), OK);
    buf_init(&b, 10000);
    cr_assert_eq(request_canonical(&r, &b, NULL), OK);
    const bytes now = buf_bytes(&b);
    cr_assert(request_is_same(bytes_of(WITH("\"style\":null,\"target_bpm\":1.2e2")), now));
    cr_assert_not(request_is_same(bytes_of(WITH("\"target_bpm\":121")), now));
    cr_assert_not(request_is_same(bytes_of("{"), now));
    cr_assert_not(request_is_same(bytes_of(""), now));
    buf_deinit(&b);
    request_deinit(&r);
}
