// db.h - a database as the job store uses it: pieces of work in transactions, prepared statements.
//
// Only the files of the job store use it. Two databases stand behind the table: SQLite
// (db_sqlite.c), which one process has for itself, and PostgreSQL (db_pg.c), which many share. A
// piece of work is a function. It runs in one transaction, and what it did is there as a whole or
// not at all. The statements are found by their index; each database has its own text for those
// that they do not share.
#pragma once
#include <string.h>

#include "base/base.h"
#include "base/err.h"

typedef struct db db;             // a database; every call may be made from any thread
typedef struct db_tx db_tx;       // the transaction that a piece of work runs in
typedef struct db_query db_query; // a statement with its bindings and its rows

typedef status (*db_work)(db_tx *t, void *arg, err *e);

// Something that another process has told. "": something may have been missed.
typedef void (*db_heard)(void *arg, const char *text);

typedef enum { DB_NULL, DB_INT, DB_REAL, DB_TEXT, DB_BLOB } db_kind;
typedef struct {
    db_kind kind;
    int64_t i;
    double r;
    bytes b; // text and blobs; borrowed until the statement is used again
} db_value;

typedef struct {
    status (*write)(db *d, db_work work, void *arg, err *e);
    status (*read)(db *d, db_work work, void *arg, err *e);
    status (*write_one)(db *d, db_work work, void *arg, err *e); // NULL: not shared, as the next
    status (*warm)(db *d, db_work work, void *arg, err *e);
    bool (*broken)(db *d);
    void (*counts)(db *d, uint64_t *commits, uint64_t *writes);
    status (*listen)(db *d, db_heard heard, void *arg, err *e); // NULL, as the next two: not shared
    void (*tell)(db *d, const char *text);
    void (*deafen)(db *d);
    void (*close)(db *d);
    void (*now)(db_tx *t, int64_t *wall_ms, int64_t *mono_ms);
    db_query *(*stmt)(db_tx *t, size_t index);
    status (*step)(db_tx *t, db_query *q, err *e);
    int (*changes)(db_tx *t);
    void (*bind)(db_query *q, int i, db_value v);
    bool (*is_null)(db_query *q, int column);
    int64_t (*get_int)(db_query *q, int column);
    double (*get_real)(db_query *q, int column);
    bytes (*get_bytes)(db_query *q, int column, db_kind kind);
} db_ops;

// First member of every implementation's.
struct db {
    const db_ops *ops;
    bool shared; // other processes work with it at the same time
};
struct db_tx {
    const db_ops *ops;
    bool shared;
};
struct db_query {
    const db_ops *ops;
};

// migrations[i] brings the database from version i to i+1; one of a later version is ERR_FORMAT.
typedef struct {
    int application_id; // another program's database is ERR_FORMAT
    const char *const *migrations;
    size_t migration_count;
    const char *const *statements; // prepared when first used or at open; parameters are ?1, ?2 ...
    size_t statement_count;
} db_schema;

// Opens path or ":memory:" for this process alone; ERR_BUSY when another one has it.
status db_sqlite_open(db **out, const char *path, const db_schema *s, err *e);

// A database that processes share.
typedef struct {
    const char *url;  // postgres://..., as libpq reads it
    int connections;  // open at once, at most
    bool caller_time; // for tests: times are the caller's, not the database's
} db_pg_config;
// ERR_BUSY: no server answers there. ERR_FORMAT: not ours, or of a newer version.
status db_pg_open(db **out, const db_pg_config *c, const db_schema *s, err *e);

static inline void db_close(db *d) { // NULL is fine
    if (d) d->ops->close(d);
}

// Runs work in a transaction, on any thread. What it did is undone when it does not return OK.
// Returns work's own status, or an error when the commit failed (then nothing of it is stored).
// Results that work left in arg count only on OK.
static inline status db_write(db *d, db_work work, void *arg, err *e) {
    return d->ops->write(d, work, arg, e);
}
// The same for work that only reads: nothing is written.
static inline status db_read(db *d, db_work work, void *arg, err *e) {
    return d->ops->read(d, work, arg, e);
}

// For a shared database: work that steps one statement alone, once, as a transaction of its own:
// one round trip. The statement says mark(session, turn) for each row that it gives, with its two
// last parameters, which are not work's to bind; work may be run again. When the answer is lost it
// is looked up, and OK without a row means that it is stored.
static inline status db_write_one(db *d, db_work work, void *arg, err *e) {
    return d->ops->write_one(d, work, arg, e);
}

// Opens every connection that may be open at once to a shared database, and does the work of a
// db_write_one on each, undone. What the server and its connections do once is done then: a burst
// of requests does not wait for it.
static inline status db_warm(db *d, db_work work, void *arg, err *e) {
    return d->ops->warm ? d->ops->warm(d, work, arg, e) : OK;
}

// True once a sync to disk has failed: nothing more is written. Only a restart helps.
static inline bool db_broken(db *d) {
    return d->ops->broken(d);
}
// commits: transactions written since open; writes: pieces of work in them.
static inline void db_read_counts(db *d, uint64_t *commits, uint64_t *writes) {
    d->ops->counts(d, commits, writes);
}

// Begins to hear what other processes tell, on a thread of its own. Without an effect where the
// database is this process's alone.
static inline status db_listen(db *d, db_heard heard, void *arg, err *e) {
    return d->ops->listen ? d->ops->listen(d, heard, arg, e) : OK;
}
// Tells the other processes, soon. A hint: it may get lost.
static inline void db_tell(db *d, const char *text) {
    if (d->ops->tell) d->ops->tell(d, text);
}
// heard is not called after this.
static inline void db_deafen(db *d) {
    if (d->ops->deafen) d->ops->deafen(d);
}

// ---- inside work

// The time by which leases and delays run: the caller's, which stays, where the database is this
// process's; the database's own, for both clocks, where others share it.
static inline void db_now(db_tx *t, int64_t *wall_ms, int64_t *mono_ms) {
    t->ops->now(t, wall_ms, mono_ms);
}

// The statement, reset and with its bindings cleared. It is one for the whole transaction: using it
// again ends the rows of before.
static inline db_query *db_stmt(db_tx *t, size_t index) {
    return t->ops->stmt(t, index);
}
// Steps. OK: there is a row. ERR_NOT_FOUND: none (no text is set). Else the database's error.
static inline status db_step(db_tx *t, db_query *q, err *e) {
    return t->ops->step(t, q, e);
}
// Steps a statement whose row, if it gives one, nobody wants.
static inline status db_exec(db_tx *t, db_query *q, err *e) {
    status rc = db_step(t, q, e);
    while (rc == OK) rc = db_step(t, q, e);
    return rc == ERR_NOT_FOUND ? OK : rc;
}
static inline int db_changes(db_tx *t) { // rows that the last statement changed
    return t->ops->changes(t);
}

// Binding; i counts from 1.
static inline void db_bind_int(db_query *q, int i, int64_t v) {
    q->ops->bind(q, i, (db_value){.kind = DB_INT, .i = v});
}
static inline void db_bind_real(db_query *q, int i, double v) {
    q->ops->bind(q, i, (db_value){.kind = DB_REAL, .r = v});
}
static inline void db_bind_text_of(db_query *q, int i, bytes text) {
    q->ops->bind(q, i, (db_value){.kind = DB_TEXT, .b = text});
}
static inline void db_bind_text(db_query *q, int i, const char *s) { // NULL binds NULL
    if (s) db_bind_text_of(q, i, bytes_of(s));
}
static inline void db_bind_blob(db_query *q, int i, bytes b) {
    q->ops->bind(q, i, (db_value){.kind = DB_BLOB, .b = b});
}

// Columns of the current row; column counts from 0. Numbers of NULL are 0.
static inline bool db_is_null(db_query *q, int column) {
    return q->ops->is_null(q, column);
}
static inline int64_t db_get_int(db_query *q, int column) {
    return q->ops->get_int(q, column);
}
static inline double db_get_real(db_query *q, int column) {
    return q->ops->get_real(q, column);
}
// Borrowed until the next step. Text has a zero byte behind it. p NULL: NULL, or no memory.
static inline bytes db_get_text(db_query *q, int column) {
    return q->ops->get_bytes(q, column, DB_TEXT);
}
static inline bytes db_get_blob(db_query *q, int column) {
    return q->ops->get_bytes(q, column, DB_BLOB);
}
