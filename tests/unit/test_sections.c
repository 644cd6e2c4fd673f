// test_sections.c - a piece in parts: what a section says, its chords, and where a stem is silent.
#define _GNU_SOURCE // memmem
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/measure.h"
#include "engine/rests.h"
#include "request/check.h"
#include "request/fieldjson.h"
#include "request/length.h"
#include "request/midi.h"
#include "request/stems.h"

static const char *const both[] = {"drums", "bass"};

static stemforge_request song(const char *const *sections, size_t n) {
    stemforge_request r = stemforge_request_default();
    r.stems = both;
    r.stem_count = 2;
    r.bpm = 120;
    r.sections = sections;
    r.section_count = n;
    return r;
}

Test(sections, a_section_says_bars_chords_and_stems) {
    section s;
    cr_assert_eq(section_parse(&s, " 8 ; Am F/A ; drums, bass ", NULL), OK);
    cr_assert_eq(s.bars, 8);
    cr_assert(s.chords.n == 6 && !memcmp(s.chords.p, "Am F/A", 6));
    cr_assert(section_plays(&s, "drums") && section_plays(&s, "bass"));
    cr_assert_not(section_plays(&s, "piano"));
    cr_assert_not(section_plays(&s, "bas"));
    cr_assert_eq(section_parse(&s, "1", NULL), OK);
    cr_assert(section_plays(&s, "piano") && !s.chords.n);
    cr_assert_eq(section_parse(&s, "256;;bass", NULL), OK);
    cr_assert(section_plays(&s, "bass") && !section_plays(&s, "drums"));
    cr_assert_eq(s.density, DENSITY_NORMAL);
    cr_assert_eq(section_parse(&s, "4;;bass; dense ", NULL), OK);
    cr_assert(s.density == DENSITY_DENSE && section_plays(&s, "bass"));
}

Test(sections, what_is_no_section_is_refused_with_what_was_found) {
    static const char *const wrong[][2] = {
        {"", "1 to 256 bars, found \"\""},
        {"0", "1 to 256 bars"},
        {"257", "1 to 256 bars"},
        {"99999999999999999999", "1 to 256 bars"},
        {"-4", "1 to 256 bars"},
        {"Am F", "1 to 256 bars"},
        {"4; Am; drums; sparse; x", "found more than three ;"},
        {"4; Am; drums; bass", "sparse, normal or dense, found \"bass\""},
        {"4;;;SPARSE", "sparse, normal or dense"},
        {"4; H", "H"},
        {"4; Am; drum", "stems that play, found \"drum\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        section s;
        err e = {0};
        cr_assert_eq(section_parse(&s, wrong[i][0], &e), ERR_ARG, "%s", wrong[i][0]);
        cr_assert(strstr(e.text, wrong[i][1]), "%s: %s", wrong[i][0], e.text);
    }
}

static char *joined(const section_chords *c, char out[400]) {
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < c->n; i++)
        n += (size_t)snprintf(out + n, 400 - n, "%s%s", i ? " " : "", c->name[i]);
    return out;
}

Test(sections, each_has_its_chords_from_its_first_bar_and_an_ending_the_tonic) {
    static const char *const parts[] = {"3; Am F", "2;; drums", "3; C G F E7"};
    static const char *const own[] = {"D", "G", "A"};
    char text[400];
    section_chords c;
    stemforge_request r = song(parts, 3);
    r.chords = own;
    r.chord_count = 3;
    sections_chords(&c, &r);
    cr_assert_str_eq(joined(&c, text), "Am F Am D G C G F");
    r.chords_per_bar = 2;
    sections_chords(&c, &r);
    cr_assert_str_eq(joined(&c, text), "Am F Am F Am F D G A D C G F E7 C G");
    r.chords_per_bar = 0;
    r.ending = true;
    sections_chords(&c, &r);
    cr_assert_str_eq(joined(&c, text), "Am F Am D G C G Am"); // the first chord
    r.key = "C major";
    sections_chords(&c, &r);
    cr_assert_str_eq(joined(&c, text), "Am F Am D G C G C");
    cr_assert(c.named);
}

Test(sections, without_chords_they_have_the_keys) {
    static const char *const parts[] = {"2", "3"};
    char text[400];
    section_chords c;
    stemforge_request r = song(parts, 2);
    r.key = "A minor";
    sections_chords(&c, &r);
    cr_assert_str_eq(joined(&c, text), "Am F Am F C");
    cr_assert_not(c.named);
    r.section_count = 0;
    r.bars = 4;
    r.ending = true;
    sections_chords(&c, &r);
    cr_assert_str_eq(joined(&c, text), "Am F C Am");
}

Test(sections, parts_of_one_density_are_one) {
    static const char *const parts[] = {"2;;;sparse", "3;;drums;sparse", "1", "1;;;normal",
                                        "4; Am;; dense"};
    density_part got[SECTIONS_MAX];
    stemforge_request r = song(parts, 5);
    cr_assert_eq(sections_densities(got, &r), 3);
    cr_assert(got[0].bar == 0 && got[0].density == DENSITY_SPARSE);
    cr_assert(got[1].bar == 5 && got[1].density == DENSITY_NORMAL);
    cr_assert(got[2].bar == 7 && got[2].density == DENSITY_DENSE);
    r.section_count = 0;
    cr_assert_eq(sections_densities(got, &r), 1);
    cr_assert(got[0].bar == 0 && got[0].density == DENSITY_NORMAL);
}

static void keep(void *arg, const field *f, int64_t item, const char *detail) {
    buf_printf(arg, "%s[%d] %s\n", f->name, (int)item, detail);
}

static bool told(const stemforge_request *r, const char *what) {
    buf all;
    buf_init(&all, 4000);
    check_request(r, 0, keep, &all);
    bool found = strstr(buf_str(&all), what) != NULL && (*what || !all.n);
    if (!found) fprintf(stderr, "expected %s, found %s", what, buf_str(&all));
    buf_deinit(&all);
    return found;
}

Test(sections, they_are_the_length_and_go_with_no_other) {
    static const char *const parts[] = {"8; Am F; drums", "8; C G"}, *const solo[] = {"8;;drums"},
                             *const stranger[] = {"8;;piano drums bass"},
                             *const many[] = {"200", "100"}, *const bad[] = {"8", "x"};
    stemforge_request r = song(parts, 2);
    cr_assert(told(&r, ""));
    cr_assert_eq(length_bars(&r), 16);
    cr_assert_eq(length_frames(&r, 44100), 16 * 2 * 44100);
    r.bars = 4;
    cr_assert(told(&r, "sections[-1] expected bars or sections, found both"));
    r.bars = 0, r.seconds = 8;
    cr_assert(told(&r, "sections[-1] expected bars or seconds, found both: 16 bars and 8 s"));
    r.seconds = -1, r.bpm = 0;
    cr_assert(told(&r, "sections[-1] expected a tempo (bpm) beside 16 bars"));
    r.bpm = 120, r.loop = true;
    cr_assert(told(&r, "sections[-1] expected no loop"));
    r.loop = false, r.ending = true;
    cr_assert(told(&r, ""));
    r.continue_from = "x.wav";
    cr_assert(told(&r, "ending[-1] expected no file to go on from"));
    r = song(solo, 1);
    cr_assert(told(&r, "expected a section in which bass plays, found none"));
    r = song(stranger, 1);
    cr_assert(told(&r, "sections[0] expected stems that are asked for, found piano"));
    r = song(many, 2);
    cr_assert(told(&r, "expected at most 256 bars in all, found 300"));
    r = song(bad, 2);
    cr_assert(told(&r, "sections[1] expected 1 to 256 bars, found \"x\""));
    r = song(NULL, 0);
    r.ending = true;
    cr_assert(told(&r, "ending[-1] expected bars or sections beside it"));
    r.bars = 4, r.loop = true;
    cr_assert(told(&r, "ending[-1] expected no loop"));
}

Test(sections, a_stem_is_silent_where_it_does_not_play) {
    static const char *const parts[] = {"1;;bass", "2", "1;;drums", "1;;drums", "1;;drums"};
    post_rest rest[RESTS_MAX];
    stemforge_request r = song(parts, 5);
    const int64_t bar = 2 * 44100, early = 441;
    cr_assert_eq(rests_of(rest, &r, "drums", 44100), 1u);
    cr_assert(rest[0].from == 0 && rest[0].to == bar - early);
    cr_assert_eq(rests_of(rest, &r, "bass", 44100), 1u); // three that follow each other are one
    cr_assert(rest[0].from == 3 * bar - early && rest[0].to == 6 * bar);
    r.ending = true;
    cr_assert_eq(rests_of(rest, &r, "bass", 44100), 1u);
    cr_assert_eq(rests_of(rest, &r, "drums", 44100), 2u);
    cr_assert(rest[1].from == 5 * bar + bar / 2 && rest[1].to == 6 * bar);
    cr_assert_eq(rest[1].fade_out, bar / 4);
}

Test(sections, rests_are_zeros_between_fades) {
    enum { FRAMES = 4000 };
    static float x[2 * FRAMES];
    const post_rest rest[] = {{.from = 0, .to = 100, .fade_out = 50, .fade_in = 10},
                              {.from = 2000, .to = 3000, .fade_out = 100, .fade_in = 20},
                              {.from = 3900, .to = FRAMES, .fade_out = 100, .fade_in = 20}};
    for (int i = 0; i < 2 * FRAMES; i++) x[i] = 0.5f;
    post_silence(x, FRAMES, 2, rest, 3);
    for (int i = 0; i < FRAMES; i++) {
        bool zero = i < 100 || (i >= 2000 && i < 3000) || i >= 3900;
        bool whole = (i >= 110 && i < 1900) || (i >= 3020 && i < 3800);
        float v = x[2 * i];
        cr_assert_eq(v, x[2 * i + 1]);
        cr_assert(zero ? v == 0 : whole ? v == 0.5f : v > 0 && v < 0.5f, "frame %d: %g", i, v);
        if (i) cr_assert_lt(fabsf(v - x[2 * i - 2]), 0.1f);
    }
}

// Silence that was asked for is no fault.
Test(sections, a_rest_is_no_fault_of_the_stem) {
    static const char *const parts[] = {"3;;drums", "1;;bass drums", "2;;drums"};
    enum { RATE = 44100 };
    int64_t frames = (int64_t)12 * RATE;
    stemforge_request r = song(parts, 3);
    float *x = mem_calloc((size_t)frames, sizeof *x);
    for (int64_t i = 6 * RATE; i < 8 * RATE; i++)
        x[i] = (float)(0.5 * sin(2 * M_PI * 110 * (double)i / RATE));
    const stemforge_stem s = {.name = "bass",
                              .samples = x,
                              .frames = frames,
                              .channels = 1,
                              .sample_rate = RATE,
                              .request = &r};
    measured m;
    cr_assert_eq(measure_init(&m, &s, NULL), OK);
    for (size_t i = 0; i < m.out.fault_count; i++)
        cr_assert(strcmp(m.out.faults[i], "silence") && strcmp(m.out.faults[i], "early_end"));
    measure_deinit(&m);
    r.section_count = 0;
    r.bars = 6;
    cr_assert_eq(measure_init(&m, &s, NULL), OK);
    cr_assert(m.out.fault_count && !strcmp(m.out.faults[0], "silence"));
    measure_deinit(&m);
    mem_free(x);
}

// --- objects, as they come over HTTP

static char *read_wire(const char *text, field_lists *lists, stemforge_request *r, json **tree,
                       buf *said) {
    *r = stemforge_request_default();
    *lists = (field_lists){0};
    buf_init(said, 4000);
    cr_assert_eq(json_parse(tree, bytes_of(text), 4000, NULL), OK);
    cr_assert_eq(
        fieldjson_read(fields_find("sections"), *tree, FIELDJSON_WIRE, lists, r, keep, said, NULL),
        OK);
    return said->n ? (char *)said->p : (char *)"";
}

Test(sections, objects_say_the_same_as_texts) {
    static const struct {
        const char *json, *text, *fault;
    } cases[] = {
        {"[{\"bars\": 8}]", "8;;", NULL},
        {"[{\"bars\": 2, \"chords\": [\"Am\", \"F G\"], \"stems\": [\"bass\"]}]", "2; Am F G; bass",
         NULL},
        {"[{\"bars\": 2, \"chords\": null}]", "2;;", NULL},
        {"[{\"bars\": 2, \"density\": \"sparse\"}]", "2;;; sparse", NULL},
        {"[{\"bars\": 2, \"density\": null}]", "2;;", NULL},
        {"[{\"bars\": 2, \"density\": 1}]", NULL, "expected a string for its density"},
        {"[8]", NULL, "sections[0] expected an object of bars, chords, stems and density, found"},
        {"[{\"bars\": 1}, {\"chords\": [\"Am\"]}]", NULL, "sections[1] expected an integer"},
        {"[{\"bars\": 1.5}]", NULL, "sections[0] expected an integer"},
        {"[{\"bars\": 1, \"stems\": \"bass\"}]", NULL, "an array of names in its stems"},
        {"[{\"bars\": 1, \"chords\": [1]}]", NULL, "an array of names in its chords"},
        {"[{\"bars\": 1, \"chord\": []}]", NULL,
         "expected bars, chords, stems and density in it, found"},
        {"{}", NULL, "sections[-1] expected an array"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        field_lists lists;
        stemforge_request r;
        json *tree;
        buf said;
        const char *fault = read_wire(cases[i].json, &lists, &r, &tree, &said);
        if (cases[i].fault)
            cr_assert(strstr(fault, cases[i].fault), "%s: %s", cases[i].json, fault);
        else
            cr_assert(!*fault && r.section_count == 1 && !strcmp(r.sections[0], cases[i].text),
                      "%s: %s %s", cases[i].json, fault, r.sections ? r.sections[0] : "none");
        buf_deinit(&said);
        field_lists_deinit(&lists);
        json_free(tree);
    }
}

Test(sections, midi_has_the_chords_of_each_section) {
    static const char *const parts[] = {"2; Am", "1; F#m7"};
    stemforge_request r = song(parts, 2);
    buf out;
    err e;
    buf_init(&out, 100000);
    cr_assert_eq(midi_write(&out, &r, &e), OK, "%s", e.text);
    cr_assert(memmem(out.p, out.n,
                     "\x01\x02"
                     "Am",
                     4));
    cr_assert(memmem(out.p, out.n,
                     "\x01\x04"
                     "F#m7",
                     6));
    buf_deinit(&out);
}
