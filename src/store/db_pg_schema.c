// db_pg_schema.c - where the tables lie in PostgreSQL, and how they come up to date.
//
// They lie in the schema that search_path names first, or in "stemforge" where it is PostgreSQL's
// own default. Whoever comes first makes or changes them, under an advisory lock; the others wait.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/db_pg_inside.h"

#define DEFAULT_PATH "\"$user\", public"
#define DEFAULT_SCHEMA "stemforge"
#define SERVER_MIN 120000

// One text; "" for NULL and for no row.
static status ask(pg_link *l, char *out, size_t cap, err *e, const char *sql) {
    PGresult *r;
    status rc = pg_run(l, &r, e, sql);
    if (rc) return rc;
    snprintf(out, cap, "%s", PQntuples(r) == 1 ? PQgetvalue(r, 0, 0) : "");
    PQclear(r);
    return OK;
}

static status find_name(pg_link *l, err *e) {
    char path[256], *name = l->d->schema_name;
    status rc = ask(l, path, sizeof path, e, "SHOW search_path");
    if (rc) return rc;
    const char *from = strcmp(path, DEFAULT_PATH) == 0 ? DEFAULT_SCHEMA : path;
    size_t n = 0;
    for (from += *from == '"'; isalnum((unsigned char)from[n]) || from[n] == '_'; n++) continue;
    bool ended = !from[n] || from[n] == '"' || from[n] == ',';
    if (!n || !ended || n >= PG_NAME_SIZE - 16)
        return err_set(e, ERR_ARG,
                       "QUEUE_URL: expected search_path to begin with a name of letters, digits "
                       "and _, found %.100s",
                       path);
    snprintf(name, PG_NAME_SIZE, "%.*s", (int)n, from);
    return OK;
}

static status check_server(pg_link *l, err *e) {
    const char *encoding = PQparameterStatus(l->conn, "server_encoding");
    int version = PQserverVersion(l->conn);
    if (version < SERVER_MIN)
        return err_set(e, ERR_FORMAT, "QUEUE_URL: expected PostgreSQL 12 or later, found %d",
                       version / 10000);
    if (!encoding || strcmp(encoding, "UTF8") != 0)
        return err_set(e, ERR_FORMAT, "QUEUE_URL: expected a database in UTF8, found %s",
                       encoding ? encoding : "none");
    return OK;
}

// The version of the tables; 0: there are none.
static status read_version(pg_link *l, int64_t *version, err *e) {
    char text[48];
    *version = 0;
    status rc = ask(l, text, sizeof text, e, "SELECT to_regclass('schema_version')");
    if (rc || !text[0]) return rc;
    rc = ask(l, text, sizeof text, e, "SELECT application || ' ' || version FROM schema_version");
    if (rc) return rc;
    char *end;
    if (strtol(text, &end, 10) != l->d->schema->application_id)
        return err_set(e, ERR_FORMAT, "QUEUE_URL: the schema %s belongs to another program",
                       l->d->schema_name);
    *version = strtoll(end, NULL, 10);
    return OK;
}

static status make_schema(pg_link *l, err *e) {
    char there[80];
    const db_pg *d = l->d;
    status rc =
        ask(l, there, sizeof there, e, "SELECT to_regnamespace(current_setting('search_path'))");
    if (!rc && !there[0]) rc = pg_runf(l, NULL, e, "CREATE SCHEMA \"%s\"", d->schema_name);
    if (!rc)
        rc = pg_runf(l, NULL, e,
                     "CREATE TABLE schema_version(application BIGINT, version BIGINT);"
                     "INSERT INTO schema_version VALUES (%d, 0)",
                     d->schema->application_id);
    return rc;
}

static status migrate(pg_link *l, err *e) {
    const db_schema *s = l->d->schema;
    int64_t version;
    status rc = pg_runf(l, NULL, e, "SELECT pg_advisory_xact_lock(%d)", s->application_id);
    if (!rc) rc = read_version(l, &version, e);
    if (rc) return rc;
    if (version < 0 || version > (int64_t)s->migration_count)
        return err_set(e, ERR_FORMAT,
                       "database: the tables in %s have version %lld, this program knows up to "
                       "%zu: start a newer one",
                       l->d->schema_name, (long long)version, s->migration_count);
    if (version == 0) rc = make_schema(l, e);
    for (size_t i = (size_t)version; !rc && i < s->migration_count; i++) {
        rc = pg_run(l, NULL, e, s->migrations[i]);
        if (!rc) rc = pg_runf(l, NULL, e, "UPDATE schema_version SET version = %zu", i + 1);
    }
    return rc;
}

status pg_schema_open(db_pg *d, err *e) {
    pg_link *l;
    d->schema_name[0] = 0;
    status rc = pg_link_open(&l, d, true, e);
    if (rc) return rc;
    snprintf(d->where, sizeof d->where, "%s:%s/%s", PQhost(l->conn) ? PQhost(l->conn) : "",
             PQport(l->conn) ? PQport(l->conn) : "", PQdb(l->conn));
    rc = check_server(l, e);
    if (!rc) rc = find_name(l, e);
    if (!rc) rc = pg_runf(l, NULL, e, "SET search_path = \"%s\"; BEGIN", d->schema_name);
    if (!rc) rc = migrate(l, e);
    if (!rc) rc = pg_run(l, NULL, e, "COMMIT");
    pg_link_close(l);
    return rc;
}
