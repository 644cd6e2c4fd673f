// test_blob.c - keys, and blobs in a directory.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/blob.h"

Test(blob, keys_cannot_leave_their_place) {
    static const char *const good[] = {"a", "a.wav", "audio-1/generated/r_2/drums.wav", "a..b/c",
                                       "-"};
    static const char *const bad[] = {
        "",   "/a",   "a/",  "a//b",  "../a", "a/../b",   "a/.",  ".tmp/a", "a/.b", "a./b",
        "a.", "a\\b", "a b", "a%2fb", "a\nb", "\xc3\xa9", "a/..", "~a",     "a:b"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) cr_assert(blob_key_ok(good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) cr_assert_not(blob_key_ok(bad[i]), "%s", bad[i]);
    char longest[BLOB_KEY_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[BLOB_KEY_MAX + 1] = 0;
    cr_assert_not(blob_key_ok(longest));
    longest[BLOB_KEY_MAX] = 0;
    cr_assert(blob_key_ok(longest));
}

static char root[64];

static blob_store *open_dir(void) {
    strcpy(root, "/tmp/stemforge-blob-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    blob_config c = blob_config_default();
    c.dir = root;
    c.public_url = "http://localhost:8080/files";
    blob_store *s;
    err e;
    cr_assert_eq(blob_open(&s, &c, &e), OK, "%s", e.text);
    return s;
}

static void close_dir(blob_store *s) {
    blob_close(s);
    char line[128];
    snprintf(line, sizeof line, "rm -rf %s", root);
    cr_assert_eq(system(line), 0);
}

static int files_in(const char *sub) {
    char line[256];
    snprintf(line, sizeof line, "find %s/%s -type f | wc -l", root, sub);
    FILE *p = popen(line, "r");
    int n = -1;
    cr_assert_eq(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

Test(blob, what_was_put_comes_back_and_can_be_replaced_and_removed) {
    blob_store *s = open_dir();
    blob_info info;
    err e;
    cr_assert_eq(blob_put(s, "a/generated/r/x.wav", bytes_of("Hello"), "audio/wav", &info, &e), OK,
                 "%s", e.text);
    cr_assert_eq(info.size, 5);
    cr_assert_str_eq(info.md5,
                     "ixqZU8RhEpaoJ6v4xHgE1w=="); // printf Hello | openssl md5 -binary | base64
    cr_assert_eq(blob_put(s, "a/generated/r/x.wav", bytes_of("World!"), "audio/wav", NULL, NULL),
                 OK);
    cr_assert_eq(blob_head(s, "a/generated/r/x.wav", &info, NULL), OK);
    cr_assert_eq(info.size, 6);
    cr_assert_str_eq(info.type, "audio/wav");
    cr_assert_neq(info.etag[0], 0);
    buf b;
    buf_init(&b, 100);
    cr_assert_eq(blob_get(s, "a/generated/r/x.wav", 0, 1000, &b, NULL), OK);
    cr_assert_str_eq(buf_str(&b), "World!");
    buf_clear(&b);
    cr_assert_eq(blob_get(s, "a/generated/r/x.wav", 2, 3, &b, NULL), OK);
    cr_assert_str_eq(buf_str(&b), "rld");
    buf_deinit(&b);
    int fd;
    cr_assert_eq(blob_open_fd(s, "a/generated/r/x.wav", &fd, &info, NULL), OK);
    char byte;
    cr_assert_eq(pread(fd, &byte, 1, 5), 1);
    cr_assert_eq(byte, '!');
    close(fd);
    char url[BLOB_URL_MAX];
    cr_assert_eq(blob_link(s, "a/generated/r/x.wav", 0, url, sizeof url, NULL), OK);
    cr_assert_str_eq(url, "http://localhost:8080/files/a/generated/r/x.wav");
    cr_assert_eq(blob_link(s, "a/generated/r/x.wav", 0, url, 10, NULL), ERR_LIMIT);
    cr_assert_eq(files_in("."), 1);
    cr_assert_eq(blob_remove(s, "a/generated/r/x.wav", NULL), OK);
    cr_assert_eq(blob_remove(s, "a/generated/r/x.wav", NULL), OK);
    cr_assert_eq(blob_head(s, "a/generated/r/x.wav", &info, NULL), ERR_NOT_FOUND);
    cr_assert_eq(blob_head(s, "b/c", &info, NULL), ERR_NOT_FOUND);
    cr_assert_eq(blob_head(s, "a/generated", &info, NULL), ERR_NOT_FOUND); // a folder
    cr_assert_eq(blob_check(s, NULL), OK);
    cr_assert_eq(blob_put(s, "../x", bytes_of("x"), "a/b", NULL, NULL), ERR_ARG);
    char wide[300] = "a/"; // a good key, and more than a file system takes as one name
    memset(wide + 2, 'x', sizeof wide - 3);
    cr_assert_eq(blob_put(s, wide, bytes_of("x"), "a/b", NULL, NULL), ERR_ARG);
    wide[200] = '/', wide[201] = 'y';
    cr_assert_eq(blob_put(s, wide, bytes_of("x"), "a/b", NULL, NULL), OK);
    cr_assert_eq(files_in("a"), 1);
    close_dir(s);
}

Test(blob, symbolic_links_are_not_followed) {
    blob_store *s = open_dir();
    char path[128];
    snprintf(path, sizeof path, "%s/out", root);
    cr_assert_eq(symlink("/etc", path), 0);
    snprintf(path, sizeof path, "%s/pw", root);
    cr_assert_eq(symlink("/etc/passwd", path), 0);
    blob_info info;
    buf b;
    buf_init(&b, 100000);
    cr_assert_neq(blob_head(s, "out/passwd", &info, NULL), OK);
    cr_assert_neq(blob_get(s, "pw", 0, 10, &b, NULL), OK);
    cr_assert_neq(blob_put(s, "out/stemforge-test", bytes_of("x"), "a/b", NULL, NULL), OK);
    cr_assert_eq(blob_put(s, "pw", bytes_of("x"), "a/b", NULL, NULL), OK); // replaces the link
    cr_assert_eq(blob_get(s, "pw", 0, 10, &b, NULL), OK);
    cr_assert_str_eq(buf_str(&b), "x");
    cr_assert_neq(access("/etc/stemforge-test", F_OK), 0);
    buf_deinit(&b);
    close_dir(s);
}

Test(blob, write_that_is_cut_leaves_the_old_object_and_no_litter) {
    blob_store *s = open_dir();
    cr_assert_eq(blob_put(s, "a/x", bytes_of("old"), "a/b", NULL, NULL), OK);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {1000, RLIM_INFINITY}, large = {RLIM_INFINITY, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0); // EFBIG, cut in the middle
    static uint8_t big[5000];
    cr_assert_eq(blob_put(s, "a/x", (bytes){big, sizeof big}, "a/b", NULL, NULL), ERR_IO);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
    buf b;
    buf_init(&b, 100);
    cr_assert_eq(blob_get(s, "a/x", 0, 100, &b, NULL), OK);
    cr_assert_str_eq(buf_str(&b), "old");
    buf_deinit(&b);
    cr_assert_eq(files_in("."), 1);
    close_dir(s);
}

Test(blob, litter_of_a_dead_process_is_swept_at_open) {
    blob_store *s = open_dir();
    char path[128];
    int fd;
    static const char *const names[] = {"old", "fresh"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/.tmp/%s", root, names[i]);
        cr_assert_geq(fd = open(path, O_CREAT | O_WRONLY, 0600), 0);
        struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        if (i == 0) cr_assert_eq(futimens(fd, times), 0);
        close(fd);
    }
    blob_close(s);
    blob_config c = blob_config_default();
    c.dir = root;
    cr_assert_eq(blob_open(&s, &c, NULL), OK);
    cr_assert_eq(files_in(".tmp"), 1);
    close_dir(s);
}

typedef struct {
    blob_store *s;
    int n;
} writer;

static void *write_many(void *arg) {
    writer *w = arg;
    static uint8_t block[8][20000];
    memset(block[w->n], 'a' + w->n, sizeof block[0]);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(
            blob_put(w->s, "same/x.wav", (bytes){block[w->n], 20000}, "audio/wav", NULL, NULL), OK);
        buf b;
        buf_init(&b, 30000);
        cr_assert_eq(blob_get(w->s, "same/x.wav", 0, 30000, &b, NULL), OK);
        cr_assert_eq(b.n, 20000);
        for (size_t k = 1; k < b.n; k++) cr_assert_eq(b.p[k], b.p[0]); // one writer's bytes, whole
        buf_deinit(&b);
    }
    return NULL;
}

Test(blob, reader_sees_whole_objects_while_many_write_the_same_key) {
    blob_store *s = open_dir();
    pthread_t t[4];
    writer w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (writer){s, i};
        pthread_create(&t[i], NULL, write_many, &w[i]);
    }
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    blob_counts n;
    blob_read_counts(s, &n);
    cr_assert_eq(n.requests, 80);
    cr_assert_eq(n.failures, 0);
    cr_assert_eq(n.bytes_up, 4 * 10 * 20000);
    close_dir(s);
}

Test(blob, nothing_configured_is_an_error) {
    blob_config c = blob_config_default();
    blob_store *s;
    cr_assert_eq(blob_open(&s, &c, NULL), ERR_ARG);
    cr_assert_null(s);
    c.dir = "/proc/no/such";
    cr_assert_neq(blob_open(&s, &c, NULL), OK);
    cr_assert_null(s);
}

Test(blob, a_folder_that_was_removed_while_in_use_makes_jobs_wait) {
    blob_store *s = open_dir();
    cr_assert_eq(blob_put(s, "a/x.wav", bytes_of("x"), "audio/wav", NULL, NULL), OK);
    cr_assert_eq(blob_check(s, NULL), OK);
    char command[1200];
    snprintf(command, sizeof command, "rm -rf %s; mkdir %s", blob_place(s), blob_place(s));
    cr_assert_eq(system(command), 0);
    err e;
    cr_assert_eq(blob_put(s, "a/y.wav", bytes_of("y"), "audio/wav", NULL, &e), ERR_BUSY);
    cr_assert_not_null(strstr(e.text, "was removed while in use"), "%s", e.text);
    cr_assert_eq(blob_check(s, NULL), ERR_BUSY);
    close_dir(s);
}
