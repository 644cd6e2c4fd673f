// test_hubdir.c - names of repositories, and models found in a cache on disk.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hubdir.h"

Test(hubdir, takes_names_that_the_hub_takes) {
    hubdir_name n;
    cr_assert_eq(hubdir_name_parse(&n, "facebook/musicgen-small", NULL), OK);
    cr_assert_str_eq(n.repo, "facebook/musicgen-small");
    cr_assert_str_eq(n.revision, "main");
    cr_assert_eq(hubdir_name_parse(&n, "a/B_1.x@refs/pr/3", NULL), OK);
    cr_assert_str_eq(n.repo, "a/B_1.x");
    cr_assert_str_eq(n.revision, "refs/pr/3");
}

Test(hubdir, refuses_names_that_could_leave_the_cache_or_break_a_url) {
    static const char *const bad[] = {"",           "name",   "/name", "org/",  "a/b/c",
                                      "../b",       "a/..",   "a/b c", "a/b?x", "a/b#c",
                                      "a/b%2e",     "a--b/c", "a/b@",  "a/.b",  "a/b@..",
                                      "a/b@x/../y", "a/b@/x", "@a/b",  "a/b\n"};
    hubdir_name n;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_assert_eq(hubdir_name_parse(&n, bad[i], NULL), ERR_ARG, "%s", bad[i]);
    }
    char longest[200];
    memset(longest, 'a', sizeof longest);
    longest[1] = '/';
    longest[HUBDIR_NAME_MAX] = 0;
    cr_assert_eq(hubdir_name_parse(&n, longest, NULL), OK);
    longest[HUBDIR_NAME_MAX] = 'a', longest[HUBDIR_NAME_MAX + 1] = 0;
    cr_assert_eq(hubdir_name_parse(&n, longest, NULL), ERR_ARG);
}

Test(hubdir, the_cache_is_where_the_variables_say) {
    char root[OS_PATH_MAX];
    unsetenv("HF_HUB_CACHE"), unsetenv("HF_HOME"), unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/h", 1);
    cr_assert_eq(hubdir_root(root, NULL), OK);
    cr_assert_str_eq(root, "/h/.cache/huggingface/hub");
    setenv("XDG_CACHE_HOME", "/x", 1);
    cr_assert_eq(hubdir_root(root, NULL), OK);
    cr_assert_str_eq(root, "/x/huggingface/hub");
    setenv("HF_HOME", "/f", 1);
    cr_assert_eq(hubdir_root(root, NULL), OK);
    cr_assert_str_eq(root, "/f/hub");
    hubdir_name n;
    cr_assert_eq(hubdir_name_parse(&n, "a/b", NULL), OK);
    cr_assert_eq(hubdir_repo(root, &n, NULL), OK);
    cr_assert_str_eq(root, "/f/hub/models--a--b");
}

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

Test(hubdir, finds_a_folder_or_a_cached_snapshot) {
    char dir[] = "/tmp/sf-hub-XXXXXX", path[256], found[OS_PATH_MAX], want[256];
    cr_assert_not_null(mkdtemp(dir));
    setenv("HF_HUB_CACHE", dir, 1);
    cr_assert_eq(hubdir_find_model(found, dir, NULL), OK);
    cr_assert_str_eq(found, dir);

    err e;
    cr_assert_eq(hubdir_find_model(found, "org/name", &e), ERR_NOT_FOUND);
    cr_assert_not_null(strstr(e.text, "stemforge pull org/name"), "%s", e.text);
    cr_assert_eq(hubdir_find_model(found, "./none", &e), ERR_NOT_FOUND);
    cr_assert_not_null(strstr(e.text, "no model at ./none: correct the path, or write ORG/NAME"));
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_HOME");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    cr_assert_eq(hubdir_find_model(found, "org/name", &e), ERR_NOT_FOUND);
    cr_assert_not_null(strstr(e.text, "neither HF_HOME nor HOME is set"), "%s", e.text);
    setenv("HF_HUB_CACHE", dir, 1);

    snprintf(want, sizeof want, "%s/models--org--name/snapshots/" COMMIT, dir);
    cr_assert_eq(os_mkdirs(want, NULL), OK);
    cr_assert_eq(hubdir_find_model(found, "org/name@" COMMIT, &e), OK, "%s", e.text);
    cr_assert_str_eq(found, want);
    cr_assert_eq(hubdir_find_model(found, "org/name", &e), ERR_NOT_FOUND);
    snprintf(path, sizeof path, "%s/models--org--name/refs", dir);
    cr_assert_eq(os_mkdirs(path, NULL), OK);
    snprintf(path, sizeof path, "%s/models--org--name/refs/main", dir);
    cr_assert_eq(os_write_atomic(path, bytes_of(COMMIT "\n"), NULL), OK);
    cr_assert_eq(hubdir_find_model(found, "org/name", &e), OK, "%s", e.text);
    cr_assert_str_eq(found, want);
    cr_assert_eq(os_write_atomic(path, bytes_of("../../../etc"), NULL), OK);
    cr_assert_eq(hubdir_find_model(found, "org/name", &e), ERR_FORMAT);
    snprintf(path, sizeof path, "rm -r %s", dir);
    cr_assert_eq(system(path), 0);
}

Test(hubdir, a_short_name_is_what_people_call_the_model) {
    static const char *const cases[][2] = {
        {"facebook/musicgen-small", "musicgen-small"},
        {"models/stemforge-mini/", "stemforge-mini"},
        {"/data/my--own", "my--own"},
        {"alone", "alone"},
        {"/h/hub/models--org--tiny-gen/snapshots/0123456789012345678901234567890123456789",
         "tiny-gen"},
        {"/h/hub/models--tiny/snapshots/0123456789012345678901234567890123456789/", "tiny"},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[16];
        hubdir_short_name(name, sizeof name, cases[i][0]);
        cr_assert_eq(strncmp(name, cases[i][1], 15), 0, "%s: %s", cases[i][0], name);
    }
}
