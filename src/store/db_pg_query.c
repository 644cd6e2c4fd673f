// db_pg_query.c - statements on PostgreSQL: prepared when first used, bound as text, rows kept.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "store/db_pg_inside.h"

#define BLOB_MAX ((size_t)32 << 20)
#define TEXT_MAX ((size_t)4 << 20)

static pg_query *query_of(db_query *q) {
    return (pg_query *)q;
}

static void forget(pg_query *q) {
    PQclear(q->rows);
    q->rows = NULL;
    q->row = 0;
    q->count = 0;
    for (int i = 0; i < PG_PARAMS_MAX; i++) q->params[i].value = (db_value){.kind = DB_NULL};
}

db_query *pg_stmt(db_tx *t, size_t index) {
    pg_query *q = &((pg_link *)t)->queries[index];
    forget(q);
    return &q->base;
}

// What is no UTF-8 would be refused by the server, and with it the end of a job.
static bytes clean_text(pg_param *p, bytes text) {
    if (utf8_valid(text) == text.n && !memchr(text.p, 0, text.n)) return text;
    buf_clear(&p->clean);
    for (size_t i = 0; i < text.n;) {
        uint32_t cp;
        size_t n = utf8_next(&cp, text.p + i, text.n - i);
        if (n && cp)
            buf_add(&p->clean, text.p + i, n);
        else
            buf_add_char(&p->clean, '?');
        i += n ? n : 1;
    }
    return buf_bytes(&p->clean);
}

void pg_bind(db_query *query, int i, db_value v) {
    pg_query *q = query_of(query);
    pg_param *p = &q->params[i - 1];
    q->count = MAX(q->count, i);
    if (v.kind == DB_INT) snprintf(p->number, sizeof p->number, "%lld", (long long)v.i);
    if (v.kind == DB_REAL) snprintf(p->number, sizeof p->number, "%.17g", v.r);
    if (v.kind == DB_INT || v.kind == DB_REAL) v.b = bytes_of(p->number);
    if (v.kind == DB_TEXT) v.b = clean_text(p, v.b);
    p->value = v;
}

// ?1 as PostgreSQL writes it: $1.
static status translate(const char *sql, buf *out, err *e) {
    for (; *sql; sql++) buf_add_char(out, *sql == '?' ? '$' : *sql);
    return buf_status(out, e);
}

static int count_params(const char *sql) {
    int most = 0;
    for (; *sql; sql++)
        if (*sql == '?') most = MAX(most, (int)strtol(sql + 1, NULL, 10));
    return most;
}

static status prepare(pg_query *q, const char *name, err *e) {
    const char *sql = q->link->d->schema->statements[q->index];
    buf text;
    buf_init(&text, TEXT_MAX);
    status rc = translate(sql, &text, e);
    if (!rc)
        rc = pg_answer(q->link, PQsendPrepare(q->link->conn, name, buf_str(&text), 0, NULL), NULL,
                       e);
    buf_deinit(&text);
    q->prepared = rc == OK;
    return rc;
}

static status run(pg_query *q, err *e) {
    pg_link *l = q->link;
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
    char name[16];
    snprintf(name, sizeof name, "q%zu", q->index);
    status rc = q->prepared ? OK : prepare(q, name, e);
    if (rc) return rc;
    // A parameter that another database's text for this statement has is left out here.
    int n = count_params(l->d->schema->statements[q->index]);
    if (l->one) {
        pg_bind(&q->base, n - 1, (db_value){.kind = DB_TEXT, .b = bytes_of(l->session)});
        pg_bind(&q->base, n, (db_value){.kind = DB_INT, .i = l->turn + 1});
    }
    for (int i = 0; i < n; i++) {
        db_value v = q->params[i].value;
        values[i] = v.kind == DB_NULL ? NULL : v.b.p ? (const char *)v.b.p : "";
        lengths[i] = (int)v.b.n;
        formats[i] = v.kind == DB_BLOB || v.kind == DB_TEXT;
    }
    int sent = PQsendQueryPrepared(l->conn, name, n, values, lengths, formats, 0);
    rc = pg_answer(l, sent, &q->rows, e);
    if (rc) return rc;
    l->changes = (int)strtol(PQcmdTuples(q->rows), NULL, 10);
    bool read = strncmp(PQcmdStatus(q->rows), "SELECT", 6) == 0;
    if ((l->one || !read) && l->changes > 0) l->changed = true;
    return OK;
}

status pg_step(db_tx *t, db_query *query, err *e) {
    (void)t;
    pg_query *q = query_of(query);
    if (q->rows) {
        q->row++;
    } else {
        status rc = run(q, e);
        if (rc) return rc;
    }
    return q->row < PQntuples(q->rows) ? OK : ERR_NOT_FOUND;
}

bool pg_is_null(db_query *query, int column) {
    pg_query *q = query_of(query);
    return PQgetisnull(q->rows, q->row, column);
}

int64_t pg_get_int(db_query *query, int column) {
    pg_query *q = query_of(query);
    return strtoll(PQgetvalue(q->rows, q->row, column), NULL, 10);
}

double pg_get_real(db_query *query, int column) {
    pg_query *q = query_of(query);
    return strtod(PQgetvalue(q->rows, q->row, column), NULL);
}

static int hex_digit(char c) {
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

// The server writes a blob as \x0123...
bytes pg_get_bytes(db_query *query, int column, db_kind kind) {
    pg_query *q = query_of(query);
    if (PQgetisnull(q->rows, q->row, column)) return (bytes){0};
    const char *text = PQgetvalue(q->rows, q->row, column);
    size_t n = (size_t)PQgetlength(q->rows, q->row, column);
    if (kind == DB_TEXT) return (bytes){(const uint8_t *)text, n};
    buf_clear(&q->blob);
    for (size_t i = 2; i + 1 < n; i += 2)
        buf_add_char(&q->blob, (char)(hex_digit(text[i]) << 4 | hex_digit(text[i + 1])));
    return q->blob.failed ? (bytes){0} : buf_bytes(&q->blob);
}

status pg_queries_open(pg_link *l, err *e) {
    size_t n = l->d->schema->statement_count;
    l->queries = mem_calloc(n, sizeof *l->queries);
    if (!l->queries) return err_set(e, ERR_OOM, "database statements");
    for (size_t i = 0; i < n; i++) {
        pg_query *q = &l->queries[i];
        q->base.ops = l->tx.ops;
        q->link = l;
        q->index = i;
        buf_init(&q->blob, BLOB_MAX);
        for (int p = 0; p < PG_PARAMS_MAX; p++) buf_init(&q->params[p].clean, TEXT_MAX);
    }
    return OK;
}

void pg_queries_close(pg_link *l) {
    for (size_t i = 0; l->queries && i < l->d->schema->statement_count; i++) {
        pg_query *q = &l->queries[i];
        PQclear(q->rows);
        buf_deinit(&q->blob);
        for (int p = 0; p < PG_PARAMS_MAX; p++) buf_deinit(&q->params[p].clean);
    }
    mem_free(l->queries);
}
