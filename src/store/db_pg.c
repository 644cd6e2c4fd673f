// db_pg.c - db.h on PostgreSQL: a pool of connections, a transaction for each piece of work, and
// how it is found out whether a commit without an answer took place.
//
// A commit writes the number of the transaction into the row of its session (mark, db_pg_schema.c).
// When the connection is lost at that moment, another one ends the server's process, if it is still
// there, and closes the session's row against it. The row then says for good what happened: a
// commit that is still on its way finds its session closed and fails. So nothing is done twice and
// nothing is taken for done that was not.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/db_pg_inside.h"

#define BORROW_MS 10000   // for a connection to come free
#define FIND_OUT_MS 15000 // for the server to come back, after a lost commit
#define FIND_PAUSE_MS 100
#define OPEN_MS 30000                                // for a server that is still starting
#define IDLE_NS (INT64_C(6) * 3600 * 1000 * 1000000) // older sessions may be swept away

// ---- the pool

static void drop(db_pg *d, pg_link *l) {
    pg_link_close(l);
    pthread_mutex_lock(&d->mu);
    d->link_count--;
    pthread_cond_signal(&d->free);
    pthread_mutex_unlock(&d->mu);
}

static void give_back(db_pg *d, pg_link *l) {
    if (l->lost) {
        drop(d, l);
        return;
    }
    pthread_mutex_lock(&d->mu);
    l->next = d->idle;
    d->idle = l;
    pthread_cond_signal(&d->free);
    pthread_mutex_unlock(&d->mu);
}

// An idle link, or room for a new one: then *out is NULL.
static status borrow(db_pg *d, pg_link **out, err *e) {
    int64_t deadline = os_clock_ns() + INT64_C(1000000) * BORROW_MS;
    pthread_mutex_lock(&d->mu);
    int64_t left = BORROW_MS;
    while (!d->idle && d->link_count >= d->link_max && left > 0) {
        os_cond_wait_ms(&d->free, &d->mu, left);
        left = (deadline - os_clock_ns()) / 1000000;
    }
    *out = d->idle;
    bool room = d->idle || d->link_count < d->link_max;
    if (*out)
        d->idle = (*out)->next;
    else
        d->link_count += room;
    pthread_mutex_unlock(&d->mu);
    return room ? OK : err_set(e, ERR_BUSY, "database: all %d connections are busy", d->link_max);
}

static status begin(pg_link *l, const char *how, err *e) {
    PGresult *r;
    status rc = pg_runf(l, &r, e,
                        "BEGIN ISOLATION LEVEL %s;"
                        " SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                        how);
    if (rc) return rc;
    l->now_ms = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    l->changed = false;
    PQclear(r);
    return OK;
}

// A link with a transaction begun; how NULL: with none, each statement is one. Idle links that turn
// out to be dead are replaced: nothing was asked of them yet.
static status open_tx(db_pg *d, const char *how, pg_link **out, err *e) {
    for (;;) {
        status rc = borrow(d, out, e);
        if (rc) return rc;
        bool fresh = !*out;
        if (!fresh && os_clock_ns() - (*out)->used_ns > IDLE_NS) (*out)->lost = true;
        if (fresh) rc = pg_link_open(out, d, false, e);
        if (!*out) {
            drop(d, NULL);
            return rc;
        }
        (*out)->one = how == NULL;
        if (!how && !fresh && pg_link_is_dead(*out)) (*out)->lost = true;
        if (!(*out)->lost && how) rc = begin(*out, how, e);
        if (!rc && !(*out)->lost) return OK;
        if (!(*out)->lost) pg_run(*out, NULL, NULL, "ROLLBACK");
        bool again = (*out)->lost && !fresh;
        give_back(d, *out);
        if (!again) return rc;
    }
}

// ---- ending a transaction

// Ends what the server may still be doing for a link that is lost, and closes its session.
static status close_session(db_pg *d, const pg_link *dead, int64_t *turn, err *e) {
    pg_link *l;
    PGresult *r = NULL;
    status rc = pg_link_open(&l, d, true, e);
    if (rc) return rc;
    rc = pg_runf(l, NULL, e,
                 "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                 " WHERE pid = %d AND backend_start = '%s'",
                 dead->pid, dead->born);
    if (!rc) // waits for the row: as long as the server works on the lost transaction
        rc = pg_runf(l, &r, e, "UPDATE session SET closed = true WHERE id = '%s' RETURNING turn",
                     dead->session);
    *turn = !rc && PQntuples(r) == 1 ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : -1;
    PQclear(r);
    pg_link_close(l);
    return rc;
}

// After a commit without an answer. OK: it took place.
// ERR_NOT_FOUND: it did not. ERR_BUSY: nobody can tell.
static status look_up(db_pg *d, const pg_link *dead, int64_t turn, err *e) {
    int64_t deadline = os_clock_ns() + INT64_C(1000000) * FIND_OUT_MS, found;
    err why;
    status rc;
    while ((rc = close_session(d, dead, &found, &why)) && os_clock_ns() < deadline)
        os_sleep_ms(FIND_PAUSE_MS);
    if (rc)
        return err_set(e, ERR_BUSY,
                       "database: whether it was stored could not be looked up: %.300s", why.text);
    log_warn("store", "the connection was lost during a commit; looked up: it %s",
             found == turn ? "took place" : "did not take place");
    if (found == turn) return OK;
    return err_set(e, ERR_NOT_FOUND, "database: the connection was lost; nothing was stored");
}

static status find_out(db_pg *d, const pg_link *dead, int64_t turn, err *e) {
    status rc = look_up(d, dead, turn, e);
    if (rc == ERR_NOT_FOUND && e) e->code = ERR_BUSY;
    return rc == ERR_NOT_FOUND ? ERR_BUSY : rc;
}

static status commit(db_pg *d, pg_link *l, err *e) {
    if (!l->changed) { // nothing to lose
        pg_run(l, NULL, NULL, "COMMIT");
        return OK;
    }
    PGresult *r;
    int64_t turn = l->turn + 1;
    status rc = pg_runf(l, &r, e, "SELECT mark('%s', %lld); COMMIT", l->session, (long long)turn);
    if (rc && l->lost) return find_out(d, l, turn, e);
    if (rc) {
        if (PQtransactionStatus(l->conn) != PQTRANS_IDLE) pg_run(l, NULL, NULL, "ROLLBACK");
        l->lost = true; // its session is over
        return rc;
    }
    bool done = strcmp(PQcmdStatus(r), "COMMIT") == 0;
    PQclear(r);
    l->turn = turn;
    l->used_ns = os_clock_ns();
    atomic_fetch_add(&d->commits, 1);
    return done ? OK : err_set(e, ERR_IO, "database: the transaction was undone");
}

static status pg_write(db *base, db_work work, void *arg, err *e) {
    db_pg *d = (db_pg *)base;
    pg_link *l;
    status rc = open_tx(d, "READ COMMITTED", &l, e);
    if (rc) return rc;
    rc = work(&l->tx, arg, e);
    atomic_fetch_add(&d->writes, 1);
    if (!rc)
        rc = commit(d, l, e);
    else if (!l->lost)
        pg_run(l, NULL, NULL, "ROLLBACK");
    give_back(d, l);
    return rc;
}

// One try. *again: the link was dead, and it is certain that nothing was stored.
static status write_at_once(db_pg *d, db_work work, void *arg, bool *again, err *e) {
    pg_link *l;
    *again = false;
    status rc = open_tx(d, NULL, &l, e);
    if (rc) return rc;
    l->changed = false;
    rc = work(&l->tx, arg, e);
    if (rc && l->lost) {
        rc = look_up(d, l, l->turn + 1, e);
        *again = rc == ERR_NOT_FOUND;
        if (*again) rc = ERR_BUSY;
    } else if (rc && rc != ERR_NOT_FOUND) {
        l->lost = true; // its session may be over
    } else if (l->changed) {
        l->turn++;
        l->used_ns = os_clock_ns();
    }
    give_back(d, l);
    return rc;
}

// After a restart of the server all idle links are dead, and a fresh one comes behind them.
static status pg_write_one(db *base, db_work work, void *arg, err *e) {
    db_pg *d = (db_pg *)base;
    bool again = true;
    status rc = ERR_BUSY;
    for (int i = 0; again && i <= d->link_max; i++) rc = write_at_once(d, work, arg, &again, e);
    if (rc == ERR_BUSY && e) e->code = rc;
    atomic_fetch_add(&d->writes, 1);
    if (!rc) atomic_fetch_add(&d->commits, 1);
    return rc;
}

static bool has_room(db_pg *d) {
    pthread_mutex_lock(&d->mu);
    bool room = d->idle || d->link_count < d->link_max;
    pthread_mutex_unlock(&d->mu);
    return room;
}

// Each call holds a link while the next one opens another.
static status pg_warm(db *base, db_work work, void *arg, err *e) {
    db_pg *d = (db_pg *)base;
    pg_link *l;
    status rc = open_tx(d, "READ COMMITTED", &l, e);
    if (rc) return rc;
    l->one = true; // the statement marks itself
    rc = work(&l->tx, arg, e);
    if (!l->lost) pg_run(l, NULL, NULL, "ROLLBACK");
    if (!rc && has_room(d)) rc = pg_warm(base, work, arg, e);
    give_back(d, l);
    return rc;
}

static status pg_read(db *base, db_work work, void *arg, err *e) {
    db_pg *d = (db_pg *)base;
    pg_link *l;
    status rc = open_tx(d, "REPEATABLE READ READ ONLY", &l, e);
    if (rc) return rc;
    rc = work(&l->tx, arg, e);
    if (!l->lost) pg_run(l, NULL, NULL, "COMMIT");
    give_back(d, l);
    return rc;
}

// ---- the rest of the table

static bool pg_broken(db *base) {
    (void)base;
    return false; // what a sync on the server's disk did is the server's to know
}

static void pg_counts(db *base, uint64_t *commits, uint64_t *writes) {
    db_pg *d = (db_pg *)base;
    *commits = atomic_load(&d->commits);
    *writes = atomic_load(&d->writes);
}

static void pg_now(db_tx *t, int64_t *wall_ms, int64_t *mono_ms) {
    pg_link *l = (pg_link *)t;
    if (l->d->caller_time) return;
    *wall_ms = *mono_ms = l->now_ms;
}

static int pg_changes(db_tx *t) {
    return ((pg_link *)t)->changes;
}

static status pg_listen(db *base, db_heard heard, void *arg, err *e) {
    db_pg *d = (db_pg *)base;
    return pg_news_open(&d->news, d, heard, arg, e);
}

static void pg_tell(db *base, const char *text) {
    db_pg *d = (db_pg *)base;
    if (d->news) pg_news_tell(d->news, text);
}

static void pg_deafen(db *base) {
    db_pg *d = (db_pg *)base;
    pg_news_stop(d->news);
}

// The session's row goes; what it counted goes over to row '-'. It need not wait for the disk:
// after a crash both are as they were, and the row is swept later.
static status end_session(pg_link *l, err *e) {
    return pg_runf(l, NULL, e,
                   "SET synchronous_commit = off;"
                   " UPDATE session SET seen_ms = 0 WHERE id = '%s'; SELECT sweep(1)",
                   l->session);
}

static void pg_close(db *base) {
    db_pg *d = (db_pg *)base;
    pg_news_close(d->news);
    status rc = OK; // a server that does not answer is waited for once
    while (d->idle) {
        pg_link *l = d->idle;
        d->idle = l->next;
        if (!rc) rc = end_session(l, NULL);
        pg_link_close(l);
    }
    pthread_cond_destroy(&d->free);
    pthread_mutex_destroy(&d->mu);
    mem_free(d->url);
    mem_free(d);
}

static const db_ops pg_ops = {.write = pg_write,
                              .read = pg_read,
                              .write_one = pg_write_one,
                              .warm = pg_warm,
                              .broken = pg_broken,
                              .counts = pg_counts,
                              .listen = pg_listen,
                              .tell = pg_tell,
                              .deafen = pg_deafen,
                              .close = pg_close,
                              .now = pg_now,
                              .stmt = pg_stmt,
                              .step = pg_step,
                              .changes = pg_changes,
                              .bind = pg_bind,
                              .is_null = pg_is_null,
                              .get_int = pg_get_int,
                              .get_real = pg_get_real,
                              .get_bytes = pg_get_bytes};

// Names this process among those that share the database.
static status name_process(db_pg *d, err *e) {
    uint8_t random[16];
    status rc = random_bytes(random, sizeof random, e);
    if (!rc) hex_encode(d->process, random, sizeof random);
    return rc;
}

// Gives a server that is still starting some time.
static status wait_server(db_pg *d, err *e) {
    int64_t deadline = os_clock_ns() + INT64_C(1000000) * OPEN_MS;
    err why;
    for (bool said = false;; said = true) {
        status rc = pg_schema_open(d, &why);
        if (rc != ERR_BUSY || os_clock_ns() >= deadline || os_stop_requested())
            return rc ? err_set(e, rc, "%s", why.text) : OK;
        if (!said) log_warn("store", "%s; trying for %d s", why.text, OPEN_MS / 1000);
        os_sleep_ms(500);
    }
}

status db_pg_open(db **out, const db_pg_config *c, const db_schema *s, err *e) {
    *out = NULL;
    db_pg *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "database handle");
    d->base = (db){.ops = &pg_ops, .shared = true};
    d->schema = s;
    d->caller_time = c->caller_time;
    d->link_max = MAX(c->connections, 1);
    pthread_mutex_init(&d->mu, NULL);
    os_cond_init(&d->free);
    d->url = mem_strndup(c->url, strlen(c->url));
    status rc = d->url ? name_process(d, e) : err_set(e, ERR_OOM, "database handle");
    if (!rc) rc = wait_server(d, e);
    if (rc) {
        pg_close(&d->base);
        return rc;
    }
    *out = &d->base;
    return OK;
}
