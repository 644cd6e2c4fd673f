// db_sqlite.c - db.h on SQLite: opened, migrated, statements prepared once, writes committed
// together.
//
// The connection is guarded by a mutex. A piece of work is queued; the first in the queue runs all
// that is queued in one transaction, each piece in a savepoint of its own, commits once, and passes
// the lead on. So an fsync is shared by everybody who arrived during the one before it, and nobody
// is overtaken. WAL and synchronous=FULL: what was committed is on disk.
//
// One process, one connection: locking_mode=EXCLUSIVE takes the file for the life of the process,
// so the WAL-reset fault of SQLite 3.7.0 to 3.51.2, which needs two connections, cannot occur, and
// no shared-memory file is needed. SQLite allocates through base/mem, so that a test which fails
// the nth allocation reaches into SQLite as well.
#include "store/db.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

#define BATCH_MAX 512     // pieces of work in one transaction
#define OPEN_WAIT_MS 1000 // for a predecessor that is still exiting
#define WAL_KEEP_BYTES (64 << 20)

typedef struct call {
    db_work work;
    void *arg;
    err *e;
    status rc;
    bool lead, done; // told to run the next batch; came to its end. queue_mu guards both
    pthread_cond_t told;
    struct call *next;
} call;

// Transaction control, prepared too: undoing must not need memory that has just run out.
typedef enum { T_BEGIN, T_COMMIT, T_ROLLBACK, T_SAVEPOINT, T_UNDO, T_RELEASE, T_COUNT } control;
static const char *const controls[T_COUNT] = {"BEGIN IMMEDIATE",   "COMMIT",
                                              "ROLLBACK",          "SAVEPOINT piece",
                                              "ROLLBACK TO piece", "RELEASE piece"};

// A file that SQLite holds open. Once it is removed or replaced, what is written to it is lost.
typedef struct {
    char path[OS_PATH_MAX];
    os_file_id id;
} db_file;

typedef struct {
    db_query base;
    sqlite3_stmt *stmt;
} lite_query;

typedef struct {
    db base;
    db_tx tx; // what pieces of work are given
    sqlite3 *conn;
    sqlite3_stmt *control[T_COUNT];
    lite_query *stmts; // [stmt_count]
    size_t stmt_count;
    pthread_mutex_t conn_mu; // guards conn, stmts, commits and writes
    uint64_t commits, writes;
    db_file files[2];         // the database and its write-ahead log; path "": nothing to watch
    atomic_bool poisoned;     // an fsync failed: what is on disk is unknown until a restart
    pthread_mutex_t queue_mu; // guards what follows
    call *first, **last;
    bool led; // somebody runs a batch, or was told to
} lite;

static lite *lite_of(db_tx *t) {
    return (lite *)((char *)t - offsetof(lite, tx));
}

static sqlite3_stmt *stmt_of(db_query *q) {
    return ((lite_query *)q)->stmt;
}

// ---- SQLite's memory: each block has its size in front

#define HEADER 16 // keeps SQLite's 8-byte alignment

static void *sqlite_alloc(int n) {
    uint8_t *p = mem_alloc((size_t)n + HEADER);
    if (!p) return NULL;
    memcpy(p, &n, sizeof n);
    return p + HEADER;
}

static void sqlite_release(void *p) {
    if (p) mem_free((uint8_t *)p - HEADER);
}

static int sqlite_size(void *p) {
    int n = 0;
    if (p) memcpy(&n, (uint8_t *)p - HEADER, sizeof n);
    return n;
}

static void *sqlite_resize(void *p, int n) {
    uint8_t *q = mem_realloc(p ? (uint8_t *)p - HEADER : NULL, (size_t)n + HEADER);
    if (!q) return NULL;
    memcpy(q, &n, sizeof n);
    return q + HEADER;
}

static int sqlite_roundup(int n) {
    return (n + 7) & ~7;
}

static int sqlite_init(void *arg) {
    (void)arg;
    return SQLITE_OK;
}

static void sqlite_shutdown(void *arg) {
    (void)arg;
}

static pthread_once_t sqlite_once = PTHREAD_ONCE_INIT;
static void sqlite_start(void) {
    static const sqlite3_mem_methods methods = {
        sqlite_alloc,   sqlite_release, sqlite_resize,   sqlite_size,
        sqlite_roundup, sqlite_init,    sqlite_shutdown, NULL};
    sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

// ---- errors

static status status_of(int code) {
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return OK;
    case SQLITE_NOMEM: return ERR_OOM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ERR_BUSY;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: return ERR_FORMAT;
    default: return ERR_IO;
    }
}

// The connection's last error as a status.
static status last_error(lite *d, const char *what, err *e) {
    int code = sqlite3_extended_errcode(d->conn);
    if (code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC)
        atomic_store(&d->poisoned, true);
    status rc = status_of(code);
    if (rc == OK) rc = ERR_IO; // asked without a reason: never report success
    const char *hint = (code & 0xff) == SQLITE_BUSY       ? " (in use by another process)"
                       : (code & 0xff) == SQLITE_READONLY ? " (file or folder is read-only)"
                                                          : "";
    if ((code & 0xff) == SQLITE_CORRUPT)
        hint = "; the file is damaged: restore a copy, or move it away to begin anew";
    return err_set(e, rc, "database: %s: %s%s", what, sqlite3_errmsg(d->conn), hint);
}

// ---- statements

static db_query *lite_stmt(db_tx *t, size_t index) {
    lite_query *q = &lite_of(t)->stmts[index];
    sqlite3_reset(q->stmt);
    sqlite3_clear_bindings(q->stmt);
    return &q->base;
}

static status step(lite *d, sqlite3_stmt *q, err *e) {
    int code = sqlite3_step(q);
    if (code == SQLITE_ROW) return OK;
    if (code == SQLITE_DONE) {
        sqlite3_reset(q);
        return ERR_NOT_FOUND;
    }
    status rc = last_error(d, "step", e);
    sqlite3_reset(q);
    return rc;
}

static status lite_step(db_tx *t, db_query *q, err *e) {
    return step(lite_of(t), stmt_of(q), e);
}

static int lite_changes(db_tx *t) {
    return sqlite3_changes(lite_of(t)->conn);
}

static void lite_now(db_tx *t, int64_t *wall_ms, int64_t *mono_ms) {
    (void)t, (void)wall_ms, (void)mono_ms;
}

static void lite_bind(db_query *query, int i, db_value v) {
    sqlite3_stmt *q = stmt_of(query);
    const void *p = v.b.p ? (const void *)v.b.p : "";
    switch (v.kind) {
    case DB_NULL: sqlite3_bind_null(q, i); break;
    case DB_INT: sqlite3_bind_int64(q, i, v.i); break;
    case DB_REAL: sqlite3_bind_double(q, i, v.r); break;
    case DB_TEXT: sqlite3_bind_text64(q, i, p, v.b.n, SQLITE_STATIC, SQLITE_UTF8); break;
    case DB_BLOB: sqlite3_bind_blob64(q, i, p, v.b.n, SQLITE_STATIC); break;
    }
}

static bool lite_is_null(db_query *q, int column) {
    return sqlite3_column_type(stmt_of(q), column) == SQLITE_NULL;
}

static int64_t lite_get_int(db_query *q, int column) {
    return sqlite3_column_int64(stmt_of(q), column);
}

static double lite_get_real(db_query *q, int column) {
    return sqlite3_column_double(stmt_of(q), column);
}

static bytes lite_get_bytes(db_query *query, int column, db_kind kind) {
    sqlite3_stmt *q = stmt_of(query);
    const void *p =
        kind == DB_TEXT ? sqlite3_column_text(q, column) : sqlite3_column_blob(q, column);
    return (bytes){p, (size_t)sqlite3_column_bytes(q, column)};
}

static status exec_text(lite *d, const char *sql, err *e) {
    if (sqlite3_exec(d->conn, sql, NULL, NULL, NULL) == SQLITE_OK) return OK;
    char what[64];
    snprintf(what, sizeof what, "%.40s", sql);
    return last_error(d, what, e);
}

// A statement that was left in the middle of its rows would keep its transaction open.
static void reset_all(lite *d) {
    for (size_t i = 0; i < d->stmt_count; i++) {
        if (sqlite3_stmt_busy(d->stmts[i].stmt)) sqlite3_reset(d->stmts[i].stmt);
    }
}

// ---- shared commits

static status control_run(lite *d, control which, err *e) {
    int code = sqlite3_step(d->control[which]);
    status rc = code == SQLITE_DONE ? OK : last_error(d, controls[which], e);
    sqlite3_reset(d->control[which]);
    return rc;
}

// Runs one piece in a savepoint; what it did is undone when it fails. Not OK: the transaction
// itself is broken and none of it may be committed.
static status run_one(lite *d, call *c, err *e) {
    status rc = control_run(d, T_SAVEPOINT, e);
    if (rc) return rc;
    c->rc = c->work(&d->tx, c->arg, c->e);
    reset_all(d);
    if (sqlite3_get_autocommit(d->conn)) { // SQLite undid it all: disk full and the like
        return err_set(e, c->rc ? c->rc : ERR_IO, "%s",
                       c->rc && c->e ? c->e->text : "database: the transaction was undone");
    }
    if (c->rc) rc = control_run(d, T_UNDO, e);
    return rc ? rc : control_run(d, T_RELEASE, e);
}

static void fail_all(call *list, status rc, const err *why) {
    for (call *c = list; c; c = c->next) {
        if (c->rc == OK) c->rc = err_set(c->e, rc, "%s", why->text);
    }
}

static status check_files(const lite *d, err *e) {
    for (size_t i = 0; i < ARRAY_LEN(d->files); i++) {
        const db_file *f = &d->files[i];
        os_file_id now;
        if (!f->path[0]) continue;
        if (os_file_identify(&now, f->path) && now.device == f->id.device &&
            now.inode == f->id.inode)
            continue;
        return err_set(e, ERR_IO,
                       "database: %.300s was removed or replaced while in use; put it back, or "
                       "restart to begin with what is there",
                       f->path);
    }
    return OK;
}

static status run_all(lite *d, call *list, err *e) {
    if (atomic_load(&d->poisoned)) {
        return err_set(e, ERR_IO, "database: a sync to disk failed earlier; restart to go on");
    }
    // Left over when even the rollback failed.
    if (!sqlite3_get_autocommit(d->conn)) control_run(d, T_ROLLBACK, NULL);
    status rc = check_files(d, e);
    if (!rc) rc = control_run(d, T_BEGIN, e);
    bool any = false;
    for (call *c = list; !rc && c; c = c->next) {
        rc = run_one(d, c, e);
        any |= c->rc == OK;
        d->writes++;
    }
    if (!rc) rc = control_run(d, any ? T_COMMIT : T_ROLLBACK, e);
    if (!rc) d->commits += any;
    if (!rc) rc = check_files(d, e); // a commit into a file that is gone is none
    if (rc && !sqlite3_get_autocommit(d->conn)) control_run(d, T_ROLLBACK, NULL);
    return rc;
}

// queue_mu is held.
static call *take_batch(lite *d) {
    call *list = d->first, *end = list;
    for (int n = 1; end->next && n < BATCH_MAX; n++) end = end->next;
    d->first = end->next;
    if (!d->first) d->last = &d->first;
    end->next = NULL;
    return list;
}

// Runs all pieces that wait, the leader's own first, in one transaction; then the first piece that
// came meanwhile becomes the leader.
static void lead(lite *d) {
    call *list = take_batch(d);
    pthread_mutex_unlock(&d->queue_mu);
    err why = {.code = OK};
    pthread_mutex_lock(&d->conn_mu);
    status rc = run_all(d, list, &why);
    pthread_mutex_unlock(&d->conn_mu);
    if (rc) fail_all(list, rc, &why);
    pthread_mutex_lock(&d->queue_mu);
    for (call *c = list, *next; c; c = next) {
        next = c->next;
        c->done = true; // its owner is waiting, or is us
        pthread_cond_signal(&c->told);
    }
    d->led = d->first != NULL;
    if (!d->led) return;
    d->first->lead = true;
    pthread_cond_signal(&d->first->told);
}

static status lite_write(db *base, db_work work, void *arg, err *e) {
    lite *d = (lite *)base;
    call c = {.work = work, .arg = arg, .e = e};
    pthread_cond_init(&c.told, NULL);
    pthread_mutex_lock(&d->queue_mu);
    *d->last = &c;
    d->last = &c.next;
    if (!d->led) c.lead = d->led = true;
    while (!c.lead && !c.done) pthread_cond_wait(&c.told, &d->queue_mu);
    if (!c.done) lead(d);
    pthread_mutex_unlock(&d->queue_mu);
    pthread_cond_destroy(&c.told);
    return c.rc;
}

static status lite_read(db *base, db_work work, void *arg, err *e) {
    lite *d = (lite *)base;
    pthread_mutex_lock(&d->conn_mu);
    status rc = work(&d->tx, arg, e);
    reset_all(d);
    pthread_mutex_unlock(&d->conn_mu);
    return rc;
}

static bool lite_broken(db *base) {
    return atomic_load(&((lite *)base)->poisoned);
}

static void lite_counts(db *base, uint64_t *commits, uint64_t *writes) {
    lite *d = (lite *)base;
    pthread_mutex_lock(&d->conn_mu);
    *commits = d->commits;
    *writes = d->writes;
    pthread_mutex_unlock(&d->conn_mu);
}

// ---- opening

// First column of the first row as a number.
static status ask_int(lite *d, const char *sql, int64_t *out, err *e) {
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(d->conn, sql, -1, &q, NULL)) return last_error(d, sql, e);
    status rc = step(d, q, e);
    if (rc == OK) *out = sqlite3_column_int64(q, 0);
    if (rc == ERR_NOT_FOUND) *out = 0, rc = OK;
    sqlite3_finalize(q);
    return rc;
}

static status set_pragmas(lite *d, err *e) {
    // The order matters: exclusive before WAL keeps the WAL index out of shared memory.
    static const char *const pragmas[] = {
        "PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL",  "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",        "PRAGMA temp_store=MEMORY", "PRAGMA secure_delete=OFF"};
    for (size_t i = 0; i < ARRAY_LEN(pragmas); i++) {
        status rc = exec_text(d, pragmas[i], e);
        if (rc) return rc;
    }
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA journal_size_limit=%d", WAL_KEEP_BYTES);
    status rc = exec_text(d, sql, e);
    if (rc) return rc;
    // Takes the lock now, so that a second process fails at its start and not later.
    rc = exec_text(d, "BEGIN IMMEDIATE", e);
    return rc ? rc : exec_text(d, "COMMIT", e);
}

static status migrate_one(lite *d, const db_schema *s, size_t i, err *e) {
    char sql[96];
    snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%zu",
             s->application_id, i + 1);
    status rc = exec_text(d, "BEGIN IMMEDIATE", e);
    if (!rc) rc = exec_text(d, s->migrations[i], e);
    if (!rc) rc = exec_text(d, sql, e);
    if (!rc) rc = exec_text(d, "COMMIT", e);
    if (rc && !sqlite3_get_autocommit(d->conn)) exec_text(d, "ROLLBACK", NULL);
    return rc;
}

static status migrate(lite *d, const db_schema *s, err *e) {
    int64_t id, version, tables;
    status rc = ask_int(d, "PRAGMA application_id", &id, e);
    if (!rc) rc = ask_int(d, "PRAGMA user_version", &version, e);
    if (!rc) rc = ask_int(d, "SELECT count(*) FROM sqlite_master", &tables, e);
    if (rc) return rc;
    if (id != s->application_id && (id || version || tables)) {
        return err_set(e, ERR_FORMAT, "database: the file belongs to another program");
    }
    if (version < 0 || (uint64_t)version > s->migration_count) {
        return err_set(e, ERR_FORMAT, "database: version %lld, this program knows up to %zu",
                       (long long)version, s->migration_count);
    }
    for (size_t i = (size_t)version; !rc && i < s->migration_count; i++) {
        rc = migrate_one(d, s, i, e);
    }
    return rc;
}

// The log is there from the first write on, at the latest from that of the migrations.
static void watch_files(lite *d, const char *path) {
    static const char *const suffixes[] = {"", "-wal"};
    if (path[0] == ':' || !path[0]) return;
    for (size_t i = 0; i < ARRAY_LEN(d->files); i++) {
        db_file *f = &d->files[i];
        int n = snprintf(f->path, sizeof f->path, "%s%s", path, suffixes[i]);
        bool known = n < (int)sizeof f->path && os_file_identify(&f->id, f->path);
        if (!known) f->path[0] = 0;
    }
}

static status prepare_all(lite *d, const db_schema *s, err *e) {
    for (int i = 0; i < T_COUNT; i++) {
        if (sqlite3_prepare_v3(d->conn, controls[i], -1, SQLITE_PREPARE_PERSISTENT, &d->control[i],
                               NULL)) {
            return last_error(d, controls[i], e);
        }
    }
    d->stmts = mem_calloc(s->statement_count, sizeof *d->stmts);
    if (!d->stmts) return err_set(e, ERR_OOM, "database: statements");
    for (; d->stmt_count < s->statement_count; d->stmt_count++) {
        const char *sql = s->statements[d->stmt_count];
        d->stmts[d->stmt_count].base.ops = d->base.ops;
        if (!sql) continue; // another database's
        if (sqlite3_prepare_v3(d->conn, sql, -1, SQLITE_PREPARE_PERSISTENT,
                               &d->stmts[d->stmt_count].stmt, NULL)) {
            return last_error(d, sql, e);
        }
    }
    return OK;
}

static status connect(lite *d, const char *path, err *e) {
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(path, &d->conn, flags, NULL);
    if (!d->conn) return err_set(e, ERR_OOM, "database: connection");
    if (code) return last_error(d, path, e);
    if (sqlite3_db_readonly(d->conn, "main") == 1) {
        return err_set(e, ERR_IO, "database: %s is read-only", path);
    }
    sqlite3_busy_timeout(d->conn, OPEN_WAIT_MS);
    return OK;
}

static void lite_close(db *base) {
    lite *d = (lite *)base;
    for (size_t i = 0; i < d->stmt_count; i++) sqlite3_finalize(d->stmts[i].stmt);
    for (int i = 0; i < T_COUNT; i++) sqlite3_finalize(d->control[i]);
    mem_free(d->stmts);
    if (sqlite3_close(d->conn)) log_error("store", "database was closed while in use");
    pthread_mutex_destroy(&d->conn_mu);
    pthread_mutex_destroy(&d->queue_mu);
    mem_free(d);
}

static const db_ops lite_ops = {.write = lite_write,
                                .read = lite_read,
                                .broken = lite_broken,
                                .counts = lite_counts,
                                .close = lite_close,
                                .now = lite_now,
                                .stmt = lite_stmt,
                                .step = lite_step,
                                .changes = lite_changes,
                                .bind = lite_bind,
                                .is_null = lite_is_null,
                                .get_int = lite_get_int,
                                .get_real = lite_get_real,
                                .get_bytes = lite_get_bytes};

status db_sqlite_open(db **out, const char *path, const db_schema *s, err *e) {
    *out = NULL;
    pthread_once(&sqlite_once, sqlite_start);
    lite *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "database handle");
    d->base.ops = d->tx.ops = &lite_ops;
    pthread_mutex_init(&d->conn_mu, NULL);
    pthread_mutex_init(&d->queue_mu, NULL);
    d->last = &d->first;

    status rc = connect(d, path, e);
    if (!rc) rc = set_pragmas(d, e);
    if (!rc) rc = migrate(d, s, e);
    if (!rc) rc = prepare_all(d, s, e);
    if (rc) goto done;
    watch_files(d, path);
    *out = &d->base;
    d = NULL;
done:
    if (d) lite_close(&d->base);
    return rc;
}
