// api_page.c - what is part of the program and never changes while it runs: the page and the API
// document. Each file is there plain and packed by gzip.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gen/page.h"
#include "service/api_inside.h"

// Where stems come from when they do not come through us: " https://account.blob.core.windows.net".
static void stem_origin(const api *a, char *out, size_t cap) {
    const char *place = blob_place(a->config.blobs), *host = strstr(place, "://");
    size_t n = host ? (size_t)(host - place) + 3 + strcspn(host + 3, "/") : 0;
    bool other = a->config.redirect && strcmp(blob_kind(a->config.blobs), "dir") != 0;
    snprintf(out, cap, "%s%.*s", other ? " " : "", other ? (int)n : 0, place);
}

// Accept-Encoding names gzip, and not with the weight 0 (RFC 9110, 12.5.3). "*" is no wish for it.
static bool takes_gzip(const http_request *q) {
    const char *s = http_header(q, "Accept-Encoding");
    for (; s && *s; s += strcspn(s, ","), s += *s == ',') {
        s += strspn(s, " \t");
        if (strncasecmp(s, "gzip", 4) != 0) continue;
        const char *rest = s + 4 + strspn(s + 4, " \t");
        if (*rest == 0 || *rest == ',') return true;
        if (*rest != ';') continue;
        rest += 1 + strspn(rest + 1, " \t");
        return strncasecmp(rest, "q=", 2) != 0 || strtod(rest + 2, NULL) > 0;
    }
    return false;
}

static void send_file(http_request *q, const embedded_file *f) {
    const char *have = http_header(q, "If-None-Match");
    bool packed = takes_gzip(q);
    char tag[40]; // of this form of the file
    snprintf(tag, sizeof tag, "\"%s%s\"", f->tag, packed ? "-gz" : "");
    http_add_header(q, "Cache-Control", "no-cache");
    http_add_header(q, "Vary", "Accept-Encoding");
    http_add_header(q, "ETag", tag);
    if (have && strstr(have, tag)) {
        http_reply(q, 304, NULL, (bytes){0});
        return;
    }
    if (packed) http_add_header(q, "Content-Encoding", "gzip");
    http_reply(q, 200, f->type, packed ? (bytes){f->gz, f->gz_n} : (bytes){f->p, f->n});
}

static const embedded_file *find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(page); i++)
        if (strcmp(page[i].name, name) == 0) return &page[i];
    return NULL;
}

void api_get_page_file(api *a, http_request *q, const char *name) {
    const embedded_file *f = find(name);
    if (!f) {
        http_reply_problem(q, 404, "not-found", "Not found", "the page has no such file", NULL);
        return;
    }
    char policy[900], origin[400];
    stem_origin(a, origin, sizeof origin);
    snprintf(policy, sizeof policy,
             "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
             "connect-src 'self'%s; base-uri 'none'; form-action 'none'; "
             "frame-ancestors 'none'; require-trusted-types-for 'script'",
             origin);
    http_add_header(q, "Content-Security-Policy", policy);
    http_add_header(q, "Referrer-Policy", "no-referrer");
    send_file(q, f);
}

void api_get_page(api *a, http_request *q, const char *unused) {
    (void)unused;
    api_get_page_file(a, q, "index.html");
}

void api_get_openapi(api *a, http_request *q, const char *unused) {
    (void)a;
    (void)unused;
    send_file(q, find("openapi.json"));
}

void api_get_openapi30(api *a, http_request *q, const char *unused) {
    (void)a;
    (void)unused;
    send_file(q, find("openapi-3.0.json"));
}
