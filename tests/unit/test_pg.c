// test_pg.c - PostgreSQL alone: what became of a commit whose answer never came. A proxy between
// store and server loses it. Without STEMFORGE_TEST_QUEUE there is no server, and nothing to test.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include "base/os.h"
#include "jobs.h"
#include "store/job_news.h"

typedef enum {
    PASS,
    LOSE_ANSWER, // the server gets the commit, nobody hears of it
    LOSE_COMMIT, // the connection breaks before it; the server hears nothing more
    LATE_COMMIT, // the connection breaks, and the commit arrives afterwards
} fault;

typedef struct {
    int listener, port, server_port;
    _Atomic fault next; // happens once, to the next commit
    atomic_int faults;  // that happened
} proxy;

typedef struct {
    proxy *p;
    int client;
} connection;

static int dial(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static bool has_commit(const char *p, size_t n) {
    for (size_t i = 0; i + 8 <= n; i++)
        if (memcmp(p + i, "; COMMIT", 8) == 0) return true;
    return false;
}

// What happens to a commit. The client's side is closed in any case.
static void break_at(proxy *p, int client, int server, const char *said, size_t n) {
    fault how = atomic_exchange(&p->next, PASS);
    if (how == LOSE_ANSWER) (void)!write(server, said, n);
    if (how == LOSE_ANSWER) os_sleep_ms(300); // until it is done
    close(client);
    if (how == LOSE_COMMIT) os_sleep_ms(2000); // the server does not see that the client is gone
    if (how == LATE_COMMIT) {
        os_sleep_ms(2000);
        (void)!send(server, said, n, MSG_NOSIGNAL);
        os_sleep_ms(300);
    }
    close(server);
    atomic_fetch_add(&p->faults, 1);
}

static void *forward(void *arg) {
    connection c = *(connection *)arg;
    free(arg);
    int server = dial(c.p->server_port);
    struct pollfd fds[2] = {{.fd = c.client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    char said[65536];
    while (poll(fds, 2, -1) > 0) {
        for (int i = 0; i < 2; i++) {
            if (!fds[i].revents) continue;
            ssize_t n = read(fds[i].fd, said, sizeof said);
            bool commit = n > 0 && i == 0 && has_commit(said, (size_t)n);
            if (commit && atomic_load(&c.p->next) != PASS) {
                break_at(c.p, c.client, server, said, (size_t)n);
                return NULL;
            }
            if (n <= 0 || send(fds[1 - i].fd, said, (size_t)n, MSG_NOSIGNAL) != n) {
                close(c.client);
                close(server);
                return NULL;
            }
        }
    }
    return NULL;
}

static void *accept_all(void *arg) {
    proxy *p = arg;
    for (;;) {
        int fd = accept(p->listener, NULL, NULL);
        if (fd < 0) return NULL;
        connection *c = malloc(sizeof *c);
        *c = (connection){p, fd};
        pthread_t t;
        pthread_create(&t, NULL, forward, c);
        pthread_detach(t);
    }
}

static void proxy_open(proxy *p, int server_port) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *p = (proxy){.server_port = server_port, .listener = socket(AF_INET, SOCK_STREAM, 0)};
    cr_assert_eq(bind(p->listener, (struct sockaddr *)&a, n), 0);
    cr_assert_eq(listen(p->listener, 64), 0);
    cr_assert_eq(getsockname(p->listener, (struct sockaddr *)&a, &n), 0);
    p->port = ntohs(a.sin_port);
    pthread_t t;
    pthread_create(&t, NULL, accept_all, p);
    pthread_detach(t);
}

// A store behind a proxy. NULL: there is no server.
static job_store *open_behind(proxy *p) {
    const char *place = new_queue();
    if (place[0] == ':') return NULL;
    const char *colon = strrchr(place, ':');
    proxy_open(p, atoi(colon + 1));
    char url[300];
    snprintf(url, sizeof url, "%.*s:%d%s", (int)(colon - place), place, p->port,
             strchr(colon, '/'));
    return open_at(url);
}

// Submits with a fault. Whether the job was stored must be what the answer says.
static void submit_with(fault how, status want, bool stored) {
    static proxy p;
    job_store *s = open_behind(&p);
    if (!s) return;
    job_new n = make("a");
    job_submitted out;
    err e;
    atomic_store(&p.next, how);
    status rc = job_submit(s, &n, T0, &out, &e);
    cr_assert_eq(rc, want, "%s", rc ? e.text : "OK");
    for (int i = 0; i < 500 && !atomic_load(&p.faults); i++) os_sleep_ms(10);
    cr_assert_eq(atomic_load(&p.faults), 1);
    job j;
    cr_assert_eq(job_get(s, "a", &j, NULL), stored ? OK : ERR_NOT_FOUND);
    job_deinit(&j);
    cr_assert_eq(job_submit(s, &n, T0, &out, &e), OK, "%s", e.text);
    cr_assert_eq(out.existed, stored);
    job_stats st;
    cr_assert_eq(job_read_stats(s, &st, NULL), OK);
    cr_assert_eq(st.jobs[JOB_QUEUED], 1);
    job_store_close(s);
}

Test(pg, commit_whose_answer_is_lost_took_place) {
    submit_with(LOSE_ANSWER, OK, true);
}

Test(pg, commit_that_never_arrived_did_not_take_place) {
    submit_with(LOSE_COMMIT, ERR_BUSY, false);
}

Test(pg, commit_that_arrives_after_it_was_looked_up_is_refused) {
    submit_with(LATE_COMMIT, ERR_BUSY, false);
}

static atomic_int heard_queued, heard_cancel;

static void on_news(void *arg, job_news what, const char *id) {
    (void)arg;
    if (what == JOB_NEWS_QUEUED) atomic_fetch_add(&heard_queued, 1);
    if (what == JOB_NEWS_CANCEL && strcmp(id, "a") == 0) atomic_fetch_add(&heard_cancel, 1);
}

static bool comes_true(atomic_int *count) {
    for (int i = 0; i < 2000 && !atomic_load(count); i++) os_sleep_ms(10);
    return atomic_load(count) > 0;
}

Test(pg, what_one_process_does_to_jobs_is_news_to_the_others) {
    const char *place = new_queue();
    if (place[0] == ':') return;
    char url[200];
    snprintf(url, sizeof url, "%s", place); // both stores in one schema
    job_store *here = open_at(url), *there = open_at(url);
    job_cancel_answer how;
    cr_assert_eq(job_news_listen(here, on_news, NULL, NULL), OK);
    cr_assert_eq(job_news_listen(there, on_news, NULL, NULL), OK);
    submit(there, "a");
    cr_assert(comes_true(&heard_queued));
    claim(here, T0, "a");
    cr_assert_eq(job_cancel(there, "a", T0, &how, NULL), OK);
    cr_assert_eq(how, JOB_CANCEL_ASKED);
    cr_assert(comes_true(&heard_cancel));
    job_news_stop(here);
    job_news_stop(there);
    job_store_close(here);
    job_store_close(there);
}
