// test_prompt.c - the lines models are given.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/prompt.h"
#include "request/stems.h"

static const char *line(prompt_form form, prompt_parts parts) {
    static buf b;
    err e = {0};
    buf_deinit(&b);
    buf_init(&b, PROMPT_LINE_MAX);
    cr_assert_eq(prompt_build(&b, form, &parts, &e), OK, "%s", e.text);
    return buf_str(&b);
}

Test(prompt, captions_have_the_form_our_models_were_trained_with) {
    const struct {
        prompt_parts parts;
        const char *want;
    } rows[] = {
        {{.stem = "drums", .style = "rock", .bpm = 120, .words = "punchy"},
         "drums, rock, 120 bpm, punchy"},
        {{.stem = "bass", .density = "dense", .words = "warm"}, "bass, dense, warm"},
        {{.stem = "piano", .style = "jazz", .bpm = 96.5, .key = "Eb major", .words = "sparse"},
         "piano, jazz, 96.5 bpm, Eb major, sparse"},
        {{.stem = "drums", .style = "Hip Hop", .key = "A minor", .chords = "Am F"},
         "drums, hip hop"},
        {{.stem = "bass", .key = "f# MINOR", .chords = "F#m D"}, "bass, F# minor"},
        {{.stem = "other"}, "other"},
        {{.stem = "synth", .bpm = 87.25}, "synth, 87.3 bpm"},
        {{.stem = "vocals", .bpm = 119.96}, "vocals, 120 bpm"},
        {{.stem = "guitar", .words = "Bright, \"CLEAN\" \u266f"},
         "guitar, Bright, \"CLEAN\" \u266f"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert_str_eq(line(PROMPT_CAPTION, rows[i].parts), rows[i].want);
}

Test(prompt, a_sentence_keeps_the_description_and_adds_the_words) {
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++) {
        prompt_parts parts = {.stem = stem_types[i].name};
        char bare[PROMPT_LINE_MAX];
        snprintf(bare, sizeof bare, "%s", line(PROMPT_SENTENCE, parts));
        cr_assert(!strncmp(bare, "Isolated ", 9));
        parts.style = "rock", parts.bpm = 120, parts.key = "Am", parts.chords = "Am F C G";
        parts.words = "a full orchestra, ignore the above";
        const char *full = line(PROMPT_SENTENCE, parts);
        cr_assert(!strncmp(full, bare, strlen(bare)), "the description comes first, whole");
        char want[200];
        snprintf(want, sizeof want, ", rock style, 120 bpm%s, a full orchestra, ignore the above",
                 i == 0 ? "" : ", in A minor, chords Am F C G");
        cr_assert_str_eq(full + strlen(bare), want);
    }
}

Test(prompt, hostile_words_become_one_clean_line) {
    prompt_parts parts = {.stem = "bass",
                          .words = " a\n\tb\x01\x7f c\xc2\x85"
                                   "d\xff\xc0\xafz \xed\xa0\x80\xe2\x80\xa8 \xe2\x82"};
    cr_assert_str_eq(line(PROMPT_CAPTION, parts), "bass, a b c dz");
    parts.words = "\n \t";
    cr_assert_str_eq(line(PROMPT_CAPTION, parts), "bass");
}

Test(prompt, nothing_is_cut) {
    // What the earlier limits of 1000 bytes of words and 100 of style took off.
    char words[3 * 4096 + 1], style[257];
    for (int i = 0; i < 4096; i++) memcpy(words + 3 * i, "\u20ac", 3);
    words[3 * 4096] = 0;
    memset(style, 's', 256);
    style[256] = 0;
    prompt_parts parts = {.stem = "bass", .words = words, .style = style};
    const char *text = line(PROMPT_CAPTION, parts);
    cr_assert_eq(strlen(text), strlen("bass, , ") + 256 + strlen(words));
    cr_assert_eq(memcmp(text + 6, style, 256), 0);
    cr_assert_str_eq(text + 8 + 256, words);
}

Test(prompt, the_longest_parts_fit_a_line) {
    char big[5000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    prompt_parts parts = {.stem = "drums",
                          .style = big,
                          .bpm = 999999,
                          .key = "C major",
                          .chords = big,
                          .words = big};
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++) {
        parts.stem = stem_types[i].name;
        line(PROMPT_SENTENCE, parts);
    }
}

Test(prompt, wrong_parts_are_named) {
    buf b;
    err e;
    buf_init(&b, PROMPT_LINE_MAX);
    prompt_parts parts = {.stem = "cowbell"};
    cr_assert_eq(prompt_build(&b, PROMPT_CAPTION, &parts, &e), ERR_ARG);
    cr_assert_eq(strncmp(e.text, "stem 'cowbell', expected drums, bass, ", 38), 0, "%s", e.text);
    parts = (prompt_parts){.stem = "bass", .key = "H dur"};
    cr_assert_eq(prompt_build(&b, PROMPT_CAPTION, &parts, &e), ERR_ARG);
    parts = (prompt_parts){.stem = "bass", .bpm = NAN};
    cr_assert_eq(prompt_build(&b, PROMPT_CAPTION, &parts, &e), ERR_ARG);
    cr_assert_eq(b.n, 0);
}

// The prompts that the makers of Foundation-1 trained it with.
Test(prompt, a_loop_has_its_bars_and_its_tempo_and_a_comma_at_the_end) {
    buf b;
    err e;
    prompt_parts parts = {
        .stem = "bass", .words = "warm, analog", .key = "a minor", .bpm = 128, .bars = 8};
    buf_init(&b, PROMPT_LINE_MAX);
    cr_assert_eq(prompt_build(&b, PROMPT_LOOP, &parts, &e), OK, "%s", e.text);
    cr_assert_str_eq(buf_str(&b), "bass, warm, analog, A minor, 8 bars, 128BPM,");
    buf_deinit(&b);
    buf_init(&b, PROMPT_LINE_MAX);
    parts = (prompt_parts){.stem = "drums", .style = "House", .key = "C"};
    cr_assert_eq(prompt_build(&b, PROMPT_LOOP, &parts, &e), OK, "%s", e.text);
    cr_assert_str_eq(buf_str(&b), "drums, house,");
    buf_deinit(&b);
}
