// download.c - see download.h.
#define _GNU_SOURCE // flock
#include "net/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

static bool is_canceled(const download *d) {
    return d->canceled && d->canceled(d->arg);
}

// ---- one request, redirects

static status origin_of(const char *url, char *out, size_t cap, err *e) {
    fetch_url *u = mem_alloc(sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "no memory for a URL");
    status rc = fetch_url_parse(u, url, e);
    if (!rc) fetch_url_origin(u, out, cap);
    mem_free(u);
    return rc;
}

// The URL that r, asked for at `from`, redirects to, into url. Never from https to http.
static status redirect_target(const fetch_response *r, const char *from, char *url, err *e) {
    char *to = mem_alloc(FETCH_URL_MAX);
    if (!to) return err_set(e, ERR_OOM, "no memory for a URL");
    bool found = fetch_find_header(r, "Location", to, FETCH_URL_MAX);
    status rc = found ? fetch_url_join(url, from, to, e) : ERR_ARG;
    mem_free(to);
    if (rc == ERR_ARG) return err_set(e, ERR_IO, "%.200s redirects to nowhere", from);
    bool downgrade = !rc && strncmp(from, "https:", 6) == 0 && strncmp(url, "https:", 6) != 0;
    return downgrade ? err_set(e, ERR_IO, "%.200s redirects away from https", from) : rc;
}

// Whether r says itself what lies where it redirects to.
static bool tells_the_file(const fetch_response *r) {
    char etag[8];
    return fetch_find_header(r, "X-Linked-Etag", etag, sizeof etag);
}

static bool is_redirect(int code) {
    return code == 301 || code == 302 || code == 303 || code == 307 || code == 308;
}

// Sends q (method, URL, range, sink as set by the caller) and follows redirects; q's headers are
// download's own. With stay, a redirect that says what lies there is the answer. OK when there was
// an answer of any status; r as in fetch_send. q's url is the last one's afterwards and lives in
// url_room.
static status send_following(download *d, fetch_request *q, bool stay, char url_room[FETCH_URL_MAX],
                             fetch_response *r, err *e) {
    char bearer[4096];
    snprintf(bearer, sizeof bearer, "Bearer %s", d->token ? d->token : "");
    const fetch_header auth = {"Authorization", bearer};
    if (q->url != url_room) snprintf(url_room, FETCH_URL_MAX, "%s", q->url);
    q->url = url_room;
    q->user_environment = true;
    q->headers = &auth;
    for (int hop = 0;; hop++) {
        char origin[300];
        *r = (fetch_response){.failure = FETCH_REFUSED};
        status rc = origin_of(url_room, origin, sizeof origin, e);
        if (rc) return rc;
        q->header_count = d->token && strcmp(origin, d->origin) == 0;
        rc = fetch_send(d->client, q, r, e);
        d->failure = r->failure;
        d->reached |= !rc;
        if (rc || !is_redirect(r->code)) return rc;
        char *to = mem_alloc(FETCH_URL_MAX);
        rc = to ? redirect_target(r, url_room, to, e) : err_set(e, ERR_OOM, "no memory");
        if (!rc && hop == DOWNLOAD_HOPS_MAX) {
            rc = err_set(e, ERR_IO, "%s redirects more than %d times", origin, DOWNLOAD_HOPS_MAX);
        }
        bool ends = rc || (stay && tells_the_file(r));
        if (!ends) memcpy(url_room, to, strlen(to) + 1);
        mem_free(to);
        if (rc) r->failure = FETCH_REFUSED;
        if (ends) return rc;
        fetch_response_deinit(r);
    }
}

// ---- waiting and trying again

static bool later(int code) {
    return code == 408 || code == 429 || code >= 500;
}

static bool transient(fetch_failure f) {
    return f == FETCH_NO_HOST || f == FETCH_NO_CONNECT || f == FETCH_TIMEOUT || f == FETCH_BROKEN;
}

// why: of the failure, for the log.
static status backoff(const download *d, int failures, const fetch_response *r, const char *why,
                      err *e) {
    int64_t ms = d->retry_ms;
    for (int i = 1; i < failures && ms < DOWNLOAD_WAIT_MS_MAX; i++) ms *= 2;
    int64_t asked = fetch_retry_after_ms(r, os_time_ms());
    ms = MIN(MAX(ms, asked), DOWNLOAD_WAIT_MS_MAX);
    if (ms >= 500) log_warn("download", "%s; trying again in %lld ms", why, (long long)ms);
    for (; ms > 0; ms -= 100) {
        if (is_canceled(d)) return err_set(e, ERR_CANCELED, "stopped");
        os_sleep_ms((int)MIN(ms, 100));
    }
    return OK;
}

status download_ask(download *d, const char *method, const char *url, bool stay, size_t body_max,
                    fetch_response *r, err *e) {
    char *room = mem_alloc(FETCH_URL_MAX);
    *r = (fetch_response){0};
    if (!room) return err_set(e, ERR_OOM, "no memory for a URL");
    status rc;
    err why = {.code = OK};
    for (int failures = 1;; failures++) {
        fetch_request q = fetch_request_default();
        q.method = method;
        q.url = url;
        q.response_max = (int64_t)body_max;
        rc = send_following(d, &q, stay, room, r, &why);
        bool again = rc ? transient(r->failure) : later(r->code);
        // Where nobody ever answered there may be no network: a person waits for the word.
        int most = d->reached ? d->retries_max : MIN(d->retries_max, DOWNLOAD_BLIND_TRIES);
        if (!again || failures > most) break;
        status waited = backoff(d, failures, r, rc ? why.text : "the hub is busy", &why);
        fetch_response_deinit(r);
        *r = (fetch_response){0};
        if (waited) {
            rc = waited;
            break;
        }
    }
    mem_free(room);
    return rc ? err_set(e, rc, "%s", why.text) : OK;
}

status download_refusal(const fetch_response *r, const char *what, err *e) {
    char why[200];
    fetch_find_header(r, "X-Error-Message", why, sizeof why);
    const char *sep = why[0] ? ": " : "";
    switch (r->code) {
    case 401:
        return err_set(e, ERR_NOT_FOUND,
                       "%s does not exist, or is private and HF_TOKEN does not open it%s%s", what,
                       sep, why);
    case 403:
        return err_set(e, ERR_ARG, "%s may not be read with this HF_TOKEN%s%s", what, sep, why);
    case 404: return err_set(e, ERR_NOT_FOUND, "%s does not exist%s%s", what, sep, why);
    case 429:
        return err_set(e, ERR_BUSY, "%s: the hub asks for fewer requests%s%s", what, sep, why);
    default: return err_set(e, ERR_IO, "%s: the hub answers %d%s%s", what, r->code, sep, why);
    }
}

// ---- a file

typedef struct {
    download *d;
    const download_file *f;
    int fd;
    char partial[OS_PATH_MAX];
    int64_t done;      // bytes in the partial file
    hash_stream *hash; // of them; NULL when nobody asked
    bool begun;        // this answer's first piece has been seen
    bool resumed;      // bytes of another process are among them
} job;

static status restart(job *w, err *e) {
    if (ftruncate(w->fd, 0)) return err_errno(e, "cannot empty %s", w->partial);
    if (w->d->progress && w->done) w->d->progress(w->d->arg, -w->done);
    w->done = 0;
    w->resumed = false;
    if (!w->f->sha256) return OK;
    hash_close(w->hash);
    return hash_open(&w->hash, e);
}

// Does a 206 really begin where we stand?
static status range_check(const job *w, const fetch_response *head, err *e) {
    char v[64], *end;
    fetch_find_header(head, "Content-Range", v, sizeof v);
    if (strncmp(v, "bytes ", 6) == 0 && v[6] >= '0' && v[6] <= '9') {
        long long from = strtoll(v + 6, &end, 10);
        if (*end == '-' && from == w->done) return OK;
    }
    return err_set(e, ERR_IO, "asked for bytes from %lld, got %s", (long long)w->done,
                   v[0] ? v : "no Content-Range");
}

static status on_piece(void *arg, const fetch_response *head, bytes piece, err *e) {
    job *w = arg;
    if (is_canceled(w->d)) return err_set(e, ERR_CANCELED, "stopped");
    status rc = OK;
    if (!w->begun && w->done > 0) rc = head->code == 206 ? range_check(w, head, e) : restart(w, e);
    w->begun = true;
    if (rc) return rc;
    if (w->f->size >= 0 && (int64_t)piece.n > w->f->size - w->done) {
        return err_set(e, ERR_FORMAT, "more than the %lld bytes promised", (long long)w->f->size);
    }
    for (size_t at = 0; at < piece.n;) {
        ssize_t n = pwrite(w->fd, piece.p + at, piece.n - at, w->done + (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_errno(e, "cannot write %s", w->partial);
        at += (size_t)n;
    }
    w->done += (int64_t)piece.n;
    if (w->d->progress) w->d->progress(w->d->arg, (int64_t)piece.n);
    return w->hash ? hash_update(w->hash, piece, e) : OK;
}

typedef enum { TRY_DONE, TRY_AGAIN, TRY_FAILED } outcome;

static outcome judge(job *w, status rc, const fetch_response *r, err *e) {
    if (rc) return transient(r->failure) ? TRY_AGAIN : TRY_FAILED;
    if (r->code == 416) { // our part is longer than the file
        rc = restart(w, e);
        if (!rc) err_set(e, ERR_IO, "the part that was there is not of this file");
        return rc ? TRY_FAILED : TRY_AGAIN;
    }
    if (r->code / 100 != 2) {
        download_refusal(r, w->f->url, e);
        return later(r->code) ? TRY_AGAIN : TRY_FAILED;
    }
    if (w->f->size < 0 || w->done == w->f->size) return TRY_DONE;
    err_set(e, ERR_IO, "%lld bytes arrived, expected %lld", (long long)w->done,
            (long long)w->f->size);
    return TRY_AGAIN;
}

static outcome attempt(job *w, char *room, fetch_response *r, err *e) {
    char range[32];
    snprintf(range, sizeof range, "%lld-", (long long)w->done);
    fetch_request q = fetch_request_default();
    q.url = w->f->url;
    q.range = w->done ? range : NULL;
    q.sink = on_piece;
    q.sink_arg = w;
    q.response_max = INT64_MAX / 2; // on_piece knows better
    q.total_ms = 0;
    w->begun = false;
    return judge(w, send_following(w->d, &q, false, room, r, e), r, e);
}

static status fetch_all(job *w, err *e) {
    char *room = mem_alloc(FETCH_URL_MAX);
    if (!room) return err_set(e, ERR_OOM, "no memory for a URL");
    err why = {.code = OK};
    status rc = OK;
    for (int tries = 1, failures = 0; w->done != w->f->size; tries++) {
        fetch_response r;
        int64_t before = w->done;
        outcome o = attempt(w, room, &r, &why);
        failures = w->done > before ? 1 : failures + 1;
        bool over = failures > w->d->retries_max || tries == DOWNLOAD_ATTEMPTS_MAX;
        if (o == TRY_FAILED) rc = why.code;
        if (o == TRY_AGAIN && over) {
            rc = err_within(&why, why.code, "gave up after %d attempts", tries);
        } else if (o == TRY_AGAIN) {
            err waited = {.code = OK};
            rc = backoff(w->d, failures, &r, why.text, &waited);
            if (rc) why = waited;
        }
        fetch_response_deinit(&r);
        if (rc || o == TRY_DONE) break;
    }
    mem_free(room);
    return rc ? err_set(e, rc, "%s", why.text) : OK;
}

// Opens the partial file and takes up what is in it.
static status partial_open(job *w, err *e) {
    w->fd = open(w->partial, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (w->fd < 0) return err_errno(e, "cannot create %s", w->partial);
    if (flock(w->fd, LOCK_EX | LOCK_NB)) {
        return err_set(e, ERR_BUSY, "%s is being fetched by another process", w->f->path);
    }
    status rc = w->f->sha256 ? hash_open(&w->hash, e) : OK;
    if (rc) return rc;
    os_file_map map;
    rc = os_map_open(&map, w->partial, e);
    if (rc) return rc;
    w->done = (int64_t)map.data.n;
    w->resumed = w->done > 0;
    if (w->hash) rc = hash_update(w->hash, map.data, e);
    os_map_close(&map);
    if (rc) return rc;
    if (w->d->progress && w->done) w->d->progress(w->d->arg, w->done);
    // Without a digest nobody could tell a good part from a bad one.
    return !w->hash || (w->f->size >= 0 && w->done > w->f->size) ? restart(w, e) : OK;
}

static status digest_check(job *w, err *e) {
    uint8_t digest[SHA256_LEN];
    char hex[2 * SHA256_LEN + 1];
    status rc = w->hash ? hash_finish(w->hash, digest, e) : OK;
    if (rc || !w->hash) return rc;
    hex_encode(hex, digest, sizeof digest);
    if (strcmp(hex, w->f->sha256) == 0) return OK;
    return err_set(e, ERR_FORMAT, "SHA-256 is %s, expected %s", hex, w->f->sha256);
}

static status file_get(job *w, err *e) {
    status rc = fetch_all(w, e);
    if (rc) return rc;
    bool resumed = w->resumed;
    rc = digest_check(w, e);
    if (rc == ERR_FORMAT && resumed) { // the fault may be in the old part: once more from the start
        rc = restart(w, e);
        if (!rc) rc = fetch_all(w, e);
        if (!rc) rc = digest_check(w, e);
    }
    return rc;
}

static status file_finish(job *w, err *e) {
    if (fsync(w->fd)) return err_errno(e, "cannot sync %s", w->partial);
    if (rename(w->partial, w->f->path)) return err_errno(e, "cannot rename to %s", w->f->path);
    return OK;
}

status download_run(download *d, const download_file *f, err *e) {
    job w = {.d = d, .f = f, .fd = -1};
    int n = snprintf(w.partial, sizeof w.partial, "%s.incomplete", f->path);
    if (n < 0 || (size_t)n >= sizeof w.partial) {
        return err_set(e, ERR_LIMIT, "path of %d bytes, expected under %d", n, OS_PATH_MAX);
    }
    status rc = partial_open(&w, e);
    if (!rc) {
        rc = file_get(&w, e);
        if (!rc) rc = file_finish(&w, e);
        if (rc == ERR_FORMAT) unlink(w.partial);
    }
    hash_close(w.hash);
    if (w.fd >= 0) close(w.fd); // also gives the lock up
    return rc;
}
