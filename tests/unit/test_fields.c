// test_fields.c - the rows of a request's fields, and the checks that are made from them.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "request/check.h"
#include "request/length.h"
#include "request/stems.h"

#define FAULTS_MAX 32

typedef struct {
    char where[FAULTS_MAX][40], detail[FAULTS_MAX][200];
    size_t n;
} faults;

static void note(void *arg, const field *f, int64_t item, const char *detail) {
    faults *all = arg;
    cr_assert_lt(all->n, FAULTS_MAX);
    if (item < 0)
        snprintf(all->where[all->n], sizeof all->where[0], "%s", f->name);
    else
        snprintf(all->where[all->n], sizeof all->where[0], "%s[%d]", f->name, (int)item);
    snprintf(all->detail[all->n++], sizeof all->detail[0], "%s", detail);
}

static const char *const one_stem[] = {"bass"};

static stemforge_request good(void) {
    stemforge_request r = stemforge_request_default();
    r.stems = one_stem;
    r.stem_count = 1;
    return r;
}

static faults faults_of(const stemforge_request *r) {
    faults all = {0};
    check_request(r, 0, note, &all);
    return all;
}

static bool same(const char *a, const char *b) {
    return a && b && strcmp(a, b) == 0;
}

Test(fields, no_two_rows_share_a_name) {
    for (size_t i = 0; i < field_count; i++) {
        const field *a = &field_rows[i];
        cr_assert(a->name && a->flag && a->recipe && (a->value || a->kind == FIELD_FLAG) && a->help,
                  "row %zu", i);
        cr_assert(!a->wire || (a->label && a->example), "%s is in the page's form", a->name);
        for (size_t k = 0; k < i; k++) {
            const field *b = &field_rows[k];
            cr_assert_not(same(a->name, b->name) || same(a->wire, b->wire) ||
                              same(a->flag, b->flag) || same(a->recipe, b->recipe) ||
                              a->at == b->at,
                          "%s and %s", a->name, b->name);
        }
    }
    cr_assert_eq(fields_find_wire("parameters.target_bpm")->at, offsetof(stemforge_request, bpm));
    cr_assert_str_eq(field_wire_name(fields_find_wire("parameters.target_bpm")), "target_bpm");
    cr_assert_null(fields_find_wire("target_bpm"));
}

Test(fields, a_request_has_the_headers_defaults_and_passes) {
    stemforge_request r = good();
    cr_assert(r.bpm == 0 && r.seconds == -1 && r.temperature == 1 && r.top_k == -1);
    cr_assert(r.top_p == 0 && r.guidance == -1 && r.seed == 0 && !r.prompt && !r.chords);
    cr_assert_eq(faults_of(&r).n, 0);
    cr_assert_eq(check_first(&r, NULL), OK);
}

Test(fields, all_that_is_wrong_is_told_at_once) {
    static const char *const stems[] = {"bass", "kazoo", "bass", NULL};
    static const char *const chords[] = {"C", "H", "Am", "am"};
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 4;
    r.chords = chords, r.chord_count = 4;
    r.key = "H moll";
    r.bpm = 19.9;
    r.seconds = NAN;
    r.temperature = -1;
    r.top_k = -2;
    r.top_p = 1.01;
    r.guidance = INFINITY;
    static const char *const want[] = {"stems[1]",    "stems[2]",  "stems[3]",  "bpm",
                                       "key",         "chords[1]", "chords[3]", "seconds",
                                       "temperature", "top_k",     "top_p",     "guidance"};
    faults all = faults_of(&r);
    cr_assert_eq(all.n, ARRAY_LEN(want));
    for (size_t i = 0; i < all.n; i++)
        cr_assert_str_eq(all.where[i], want[i], "%s: %s", all.where[i], all.detail[i]);
    err e;
    cr_assert_eq(check_first(&r, &e), ERR_ARG);
    cr_assert_eq(strncmp(e.text, "stems[1]: expected drums, bass, ", 32), 0, "%s", e.text);
}

Test(fields, the_bounds_are_within) {
    static const double bpm[] = {0, 20, 400}, seconds[] = {0.1, 600}, temperature[] = {0, 2};
    stemforge_request r = good();
    for (size_t i = 0; i < ARRAY_LEN(bpm); i++) {
        r.bpm = bpm[i];
        cr_assert_eq(faults_of(&r).n, 0);
    }
    for (size_t i = 0; i < 2; i++) {
        r.seconds = seconds[i];
        r.temperature = temperature[i];
        cr_assert_eq(faults_of(&r).n, 0);
    }
    faults all = {0};
    r = good(); // what is absent is 10 s, and no shorter limit lets it pass for that
    check_request(&r, 9.5, note, &all);
    cr_assert_eq(all.n, 1);
    cr_assert_str_eq(all.detail[0], "expected 0.1 to 9.5, found 10");
}

Test(fields, a_text_too_long_is_refused_with_both_lengths) {
    char text[2 * 4097 + 1];
    for (int i = 0; i < 4097; i++) memcpy(text + 2 * i, "\u00e4", 2);
    text[2 * 4097] = 0;
    stemforge_request r = good();
    r.prompt = text;
    faults all = faults_of(&r);
    cr_assert_eq(all.n, 1);
    cr_assert_str_eq(all.detail[0], "expected at most 4096 characters, found 4097");
    r.prompt = text + 2; // 4096 characters, 8192 bytes
    cr_assert_eq(faults_of(&r).n, 0);
    r.style = text + 2 * (4097 - 257);
    all = faults_of(&r);
    cr_assert_eq(all.n, 1);
    cr_assert_str_eq(all.detail[0], "expected at most 256 characters, found 257");
    r.style = text + 2 * (4097 - 256);
    cr_assert_eq(faults_of(&r).n, 0);
    r.style = "L\xe4rm"; // Latin-1
    all = faults_of(&r);
    cr_assert_str_eq(all.detail[0], "expected UTF-8, found byte 0xe4 at byte 2");
}

Test(fields, lists_have_a_length) {
    const char *chords[STEMFORGE_CHORDS_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(chords); i++) chords[i] = "C";
    stemforge_request r = good();
    r.chords = chords;
    r.chord_count = STEMFORGE_CHORDS_MAX;
    cr_assert_eq(faults_of(&r).n, 0);
    r.chord_count++;
    faults all = faults_of(&r);
    cr_assert_eq(all.n, 1);
    cr_assert_str_eq(all.where[0], "chords");
    r = good();
    r.stem_count = 0;
    cr_assert_str_eq(faults_of(&r).where[0], "stems");
    r = good();
    r.stems = NULL;
    cr_assert_str_eq(faults_of(&r).where[0], "stems");
}

Test(fields, drawn_seeds_have_53_bits) {
    uint64_t all = 0, v;
    for (int i = 0; i < 64; i++) {
        cr_assert_eq(fields_draw_seed(&v, NULL), OK);
        all |= v;
    }
    cr_assert_eq(all >> 53, 0);
    cr_assert_neq(all >> 32, 0); // 1 in 2^1344 to fail by chance
}

// One fault, of that field.
static void one_fault(const stemforge_request *r, double seconds_max, const char *where,
                      const char *detail) {
    faults all = {0};
    check_request(r, seconds_max, note, &all);
    cr_assert_eq(all.n, 1, "%zu faults, expected one of %s", all.n, where);
    cr_assert_str_eq(all.where[0], where);
    cr_assert_str_eq(all.detail[0], detail);
}

Test(fields, bars_want_a_tempo_and_a_loop_wants_bars) {
    stemforge_request r = good();
    r.bars = 4;
    one_fault(&r, 0, "bars", "expected a tempo (bpm) beside 4 bars, found none");
    r.bpm = 120;
    cr_assert_eq(faults_of(&r).n, 0);
    one_fault(&r, 7.5, "bars", "expected at most 7.5 s, found 4 bars of 2 s");
    r.seconds = 8;
    one_fault(&r, 0, "bars", "expected bars or seconds, found both: 4 bars and 8 s; leave one out");
    r = good();
    r.loop = true;
    one_fault(&r, 0, "loop", "expected bars beside it, found none: a loop is whole bars");
    r.bars = 1, r.bpm = 400, r.fade_in_seconds = 0;
    cr_assert_eq(faults_of(&r).n, 0);
    r.fade_out_seconds = 0.1;
    one_fault(&r, 0, "fade_out_seconds", "expected 0 or nothing, found 0.1: a loop has no fades");
}

Test(fields, a_length_is_the_exact_time_of_the_bars) {
    static const struct {
        int bars;
        double bpm;
        int64_t frames;
    } want[] = {
        {1, 120, 88200}, {4, 97.3, 435108},    {3, 113, 280991},
        {1, 400, 26460}, {256, 240, 11289600}, {7, 61.7, 1200778},
    };
    stemforge_request r = good();
    cr_assert(length_seconds(&r) == 10 && length_frames(&r, 44100) == 441000);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        r.bars = want[i].bars, r.bpm = want[i].bpm;
        cr_assert_eq(length_frames(&r, 44100), want[i].frames, "%d bars at %g", r.bars, r.bpm);
    }
    cr_assert_eq(length_fold_frames(&r, 44100), 0);
    r.loop = true, r.bpm = 120;
    cr_assert_eq(length_fold_frames(&r, 44100), 22050);
    cr_assert_float_eq(length_made_seconds(&r), 14.5, 1e-12);
}
