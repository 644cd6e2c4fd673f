// jobs.c - `stemforge jobs` and `stemforge health`: a running server, asked from the shell.
//
// They speak to the server over HTTP, since it alone has the database. Address and key come from
// the same settings (LISTEN_ADDR, PORT, API_KEYS), so inside the container they need no arguments.
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/config.h"
#include "base/buf.h"
#include "base/json.h"
#include "net/fetch.h"

#define ANSWER_MAX ((int64_t)8 << 20)

typedef struct {
    char base[700], bearer[300];
    bool json;
    unsigned scope;
    fetch_client *client;
} caller;

// The server's address as this machine reaches it: any of all addresses is 127.0.0.1, which a
// server that listens on :: takes too. An address of IPv6 is in brackets in a URL, and its zone
// ("fe80::1%eth0") is not part of it.
static void address(const config *c, caller *k) {
    static const char *const all[] = {"*", "0.0.0.0", "::", "[::]"};
    const char *host = c->listen_addr;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (strcmp(host, all[i]) == 0) host = "127.0.0.1";
    }
    bool v6 = strchr(host, ':') != NULL;
    if (*host == '[') host++;
    size_t n = strcspn(host, v6 ? "%]" : "");
    snprintf(k->base, sizeof k->base, "http://%s%.*s%s:%lld", v6 ? "[" : "",
             (int)MIN(n, (size_t)250), host, v6 ? "]" : "", (long long)c->port);
    char zone[IF_NAMESIZE] = "";
    if (v6 && host[n] == '%')
        snprintf(zone, sizeof zone, "%.*s", (int)MIN(strcspn(host + n + 1, "]"), sizeof zone - 1),
                 host + n + 1);
    k->scope = if_nametoindex(zone);
    if (!k->scope) k->scope = (unsigned)strtoul(zone, NULL, 10);
}

static status caller_open(caller *k, const char *url, err *e) {
    config c;
    config_report r;
    config_report_init(&r);
    config_load_listening(&c, &r);
    const char *wrong = buf_str(&r.faults);
    status rc = OK;
    if (*wrong) {
        rc = err_set(e, ERR_ARG, "%.*s", (int)strcspn(wrong, "\n"), wrong);
    } else {
        if (url)
            snprintf(k->base, sizeof k->base, "%s", url);
        else
            address(&c, k);
        size_t n = strcspn(c.api_keys, ",");
        if (n) snprintf(k->bearer, sizeof k->bearer, "Bearer %.*s", (int)MIN(n, 256), c.api_keys);
        rc = fetch_client_open(&k->client, e);
    }
    config_deinit(&c);
    config_report_deinit(&r);
    return rc;
}

// Prints the answer or what went wrong. *out (may be NULL) gets the parsed answer of a 2xx.
static int ask(caller *k, const char *method, const char *path, json **out) {
    char url[1400];
    err e;
    snprintf(url, sizeof url, "%s%s", k->base, path);
    fetch_header key = {"Authorization", k->bearer};
    fetch_request q = fetch_request_default();
    q.method = method;
    q.url = url;
    q.headers = &key;
    q.header_count = k->bearer[0] ? 1 : 0;
    q.scope = k->scope;
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

static int print_json(const json *j) {
    err e;
    if (json_print(j, JSON_PRETTY, &e) == OK) return 0;
    fprintf(stderr, "stemforge: %s\n", e.text);
    return 1;
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

typedef struct {
    const char *url, *state, *verb, *id;
    int64_t limit, after;
    bool json;
} words;

static int list(caller *k, const words *w) {
    buf path;
    buf_init(&path, 400);
    buf_printf(&path, "/jobs?limit=%lld", (long long)w->limit);
    if (w->state) buf_add_str(&path, "&status="), fetch_escape(&path, bytes_of(w->state), "");
    if (w->after) buf_printf(&path, "&after=%lld", (long long)w->after);
    json *j = NULL;
    int result = ask(k, "GET", buf_str(&path), &j);
    if (!result && w->json)
        result = print_json(j);
    else if (!result)
        print_table(j);
    json_free(j);
    buf_deinit(&path);
    return result;
}

static const struct {
    const char *verb, *method, *tail;
} verbs[] = {{"show", "GET", ""},
             {"cancel", "POST", "/cancel"},
             {"delete", "DELETE", ""},
             {"redeliver", "POST", "/redeliver"}};

static size_t verb_index(const char *verb) {
    size_t i = 0;
    while (i < ARRAY_LEN(verbs) && strcmp(verbs[i].verb, verb) != 0) i++;
    return i;
}

static int one(caller *k, const words *w) {
    size_t v = verb_index(w->verb);
    buf path;
    buf_init(&path, 600);
    buf_add_str(&path, "/jobs/");
    fetch_escape(&path, bytes_of(w->id), "");
    buf_add_str(&path, verbs[v].tail);
    json *j = NULL;
    int result = ask(k, verbs[v].method, buf_str(&path), &j);
    if (!result && j) result = print_json(j);
    json_free(j);
    buf_deinit(&path);
    return result;
}

// Runs a question against the server. Returns the exit status.
static int with_server(const char *command, int (*question)(caller *, const words *),
                       const words *w) {
    caller k = {0};
    err e;
    int result = 1;
    if (caller_open(&k, w->url, &e))
        fprintf(stderr, "stemforge %s: %s\n", command, e.text);
    else
        result = question(&k, w);
    fetch_client_close(k.client);
    return result;
}

static const char *const url_help = "the server; default: LISTEN_ADDR and PORT, as serve has them";

static bool verb_is_whole(const words *w) {
    if (!w->verb || (strcmp(w->verb, "list") == 0 && !w->id)) return true;
    if (w->id && verb_index(w->verb) < ARRAY_LEN(verbs)) return true;
    fprintf(stderr,
            "stemforge jobs: expected list, or show, cancel, delete or redeliver with the ID of a "
            "job, found %s%s%s\n",
            w->verb, w->id ? " " : "", w->id ? w->id : "");
    return false;
}

int jobs_main(int argc, char **argv) {
    words w = {.limit = 50};
    const arg_option table[] = {
        {"url", ARG_STR, &w.url, 0, 0, "URL", url_help, NULL},
        {"json", ARG_FLAG, &w.json, 0, 0, NULL, "the list in JSON", NULL},
        {"status", ARG_STR, &w.state, 0, 0, "STATE:queued|processing|completed|failed|canceled",
         "only such jobs", NULL},
        {"limit", ARG_INT, &w.limit, 1, 500, "N", "jobs in a list; default 50", NULL},
        {"after", ARG_INT, &w.after, 0, (double)(1LL << 53), "N", "goes on where a list ended",
         NULL},
    };
    const arg_command c = {"jobs",
                           "[list | show ID | cancel ID | delete ID | redeliver ID] [options]",
                           "asks the running server about its jobs, with the first of API_KEYS",
                           table,
                           ARRAY_LEN(table),
                           "  stemforge jobs --status failed\n"
                           "  stemforge jobs redeliver 7d6b0f5e-order-12\n",
                           0,
                           2};
    const char *positional[2] = {NULL, NULL};
    int n, code;
    if (args_parse(&c, argc, argv, positional, &n, &code)) return code;
    w.verb = positional[0];
    w.id = positional[1];
    if (!verb_is_whole(&w)) return EXIT_USAGE;
    return with_server("jobs", w.id ? one : list, &w);
}

static int health(caller *k, const words *w) {
    (void)w;
    json *j = NULL;
    int result = ask(k, "GET", "/health", &j);
    printf("%s\n", text_of(j, "status"));
    json_free(j);
    return result;
}

int health_main(int argc, char **argv) {
    words w = {0};
    const arg_option table[] = {{"url", ARG_STR, &w.url, 0, 0, "URL", url_help, NULL}};
    const arg_command c = {"health",
                           "[--url URL]",
                           "ends with 0 when the server is healthy",
                           table,
                           ARRAY_LEN(table),
                           "  stemforge health || echo \"not now\"\n"
                           "  stemforge health --url http://10.0.0.7:8080\n",
                           0,
                           0};
    int n, code;
    if (args_parse(&c, argc, argv, NULL, &n, &code)) return code;
    return with_server("health", health, &w);
}
