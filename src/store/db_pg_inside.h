// db_pg_inside.h - inside of db.h on PostgreSQL: what db_pg*.c share. They alone include libpq.
//
// db_pg.c        the pool of connections, transactions, and how a lost commit is found out
// db_pg_link.c   one connection: opening it, sending, waiting for answers, errors
// db_pg_query.c  statements: binding, rows, columns
// db_pg_schema.c the schema: where the tables lie, migrations
// db_pg_news.c   LISTEN and NOTIFY
#pragma once
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "store/db.h"

#define PG_PARAMS_MAX 16
#define PG_NAME_SIZE 64 // of a schema
#define PG_ID_SIZE 33   // 16 random bytes in hex

typedef struct db_pg db_pg;
typedef struct pg_link pg_link;
typedef struct pg_news pg_news;

typedef struct {
    db_value value;
    char number[32]; // as text
    buf clean;       // text that was not UTF-8, put right
} pg_param;

typedef struct {
    db_query base;
    pg_link *link;
    size_t index;
    bool prepared;
    int count; // parameters bound
    pg_param params[PG_PARAMS_MAX];
    PGresult *rows; // NULL: not run yet
    int row;
    buf blob; // of the column last read
} pg_query;

// A connection. One thread at a time uses it.
struct pg_link {
    db_tx tx; // what pieces of work are given
    db_pg *d;
    PGconn *conn;
    bool lost;         // nothing more can be asked of it
    pg_query *queries; // [statement_count]; NULL for a bare link
    int changes;       // rows that the last statement changed
    bool one;          // the transaction is one statement, which marks itself
    bool changed;      // some statement of this transaction did
    int64_t now_ms;    // the database's clock when the transaction began
    char session[PG_ID_SIZE];
    int64_t turn;    // of the last transaction that was committed
    int64_t used_ns; // when that was
    int pid;         // the server's process, and when it was born
    char born[48];
    pg_link *next; // idle
};

struct db_pg {
    db base;
    const db_schema *schema;
    char *url;
    char where[200]; // host, port and database, for messages
    char schema_name[PG_NAME_SIZE];
    char process[PG_ID_SIZE]; // names this process among those that share the database
    bool caller_time;         // for tests: times are the caller's
    int link_max;
    pthread_mutex_t mu; // guards idle and link_count
    pthread_cond_t free;
    pg_link *idle;
    int link_count;
    atomic_uint_fast64_t commits, writes;
    pg_news *news; // NULL until somebody listens
};

// ---- db_pg_link.c

// Connects. bare: without a session and without statements.
status pg_link_open(pg_link **out, db_pg *d, bool bare, err *e);
void pg_link_close(pg_link *l);   // NULL is fine
bool pg_link_is_dead(pg_link *l); // whether the server has said so by now; asks nothing

// Sends one or several statements and waits. *last (may be NULL) gets the last one's result, to be
// cleared by the caller. The first that fails ends it: its status. When no answer comes the link is
// lost: ERR_BUSY.
status pg_run(pg_link *l, PGresult **last, err *e, const char *sql);
status pg_runf(pg_link *l, PGresult **last, err *e, const char *fmt, ...) PRINTF_LIKE(4, 5);
// The answer to what was just sent; sent: what PQsend... returned.
status pg_answer(pg_link *l, int sent, PGresult **last, err *e);

// ---- db_pg_query.c
db_query *pg_stmt(db_tx *t, size_t index);
status pg_step(db_tx *t, db_query *q, err *e);
void pg_bind(db_query *q, int i, db_value v);
bool pg_is_null(db_query *q, int column);
int64_t pg_get_int(db_query *q, int column);
double pg_get_real(db_query *q, int column);
bytes pg_get_bytes(db_query *q, int column, db_kind kind);
status pg_queries_open(pg_link *l, err *e);
void pg_queries_close(pg_link *l);

// ---- db_pg_schema.c

// Finds the schema and brings it up to date.
status pg_schema_open(db_pg *d, err *e);

// ---- db_pg_news.c
status pg_news_open(pg_news **out, db_pg *d, db_heard heard, void *arg, err *e);
void pg_news_tell(pg_news *n, const char *text);
void pg_news_stop(pg_news *n);  // hears nothing more; NULL is fine
void pg_news_close(pg_news *n); // NULL is fine
