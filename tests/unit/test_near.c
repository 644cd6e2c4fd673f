// test_near.c - which word was meant, and when none was.
#include <criterion/criterion.h>
#include <string.h>

#include "base/near.h"

static const char *meant(const char *word, size_t n) {
    static const char *const words[] = {"drums", "bass", "seed", "port", "model-threads"};
    near x = {.word = word, .n = n};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) near_try(&x, words[i]);
    return x.best ? x.best : "";
}

Test(near, finds_the_word_that_was_meant) {
    cr_assert_str_eq(meant("drum", 0), "drums");
    cr_assert_str_eq(meant("DRUMS", 0), "drums");
    cr_assert_str_eq(meant("sede", 0), "seed");
    cr_assert_str_eq(meant("bas=4", 3), "bass");
    cr_assert_str_eq(meant("MODEL_THREAD", 0), "model-threads");
}

Test(near, does_not_guess) {
    char longest[200];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    const char *const far[] = {"kazoo", "x", "", "pt", longest};
    for (size_t i = 0; i < ARRAY_LEN(far); i++)
        cr_assert_str_eq(meant(far[i], 0), "", "%s", far[i]);
}

Test(near, says_so_in_words) {
    char text[NEAR_TEXT];
    near x = {.word = "prot"};
    near_text(text, &x, "--");
    cr_assert_str_eq(text, "");
    near_try(&x, "port");
    near_text(text, &x, "--");
    cr_assert_str_eq(text, ", did you mean --port?");
}
