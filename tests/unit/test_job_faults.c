// test_job_faults.c - the job store on a disk that fails: power cuts, kills and I/O errors at every
// single write and sync of a job's life, one after the other.
//
// A SQLite file system of our own writes through to the real files and remembers how to undo what
// was not synced. A power cut undoes a random part of it, as a disk may have written any of it.
// What was acknowledged before must be there after a restart on the normal file system.
#include <criterion/criterion.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/job_hook.h"
#include "store/source.h"

typedef enum { CUT_POWER, KILL, FAIL_IO, FAIL_FULL, FAIL_SYNC } fault;

// The store's jobs as a worker gets them.
static source *jobs_of(job_store *s) {
    static _Thread_local source_jobs local;
    return source_jobs_open(&local, s, NULL);
}

static struct {
    fault kind;
    int at;         // the operation that is hit; 0: none
    int count;      // operations so far
    bool sync_lies; // syncs do nothing: to see that the test would notice
    unsigned seed;
} disk;

// ---- undoing

typedef struct undo {
    sqlite3_file *file;
    sqlite3_int64 offset, size; // of the file before
    int n;                      // bytes before, fewer at the end of the file
    struct undo *next;
    char old[];
} undo;

static undo *undos; // the latest first

typedef struct {
    sqlite3_file base;
    sqlite3_file *real;
} shaky_file;

static sqlite3_file *real_of(sqlite3_file *f) {
    return ((shaky_file *)f)->real;
}

static void remember(sqlite3_file *real, int n, sqlite3_int64 offset) {
    undo *u = calloc(1, sizeof *u + (size_t)n);
    u->file = real, u->offset = offset;
    real->pMethods->xFileSize(real, &u->size);
    if (offset < u->size) {
        u->n = (int)(offset + n > u->size ? u->size - offset : n);
        real->pMethods->xRead(real, u->old, u->n, offset);
    }
    u->next = undos;
    undos = u;
}

// A synced file has nothing to undo any more.
static void forget(sqlite3_file *real) {
    for (undo **p = &undos; *p;) {
        undo *u = *p;
        if (u->file != real) {
            p = &u->next;
            continue;
        }
        *p = u->next;
        free(u);
    }
}

static void cut_power(void) {
    for (undo *u = undos; u; u = u->next) {
        disk.seed = disk.seed * 1103515245u + 12345u;
        if (disk.seed >> 16 & 1) continue; // this one had reached the disk
        u->file->pMethods->xWrite(u->file, u->old, u->n, u->offset);
        u->file->pMethods->xTruncate(u->file, u->size);
    }
    _exit(9);
}

// Called for each operation; not OK: it fails with that.
static int hit(int io_error, bool sync) {
    if (++disk.count < disk.at || !disk.at) return SQLITE_OK;
    bool first = disk.count == disk.at;
    switch (disk.kind) {
    case CUT_POWER: cut_power(); return SQLITE_OK;
    case KILL: _exit(9);
    case FAIL_IO: return first ? io_error : SQLITE_OK;     // once
    case FAIL_FULL: return sync ? SQLITE_OK : SQLITE_FULL; // from now on
    default: return first && sync ? SQLITE_IOERR_FSYNC : SQLITE_OK;
    }
}

// ---- the file system

static int shaky_close(sqlite3_file *f) {
    forget(real_of(f));
    int rc = real_of(f)->pMethods->xClose(real_of(f));
    free(real_of(f));
    return rc;
}

static int shaky_read(sqlite3_file *f, void *to, int n, sqlite3_int64 offset) {
    return real_of(f)->pMethods->xRead(real_of(f), to, n, offset);
}

static int shaky_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 offset) {
    int rc = hit(SQLITE_IOERR_WRITE, false);
    if (rc) return rc;
    remember(real_of(f), n, offset);
    return real_of(f)->pMethods->xWrite(real_of(f), from, n, offset);
}

static int shaky_truncate(sqlite3_file *f, sqlite3_int64 size) {
    int rc = hit(SQLITE_IOERR_TRUNCATE, false);
    if (rc) return rc;
    sqlite3_int64 now;
    real_of(f)->pMethods->xFileSize(real_of(f), &now);
    if (now > size) remember(real_of(f), (int)(now - size), size);
    return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int shaky_sync(sqlite3_file *f, int flags) {
    (void)flags; // the real one is not needed: this disk's memory is the test's
    int rc = hit(SQLITE_IOERR_FSYNC, true);
    if (rc) return rc;
    if (!disk.sync_lies) forget(real_of(f));
    return SQLITE_OK;
}

static int shaky_size(sqlite3_file *f, sqlite3_int64 *out) {
    return real_of(f)->pMethods->xFileSize(real_of(f), out);
}
static int shaky_lock(sqlite3_file *f, int level) {
    return real_of(f)->pMethods->xLock(real_of(f), level);
}
static int shaky_unlock(sqlite3_file *f, int level) {
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}
static int shaky_reserved(sqlite3_file *f, int *out) {
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}
static int shaky_control(sqlite3_file *f, int op, void *arg) {
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}
static int shaky_sector(sqlite3_file *f) {
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}
static int shaky_traits(sqlite3_file *f) {
    (void)f;
    return 0; // no promises
}

// Version 1 has no shared memory: the store's exclusive mode must do without.
static const sqlite3_io_methods methods = {1,
                                           shaky_close,
                                           shaky_read,
                                           shaky_write,
                                           shaky_truncate,
                                           shaky_sync,
                                           shaky_size,
                                           shaky_lock,
                                           shaky_unlock,
                                           shaky_reserved,
                                           shaky_control,
                                           shaky_sector,
                                           shaky_traits,
                                           NULL,
                                           NULL,
                                           NULL,
                                           NULL,
                                           NULL,
                                           NULL};

static sqlite3_vfs *unix_vfs;

static int shaky_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out) {
    (void)v;
    shaky_file *s = (shaky_file *)f;
    s->real = calloc(1, (size_t)unix_vfs->szOsFile);
    int rc = unix_vfs->xOpen(unix_vfs, name, s->real, flags, out);
    f->pMethods = rc == SQLITE_OK ? &methods : NULL;
    if (rc) free(s->real);
    return rc;
}

static void install_shaky(void) {
    static sqlite3_vfs shaky;
    unix_vfs = sqlite3_vfs_find("unix");
    shaky = *unix_vfs; // deleting, paths, clocks: as they are
    shaky.zName = "shaky";
    shaky.szOsFile = sizeof(shaky_file);
    shaky.xOpen = shaky_open;
    cr_assert_eq(sqlite3_vfs_register(&shaky, 1), SQLITE_OK);
}

// ---- a life of jobs

#define JOBS 2

static status render(void *arg, const job *j, buf *body, err *e) {
    (void)arg, (void)e;
    buf_add_str(body, j->id);
    return OK;
}

static job_config config(void) {
    job_config c = job_config_default();
    c.render = render;
    return c;
}

static const job_time NOW = {1700000000000, 1000};

static void acknowledge(int fd, char what, int n) {
    char word[2] = {what, (char)('0' + n)};
    if (write(fd, word, 2) != 2) _exit(3);
}

// Submits, runs and calls back; each step that was acknowledged goes to fd. Stops at the first
// failure of a job, and goes on with the next.
static void live(job_store *s, int fd) {
    static const char *const stems[] = {"bass"};
    for (int i = 0; i < JOBS; i++) {
        char id[8];
        snprintf(id, sizeof id, "j%d", i);
        job_new n = {.id = id,
                     .audio_file_id = "a",
                     .stems = stems,
                     .stem_count = 1,
                     .request = bytes_of("{}"),
                     .canonical = bytes_of("{}"),
                     .callback_url = "http://x/",
                     .work = 1};
        job_submitted out;
        if (job_submit(s, &n, NOW, &out, NULL)) continue;
        acknowledge(fd, 'S', i);
        claim_token c;
        job j;
        if (source_claim(jobs_of(s), NOW, &c, &j, NULL)) continue;
        int k = j.id[1] - '0'; // an earlier one whose step failed
        job_deinit(&j);
        job_result r = {.key = "k", .size = 1};
        if (source_landed(jobs_of(s), c, "bass", &r, NOW, NULL)) continue;
        acknowledge(fd, 'D', k);
        if (source_finish(jobs_of(s), c, &(source_end){.state = JOB_COMPLETED}, NOW, NULL, NULL))
            continue;
        acknowledge(fd, 'F', k);
        job_hook h;
        if (job_hook_claim(s, NOW, NULL, 0, &h, NULL)) continue;
        job_hook_record rec = {.verdict = JOB_HOOK_OK};
        job_hook_state state;
        k = h.id[1] - '0';
        if (!job_hook_done(s, &h, &rec, NOW, &state, NULL)) acknowledge(fd, 'H', k);
        job_hook_deinit(&h);
    }
}

// Runs a life in a child with the fault at operation n; *acks gets what was acknowledged. Returns
// false when the child came to its end without meeting the fault.
static bool child_run(const char *path, int n, char acks[64]) {
    int fd[2];
    cr_assert_eq(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        install_shaky();
        disk.at = n;
        disk.count = 0;
        job_config c = config();
        job_store *s = NULL;
        if (job_store_open(&s, path, &c, NULL) == OK) live(s, fd[1]);
        _exit(disk.count >= n ? 8 : 0);
    }
    close(fd[1]);
    ssize_t got, used = 0;
    while ((got = read(fd[0], acks + used, (size_t)(62 - used))) > 0) used += got;
    acks[used] = 0;
    close(fd[0]);
    int how;
    waitpid(pid, &how, 0);
    cr_assert(WIFEXITED(how), "operation %d: signal %d", n, WTERMSIG(how));
    cr_assert(WEXITSTATUS(how) == 0 || WEXITSTATUS(how) >= 8, "operation %d: exit %d", n,
              WEXITSTATUS(how));
    return WEXITSTATUS(how) != 0;
}

static void check_rows(job_store *s) {
    for (int i = 0; i < JOBS; i++) {
        char id[8];
        snprintf(id, sizeof id, "j%d", i);
        job j;
        if (job_get(s, id, &j, NULL) == ERR_NOT_FOUND) continue;
        cr_assert_eq(j.stem_count, 1);
        // The end of a job and its callback are there together or not at all.
        cr_assert_eq(job_state_ended(j.state), j.hook.state != JOB_HOOK_NONE);
        job_deinit(&j);
    }
}

// How many acknowledged facts are missing.
static int missing(job_store *s, const char *acks) {
    int lost = 0;
    for (const char *a = acks; *a; a += 2) {
        char id[8];
        snprintf(id, sizeof id, "j%c", a[1]);
        job j;
        if (job_get(s, id, &j, NULL)) {
            lost++;
            continue;
        }
        lost += a[0] == 'D' && !j.stems[0].done;
        lost += a[0] == 'F' && j.state != JOB_COMPLETED;
        lost += a[0] == 'H' && j.hook.state != JOB_HOOK_DELIVERED;
        job_deinit(&j);
    }
    return lost;
}

static void remove_files(char *path) {
    static const char *const ends[] = {"", "-wal", "-journal"};
    char name[96];
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

// Hits every operation in turn. Returns how many facts were lost over all of them.
static int torment(fault kind) {
    char dir[] = "/tmp/stemforge-disk-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/jobs.db", dir);
    disk.kind = kind;
    int lost = 0, n = 1, facts = 0;
    for (;; n++) {
        char acks[64];
        disk.seed = (unsigned)n * 2654435761u;
        bool met = child_run(path, n, acks);
        job_store *s;
        job_config c = config();
        err e = {.text = ""};
        status rc = job_store_open(&s, path, &c, &e);
        if (rc && disk.sync_lies) {
            lost++; // a disk that lies may even leave a broken file
        } else {
            cr_assert_eq(rc, OK, "operation %d: %s", n, e.text);
            check_rows(s);
            lost += missing(s, acks);
            facts += (int)strlen(acks) / 2;
            job_store_close(s);
        }
        remove_files(path);
        if (!met) break;
    }
    rmdir(dir);
    cr_assert_gt(n, 40, "only %d operations were hit", n);
    if (!disk.sync_lies) cr_assert_gt(facts, n, "hardly anything was acknowledged");
    return lost;
}

Test(job_faults, power_cut_at_any_operation_loses_nothing_acknowledged, .timeout = 120) {
    cr_assert_eq(torment(CUT_POWER), 0);
}

Test(job_faults, a_disk_whose_syncs_lie_is_caught_by_this_test, .timeout = 120) {
    disk.sync_lies = true;
    cr_assert_gt(torment(CUT_POWER), 0);
}

Test(job_faults, kill_at_any_operation_loses_nothing_acknowledged, .timeout = 120) {
    cr_assert_eq(torment(KILL), 0);
}

Test(job_faults, io_error_at_any_operation_loses_nothing_acknowledged, .timeout = 120) {
    cr_assert_eq(torment(FAIL_IO), 0);
}

Test(job_faults, disk_full_from_any_operation_on_loses_nothing_acknowledged, .timeout = 120) {
    cr_assert_eq(torment(FAIL_FULL), 0);
}

Test(job_faults, failed_sync_loses_nothing_and_stops_further_writes, .timeout = 120) {
    cr_assert_eq(torment(FAIL_SYNC), 0);
    install_shaky();
    char dir[] = "/tmp/stemforge-disk-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/jobs.db", dir);
    disk.at = 0, disk.count = 0;
    job_config c = config();
    job_store *s;
    cr_assert_eq(job_store_open(&s, path, &c, NULL), OK);
    static const char *const stems[] = {"bass"};
    job_new n = {.id = "a",
                 .audio_file_id = "a",
                 .stems = stems,
                 .stem_count = 1,
                 .request = bytes_of("{}"),
                 .canonical = bytes_of("{}"),
                 .work = 1};
    job_submitted out;
    err e;
    // The sync is the last operation of a commit: find it by failing each in turn.
    status rc = OK;
    for (int ahead = 1; rc == OK && ahead < 50; ahead++) {
        char id[16];
        snprintf(id, sizeof id, "j%d", ahead);
        n.id = id;
        disk.kind = FAIL_SYNC, disk.at = disk.count + ahead;
        rc = job_submit(s, &n, NOW, &out, &e);
    }
    cr_assert_eq(rc, ERR_IO);
    disk.at = 0;
    n.id = "later";
    cr_assert_eq(job_submit(s, &n, NOW, &out, &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "restart"), "%s", e.text);
    cr_assert(job_store_broken(s));
    job j;
    cr_assert_eq(job_get(s, "j1", &j, NULL), OK); // reading goes on
    job_deinit(&j);
    job_store_close(s);
    remove_files(path);
    rmdir(dir);
}
