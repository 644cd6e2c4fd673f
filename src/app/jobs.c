// jobs.c - `stemforge jobs` and `stemforge health`: a running server, asked from the shell.
//
// They speak to the server over HTTP, since it alone has the database. Address and key come from
// the same settings (LISTEN_ADDR, PORT, API_KEYS), so inside the container they need no arguments.
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/config.h"
#include "base/buf.h"
#include "base/json.h"
#include "net/fetch.h"

#define ANSWER_MAX ((int64_t)8 << 20)

typedef struct {
    char base[320], bearer[300];
    bool json;
    fetch_client *client;
} caller;

// The server's address as this machine reaches it.
static void address(const config *c, const char *url, char *out, size_t cap) {
    const char *host = c->listen_addr;
    if (strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0) host = "127.0.0.1";
    if (strcmp(host, "[::]") == 0) host = "[::1]";
    if (url)
        snprintf(out, cap, "%s", url);
    else
        snprintf(out, cap, "http://%.250s:%lld", host, (long long)c->port);
}

static status caller_open(caller *k, const char *url, err *e) {
    config c;
    char *none[] = {NULL};
    status rc = config_load(&c, 0, none, e);
    if (!rc) {
        address(&c, url, k->base, sizeof k->base);
        size_t n = strcspn(c.api_keys, ",");
        if (n) snprintf(k->bearer, sizeof k->bearer, "Bearer %.*s", (int)MIN(n, 256), c.api_keys);
        rc = fetch_client_open(&k->client, e);
    }
    config_deinit(&c);
    return rc;
}

// Prints the answer or what went wrong. *out (may be NULL) gets the parsed answer of a 2xx.
static int ask(caller *k, const char *method, const char *path, json **out) {
    char url[900];
    err e;
    snprintf(url, sizeof url, "%s%s", k->base, path);
    fetch_header key = {"Authorization", k->bearer};
    fetch_request q = fetch_request_default();
    q.method = method;
    q.url = url;
    q.headers = &key;
    q.header_count = k->bearer[0] ? 1 : 0;
    q.connect_ms = 3000;
    q.total_ms = 15000;
    q.response_max = ANSWER_MAX;
    fetch_response r = {0};
    int result = 1;
    json *j = NULL;
    if (fetch_send(k->client, &q, &r, &e)) {
        fprintf(stderr, "stemforge: %s: %s\n", k->base, e.text);
    } else {
        result = r.code >= 200 && r.code < 300 ? 0 : 1;
        if (r.body.n) json_parse(&j, buf_bytes(&r.body), (size_t)ANSWER_MAX, NULL);
        const char *title = json_str_value(json_find(j, "title"));
        const char *detail = json_str_value(json_find(j, "detail"));
        if (result && title) {
            fprintf(stderr, "stemforge: %d %s%s%s\n", r.code, title, detail ? ": " : "",
                    detail ? detail : "");
        } else if (result && !out) {
            fprintf(stderr, "stemforge: %d\n", r.code);
        }
    }
    fetch_response_deinit(&r);
    if (out)
        *out = j;
    else
        json_free(j);
    return result;
}

static void print_json(const json *j) {
    buf b;
    buf_init(&b, (size_t)ANSWER_MAX);
    if (j && json_write(&b, j, JSON_PRETTY, NULL) == OK) printf("%s\n", buf_str(&b));
    buf_deinit(&b);
}

static const char *text_of(const json *j, const char *name) {
    const char *s = json_str_value(json_find(j, name));
    return s ? s : "-";
}

static void print_table(const json *answer) {
    const json *list = json_find(answer, "jobs");
    printf("%-36s %-10s %5s %5s  %-24s %s\n", "ID", "STATUS", "DONE", "STEMS", "CREATED",
           "CALLBACK");
    for (size_t i = 0; i < json_len(list); i++) {
        const json *j = json_at(list, i);
        printf("%-36s %-10s %4.0f%% %5lld  %-24s %s\n", text_of(j, "generation_request_id"),
               text_of(j, "status"), 100 * json_num_value(json_find(j, "progress")),
               (long long)json_int_value(json_find(j, "stem_count")), text_of(j, "created_at"),
               text_of(j, "callback_state"));
    }
    const json *next = json_find(answer, "next");
    if (json_is_int(next)) printf("more: --after %lld\n", (long long)json_int_value(next));
}

static void usage(FILE *to) {
    fputs("usage: stemforge jobs [--url URL] [--json] [--status STATE] [--limit N] [--after N]\n"
          "       stemforge jobs [--url URL] show ID | cancel ID | delete ID | redeliver ID\n\n"
          "Asks the running server (LISTEN_ADDR, PORT and API_KEYS as for serve) about its jobs.\n"
          "STATE is queued, processing, completed, failed or canceled.\n",
          to);
}

typedef struct {
    const char *url, *status, *limit, *after, *verb, *id;
    bool json, help;
} words;

static bool parse(words *w, int argc, char **argv) {
    static const char *const names[] = {"--url", "--status", "--limit", "--after"};
    const char **const to[] = {&w->url, &w->status, &w->limit, &w->after};
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(names) && strcmp(names[k], argv[i]) != 0) k++;
        if (k < ARRAY_LEN(names)) {
            if (++i == argc) return false;
            *to[k] = argv[i];
        } else if (strcmp(argv[i], "--json") == 0) {
            w->json = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            w->help = true;
        } else if (argv[i][0] == '-' || (w->verb && w->id)) {
            return false;
        } else if (!w->verb) {
            w->verb = argv[i];
        } else {
            w->id = argv[i];
        }
    }
    return !w->verb || w->id || strcmp(w->verb, "list") == 0;
}

static int list(caller *k, const words *w) {
    buf path;
    buf_init(&path, 400);
    buf_printf(&path, "/jobs?limit=");
    fetch_escape(&path, bytes_of(w->limit ? w->limit : "50"), "");
    if (w->status) buf_add_str(&path, "&status="), fetch_escape(&path, bytes_of(w->status), "");
    if (w->after) buf_add_str(&path, "&after="), fetch_escape(&path, bytes_of(w->after), "");
    json *j = NULL;
    int result = ask(k, "GET", buf_str(&path), &j);
    if (!result && w->json) print_json(j);
    if (!result && !w->json) print_table(j);
    json_free(j);
    buf_deinit(&path);
    return result;
}

static int one(caller *k, const words *w) {
    static const struct {
        const char *verb, *method, *tail;
    } verbs[] = {{"show", "GET", ""},
                 {"cancel", "POST", "/cancel"},
                 {"delete", "DELETE", ""},
                 {"redeliver", "POST", "/redeliver"}};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].verb, w->verb) != 0) continue;
        buf path;
        buf_init(&path, 600);
        buf_add_str(&path, "/jobs/");
        fetch_escape(&path, bytes_of(w->id), "");
        buf_add_str(&path, verbs[i].tail);
        json *j = NULL;
        int result = ask(k, verbs[i].method, buf_str(&path), &j);
        if (!result && j) print_json(j);
        json_free(j);
        buf_deinit(&path);
        return result;
    }
    usage(stderr);
    return EXIT_USAGE;
}

int jobs_main(int argc, char **argv) {
    words w = {0};
    if (!parse(&w, argc, argv)) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (w.help) {
        usage(stdout);
        return 0;
    }
    caller k = {0};
    err e;
    int result = 1;
    if (caller_open(&k, w.url, &e))
        fprintf(stderr, "stemforge jobs: %s\n", e.text);
    else
        result = w.id ? one(&k, &w) : list(&k, &w);
    fetch_client_close(k.client);
    return result;
}

int health_main(int argc, char **argv) {
    words w = {0};
    if (!parse(&w, argc, argv) || w.verb || w.help) {
        fputs("usage: stemforge health [--url URL]\n\nEnds with 0 when the server is healthy.\n",
              w.help ? stdout : stderr);
        return w.help ? 0 : EXIT_USAGE;
    }
    caller k = {0};
    err e;
    int result = 1;
    if (caller_open(&k, w.url, &e)) {
        fprintf(stderr, "stemforge health: %s\n", e.text);
    } else {
        json *j = NULL;
        result = ask(&k, "GET", "/health", &j);
        printf("%s\n", text_of(j, "status"));
        json_free(j);
    }
    fetch_client_close(k.client);
    return result;
}
