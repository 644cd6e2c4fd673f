// config.c - see config.h.
#include "app/config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/near.h"
#include "base/os.h"
#include "stemforge.h"

#define NAME_MAX_ 48
#define SECRET_FILE_MAX ((size_t)64 << 10)

typedef enum { STR, SECRET, BOOL, INT, NUM, TITLE } kind;

typedef struct {
    const char *name; // of the environment; the flag is --name with dashes; TITLE: a heading
    kind kind;
    size_t field;
    double lo, hi;
    const char *preset; // "": none
    const char *help;
} option;

#define FIELD(f) offsetof(config, f)
static const option table[] = {
    {"The contract's", TITLE, 0, 0, 0, "", ""},
    {"AZURE_STORAGE_CONNECTION_STRING", SECRET, FIELD(azure_connection), 0, 0, "",
     "Azure Blob Storage or Azurite; unset: a local directory"},
    {"BLOB_CONTAINER_NAME", STR, FIELD(container), 0, 0, "audio-files",
     "container; created when missing"},
    {"USE_GPU", BOOL, FIELD(use_gpu), 0, 0, "false",
     "true: a CUDA device, and an error at start-up if there is none"},
    {"WORKERS", INT, FIELD(workers), 1, 64, "1",
     "jobs that run at once; their stems share the running step"},
    {"Model", TITLE, 0, 0, 0, "", ""},
    {"MODEL", STR, FIELD(model), 0, 0, "models/stemforge-mini",
     "a model folder, or ORG/NAME in the Hugging Face cache"},
    {"MODEL_WEIGHTS", STR, FIELD(weights), 0, 0, "stored",
     "how weights are kept: stored, f32, bf16, q8 or q4"},
    {"MODEL_THREADS", INT, FIELD(threads), 0, 1024, "0",
     "threads that compute; 0: one a processor"},
    {"BATCH_MAX", INT, FIELD(batch_max), 0, 256, "0",
     "stems in the running step at most; 0: the engine's default"},
    {"BATCH_MEMORY_MB", INT, FIELD(memory_max_mb), 0, 1048576, "0",
     "memory of running stems at most; 0: no limit"},
    {"Listening", TITLE, 0, 0, 0, "", ""},
    {"LISTEN_ADDR", STR, FIELD(listen_addr), 0, 0, "127.0.0.1",
     "address to listen on; * for all (the container image sets 0.0.0.0)"},
    {"PORT", INT, FIELD(port), 1, 65535, "8080", "port to listen on"},
    {"PUBLIC_URL", STR, FIELD(public_url), 0, 0, "",
     "how clients reach this server, for blob_url of local files; unset: http://127.0.0.1:PORT"},
    {"API_KEYS", SECRET, FIELD(api_keys), 0, 0, "",
     "comma-separated; set: Authorization: Bearer or X-Api-Key is required"},
    {"HTTP_THREADS", INT, FIELD(http_threads), 1, 256, "16", "threads that answer requests"},
    {"HTTP_BODY_MAX", INT, FIELD(body_max), 1024, 262144, "65536", "bytes of a body; more is 413"},
    {"HTTP_HEAD_MAX", INT, FIELD(head_max), 2048, 262144, "16384",
     "bytes of a request's line and headers; more is 431"},
    {"HTTP_CONNECTIONS_MAX", INT, FIELD(connections_max), 4, 60000, "1024", "open connections"},
    {"HTTP_CLIENT_CONNECTIONS_MAX", INT, FIELD(client_max), 0, 60000, "768",
     "open connections of one address; 0: no limit of its own"},
    {"HTTP_HEAD_SECONDS", NUM, FIELD(head_seconds), 0.1, 3600, "10",
     "for a new connection to send its first request's head"},
    {"HTTP_BODY_SECONDS", NUM, FIELD(body_seconds), 0.1, 3600, "20", "for a body to arrive"},
    {"HTTP_IDLE_SECONDS", NUM, FIELD(idle_seconds), 1, 3600, "60",
     "between requests, and without progress while an answer is read"},
    {"Jobs", TITLE, 0, 0, 0, "", ""},
    {"DATA_DIR", STR, FIELD(data_dir), 0, 0, "stemforge-data",
     "holds the database and, unless said otherwise, the stems"},
    {"DATABASE", STR, FIELD(database), 0, 0, "", "the job database; unset: DATA_DIR/jobs.db"},
    {"QUEUE_MAX", INT, FIELD(queue_max), 1, 1000000, "1000", "waiting jobs before 429"},
    {"DURATION_MAX_SECONDS", NUM, FIELD(duration_max), 0.1, 600, "300", "longest stem accepted"},
    {"JOB_LEASE_SECONDS", NUM, FIELD(lease_seconds), 1, 3600, "60",
     "a worker that is silent for so long loses its job to another"},
    {"JOB_TIMEOUT_SECONDS", NUM, FIELD(job_timeout), 1, 604800, "3600",
     "a job that runs longer fails"},
    {"JOB_MAX_ATTEMPTS", INT, FIELD(attempts_max), 0, 1000, "5",
     "claims without a finished stem before a job fails; 0: no limit"},
    {"JOB_RETENTION_DAYS", NUM, FIELD(retention_days), 0, 36500, "7",
     "ended jobs are forgotten after this; 0: never"},
    {"SHUTDOWN_GRACE_SECONDS", NUM, FIELD(grace_seconds), 0, 86400, "30",
     "after SIGTERM: for running jobs to end and callbacks to go out; then jobs are given back"},
    {"Storage", TITLE, 0, 0, 0, "", ""},
    {"STORAGE_DIR", STR, FIELD(storage_dir), 0, 0, "",
     "stems, when they are kept locally; unset: DATA_DIR/files"},
    {"STORAGE_WAIT_SECONDS", NUM, FIELD(storage_wait), 0, 2592000, "86400",
     "a finished stem waits so long for storage to come back, then its job fails"},
    {"STORAGE_CHECK_SECONDS", NUM, FIELD(storage_check), 0.1, 3600, "10",
     "between checks whether storage answers"},
    {"STORAGE_CA_FILE", STR, FIELD(storage_ca), 0, 0, "", "PEM roots instead of the system's"},
    {"AZURE_STORAGE_ACCOUNT", STR, FIELD(azure_account), 0, 0, "",
     "without a connection string: managed or workload identity for this account"},
    {"BLOB_URL_SAS_HOURS", INT, FIELD(sas_hours), 0, 8760, "0",
     "blob_url carries a signature for reading that lasts so long; 0: plain URL"},
    {"Callbacks", TITLE, 0, 0, 0, "", ""},
    {"CALLBACK_SECRET", SECRET, FIELD(secret), 0, 0, "",
     "whsec_...: callbacks are signed as Standard Webhooks say"},
    {"CALLBACK_SECRET_OLD", SECRET, FIELD(secret_old), 0, 0, "",
     "signs a second time while receivers change over"},
    {"CALLBACK_ALLOWED_ORIGINS", STR, FIELD(allowed_origins), 0, 0, "",
     "comma-separated, like https://api.example.com; set: only these, and they may be private"},
    {"CALLBACK_ALLOW_PRIVATE", BOOL, FIELD(allow_private), 0, 0, "true",
     "without a list: whether callbacks may go to private addresses"},
    {"CALLBACK_TIMEOUT_SECONDS", NUM, FIELD(callback_timeout), 0.1, 300, "15", "for one attempt"},
    {"CALLBACK_MAX_ATTEMPTS", INT, FIELD(callback_attempts), 1, 10000, "40",
     "then the callback is kept as dead, to be sent again by hand"},
    {"CALLBACK_FIRST_DELAY_SECONDS", NUM, FIELD(callback_first), 0.01, 3600, "5",
     "delay n is drawn from 0 to first * 2^n"},
    {"CALLBACK_MAX_DELAY_SECONDS", NUM, FIELD(callback_cap), 0.01, 604800, "14400",
     "and from 0 to this at most"},
    {"CALLBACK_THREADS", INT, FIELD(callback_threads), 1, 64, "4", "callbacks sent at once"},
    {"CALLBACK_CA_FILE", STR, FIELD(callback_ca), 0, 0, "", "PEM roots instead of the system's"},
    {"Logs", TITLE, 0, 0, 0, "", ""},
    {"LOG_LEVEL", STR, FIELD(log_level), 0, 0, "info", "error, warn, info or debug"},
    {"LOG_FORMAT", STR, FIELD(log_format), 0, 0, "text", "text or json"},
};

static void flag_name(const option *o, char out[NAME_MAX_]) {
    size_t n = 0;
    for (; o->name[n] && n + 1 < NAME_MAX_; n++) {
        out[n] = o->name[n] == '_' ? '-' : (char)tolower((unsigned char)o->name[n]);
    }
    out[n] = 0;
}

static status set_str(const option *o, void *to, const char *text, err *e) {
    char *copy = mem_strdup(text);
    if (!copy) return err_set(e, ERR_OOM, "no memory for %s", o->name);
    mem_free(*(char **)to);
    *(char **)to = copy;
    return OK;
}

static status set_bool(const option *o, bool *to, const char *text, err *e) {
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no",
                                                                                "off"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcasecmp(text, yes[i]) == 0) return *to = true, OK;
        if (strcasecmp(text, no[i]) == 0) return *to = false, OK;
    }
    return err_set(e, ERR_ARG, "%s: expected true or false, found \"%s\"", o->name, text);
}

static status set_number(const option *o, void *to, const char *text, err *e) {
    char *end;
    double v = strtod(text, &end);
    bool whole = o->kind != INT || v == (double)(int64_t)v;
    if (end == text || *end || !(v >= o->lo && v <= o->hi) || !whole) {
        return err_set(e, ERR_ARG, "%s: expected a%s number from %g to %g, found \"%s\"", o->name,
                       o->kind == INT ? " whole" : "", o->lo, o->hi, text);
    }
    if (o->kind == INT)
        *(int64_t *)to = (int64_t)v;
    else
        *(double *)to = v;
    return OK;
}

static status set_option(config *c, const option *o, const char *text, err *e) {
    void *to = (char *)c + o->field;
    switch (o->kind) {
    case STR:
    case SECRET: return set_str(o, to, text, e);
    case BOOL: return set_bool(o, to, text, e);
    case INT:
    case NUM: return set_number(o, to, text, e);
    case TITLE: break;
    }
    return OK;
}

static status set_from_file(config *c, const option *o, const char *path, err *e) {
    os_file_map map;
    status rc = os_map_open(&map, path, e);
    if (rc) return err_within(e, rc, "%s_FILE", o->name);
    size_t n = map.data.n;
    char *text = NULL;
    if (n > SECRET_FILE_MAX) {
        rc = err_set(e, ERR_LIMIT, "%s_FILE: %zu bytes, expected at most %zu", o->name, n,
                     SECRET_FILE_MAX);
    } else {
        while (n && (map.data.p[n - 1] == '\n' || map.data.p[n - 1] == '\r')) n--;
        text = mem_strndup((const char *)map.data.p, n);
        rc = text ? set_option(c, o, text, e) : err_set(e, ERR_OOM, "no memory for %s", o->name);
    }
    mem_free(text);
    os_map_close(&map);
    return rc;
}

static status from_environment(config *c, const option *o, err *e) {
    char file[NAME_MAX_ + 8];
    snprintf(file, sizeof file, "%s_FILE", o->name);
    const char *value = getenv(o->name);
    const char *path = o->kind == SECRET ? getenv(file) : NULL;
    if (value && *value) return set_option(c, o, value, e);
    return path && *path ? set_from_file(c, o, path, e) : OK;
}

static const option *find_flag(const char *name, size_t n) {
    char flag[NAME_MAX_];
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].kind == TITLE) continue;
        flag_name(&table[i], flag);
        if (strlen(flag) == n && strncmp(flag, name, n) == 0) return &table[i];
    }
    return NULL;
}

static status unknown_flag(const char *name, size_t n, err *e) {
    char flags[ARRAY_LEN(table)][NAME_MAX_], maybe[NEAR_TEXT];
    near meant = {.word = name, .n = n};
    for (size_t i = 0; i < ARRAY_LEN(table) && n; i++) {
        if (table[i].kind == TITLE) continue;
        flag_name(&table[i], flags[i]);
        near_try(&meant, flags[i]);
    }
    near_text(maybe, &meant, "--");
    return err_set(e, ERR_ARG, "unknown flag --%.*s%s; see --help", (int)MIN(n, (size_t)60), name,
                   maybe);
}

static status from_flags(config *c, int argc, char **argv, err *e) {
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        bool *plain = strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0 ? &c->help
                      : strcmp(a, "--check-config") == 0               ? &c->check
                      : strcmp(a, "--settings") == 0                   ? &c->markdown
                                                                       : NULL;
        if (plain) {
            *plain = true;
            continue;
        }
        if (strncmp(a, "--", 2) != 0)
            return err_set(e, ERR_ARG, "expected a flag, found \"%s\"; see --help", a);
        const char *name = a + 2, *equal = strchr(name, '=');
        size_t n = equal ? (size_t)(equal - name) : strlen(name);
        const option *o = find_flag(name, n);
        if (!o) return unknown_flag(name, n, e);
        if (!equal && i + 1 == argc) return err_set(e, ERR_ARG, "--%s: expected a value", name);
        status rc = set_option(c, o, equal ? equal + 1 : argv[++i], e);
        if (rc) return rc;
    }
    return OK;
}

// What the rows cannot say alone.
static status check_words(config *c, err *e) {
    log_level level;
    if (!log_level_parse(c->log_level, &level)) {
        return err_set(e, ERR_ARG, "LOG_LEVEL: expected error, warn, info or debug, found \"%s\"",
                       c->log_level);
    }
    if (strcmp(c->log_format, "text") != 0 && strcmp(c->log_format, "json") != 0) {
        return err_set(e, ERR_ARG, "LOG_FORMAT: expected text or json, found \"%s\"",
                       c->log_format);
    }
    stemforge_weights kept;
    if (!stemforge_weights_parse(c->weights, &kept)) {
        return err_set(e, ERR_ARG,
                       "MODEL_WEIGHTS: expected stored, f32, bf16, q8 or q4, found \"%s\"",
                       c->weights);
    }
    return OK;
}

// What follows from other settings.
static status derive(config *c, err *e) {
    char text[OS_PATH_MAX];
    status rc = OK;
    if (!c->database[0]) {
        rc = os_path_join(text, sizeof text, c->data_dir, "jobs.db", e);
        if (!rc) rc = set_str(&table[0], &c->database, text, e);
    }
    if (!rc && !c->storage_dir[0]) {
        rc = os_path_join(text, sizeof text, c->data_dir, "files", e);
        if (!rc) rc = set_str(&table[0], &c->storage_dir, text, e);
    }
    if (!rc && !c->public_url[0]) {
        snprintf(text, sizeof text, "http://127.0.0.1:%lld", (long long)c->port);
        rc = set_str(&table[0], &c->public_url, text, e);
    }
    size_t n = rc ? 0 : strlen(c->public_url);
    while (n && c->public_url[n - 1] == '/') c->public_url[--n] = 0;
    return rc;
}

status config_load(config *c, int argc, char **argv, err *e) {
    *c = (config){0};
    status rc = OK;
    for (size_t i = 0; i < ARRAY_LEN(table) && !rc; i++)
        rc = set_option(c, &table[i], table[i].preset, e);
    for (size_t i = 0; i < ARRAY_LEN(table) && !rc; i++) {
        if (table[i].kind != TITLE) rc = from_environment(c, &table[i], e);
    }
    if (!rc) rc = from_flags(c, argc, argv, e);
    if (!rc) rc = check_words(c, e);
    return rc ? rc : derive(c, e);
}

void config_deinit(config *c) {
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].kind != STR && table[i].kind != SECRET) continue;
        char **s = (char **)(void *)((char *)c + table[i].field);
        mem_free(*s);
        *s = NULL;
    }
}

void config_help(FILE *to, const char *command) {
    char flag[NAME_MAX_];
    fprintf(to,
            "usage: stemforge %s [--NAME VALUE]...\n\n"
            "Each setting is a flag and an environment variable (PORT is --port); the flag wins.\n"
            "A secret can be read from a file: API_KEYS_FILE=/run/secrets/keys.\n\n"
            "  --check-config   check the settings, say what is wrong, and end\n"
            "  --settings       print the settings as a Markdown table\n",
            command);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const option *o = &table[i];
        if (o->kind == TITLE) {
            fprintf(to, "\n%s settings\n", o->name);
            continue;
        }
        flag_name(o, flag);
        fprintf(to, "  --%-33s %s%s%s%s\n", flag, o->help, o->preset[0] ? " [" : "", o->preset,
                o->preset[0] ? "]" : "");
    }
}

void config_markdown(FILE *to) {
    fprintf(to, "| variable | default | meaning |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const option *o = &table[i];
        if (o->kind == TITLE) {
            fprintf(to, "| **%s** | | |\n", o->name);
        } else {
            fprintf(to, "| `%s` | %s%s%s | %s |\n", o->name, o->preset[0] ? "`" : "unset",
                    o->preset, o->preset[0] ? "`" : "", o->help);
        }
    }
}
