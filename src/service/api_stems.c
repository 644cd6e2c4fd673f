// api_stems.c - the answers about finished stems: their sound, from whichever store, and its peaks.
#include <stdio.h>
#include <string.h>

#include "audio/peaks.h"
#include "base/mem.h"
#include "base/os.h"
#include "service/api_inside.h"
#include "service/stem_file.h"

#define PIECE ((int64_t)1 << 20)        // bytes asked of storage at once
#define SIGNED_MS ((int64_t)600 * 1000) // the life of a link that we redirect to
#define PEAKS_DEFAULT 2000
#define PEAKS_JSON_MAX ((size_t)128 << 10)
#define NO_STEM "there is no such stem of this job, or it is not finished"

static void reply_unread(http_request *q, status rc) {
    bool absent = rc == ERR_NOT_FOUND || rc == ERR_ARG;
    if (!absent) api_retry_after(q, API_RETRY_SECONDS);
    http_reply_problem(q, absent ? 404 : 503, absent ? "not-found" : "busy",
                       absent ? "Not found" : "Temporarily unable",
                       absent ? "storage has no such file" : "storage does not answer", NULL);
}

// --- the sound

static void send_file(api *a, http_request *q, const char *key) {
    int fd;
    err e;
    blob_info info = {0};
    status rc = blob_open_fd(a->config.blobs, key, &fd, &info, &e);
    if (rc) {
        reply_unread(q, rc == ERR_IO ? rc : ERR_NOT_FOUND);
        return;
    }
    http_add_header(q, "Cache-Control", "private, max-age=0, must-revalidate");
    http_reply_file(q, fd, STEM_FILE_TYPE);
}

// A part of a blob, piece by piece. What fails after the head is out cuts the answer.
static void pass_on(api *a, http_request *q, const char *key, int code, uint64_t first,
                    uint64_t count) {
    char name[BLOB_KEY_MAX + 1];
    snprintf(name, sizeof name, "%s", key); // key may go with q
    bool head = strcmp(http_method(q), "HEAD") == 0;
    http_stream *t = http_reply_stream_sized(q, code, STEM_FILE_TYPE, count);
    for (int64_t at = (int64_t)first, left = head ? 0 : (int64_t)count; t && left > 0;) {
        buf piece;
        buf_init(&piece, (size_t)PIECE);
        status rc = blob_get(a->config.blobs, name, at, MIN(left, PIECE), &piece, NULL);
        bool sent = !rc && piece.n && http_stream_wait(t) && http_stream_send(t, buf_bytes(&piece));
        at += (int64_t)piece.n;
        left -= (int64_t)piece.n;
        buf_deinit(&piece);
        if (!sent) break;
    }
    http_stream_end(t);
}

static void send_blob(api *a, http_request *q, const char *key) {
    blob_info info;
    err e;
    status rc = blob_head(a->config.blobs, key, &info, &e);
    if (rc) {
        reply_unread(q, rc);
        return;
    }
    char text[80];
    uint64_t size = (uint64_t)info.size, first = 0, count = size;
    const char *have = http_header(q, "If-None-Match"), *if_range = http_header(q, "If-Range");
    http_add_header(q, "Cache-Control", "private, max-age=0, must-revalidate");
    http_add_header(q, "Accept-Ranges", "bytes");
    if (info.etag[0]) http_add_header(q, "ETag", info.etag);
    if (have && info.etag[0] && strstr(have, info.etag)) {
        http_reply(q, 304, NULL, (bytes){0});
        return;
    }
    http_range_kind kind = HTTP_RANGE_NONE;
    if (!if_range || strcmp(if_range, info.etag) == 0)
        kind = http_range_parse(http_header(q, "Range"), size, &first, &count);
    if (kind == HTTP_RANGE_UNSATISFIABLE)
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)size);
    else
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)first,
                 (unsigned long long)(first + count - 1), (unsigned long long)size);
    if (kind != HTTP_RANGE_NONE) http_add_header(q, "Content-Range", text);
    if (kind == HTTP_RANGE_UNSATISFIABLE)
        http_reply_problem(q, 416, "range", "Range not satisfiable", NULL, NULL);
    else
        pass_on(a, q, key, kind == HTTP_RANGE_OK ? 206 : 200, first, count);
}

// False: this store cannot sign, so the bytes go through us.
static bool send_elsewhere(api *a, http_request *q, const char *key) {
    char url[BLOB_URL_MAX];
    if (!a->config.redirect ||
        blob_sign(a->config.blobs, key, os_time_ms(), SIGNED_MS, url, sizeof url, NULL))
        return false;
    http_add_header(q, "Location", url);
    http_add_header(q, "Cache-Control", "no-store");
    http_reply(q, 302, NULL, (bytes){0});
    return true;
}

static void send_stem(api *a, http_request *q, const char *key) {
    if (strcmp(blob_kind(a->config.blobs), "dir") == 0) {
        send_file(a, q, key);
    } else if (!send_elsewhere(a, q, key) && api_enter_reader(a, q)) {
        send_blob(a, q, key);
        api_leave_reader(a);
    }
}

void api_get_file(api *a, http_request *q, const char *key) {
    if (strcmp(blob_kind(a->config.blobs), "dir") != 0 || !stem_file_is_key(key))
        http_reply_problem(q, 404, "not-found", "Not found", "no such file here", NULL);
    else
        send_file(a, q, key);
}

// --- the peaks

typedef struct {
    blob_store *blobs;
    const char *key;
} blob_place_of;

static status read_blob(void *arg, int64_t offset, int64_t n, buf *out, err *e) {
    const blob_place_of *p = arg;
    return blob_get(p->blobs, p->key, offset, n, out, e);
}

// The JSON of audiowaveform, which drawing libraries read: pairs of lowest and highest.
static void reply_peaks(http_request *q, const peaks *k) {
    buf b;
    buf_init(&b, PEAKS_JSON_MAX);
    buf_printf(&b,
               "{\"version\":2,\"channels\":1,\"sample_rate\":%d,\"samples_per_pixel\":%lld,"
               "\"bits\":8,\"length\":%zu,\"frames\":%lld,\"data\":[",
               k->rate, (long long)k->span, k->count, (long long)k->frames);
    for (size_t i = 0; i < k->count; i++)
        buf_printf(&b, "%s%d,%d", i ? "," : "", k->pair[i].low, k->pair[i].high);
    buf_add_str(&b, "]}");
    if (b.failed)
        http_reply_problem(q, 503, "busy", "Out of memory", NULL, NULL);
    else
        http_reply(q, 200, API_JSON_TYPE, buf_bytes(&b));
    buf_deinit(&b);
}

static void send_peaks(api *a, http_request *q, const char *key) {
    blob_place_of place = {a->config.blobs, key};
    peaks *k = mem_alloc(sizeof *k);
    err e;
    status rc = k ? peaks_of_wav(k, read_blob, &place, PEAKS_DEFAULT, &e) : ERR_OOM;
    if (rc)
        reply_unread(q, rc == ERR_FORMAT ? ERR_NOT_FOUND : rc);
    else
        reply_peaks(q, k);
    mem_free(k);
}

// --- which stem

// The part of the file's name before its end, when the job has a finished stem that it belongs to:
// "bass", and "bass.2" of "bass". NULL: there is none.
static const job_stem *find_stem(const job *j, const char *name) {
    for (size_t i = 0; i < j->stem_count; i++) {
        size_t n = strlen(j->stems[i].name);
        bool own = strncmp(name, j->stems[i].name, n) == 0 && (!name[n] || strchr("._-", name[n]));
        if (own && j->stems[i].done) return &j->stems[i];
    }
    return NULL;
}

// Cuts the end off a file's name. False: it has another one.
static bool cut_end(char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    if (n <= m || strcmp(name + n - m, end) != 0) return false;
    name[n - m] = 0;
    return true;
}

// The validator of what is made of a stem: its MD5, which the store has told.
static bool unchanged(http_request *q, const job_stem *s) {
    char tag[40];
    if (!s->result.md5[0]) return false;
    snprintf(tag, sizeof tag, "\"%s\"", s->result.md5);
    http_add_header(q, "ETag", tag);
    http_add_header(q, "Cache-Control", "private, max-age=0, must-revalidate");
    const char *have = http_header(q, "If-None-Match");
    return have && strstr(have, tag);
}

void api_get_stem(api *a, http_request *q, const char *id) {
    char name[REQUEST_ID_MAX + 1], key[BLOB_KEY_MAX + 1];
    const char *last = strrchr(http_path(q), '/') + 1;
    job j = {0};
    if (!api_find_job(a, q, id, &j)) return;
    snprintf(name, sizeof name, "%s", last);
    bool drawn = cut_end(name, ".peaks");
    bool known = (drawn || cut_end(name, "." STEM_FILE_FORMAT)) && request_id_ok(name);
    const job_stem *s = known ? find_stem(&j, name) : NULL;
    if (s) stem_file_other_key(key, sizeof key, s->result.key, name + strlen(s->name));
    if (!s) {
        http_reply_problem(q, 404, "not-found", "Not found", NO_STEM, NULL);
    } else if (!drawn) {
        send_stem(a, q, key);
    } else if (strcmp(name, s->name) == 0 && unchanged(q, s)) {
        http_reply(q, 304, NULL, (bytes){0});
    } else if (api_enter_reader(a, q)) {
        send_peaks(a, q, key);
        api_leave_reader(a);
    }
    job_deinit(&j);
}
