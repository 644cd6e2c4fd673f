// test_os_write.c - files appear whole under their name; devices, FIFOs and links stay.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

Test(os, atomic_write_replaces_whole_and_leaves_no_trace_of_a_failure) {
    char dir[] = "/tmp/sf-os-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/f", dir);
    cr_assert_eq(os_write_atomic(path, bytes_of("one"), NULL), OK);
    cr_assert_eq(os_write_atomic(path, bytes_of("two!"), NULL), OK);
    os_file_map m;
    cr_assert_eq(os_map_open(&m, path, NULL), OK);
    cr_assert(m.data.n == 4 && memcmp(m.data.p, "two!", 4) == 0);
    os_map_close(&m);
    err e;
    cr_assert_eq(os_write_atomic("/tmp/sf-none/x/y", bytes_of("z"), &e), ERR_NOT_FOUND);
    unlink(path);
    cr_assert_eq(rmdir(dir), 0, "a temporary file was left behind");
}

Test(os, a_signal_ends_a_command_without_half_a_file) {
    char dir[] = "/tmp/sf-os-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/f", dir);
    pid_t child = fork();
    if (child == 0) {
        os_atomic_file *f;
        os_end_on_signals();
        if (os_atomic_open(&f, path, NULL) == OK &&
            os_atomic_write(f, bytes_of("half"), NULL) == OK)
            raise(SIGINT);
        _exit(0);
    }
    int ended = 0;
    cr_assert_eq(waitpid(child, &ended, 0), child);
    cr_assert(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGINT);
    cr_assert_eq(rmdir(dir), 0, "a temporary file was left behind");
}

Test(os, can_write_says_so_beforehand_and_leaves_nothing) {
    char dir[] = "/tmp/sf-os-XXXXXX", path[64];
    err e;
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/f", dir);
    cr_assert_eq(os_can_write(path, &e), OK);
    cr_assert_eq(os_can_write(dir, &e), ERR_ARG);
    cr_assert_eq(rmdir(dir), 0, "a temporary file was left behind");
    cr_assert_eq(os_can_write(path, &e), ERR_NOT_FOUND);
}

static char folder[32], path[40];

static const char *in_folder(const char *name) {
    static char joined[96];
    snprintf(joined, sizeof joined, "%s/%s", folder, name);
    return joined;
}

static void begin(void) {
    strcpy(folder, "/tmp/sf-os-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/f", folder);
}

static void end(void) {
    static const char *const names[] = {"f", "link", "second", "there"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) unlink(in_folder(names[i]));
    cr_assert_eq(rmdir(folder), 0, "a temporary file was left behind");
}

static void write_text(const char *to, const char *text) {
    err e;
    cr_assert_eq(os_write_atomic(to, bytes_of(text), &e), OK, "%s", e.text);
}

static void expect_text(const char *at, const char *text) {
    os_file_map m;
    cr_assert_eq(os_map_open(&m, at, NULL), OK);
    cr_assert(m.data.n == strlen(text) && memcmp(m.data.p, text, m.data.n) == 0);
    os_map_close(&m);
}

static struct stat about(const char *at) {
    struct stat st = {0};
    cr_assert_eq(lstat(at, &st), 0);
    return st;
}

TestSuite(os_write, .init = begin, .fini = end);

Test(os_write, a_link_stays_and_what_it_leads_to_is_replaced) {
    write_text(path, "old");
    cr_assert_eq(symlink(path, in_folder("second")), 0);
    cr_assert_eq(symlink("second", in_folder("link")), 0);
    write_text(in_folder("link"), "new");
    cr_assert(S_ISLNK(about(in_folder("link")).st_mode));
    cr_assert(S_ISLNK(about(in_folder("second")).st_mode));
    cr_assert(S_ISREG(about(path).st_mode));
    expect_text(path, "new");
}

Test(os_write, a_link_that_leads_to_nothing_yet_is_followed) {
    cr_assert_eq(symlink("there", in_folder("link")), 0);
    cr_assert_eq(os_can_write(in_folder("link"), NULL), OK);
    write_text(in_folder("link"), "new");
    cr_assert(S_ISLNK(about(in_folder("link")).st_mode));
    expect_text(in_folder("there"), "new");
}

Test(os_write, a_link_to_itself_is_an_error) {
    err e;
    cr_assert_eq(symlink("link", in_folder("link")), 0);
    cr_assert_neq(os_can_write(in_folder("link"), &e), OK);
    cr_assert_neq(os_write_atomic(in_folder("link"), bytes_of("x"), &e), OK);
}

Test(os_write, the_mode_stays) {
    static const mode_t modes[] = {0600, 0640, 0666, 0755};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        write_text(path, "old");
        cr_assert_eq(chmod(path, modes[i]), 0);
        write_text(path, "new");
        cr_assert_eq(about(path).st_mode & 07777, modes[i]);
        expect_text(path, "new");
    }
}

Test(os_write, the_owner_stays) {
    if (geteuid()) cr_skip_test("only root may give a file away");
    write_text(path, "old");
    cr_assert_eq(chown(path, 1234, 4321), 0);
    write_text(path, "new");
    cr_assert(about(path).st_uid == 1234 && about(path).st_gid == 4321);
    expect_text(path, "new");
}

// What body returns as another user, who may not do everything.
static int as_nobody(int (*body)(void)) {
    pid_t child = fork();
    if (child == 0) _exit(setgid(65534) || setuid(65534) ? 100 : body());
    int ended = 0;
    cr_assert_eq(waitpid(child, &ended, 0), child);
    return WEXITSTATUS(ended);
}

static int write_new(void) {
    return os_can_write(path, NULL) || os_write_atomic(path, bytes_of("new"), NULL);
}

Test(os_write, where_no_file_may_be_made_or_given_away_one_is_written_in_place) {
    if (geteuid()) cr_skip_test("needs two users");
    static const mode_t folders[] = {0755, 0777};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        write_text(path, "old and longer");
        cr_assert(chmod(path, 0666) == 0 && chmod(folder, folders[i]) == 0);
        struct stat before = about(path);
        cr_assert_eq(as_nobody(write_new), 0);
        struct stat after = about(path);
        cr_assert(before.st_ino == after.st_ino && after.st_uid == 0);
        expect_text(path, "new");
    }
}

Test(os_write, a_write_protected_file_is_refused) {
    if (geteuid()) cr_skip_test("needs two users");
    write_text(path, "old");
    cr_assert(chmod(path, 0444) == 0 && chmod(folder, 0777) == 0);
    cr_assert_neq(as_nobody(write_new), 0);
    expect_text(path, "old");
}

Test(os_write, a_fifo_gets_the_bytes_and_stays, .timeout = 20) {
    char got[8] = {0};
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(os_can_write(path, NULL), OK); // returns without a reader
    pid_t child = fork();
    if (child == 0) _exit(os_write_atomic(path, bytes_of("sound"), NULL));
    int fd = open(path, O_RDONLY), ended = 0;
    ssize_t n = read(fd, got, sizeof got);
    close(fd);
    cr_assert_eq(waitpid(child, &ended, 0), child);
    cr_assert(ended == 0 && n == 5 && strcmp(got, "sound") == 0);
    cr_assert(S_ISFIFO(about(path).st_mode));
}

Test(os_write, a_device_is_written_to_and_stays) {
    err e;
    write_text("/dev/null", "away");
    cr_assert_eq(os_can_write("/dev/full", NULL), OK);
    cr_assert_neq(os_write_atomic("/dev/full", bytes_of("x"), &e), OK);
    cr_assert(strstr(e.text, "cannot write /dev/full: No space left"), "%s", e.text);
    cr_assert_eq(symlink("/dev/full", in_folder("link")), 0);
    cr_assert_neq(os_write_atomic(in_folder("link"), bytes_of("x"), NULL), OK);
    cr_assert(S_ISCHR(about("/dev/full").st_mode) && S_ISCHR(about("/dev/null").st_mode));
    cr_assert(S_ISLNK(about(in_folder("link")).st_mode));
}

Test(os_write, the_standard_output_is_written_to_where_it_stands) {
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        bool ok = dup2(fd, 1) == 1 && write(1, "one ", 4) == 4 && os_is_stdout("/dev/stdout") &&
                  os_write_atomic("/dev/stdout", bytes_of("two "), NULL) == OK &&
                  write(1, "three", 5) == 5;
        _exit(!ok);
    }
    int ended = 0;
    cr_assert_eq(waitpid(child, &ended, 0), child);
    cr_assert_eq(ended, 0);
    expect_text(path, "one two three");
}
