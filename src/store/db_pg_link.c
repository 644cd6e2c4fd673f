// db_pg_link.c - one connection to PostgreSQL: opening it, sending, waiting for answers, errors.
//
// Nothing here waits for ever: a server that does not answer in ANSWER_MS is as good as gone, and
// the server itself gives up what takes longer than STATEMENT_MS.
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/db_pg_inside.h"

#define ANSWER_MS 20000
#define STATEMENT_MS 15000
#define LOCK_MS 10000
#define SQL_MAX 4096

// ---- errors

static status lost(pg_link *l, const char *why, err *e) {
    l->lost = true;
    char text[160];
    snprintf(text, sizeof text, "%s", why ? why : "");
    text[strcspn(text, "\n")] = 0;
    return err_set(e, ERR_BUSY, "database: the connection to %s is lost: %s", l->d->where,
                   text[0] ? text : "no answer");
}

// By the first characters of the SQLSTATE.
static status status_of(const char *state) {
    static const struct {
        const char *prefix;
        status code;
    } known[] = {{"40", ERR_BUSY},    // deadlock, serialization
                 {"55P03", ERR_BUSY}, // lock_timeout
                 {"57", ERR_BUSY},    // statement_timeout, shutting down, starting
                 {"53300", ERR_BUSY}, // too many connections
                 {"53200", ERR_BUSY}, // out of memory there
                 {"08", ERR_BUSY},    // connection
                 {"XX001", ERR_FORMAT}, {"XX002", ERR_FORMAT}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strncmp(state, known[i].prefix, strlen(known[i].prefix)) == 0) return known[i].code;
    return ERR_IO;
}

static status failed(pg_link *l, const PGresult *r, err *e) {
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (!state || (severity && strcmp(severity, "ERROR") != 0) ||
        PQstatus(l->conn) != CONNECTION_OK) {
        return lost(l, text ? text : PQerrorMessage(l->conn), e);
    }
    return err_set(e, status_of(state), "database: %s (SQLSTATE %s)", text ? text : "", state);
}

// ---- asking

// Until there is something to read, or to write when more wants to go out. False: too late.
static bool wait_socket(pg_link *l, bool out, int64_t deadline_ns) {
    struct pollfd p = {.fd = PQsocket(l->conn), .events = POLLIN};
    if (out) p.events |= POLLOUT;
    for (;;) {
        int64_t left = (deadline_ns - os_clock_ns()) / 1000000;
        if (p.fd < 0 || left <= 0) return false;
        int n = poll(&p, 1, (int)left);
        if (n > 0) return true;
        if (n < 0 && errno != EINTR) return false;
    }
}

// The next result; NULL at the end, and when the link is lost.
static PGresult *next_result(pg_link *l, int64_t deadline_ns, err *e) {
    int more = PQflush(l->conn);
    while (more > 0 || PQisBusy(l->conn)) {
        if (more < 0) break;
        if (!wait_socket(l, more > 0, deadline_ns)) {
            lost(l, NULL, e);
            return NULL;
        }
        if (!PQconsumeInput(l->conn)) break;
        more = PQflush(l->conn);
    }
    PGresult *r = PQgetResult(l->conn);
    if (!r && PQstatus(l->conn) != CONNECTION_OK) lost(l, PQerrorMessage(l->conn), e);
    return r;
}

status pg_answer(pg_link *l, int sent, PGresult **last, err *e) {
    if (last) *last = NULL;
    if (!sent) return lost(l, PQerrorMessage(l->conn), e);
    int64_t deadline = os_clock_ns() + INT64_C(1000000) * ANSWER_MS;
    status rc = OK;
    PGresult *kept = NULL, *r;
    while ((r = next_result(l, deadline, e))) {
        ExecStatusType s = PQresultStatus(r);
        if (rc == OK && s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK) rc = failed(l, r, e);
        PQclear(kept);
        kept = r;
        if (PQstatus(l->conn) != CONNECTION_OK) break;
    }
    if (rc == OK && PQstatus(l->conn) != CONNECTION_OK) rc = lost(l, PQerrorMessage(l->conn), e);
    if (rc == OK && l->lost) rc = ERR_BUSY;
    if (rc || !last)
        PQclear(kept);
    else
        *last = kept;
    return rc;
}

status pg_run(pg_link *l, PGresult **last, err *e, const char *sql) {
    return pg_answer(l, PQsendQuery(l->conn, sql), last, e);
}

status pg_runf(pg_link *l, PGresult **last, err *e, const char *fmt, ...) {
    char sql[SQL_MAX];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(sql, sizeof sql, fmt, args);
    va_end(args);
    if (n < 0 || n >= (int)sizeof sql) return err_set(e, ERR_LIMIT, "database: statement too long");
    return pg_run(l, last, e, sql);
}

// ---- opening

static void ignore_notice(void *arg, const PGresult *r) {
    (void)arg, (void)r;
}

// What the URL says wins over what stands before it.
static PGconn *dial(const db_pg *d) {
    static const char *const names[] = {
        "connect_timeout",  "keepalives_idle",  "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "application_name",
        "dbname",           "client_encoding",  NULL};
    const char *const values[] = {"5", "10", "5", "3", "15000", "stemforge", d->url, "UTF8", NULL};
    return PQconnectdbParams(names, values, 1);
}

static status refused(db_pg *d, PGconn *conn, err *e) {
    const char *text = conn ? PQerrorMessage(conn) : "out of memory";
    return err_set(e, ERR_BUSY, "database: expected a PostgreSQL server at QUEUE_URL: %.*s",
                   (int)strcspn(text, "\n"), text);
    (void)d;
}

// A session is a row. Each transaction that changes something writes its number there, so that one
// whose commit got no answer can be looked up (db_pg.c). It also counts what this link did. The row
// need not wait for the disk: the first transaction of the session that does takes it along, and
// without one there is nothing to look up. first: statements before its own, in the same trip.
// Every statement here finds its rows by an index and in its order. The planner thinks otherwise of
// tables that nobody has analysed yet: it would read and sort all waiting jobs for each claim. And
// what it is kept from looks so dear to it that it would compile each statement, which takes longer
// than to run it.
static status begin_session(pg_link *l, const char *first, err *e) {
    uint8_t random[16];
    status rc = random_bytes(random, sizeof random, e);
    if (rc) return rc;
    hex_encode(l->session, random, sizeof random);
    PGresult *r;
    rc = pg_runf(l, &r, e,
                 "%s SET statement_timeout = %d; SET lock_timeout = %d;"
                 " SET idle_in_transaction_session_timeout = %d; SET tcp_keepalives_idle = 10;"
                 " SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;"
                 " SET tcp_user_timeout = 15000; SET enable_seqscan = off;"
                 " SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off;"
                 " SET stemforge.session = '%s'; SET stemforge.process = '%s';"
                 " SET LOCAL synchronous_commit = off;"
                 " INSERT INTO session(id, seen_ms) VALUES ('%s',"
                 "  (extract(epoch FROM clock_timestamp()) * 1000)::bigint);"
                 " SELECT pid, backend_start FROM pg_stat_get_activity(pg_backend_pid())",
                 first, STATEMENT_MS, LOCK_MS, STATEMENT_MS, l->session, l->d->process, l->session);
    if (rc) return rc;
    bool known = PQntuples(r) == 1;
    l->pid = known ? (int)strtol(PQgetvalue(r, 0, 0), NULL, 10) : 0;
    snprintf(l->born, sizeof l->born, "%s", known ? PQgetvalue(r, 0, 1) : "");
    PQclear(r);
    return OK;
}

static status set_up(pg_link *l, bool bare, err *e) {
    db_pg *d = l->d;
    PQsetNoticeReceiver(l->conn, ignore_notice, NULL);
    PQsetnonblocking(l->conn, 1);
    char first[2 * sizeof d->schema_name + 128], path[sizeof d->schema_name + 32] = "";
    if (d->schema_name[0])
        snprintf(path, sizeof path, " SET search_path = \"%s\";", d->schema_name);
    snprintf(first, sizeof first, "SET client_min_messages = error; SET timezone = 'UTC';%s", path);
    status rc = bare ? pg_run(l, NULL, e, first) : begin_session(l, first, e);
    if (!rc && !bare) rc = pg_queries_open(l, e);
    return rc;
}

status pg_link_open(pg_link **out, db_pg *d, bool bare, err *e) {
    *out = NULL;
    pg_link *l = mem_calloc(1, sizeof *l);
    if (!l) return err_set(e, ERR_OOM, "database connection");
    l->d = d;
    l->tx = (db_tx){.ops = d->base.ops, .shared = true};
    l->conn = dial(d);
    l->used_ns = os_clock_ns();
    status rc = l->conn && PQstatus(l->conn) == CONNECTION_OK ? OK : refused(d, l->conn, e);
    if (!rc) rc = set_up(l, bare, e);
    if (rc) {
        pg_link_close(l);
        return rc;
    }
    *out = l;
    return OK;
}

void pg_link_close(pg_link *l) {
    if (!l) return;
    pg_queries_close(l);
    PQfinish(l->conn);
    mem_free(l);
}

bool pg_link_is_dead(pg_link *l) {
    return !PQconsumeInput(l->conn) || PQstatus(l->conn) != CONNECTION_OK;
}
