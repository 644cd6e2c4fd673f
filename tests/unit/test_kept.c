// test_kept.c - files that change while they are mapped.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/kept.h"

#define PAGES 5

static char path[64];
static size_t page_size;

// A file of PAGES pages and a bit, each byte 7, opened.
static kept_file file_open(void) {
    kept_file k;
    err e = {0};
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    snprintf(path, sizeof path, "/tmp/sf-kept-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    uint8_t *all = malloc(PAGES * page_size + 100);
    memset(all, 7, PAGES * page_size + 100);
    cr_assert_eq(write(fd, all, PAGES * page_size + 100), (ssize_t)(PAGES * page_size + 100));
    free(all);
    close(fd);
    cr_assert_eq(kept_open(&k, path, &e), OK, "%s", e.text);
    cr_assert_eq(kept_check(&k, path, &e), OK, "%s", e.text);
    return k;
}

static void expect_changed(const kept_file *k) {
    err e = {0};
    cr_assert_eq(kept_check(k, path, &e), ERR_DEVICE);
    cr_assert_not_null(strstr(e.text, path));
    cr_assert_not_null(strstr(e.text, "changed while it was in use"));
}

static void file_end(kept_file *k) {
    kept_close(k);
    kept_close(k); // closed is fine
    unlink(path);
}

Test(kept, a_file_that_is_cut_reads_as_zeros_and_is_told) {
    kept_survive_bus_errors();
    kept_file k = file_open();
    cr_assert_eq(truncate(path, (off_t)page_size), 0);
    const volatile uint8_t *p = k.map.data.p;
    cr_assert_eq(p[3 * page_size + 5], 0);
    cr_assert_eq(p[PAGES * page_size + 99], 0);
    cr_assert_eq(p[2 * page_size], 0);
    cr_assert_eq(p[0], 7); // what is left
    expect_changed(&k);
    cr_assert_eq(truncate(path, (off_t)(PAGES * page_size + 100)), 0); // as long as before
    expect_changed(&k);
    file_end(&k);
    k = file_open(); // another one may take its place in the table
    file_end(&k);
}

Test(kept, a_file_that_is_written_to_is_told_and_one_that_is_replaced_is_not) {
    kept_file k = file_open();
    int fd = open(path, O_WRONLY);
    struct timespec soon = {.tv_nsec = 20000000};
    nanosleep(&soon, NULL);
    cr_assert_eq(pwrite(fd, "x", 1, 0), 1);
    close(fd);
    expect_changed(&k);
    file_end(&k);

    k = file_open();
    char other[80];
    snprintf(other, sizeof other, "%s.new", path);
    fd = open(other, O_WRONLY | O_CREAT, 0600);
    cr_assert_eq(write(fd, "new", 3), 3);
    close(fd);
    cr_assert_eq(rename(other, path), 0);
    cr_assert_eq(kept_check(&k, path, NULL), OK);
    cr_assert_eq(k.map.data.p[0], 7);
    file_end(&k);
}

Test(kept, a_bus_error_elsewhere_ends_the_process_as_before) {
    pid_t child = fork();
    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        kept_survive_bus_errors();
        (void)file_open();
        os_file_map other;
        (void)!os_map_open(&other, path, NULL);
        (void)!truncate(path, 0);
        unlink(path);
        const volatile uint8_t *p = other.data.p;
        _exit(p[0]);
    }
    int how = 0;
    cr_assert_eq(waitpid(child, &how, 0), child);
    cr_assert(WIFSIGNALED(how) && WTERMSIG(how) == SIGBUS);
}
