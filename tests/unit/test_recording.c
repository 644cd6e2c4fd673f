// test_recording.c - a recording is fetched within its limits, and else refused.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/recording.h"

static bool never(void *arg) {
    (void)arg;
    return false;
}

static bool always(void *arg) {
    (void)arg;
    return true;
}

Test(recording, limits_are_kept) {
    static const struct {
        const char *id;
        recording_limits l;
        bool stop;
        status want;
        const char *why;
    } cases[] = {
        {"song", {5, 100}, false, OK, ""},
        {"song", {4, 100}, false, ERR_LIMIT, "song.wav has 5 bytes"},
        {"song", {5, -1}, false, ERR_LIMIT, "found 0 of 5 bytes"},
        {"song", {5, 100}, true, ERR_CANCELED, "stopped"},
        {"none", {5, 100}, false, ERR_NOT_FOUND, "expected a recording named none"},
    };
    char root[] = "/tmp/stemforge-recording-XXXXXX", line[64];
    cr_assert_not_null(mkdtemp(root));
    blob_config c = blob_config_default();
    c.dir = root;
    c.public_url = "http://localhost:8080/files";
    blob_store *s;
    err e = {0};
    cr_assert_eq(blob_open(&s, &c, &e), OK, "%s", e.text);
    cr_assert_eq(blob_put(s, "song.wav", bytes_of("Hello"), "audio/wav", NULL, NULL), OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf out;
        buf_init(&out, 100);
        e = (err){0};
        bool (*stopped)(void *arg) = cases[i].stop ? always : never;
        status rc = recording_fetch(&out, s, cases[i].id, &cases[i].l, stopped, NULL, &e);
        cr_assert_eq(rc, cases[i].want, "%zu: %s", i, e.text);
        cr_assert(strstr(e.text, cases[i].why), "%zu: %s", i, e.text);
        cr_assert(rc || !strcmp(buf_str(&out), "Hello"));
        buf_deinit(&out);
    }
    blob_close(s);
    snprintf(line, sizeof line, "rm -rf %s", root);
    cr_assert_eq(system(line), 0);
}
