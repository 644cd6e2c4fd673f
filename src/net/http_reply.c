// http_reply.c - finished answers: bytes, problems, files with ranges.
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/http_server_inside.h"

void http_add_header(http_request *q, const char *name, const char *value) {
    assert(q->header_count < HTTP_REPLY_HEADERS_MAX);
    char *copy = mem_strdup(value);
    if (!copy) return;
    q->headers[q->header_count].name = name;
    q->headers[q->header_count++].value = copy;
}

void http_answer(http_request *q, int code, struct MHD_Response *r, uint64_t size) {
    for (int i = 0; r && i < q->header_count; i++) {
        MHD_add_response_header(r, q->headers[i].name, q->headers[i].value);
    }
    if (r) MHD_add_response_header(r, "X-Request-Id", q->id);
    if (r) MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    q->response = r;
    q->status = code;
    q->response_size = size;
    if (q->quick) return;
    http_server *s = q->server;
    MHD_resume_connection(q->mhd); // without a response the connection is closed (on_request)
    pthread_mutex_lock(&s->mu);
    if (--s->unanswered == 0) pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->mu);
}

void http_type_header(struct MHD_Response *r, const char *type) {
    if (r && type) MHD_add_response_header(r, "Content-Type", type);
}

void http_reply(http_request *q, int code, const char *type, bytes body) {
    struct MHD_Response *r =
        MHD_create_response_from_buffer(body.n, (void *)body.p, MHD_RESPMEM_MUST_COPY);
    http_type_header(r, type);
    http_answer(q, code, r, body.n);
}

json *http_problem(const http_request *q, int code, const char *kind, const char *title,
                   const char *detail, json *errors) {
    char urn[96];
    snprintf(urn, sizeof urn, "urn:stemforge:problem:%s", kind);
    json *j = json_new_object();
    json_set_str(j, "type", urn);
    json_set_str(j, "title", title);
    json_set_int(j, "status", code);
    if (detail) json_set_str(j, "detail", detail);
    json_set_str(j, "instance", q->id);
    if (errors) json_set(j, "errors", errors);
    return j;
}

void http_reply_problem(http_request *q, int code, const char *kind, const char *title,
                        const char *detail, json *errors) {
    json *j = http_problem(q, code, kind, title, detail, errors);
    buf b;
    buf_init(&b, (size_t)64 << 10);
    json_write(&b, j, JSON_TIGHT, NULL);
    json_free(j);
    http_reply(q, code, "application/problem+json", buf_bytes(&b));
    buf_deinit(&b);
}

static bool digits(const char **p, uint64_t *out) {
    const char *s = *p;
    uint64_t v = 0;
    for (; *s >= '0' && *s <= '9'; s++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *s - '0', &v))
            return false;
    }
    if (s == *p) return false;
    *p = s;
    *out = v;
    return true;
}

http_range_kind http_range_parse(const char *header, uint64_t size, uint64_t *first,
                                 uint64_t *count) {
    if (!header || strncasecmp(header, "bytes=", 6) != 0) return HTTP_RANGE_NONE;
    const char *p = header + 6;
    uint64_t a = 0, b = 0;
    if (*p == '-') {
        p++;
        if (!digits(&p, &b) || *p) return HTTP_RANGE_NONE;
        if (b == 0 || size == 0) return HTTP_RANGE_UNSATISFIABLE;
        *count = MIN(b, size);
        *first = size - *count;
        return HTTP_RANGE_OK;
    }
    if (!digits(&p, &a) || *p++ != '-') return HTTP_RANGE_NONE;
    if (!*p) {
        b = UINT64_MAX;
    } else if (!digits(&p, &b) || *p || b < a) {
        return HTTP_RANGE_NONE;
    }
    if (a >= size) return HTTP_RANGE_UNSATISFIABLE;
    *first = a;
    *count = MIN(b, size - 1) - a + 1;
    return HTTP_RANGE_OK;
}

void http_reply_file(http_request *q, int fd, const char *type) {
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        http_reply_problem(q, 404, "not-found", "Not found", NULL, NULL);
        return;
    }
    uint64_t size = (uint64_t)st.st_size, first = 0, count = size;
    char tag[64], text[96];
    snprintf(tag, sizeof tag, "\"%llx-%llx-%lx\"", (unsigned long long)size,
             (unsigned long long)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
    http_add_header(q, "ETag", tag);
    http_add_header(q, "Accept-Ranges", "bytes");
    const char *have = http_header(q, "If-None-Match"), *if_range = http_header(q, "If-Range");
    if (have && strstr(have, tag)) {
        close(fd);
        http_reply(q, 304, NULL, (bytes){0});
        return;
    }
    http_range_kind kind = HTTP_RANGE_NONE;
    if (!if_range || strcmp(if_range, tag) == 0)
        kind = http_range_parse(http_header(q, "Range"), size, &first, &count);
    if (kind == HTTP_RANGE_UNSATISFIABLE) {
        close(fd);
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)size);
        http_add_header(q, "Content-Range", text);
        http_reply_problem(q, 416, "range", "Range not satisfiable", NULL, NULL);
        return;
    }
    if (kind == HTTP_RANGE_OK) {
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)first,
                 (unsigned long long)(first + count - 1), (unsigned long long)size);
        http_add_header(q, "Content-Range", text);
    }
    struct MHD_Response *r = MHD_create_response_from_fd_at_offset64(count, fd, first);
    if (!r) close(fd);
    http_type_header(r, type);
    http_answer(q, kind == HTTP_RANGE_OK ? 206 : 200, r, count);
}
