// test_upkeep.c - whether a job can be accepted follows what happens to the database's files.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "service/upkeep.h"
#include "wall_clock.h"

static const job_time NOW = {.wall_ms = 1700000000000, .mono_ms = 1};
static char folder[64], path[96];

static job_store *open_jobs(void) {
    log_setup(LOG_ERROR, false);
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/tmp/upkeep_XXXXXX");
        cr_assert_not_null(mkdtemp(folder));
        snprintf(path, sizeof path, "%s/jobs.db", folder);
    }
    job_config c = job_config_default();
    job_store *s;
    err e;
    cr_assert_eq(job_store_open(&s, path, &c, &e), OK, "%s", e.text);
    return s;
}

static status submit(job_store *s, const char *id) {
    static const char *const stems[] = {"bass"};
    job_new n = {.id = id,
                 .audio_file_id = "a",
                 .stems = stems,
                 .stem_count = 1,
                 .request = bytes_of("{}"),
                 .canonical = bytes_of("{}"),
                 .work = 1};
    job_submitted out;
    return job_submit(s, &n, NOW, &out, NULL);
}

static void remove_all(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

Test(upkeep, a_check_leaves_no_job_behind) {
    job_store *s = open_jobs();
    cr_assert_eq(submit(s, "one"), OK);
    for (int i = 0; i < 3; i++) cr_assert_eq(job_store_check(s, NULL), OK);
    job *list;
    size_t n;
    job_filter f = {.limit = 10};
    cr_assert_eq(job_list(s, &f, &list, &n, NULL), OK);
    cr_assert_eq(n, 1);
    job_list_free(list, n);
    job_stats t;
    cr_assert_eq(job_read_stats(s, &t, NULL), OK);
    cr_assert_eq(t.jobs[JOB_QUEUED], 1);
    job_store_close(s);
    remove_all();
}

// SQLite would go on writing into a file that nobody will ever read.
Test(upkeep, a_database_that_was_removed_or_replaced_takes_no_job_until_it_is_back) {
    job_store *s = open_jobs();
    char away[128], log[128], log_away[140];
    snprintf(away, sizeof away, "%s.away", path);
    snprintf(log, sizeof log, "%s-wal", path);
    snprintf(log_away, sizeof log_away, "%s.away", log);
    cr_assert_eq(submit(s, "one"), OK);
    cr_assert_eq(rename(path, away), 0);
    cr_assert_eq(job_store_check(s, NULL), ERR_IO);
    cr_assert_eq(submit(s, "two"), ERR_IO);
    FILE *other = fopen(path, "w");
    cr_assert_not_null(other);
    fclose(other);
    cr_assert_eq(submit(s, "two"), ERR_IO); // another file of that name
    cr_assert_eq(rename(away, path), 0);
    cr_assert_eq(submit(s, "two"), OK);
    cr_assert_eq(rename(log, log_away), 0);
    cr_assert_eq(submit(s, "three"), ERR_IO);
    cr_assert_eq(rename(log_away, log), 0);
    cr_assert_eq(job_store_check(s, NULL), OK);
    job_store_close(s);
    s = open_jobs();
    job j;
    cr_assert_eq(job_get(s, "one", &j, NULL), OK);
    job_deinit(&j);
    cr_assert_eq(job_get(s, "two", &j, NULL), OK);
    job_deinit(&j);
    cr_assert_eq(job_get(s, "three", &j, NULL), ERR_NOT_FOUND);
    job_store_close(s);
    remove_all();
}

static upkeep *open_upkeep(job_store *s, blob_store **blobs) {
    blob_config b = blob_config_default();
    b.dir = folder;
    cr_assert_eq(blob_open(blobs, &b, NULL), OK);
    upkeep_config c = {.jobs = s, .blobs = *blobs, .check_ms = 20};
    upkeep *u;
    cr_assert_eq(upkeep_open(&u, &c, NULL), OK);
    return u;
}

static void await(upkeep *u, bool want) {
    for (int i = 0; i < 500 && upkeep_jobs_ok(u) != want; i++) os_sleep_ms(10);
    cr_assert_eq(upkeep_jobs_ok(u), want);
}

Test(upkeep, readiness_follows_a_disk_that_fills_up_and_empties) {
    job_store *s = open_jobs();
    blob_store *blobs;
    upkeep *u = open_upkeep(s, &blobs);
    cr_assert(upkeep_jobs_ok(u));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, small = {0};
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    small.rlim_cur = 4096; // no file may grow beyond this
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    await(u, false);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    await(u, true);
    cr_assert_eq(submit(s, "one"), OK);
    upkeep_close(u);
    blob_close(blobs);
    job_store_close(s);
    remove_all();
}

// Every page of the file in turn is nonsense. Whatever it breaks, a service that says it is ready
// takes the job, and one that refused a job for damage stays not ready.
Test(upkeep, a_damaged_page_is_never_ready_and_refusing, .timeout = 60) {
    job_store *s = open_jobs();
    char id[16];
    for (int i = 0; i < 40; i++) {
        snprintf(id, sizeof id, "job-%d", i);
        cr_assert_eq(submit(s, id), OK);
    }
    job_store_close(s);
    char whole[128], copy[400];
    snprintf(whole, sizeof whole, "%s/whole", folder);
    snprintf(copy, sizeof copy, "cp %s %s", path, whole);
    cr_assert_eq(system(copy), 0);
    snprintf(copy, sizeof copy, "rm -f %s-*; cp %s %s", path, whole, path);
    int refused = 0;
    for (long at = 4096;; at += 4096) {
        cr_assert_eq(system(copy), 0);
        FILE *f = fopen(path, "r+b");
        cr_assert_not_null(f);
        fseek(f, 0, SEEK_END);
        bool end = ftell(f) <= at;
        fseek(f, at, SEEK_SET);
        for (int i = 0; i < 4096 && !end; i++) fputc(i * 37 + 11, f);
        fclose(f);
        if (end) break;
        job_config c = job_config_default();
        if (job_store_open(&s, path, &c, NULL)) { // refused at the start: fine too
            refused++;
            continue;
        }
        blob_store *blobs;
        upkeep *u = open_upkeep(s, &blobs);
        bool ready = upkeep_jobs_ok(u);
        status rc = submit(s, "new");
        cr_assert(!ready || rc == OK, "page %ld: ready, and %s", at / 4096, status_name(rc));
        refused += !ready;
        if (rc == ERR_FORMAT) {
            upkeep_jobs_refused(u, rc);
            os_sleep_ms(100); // some checks later
            cr_assert_not(upkeep_jobs_ok(u));
        }
        upkeep_close(u);
        blob_close(blobs);
        job_store_close(s);
    }
    cr_assert_gt(refused, 3); // tables and indexes that a job is written to
    remove_all();
}

static bool there(job_store *s, const char *id) {
    job j;
    status rc = job_get(s, id, &j, NULL);
    if (rc == OK) job_deinit(&j);
    return rc == OK;
}

static void end_at(job_store *s, const char *id, int64_t wall_ms) {
    job_cancel_answer how;
    cr_assert_eq(submit(s, id), OK);
    cr_assert_eq(job_cancel(s, id, (job_time){.wall_ms = wall_ms, .mono_ms = 1}, &how, NULL), OK);
}

Test(upkeep, old_jobs_are_removed_but_not_by_a_clock_that_steps_ahead) {
    static const int64_t day = 86400000;
    job_store *s = open_jobs();
    end_at(s, "old", os_time_ms() - 3 * day);
    end_at(s, "young", os_time_ms() - day);
    blob_config b = blob_config_default();
    b.dir = folder;
    blob_store *blobs;
    cr_assert_eq(blob_open(&blobs, &b, NULL), OK);
    upkeep_config c = {
        .jobs = s, .blobs = blobs, .retention_days = 2, .check_ms = 10, .purge_ms = 10};
    upkeep *u;
    cr_assert_eq(upkeep_open(&u, &c, NULL), OK);
    for (int i = 0; i < 500 && there(s, "old"); i++) os_sleep_ms(10);
    cr_assert_not(there(s, "old"));
    wall_clock_shift(30 * day);
    // Its end is old by either clock, so that a removal after the step is seen.
    end_at(s, "witness", os_time_ms() - 33 * day);
    for (int i = 0; i < 500 && there(s, "witness"); i++) os_sleep_ms(10);
    cr_assert_not(there(s, "witness"));
    cr_assert(there(s, "young"));
    wall_clock_shift(0);
    upkeep_close(u);
    blob_close(blobs);
    job_store_close(s);
    remove_all();
}
