// db_pg_news.c - LISTEN and NOTIFY: what processes that share a database tell each other at once.
//
// News are hints. Whoever misses one finds out at the next look, so they are sent after the commit
// and outside of it: a NOTIFY inside would queue all commits of all processes behind one lock. What
// is told often is told once in PAUSE_MS. A thread of its own holds the connection.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/db_pg_inside.h"

#define TEXT_SIZE 200
#define PENDING_MAX 64 // different texts; more are left out: they are hints
#define PAUSE_MS 10
#define RETRY_MS 500
#define LOOK_MS 1000

struct pg_news {
    db_pg *d;
    db_heard heard;
    void *arg;
    pg_link *link;      // the thread's
    int wake[2];        // a pipe: something is to be told, or the end
    pthread_mutex_t mu; // guards what follows
    bool closing;
    char pending[PENDING_MAX][TEXT_SIZE];
    int count;
    pthread_t thread;
    bool runs;
};

static bool connect_news(pg_news *n) {
    err e;
    status rc = pg_link_open(&n->link, n->d, true, &e);
    if (!rc)
        rc = pg_runf(n->link, NULL, &e, "SET synchronous_commit = off; LISTEN \"stemforge_%s\"",
                     n->d->schema_name);
    if (!rc) {
        n->heard(n->arg, ""); // whatever was told meanwhile was missed
        return true;
    }
    pg_link_close(n->link);
    n->link = NULL;
    log_debug("store", "news: %s", e.text);
    return false;
}

static void hear(pg_news *n) {
    PGnotify *p;
    if (!PQconsumeInput(n->link->conn)) n->link->lost = true;
    while ((p = PQnotifies(n->link->conn))) {
        if (p->be_pid != PQbackendPID(n->link->conn)) n->heard(n->arg, p->extra);
        PQfreemem(p);
    }
}

// Takes one text that is to be told.
static bool take(pg_news *n, char text[TEXT_SIZE]) {
    pthread_mutex_lock(&n->mu);
    bool any = n->count > 0;
    if (any) memcpy(text, n->pending[--n->count], TEXT_SIZE);
    pthread_mutex_unlock(&n->mu);
    return any;
}

static void tell_all(pg_news *n) {
    char text[TEXT_SIZE], channel[PG_NAME_SIZE + 16];
    snprintf(channel, sizeof channel, "stemforge_%s", n->d->schema_name);
    const char *values[] = {channel, text};
    while (!n->link->lost && take(n, text)) {
        int sent = PQsendQueryParams(n->link->conn, "SELECT pg_notify($1, $2)", 2, NULL, values,
                                     NULL, NULL, 0);
        pg_answer(n->link, sent, NULL, NULL);
    }
}

// Until somebody has news, or has some to tell.
static void wait_news(pg_news *n, int ms) {
    struct pollfd p[2] = {{.fd = n->wake[0], .events = POLLIN},
                          {.fd = n->link ? PQsocket(n->link->conn) : -1, .events = POLLIN}};
    char drained[64];
    poll(p, 2, ms);
    while (read(n->wake[0], drained, sizeof drained) > 0) continue;
}

static bool closing(pg_news *n) {
    pthread_mutex_lock(&n->mu);
    bool c = n->closing;
    pthread_mutex_unlock(&n->mu);
    return c;
}

static void *news_thread(void *arg) {
    pg_news *n = arg;
    while (!closing(n)) {
        if (!n->link && !connect_news(n)) {
            wait_news(n, RETRY_MS);
            continue;
        }
        hear(n);
        if (!n->link->lost) tell_all(n);
        if (n->link->lost) {
            pg_link_close(n->link);
            n->link = NULL;
            continue;
        }
        os_sleep_ms(PAUSE_MS);
        hear(n); // an answer may have brought some along
        if (!n->link->lost) wait_news(n, LOOK_MS);
    }
    if (n->link) tell_all(n);
    pg_link_close(n->link);
    return NULL;
}

status pg_news_open(pg_news **out, db_pg *d, db_heard heard, void *arg, err *e) {
    pg_news *n = *out = mem_calloc(1, sizeof *n);
    if (!n) return err_set(e, ERR_OOM, "news");
    n->d = d;
    n->heard = heard;
    n->arg = arg;
    pthread_mutex_init(&n->mu, NULL);
    bool piped = pipe(n->wake) == 0;
    for (int i = 0; piped && i < 2; i++) fcntl(n->wake[i], F_SETFL, O_NONBLOCK);
    n->runs = piped && pthread_create(&n->thread, NULL, news_thread, n) == 0;
    if (n->runs) return OK;
    pg_news_close(n);
    *out = NULL;
    return err_set(e, ERR_IO, "no thread for the news of the database");
}

void pg_news_tell(pg_news *n, const char *text) {
    pthread_mutex_lock(&n->mu);
    bool there = n->count == PENDING_MAX;
    for (int i = 0; i < n->count; i++) there |= strcmp(n->pending[i], text) == 0;
    if (!there) snprintf(n->pending[n->count++], TEXT_SIZE, "%s", text);
    pthread_mutex_unlock(&n->mu);
    if (!there) (void)!write(n->wake[1], "", 1);
}

void pg_news_stop(pg_news *n) {
    if (!n) return;
    pthread_mutex_lock(&n->mu);
    n->closing = true;
    pthread_mutex_unlock(&n->mu);
    if (!n->runs) return;
    (void)!write(n->wake[1], "", 1);
    pthread_join(n->thread, NULL);
    n->runs = false;
}

void pg_news_close(pg_news *n) {
    if (!n) return;
    pg_news_stop(n);
    close(n->wake[0]);
    close(n->wake[1]);
    pthread_mutex_destroy(&n->mu);
    mem_free(n);
}
