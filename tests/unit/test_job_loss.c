// test_job_loss.c - nothing acknowledged is lost: many threads, kill -9, full disks, no memory.
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "jobs.h"

// ---- many at once

typedef struct {
    job_store *s;
    int thread, count;
} submitter;

static void *submit_many(void *arg) {
    submitter *w = arg;
    for (int i = 0; i < w->count; i++) {
        char id[32];
        snprintf(id, sizeof id, "t%d-%d", w->thread, i);
        job_new n = make(id);
        job_submitted out;
        cr_assert_eq(job_submit(w->s, &n, T0, &out, NULL), OK);
    }
    return NULL;
}

Test(job, submissions_of_many_threads_share_commits) {
    char path[64];
    temp_path(path);
    job_store *s = open_at(path);
    pthread_t threads[16];
    submitter w[16];
    for (int i = 0; i < 16; i++) {
        w[i] = (submitter){s, i, 25};
        pthread_create(&threads[i], NULL, submit_many, &w[i]);
    }
    for (int i = 0; i < 16; i++) pthread_join(threads[i], NULL);
    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    cr_assert_eq(st.jobs[JOB_QUEUED], 400);
    cr_assert_geq(st.writes, 400);
    cr_assert_lt(st.commits, st.writes * 3 / 4, "%llu commits for %llu writes",
                 (unsigned long long)st.commits, (unsigned long long)st.writes);
    job_store_close(s);
    remove_db(path);
}

static void *conflict_many(void *arg) {
    submitter *w = arg;
    int kept = 0;
    for (int i = 0; i < w->count; i++) {
        char id[32], body[32];
        snprintf(id, sizeof id, "same-%d", i);
        snprintf(body, sizeof body, "{\"a\":%d}", w->thread);
        job_new n = make(id);
        n.canonical = bytes_of(body);
        job_submitted out;
        status rc = job_submit(w->s, &n, T0, &out, NULL);
        cr_assert(rc == OK || rc == ERR_CONFLICT);
        kept += rc == OK;
    }
    w->count = kept;
    return NULL;
}

Test(job, of_racing_submissions_with_one_id_exactly_one_wins) {
    job_store *s = open_at(":memory:");
    pthread_t threads[8];
    submitter w[8];
    for (int i = 0; i < 8; i++) {
        w[i] = (submitter){s, i, 50};
        pthread_create(&threads[i], NULL, conflict_many, &w[i]);
    }
    int kept = 0;
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        kept += w[i].count;
    }
    cr_assert_eq(kept, 50);
    job_store_close(s);
}

// ---- when things fail

// A child submits, claims and finishes from several threads, and writes the id of each submission
// that was acknowledged to the pipe.
static void *child_work(void *arg) {
    submitter *w = arg;
    for (int i = 0;; i++) {
        char id[32];
        snprintf(id, sizeof id, "%d-%d-%06d", w->count, w->thread, i);
        job_new n = make(id);
        job_submitted out;
        if (job_submit(w->s, &n, job_time_now(), &out, NULL)) _exit(1);
        char line[32] = {0};
        strcpy(line, id);
        if (write(3, line, sizeof line) != (ssize_t)sizeof line) _exit(1);
        claim_token c;
        job j;
        if (i % 2 == 0 && source_claim(jobs_of(w->s), job_time_now(), &c, &j, NULL) == OK) {
            if (finish(w->s, c, JOB_FAILED, "x", "y", job_time_now(), NULL)) _exit(1);
            job_deinit(&j);
        }
    }
    return NULL;
}

static void child(const char *path, int round, int fd) {
    dup2(fd, 3);
    job_config cfg = config();
    cfg.queue_max = 1000000;
    job_store *s;
    if (job_store_open(&s, path, &cfg, NULL)) _exit(2);
    pthread_t t;
    static submitter w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (submitter){s, i, round};
        pthread_create(&t, NULL, child_work, &w[i]);
    }
    pause();
}

// Reads every acknowledged id and asks for its job.
static int check_acknowledged(const char *path, int fd) {
    job_store *s = open_at(path);
    char line[32];
    int count = 0;
    while (read(fd, line, sizeof line) == (ssize_t)sizeof line) {
        job j = get(s, line);
        // An ended job has its callback, one that has not ended has none.
        cr_assert_eq(job_state_ended(j.state), j.hook.state == JOB_HOOK_PENDING);
        job_deinit(&j);
        count++;
    }
    job_store_close(s);
    return count;
}

Test(job, every_acknowledged_submission_survives_kill_9, .timeout = 120) {
    char path[64];
    temp_path(path);
    int total = 0;
    for (int round = 0; round < 12; round++) {
        int fd[2];
        cr_assert_eq(pipe(fd), 0);
        pid_t pid = fork();
        if (pid == 0) child(path, round, fd[1]);
        close(fd[1]);
        char first[32]; // on a busy machine the start may take long: kill when it works
        cr_assert_eq(read(fd[0], first, sizeof first), (ssize_t)sizeof first);
        usleep((useconds_t)(round * 7919 % 60) * 1000);
        kill(pid, SIGKILL);
        int how;
        waitpid(pid, &how, 0);
        cr_assert(WIFSIGNALED(how), "the child failed by itself: %d", WEXITSTATUS(how));
        total += check_acknowledged(path, fd[0]);
        close(fd[0]);
    }
    cr_assert_gt(total, 0);
    sqlite3 *raw;
    sqlite3_stmt *q;
    cr_assert_eq(sqlite3_open(path, &raw), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(raw, "PRAGMA integrity_check", -1, &q, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_step(q), SQLITE_ROW);
    cr_assert_str_eq((const char *)sqlite3_column_text(q, 0), "ok");
    sqlite3_finalize(q);
    sqlite3_close(raw);
    remove_db(path);
}

Test(job, full_disk_is_an_error_and_loses_nothing) {
    char path[64];
    temp_path(path);
    job_store *s = open_at(path);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {400000, RLIM_INFINITY}, large = {RLIM_INFINITY, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0); // no file may grow beyond this
    int kept = 0;
    err e = {.text = ""};
    status rc = OK;
    char id[16];
    while (kept < 5000) {
        snprintf(id, sizeof id, "j%d", kept);
        job_new n = make(id);
        job_submitted out;
        rc = job_submit(s, &n, T0, &out, &e);
        if (rc) break;
        kept++;
    }
    cr_assert_eq(rc, ERR_IO, "after %d: %s", kept, e.text);
    cr_assert(strncmp(e.text, "database: ", 10) == 0);
    cr_assert_gt(kept, 10);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
    submit(s, id); // room again: the refused one goes in now
    job_store_close(s);
    s = open_at(path);
    for (int i = 0; i <= kept; i++) {
        snprintf(id, sizeof id, "j%d", i);
        job j = get(s, id);
        job_deinit(&j);
    }
    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    cr_assert_eq(st.jobs[JOB_QUEUED], kept + 1);
    job_store_close(s);
    remove_db(path);
}

Test(job, read_only_database_is_refused_at_open) {
    char path[64];
    temp_path(path);
    job_store_close(open_at(path));
    cr_assert_eq(chmod(path, 0444), 0);
    if (getuid() == 0) { // root may write anything
        char dir[64];
        strcpy(dir, path);
        *strrchr(dir, '/') = 0;
        cr_assert_eq(chmod(dir, 0755), 0);
        cr_assert_eq(seteuid(65534), 0);
    }
    job_store *s;
    job_config c = config();
    err e;
    cr_assert_eq(job_store_open(&s, path, &c, &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "read-only"), "%s", e.text);
    cr_assert_null(s);
    if (getuid() == 0) cr_assert_eq(seteuid(0), 0);
    remove_db(path);
}

Test(job, second_owner_foreign_and_newer_files_are_refused) {
    char path[64];
    temp_path(path);
    job_store *s = open_at(path), *other;
    job_config c = config();
    err e;
    cr_assert_eq(job_store_open(&other, path, &c, &e), ERR_BUSY);
    cr_assert_not_null(strstr(e.text, "another process"), "%s", e.text);
    job_store_close(s);

    static const char *const edits[] = {"PRAGMA user_version=99", "PRAGMA application_id=5"};
    static const char *const want[] = {"version 99", "another program"};
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        sqlite3 *raw;
        cr_assert_eq(sqlite3_open(path, &raw), SQLITE_OK);
        cr_assert_eq(sqlite3_exec(raw, edits[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(raw);
        cr_assert_eq(job_store_open(&s, path, &c, &e), ERR_FORMAT);
        cr_assert_not_null(strstr(e.text, want[i]), "%s", e.text);
    }
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 2000; i++) fputs("not a database ", f);
    fclose(f);
    cr_assert_eq(job_store_open(&s, path, &c, &e), ERR_FORMAT);
    remove_db(path);
    cr_assert_eq(job_store_open(&s, "/no/such/folder/x.db", &c, &e), ERR_IO);
}

// One job's whole life, in which each allocation may fail. Returns the first failure.
static status life(job_store *s, int n) {
    char id[16];
    snprintf(id, sizeof id, "j%d", n);
    job_new nw = make(id);
    job_submitted out;
    claim_token c;
    job j;
    job_result r = {0};
    status rc = job_submit(s, &nw, T0, &out, NULL);
    if (rc) return rc;
    rc = source_claim(jobs_of(s), at(1), &c, &j, NULL);
    if (rc) return rc;
    job_deinit(&j);
    for (int i = 0; !rc && i < 2; i++) rc = source_landed(jobs_of(s), c, STEMS[i], &r, at(2), NULL);
    if (!rc) rc = finish(s, c, JOB_COMPLETED, NULL, NULL, at(3), NULL);
    if (rc) return rc;
    job_hook h;
    rc = job_hook_claim(s, at(4), NULL, 0, &h, NULL);
    if (rc) return rc;
    job_hook_record rec = {.verdict = JOB_HOOK_OK};
    job_hook_state state;
    rc = job_hook_done(s, &h, &rec, at(5), &state, NULL);
    job_hook_deinit(&h);
    return rc;
}

Test(job, life_survives_each_failed_allocation, .timeout = 300) {
    job_config cfg = config();
    for (int n = 0;; n++) {
        job_store *s = NULL;
        mem_fail_after(n);
        status rc = job_store_open(&s, ":memory:", &cfg, NULL);
        mem_fail_after(-1);
        cr_assert(rc == OK || (rc == ERR_OOM && !s), "open %d: %s", n, status_name(rc));
        if (rc == OK) {
            job_store_close(s);
            break;
        }
    }
    job_store *s = open_at(":memory:");
    int failures = 0;
    for (int n = 0; n < 3000; n++) {
        mem_fail_after(n);
        status rc = life(s, n);
        mem_fail_after(-1);
        if (rc == OK) break;
        cr_assert_eq(rc, ERR_OOM, "%d: %s", n, status_name(rc));
        failures++;
        // What was half done is still there and whole: clear it away for the next round.
        char id[16];
        snprintf(id, sizeof id, "j%d", n);
        job_cancel_answer answer;
        job j;
        claim_token c;
        status found = job_get(s, id, &j, NULL);
        if (found == ERR_NOT_FOUND) continue;
        cr_assert_eq(found, OK);
        cr_assert_eq(j.stem_count, 2);
        job_deinit(&j);
        cr_assert_eq(job_cancel(s, id, at(6), &answer, NULL), OK);
        cr_assert_eq(source_claim(jobs_of(s), at(100000), &c, &j, NULL), ERR_NOT_FOUND);
        job_hook h;
        while (job_hook_claim(s, at(100000), NULL, 0, &h, NULL) == OK) {
            record(s, &h, JOB_HOOK_OK, -1, 0, at(100000));
            job_hook_deinit(&h);
        }
    }
    cr_assert_gt(failures, 20);
    job_store_close(s);
}
