// test_unicode.c - UTF-8, grapheme clusters and tries.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "format/trie.h"
#include "format/unicode.h"

Test(utf8, reads_what_is_well_formed_and_nothing_else) {
    static const struct {
        const char *text;
        size_t len;
        uint32_t cp;
    } cases[] = {
        {"A", 1, 'A'},
        {"\xC2\x80", 2, 0x80},
        {"\xDF\xBF", 2, 0x7FF},
        {"\xE0\xA0\x80", 3, 0x800},
        {"\xED\x9F\xBF", 3, 0xD7FF},
        {"\xEE\x80\x80", 3, 0xE000},
        {"\xEF\xBF\xBF", 3, 0xFFFF},
        {"\xF0\x90\x80\x80", 4, 0x10000},
        {"\xF4\x8F\xBF\xBF", 4, 0x10FFFF},
        // The Unicode standard, table 3-7: each of these is outside it.
        {"\x80", 0, 0xFFFD},
        {"\xC1\xBF", 0, 0xFFFD},
        {"\xC2", 0, 0xFFFD},
        {"\xC2\x41", 0, 0xFFFD},
        {"\xE0\x9F\xBF", 0, 0xFFFD},
        {"\xED\xA0\x80", 0, 0xFFFD},
        {"\xE1\x80", 0, 0xFFFD},
        {"\xF0\x8F\xBF\xBF", 0, 0xFFFD},
        {"\xF4\x90\x80\x80", 0, 0xFFFD},
        {"\xF5\x80\x80\x80", 0, 0xFFFD},
        {"\xFF", 0, 0xFFFD},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t cp = 0;
        bytes s = bytes_of(cases[i].text);
        cr_assert_eq(utf8_next(&cp, s.p, s.n), cases[i].len, "case %zu", i);
        cr_assert_eq(cp, cases[i].cp, "case %zu", i);
        cr_assert_eq(utf8_valid(s), cases[i].len ? s.n : 0, "case %zu", i);
    }
    cr_assert_eq(utf8_prev(bytes_of("a\xE2\x96\x81"), 4), 1);
}

Test(utf8, a_text_that_was_cut_or_is_none_is_mended_in_place) {
    static const char *const cases[][2] = {
        {"", ""},
        {"a\xE2\x82\xAC", "a\xE2\x82\xAC"},
        {"a\xE2\x82", "a?"},       // cut at its end
        {"a\xE2\x82\"b", "a?\"b"}, // cut, and more behind it
        {"\xE9t\xE9\xE9", "?t?"},  // Latin-1: one for a run
        {"\xFF\xE2\x82\xAC", "?\xE2\x82\xAC"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[16];
        snprintf(text, sizeof text, "%s", cases[i][0]);
        utf8_mend(text);
        cr_assert_str_eq(text, cases[i][1], "case %zu", i);
    }
}

// From GraphemeBreakTest.txt of Unicode 16.0: '|' where a boundary is.
Test(unicode, clusters_break_where_the_standard_says) {
    static const char *const cases[] = {
        " \xCC\x88| ",
        "\r\n|a|\n|\xCC\x88",
        "\x01|\xCC\x88",
        "a\xCC\x88",
        " \xE2\x80\x8D|\xD9\x86",                            // ZWJ joins to the left only
        "\xE1\x84\x80\xE1\x85\xA0\xE1\x86\xA8|\xE1\x84\x80", // L V T, L
        "\xEA\xB0\x80\xE1\x86\xA8|\xE1\x84\x80",             // LV T, L
        "\xEA\xB0\x81\xE1\x86\xA8|\xEA\xB0\x80",             // LVT T, LV
        "a|\xF0\x9F\x87\xA6\xF0\x9F\x87\xA7|\xF0\x9F\x87\xA8|b",
        "\xF0\x9F\x87\xA6\xF0\x9F\x87\xA7\xE2\x80\x8D|\xF0\x9F\x87\xA8|b",
        "a\xE0\xA4\x83|b", // spacing mark
        "a|\xD8\x80"
        "b", // prepend
        "\xF0\x9F\x91\xB6\xF0\x9F\x8F\xBF|\xF0\x9F\x91\xB6",
        "\xF0\x9F\x9B\x91\xE2\x80\x8D\xF0\x9F\x9B\x91", // pictograph ZWJ pictograph
        "a\xE2\x80\x8D|\xF0\x9F\x9B\x91",
        "\xE0\xA4\x95|\xE0\xA4\xA4",            // consonants
        "\xE0\xA4\x95\xE0\xA5\x8D\xE0\xA4\xA4", // with a linker between
        "\xE0\xA4\x95\xE0\xA5\x8D\xE2\x80\x8D\xE0\xA4\xA4",
        "\xE0\xA4\x95\xE0\xA5\x8D|a",
        "a\xE0\xA5\x8D|\xE0\xA4\xA4",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[64], got[64] = "";
        size_t n = 0;
        for (const char *p = cases[i]; *p; p++) {
            if (*p != '|') text[n++] = *p;
        }
        text[n] = 0;
        for (size_t at = 0; at < n;) {
            size_t len = unicode_grapheme((bytes){(uint8_t *)text + at, n - at});
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", at ? "|" : "", (int)len,
                     text + at);
            at += len;
        }
        cr_assert_str_eq(got, cases[i], "case %zu", i);
    }
}

Test(unicode, knows_blanks_and_letters) {
    cr_assert(unicode_is_space(' ') && unicode_is_space(0x85) && unicode_is_space(0x3000));
    cr_assert(!unicode_is_space('a') && !unicode_is_space(0x200B) && !unicode_is_space(0x2581));
    cr_assert(unicode_is_word('a') && unicode_is_word('_') && unicode_is_word('7'));
    cr_assert(unicode_is_word(0xE9) && unicode_is_word(0x4E2D) && unicode_is_word(0x301));
    cr_assert(!unicode_is_word('-') && !unicode_is_word(' ') && !unicode_is_word(0x1F600));
}

Test(trie, finds_each_key_and_no_other) {
    // Keys of one byte to many, one beyond the eight that sorting looks at first, bytes 0 and 255.
    const trie_entry list[] = {
        {bytes_of("b"), 0},
        {bytes_of("ab"), 1},
        {bytes_of("abcdefghij"), 2},
        {bytes_of("abcdefghi"), 3},
        {bytes_of("abcdefgh"), 4},
        {bytes_of("ab"), 9},
        {bytes_of(""), 5},
        {{(const uint8_t *)"\0", 1}, 6},
        {{(const uint8_t *)"\0\xFF", 2}, 7},
        {bytes_of("abcdefgx"), 8},
    };
    trie *t;
    cr_assert_eq(trie_create(&t, list, ARRAY_LEN(list), NULL), OK);
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        int32_t want = i == 1 ? 9 : i == 6 ? -1 : list[i].value; // the greater; never the empty one
        cr_assert_eq(trie_find(t, list[i].key), want, "key %zu", i);
    }
    cr_assert_eq(trie_find(t, bytes_of("a")), -1);
    cr_assert_eq(trie_find(t, bytes_of("abcdefghijk")), -1);
    size_t n = 0;
    cr_assert_eq(trie_longest(t, bytes_of("abcdefghixy"), &n), 3);
    cr_assert_eq(n, 9);
    cr_assert_eq(trie_longest(t, bytes_of("xab"), &n), -1);
    trie_free(t);
    cr_assert_eq(trie_create(&t, NULL, 0, NULL), OK);
    cr_assert_eq(trie_find(t, bytes_of("a")), -1);
    trie_free(t);
}
