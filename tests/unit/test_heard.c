// test_heard.c - what an engine says of a request that it does not hear whole: by the shipped model
// (64 tokens of text, the grid), and by small ones that read sentences.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "request/warnings.h"
#include "shipped_variant.h"
#include "stemforge.h"

#define GRID "models/stemforge-mini"
#define MONO "tests/parity/mono/model"
#define MELODY "tests/parity/melody/model"

static stemforge_engine *open_model(const char *path) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = path;
    o.threads = 1;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    return g;
}

static void take_warning(void *arg, const stemforge_warning *w) {
    warnings_add(arg, w->code, w->field, "%s", w->text);
}

static stemforge_status on_stem(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    (void)arg, (void)i, (void)s, (void)e;
    cr_assert(false, "nothing is to be made");
    return STEMFORGE_OK;
}

static warnings check(stemforge_engine *g, const stemforge_request *r) {
    warnings w = {0};
    stemforge_error e = {0};
    const stemforge_events ev = {.arg = &w, .warning = take_warning, .stem_done = on_stem};
    cr_assert_eq(stemforge_engine_check(g, r, &ev, &e), STEMFORGE_OK, "%s", e.text);
    return w;
}

// The sentence of the warning of this code and field; NULL: there is none.
static const char *said(const warnings *w, const char *code, const char *field) {
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->item[i].code, code) && !strcmp(w->item[i].field, field))
            return w->item[i].text;
    return NULL;
}

#define SAYS(w, code, field, part)                                                                 \
    do {                                                                                           \
        const char *text = said(w, code, field);                                                   \
        cr_assert(text &&strstr(text, part), "%s %s: expected '%s', found '%s'", code, field,      \
                  part, text ? text : "no such warning");                                          \
    } while (0)

static const char *const bass[] = {"bass"}, *const drums[] = {"drums"},
                         *const both[] = {"drums", "bass"};

static stemforge_request request_of(const char *const *stems, size_t n) {
    stemforge_request r = stemforge_request_default();
    r.stems = stems;
    r.stem_count = n;
    return r;
}

Test(heard, a_request_that_says_what_the_grid_needs_has_no_warning) {
    stemforge_engine *g = open_model(GRID);
    static const char *const chords[] = {"C", "G7", "Am", "Fmaj7", "Bm7b5", "Dsus4", "N"};
    stemforge_request r = request_of(both, 2);
    r.bpm = 96, r.chords = chords, r.chord_count = 7, r.key = "C major", r.style = "rock";
    warnings w = check(g, &r);
    cr_assert_eq(w.n, 0, "%s: %s", w.item[0].field, w.item[0].text);
    stemforge_close(g);
}

Test(heard, tempo_and_chords_that_are_assumed_are_told) {
    stemforge_engine *g = open_model(GRID);
    stemforge_request r = request_of(bass, 1);
    warnings w = check(g, &r);
    cr_assert_eq(w.n, 2);
    SAYS(&w, "assumed", "bpm", "120 bpm");
    SAYS(&w, "assumed", "chords", "C G Am F");
    r.key = "A minor", r.bpm = 90; // i VI III VII
    w = check(g, &r);
    cr_assert_eq(w.n, 1);
    SAYS(&w, "assumed", "chords", "Am F C G");
    stemforge_close(g);
}

Test(heard, what_a_model_was_trained_on_is_its_own_to_say) {
    static const char *const chords[] = {"C", "F"};
    static const char *const silenced[] = {"meters", "chords_per_bar"};
    static const struct {
        const char *says, *meter;
        int per_bar;
        const char *told; // which field is warned of; NULL: none
    } t[] = {
        {"", "3/4", 1, "meter"},
        {"\"meters\": [\"3/4\"],", "3/4", 1, NULL},
        {"\"meters\": [\"3/4\", \"7/8\", 5],", "6/8", 1, "meter"},
        {"\"chords_per_bar\": 2,", "4/4", 2, NULL},
        {"\"meters\": [\"6/8\"],", "6/8", 2, "chords_per_bar"},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        char folder[] = "/tmp/stemforge-trained-XXXXXX";
        shipped_variant(folder, silenced, ARRAY_LEN(silenced), t[i].says);
        stemforge_engine *g = open_model(folder);
        stemforge_request r = request_of(bass, 1);
        r.bpm = 96, r.chords = chords, r.chord_count = 2, r.meter = t[i].meter;
        r.chords_per_bar = t[i].per_bar;
        warnings w = check(g, &r);
        cr_assert_eq(w.n, t[i].told ? 1 : 0, "%zu: %s", i, w.n ? w.item[0].text : "nothing told");
        if (t[i].told) cr_assert(said(&w, "not_used", t[i].told), "%zu: %s", i, w.item[0].text);
        stemforge_close(g);
        shipped_variant_remove(folder);
    }
}

Test(heard, basses_extensions_and_modes_that_the_grid_leaves_out_are_told) {
    stemforge_engine *g = open_model(GRID);
    static const char *const chords[] = {"C/G", "Am11", "F", "C/G", "G7b9", "Dm7/F", "Cadd9"};
    static const char *const piano[] = {"piano"};
    stemforge_request r = request_of(piano, 1);
    r.bpm = 90, r.chords = chords, r.chord_count = 7, r.key = "D dorian";
    warnings w = check(g, &r);
    cr_assert_eq(w.n, 3);
    SAYS(&w, "not_used", "key", "only D minor is used");
    r.key = "a"; // A minor to some
    w = check(g, &r);
    SAYS(&w, "assumed", "key", "A major is assumed");
    cr_assert(strstr(w.item[1].text, "the bass of C/G, Dm7/F is"), "%s", w.item[1].text);
    cr_assert(strstr(w.item[1].text, "the bass stem alone plays it"), "%s", w.item[1].text);
    cr_assert(strstr(w.item[2].text, "of Am11, G7b9, Cadd9 only"), "%s", w.item[2].text);
    r.stems = bass; // which plays the note under the chord
    w = check(g, &r);
    cr_assert_eq(w.n, 2);
    cr_assert(strstr(w.item[1].text, "of Am11, G7b9, Cadd9 only"), "%s", w.item[1].text);
    stemforge_close(g);
}

Test(heard, text_that_does_not_fit_is_told_with_its_first_word) {
    stemforge_engine *g = open_model(GRID);
    static const char *const chords[] = {"C"};
    stemforge_request r = request_of(both, 2);
    r.chords = chords, r.chord_count = 1, r.bpm = 120, r.style = "rock";
    r.prompt = "a gentle melody of very long notes, a gentle melody with a soft attack";
    warnings w = check(g, &r);
    cr_assert_eq(w.n, 1);
    SAYS(&w, "text_cut", "prompt", "reads 64 tokens");
    // The same stem from the words that were read is the same bytes: what was cut is what is told.
    const char *rest = strstr(w.item[0].text, "\"");
    cr_assert(rest && strstr(r.prompt, "soft attack") && strstr(rest, "attack\" is not read"), "%s",
              w.item[0].text);
    r.style = "melodic progressive psychedelic experimental symphonic atmospheric space rock";
    r.prompt = "slow";
    w = check(g, &r);
    cr_assert(said(&w, "text_cut", "style") && said(&w, "text_cut", "prompt"));
    cr_assert_null(said(&w, "text_cut", "bpm"), "the grid hears the tempo");
    r.style = NULL, r.prompt = "\xe6\x97\xa5\xe6\x9c\xac";
    w = check(g, &r);
    SAYS(&w, "not_used", "prompt", "characters");
    stemforge_close(g);
}

Test(heard, chords_that_only_text_could_say_are_told_where_no_stem_has_them) {
    stemforge_engine *g = open_model(MONO);
    static const char *const chords[] = {"C/G"};
    stemforge_request r = request_of(drums, 1);
    r.chords = chords, r.chord_count = 1, r.key = "C";
    warnings w = check(g, &r);
    cr_assert_eq(w.n, 2);
    SAYS(&w, "not_used", "key", "drums");
    SAYS(&w, "not_used", "chords", "drums");
    r.stems = bass; // the sentence has them, bass and all, and no tempo is needed
    cr_assert_eq(check(g, &r).n, 0);
    stemforge_close(g);
}

Test(heard, chroma_needs_a_tempo_and_has_no_bass) {
    stemforge_engine *g = open_model(MELODY);
    static const char *const chords[] = {"C/E", "Am11"};
    stemforge_request r = request_of(bass, 1);
    r.chords = chords, r.chord_count = 2;
    warnings w = check(g, &r);
    cr_assert_eq(w.n, 2);
    SAYS(&w, "assumed", "bpm", "120");
    SAYS(&w, "not_used", "chords", "the bass of C/E is");
    stemforge_close(g);
}

Test(heard, more_tokens_than_an_engine_takes_are_an_error_of_the_prompt) {
    stemforge_engine *g = open_model(MONO);
    static char prompt[4001];
    for (size_t i = 0; i < 2000; i++) memcpy(prompt + 2 * i, "q ", 2);
    stemforge_request r = request_of(bass, 1);
    r.prompt = prompt;
    stemforge_error e = {0};
    cr_assert_eq(stemforge_engine_check(g, &r, NULL, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "prompt");
    cr_assert(strstr(e.text, "at most 1000 tokens") || strstr(e.text, "1 to 1000 tokens"), "%s",
              e.text);
    stemforge_close(g);
}

// A share of guidance that is none is refused by its name.
Test(heard, a_share_of_guidance_is_a_number_from_0_to_1) {
    static const char *const silenced[] = {"fine_guidance"};
    static const char *const bad[] = {"\"fine_guidance\": {\"bass\": 1.5},",
                                      "\"fine_guidance\": {\"bass\": \"half\"},",
                                      "\"fine_guidance\": 0.5,"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char folder[] = "/tmp/stemforge-trained-XXXXXX";
        shipped_variant(folder, silenced, 1, bad[i]);
        stemforge_engine *g = NULL;
        stemforge_error e;
        stemforge_options o = stemforge_options_default();
        o.model = folder;
        cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_ERR_FORMAT, "%s", bad[i]);
        cr_assert(strstr(e.text, "fine_guidance"), "%s", e.text);
        shipped_variant_remove(folder);
    }
}
