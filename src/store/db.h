// db.h - one SQLite connection: opened, migrated, statements prepared once, writes committed
// together.
//
// Only the job*.c files use it; with them, the only files that include sqlite3.h. The connection is
// guarded by a mutex. db_write queues a piece of work; the first in the queue runs all that is
// queued in one transaction, each piece in a savepoint of its own, commits once, and passes the
// lead on. So an fsync is shared by everybody who arrived during the one before it, and nobody is
// overtaken.
#pragma once
#include <sqlite3.h>

#include "base/err.h"

typedef struct db db;

// Opens path or ":memory:" for this process alone (ERR_BUSY when another one has it), with WAL and
// synchronous=FULL. migrations[i] brings user_version i to i+1; a database of a later version is
// ERR_FORMAT. statements are prepared at open and found by their index.
typedef struct {
    int application_id; // kept in the file's header: another program's database is ERR_FORMAT
    const char *const *migrations;
    size_t migration_count;
    const char *const *statements;
    size_t statement_count;
} db_schema;
status db_open(db **out, const char *path, const db_schema *s, err *e);
void db_close(db *d); // NULL is fine

// Runs inside the transaction, on any thread, with the connection held. What it did is undone when
// it does not return OK.
typedef status (*db_work)(db *d, void *arg, err *e);
// Returns work's own status, or ERR_IO when the commit failed (then nothing of it is stored).
// Results that work left in arg count only on OK.
status db_write(db *d, db_work work, void *arg, err *e);
// The same for work that only reads: no transaction is written.
status db_read(db *d, db_work work, void *arg, err *e);

// Inside work: the statement, reset and with its bindings cleared.
sqlite3_stmt *db_stmt(db *d, size_t index);
// Steps. OK: there is a row. ERR_NOT_FOUND: none (no text is set). Else the database's error.
status db_step(db *d, sqlite3_stmt *q, err *e);
// Steps a statement that gives no row.
status db_exec(db *d, sqlite3_stmt *q, err *e);
int db_changes(db *d);
int64_t db_insert_id(db *d); // rowid of the last INSERT

// True once a sync to disk has failed: nothing more is written. Only a restart helps.
bool db_broken(db *d);
// commits: transactions written since open; writes: pieces of work in them.
void db_read_counts(db *d, uint64_t *commits, uint64_t *writes);
