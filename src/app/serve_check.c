// serve_check.c - see serve_check.h.
#include "app/serve_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/serve_models.h"
#include "app/serve_parts.h"
#include "base/hubdir.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "engine/device_choice.h"
#include "net/fetch.h"
#include "net/http_server.h"
#include "service/api.h"
#include "stemforge.h"

// ---- words

static void check_key_count(const config *c, config_report *r) {
    size_t n = c->api_keys[0] ? 1 : 0;
    for (const char *p = c->api_keys; *p; p++) n += *p == ',';
    if (n > API_KEYS_MAX)
        config_fault(r, "API_KEYS: expected at most %d keys, found %zu", API_KEYS_MAX, n);
}

// The queue that machines share, and what this one does there.
static void check_queue(const config *c, config_report *r) {
    bool url = c->queue_url[0] != 0;
    if (url && strncmp(c->queue_url, "postgres://", 11) != 0 &&
        strncmp(c->queue_url, "postgresql://", 13) != 0) {
        config_fault(r, "QUEUE_URL: expected postgres://USER@HOST:PORT/DATABASE");
    }
    if (!url && strcmp(c->role, "all") != 0)
        config_fault(r, "ROLE: %s needs a queue that processes share: set QUEUE_URL", c->role);
    if (!url || c->azure_connection[0] || c->azure_account[0]) return;
    if (c->storage_dir_guessed && strcmp(c->role, "all") != 0) {
        config_fault(r,
                     "STORAGE_DIR: with ROLE=%s stems made by one process are read by others: "
                     "use Azure Blob Storage, or name a folder that all of them see",
                     c->role);
    } else {
        config_warning(r,
                       "Stems lie in %s: every process that shares QUEUE_URL must see this very "
                       "folder",
                       c->storage_dir);
    }
}

// A GPU that the settings ask for must be there; whether the model fits into it is the engine's.
static void check_device(const config *c, config_report *r) {
    err e;
    device_choice choice;
    device_chosen found = {0};
    const char *name = c->device[0] ? "DEVICE" : "USE_GPU";
    if (choice_parse(&choice, serve_device(c), &e)) {
        config_fault(r, "DEVICE: %s", e.text + strlen("device: "));
    } else if (c->use_gpu && choice.kind == CHOICE_CPU) {
        config_fault(r, "USE_GPU: true, but DEVICE is cpu: leave one of them out");
    } else if (choice.kind == CHOICE_CUDA && choice_open(&choice, &found, &e)) {
        config_fault(r, "%s: %s: %s", name, c->device[0] ? c->device : "true", e.text);
    }
    device_close(found.gpu);
}

// ---- files and folders

// Length of the part of path that is there, in whole components.
static size_t existing_part(const char *path) {
    char part[OS_PATH_MAX];
    size_t n = MIN(strlen(path), sizeof part - 1);
    for (; n; n--) {
        if (path[n] != '/' && path[n] != 0) continue;
        memcpy(part, path, n);
        part[n] = 0;
        if (os_exists(part)) return n;
    }
    return 0;
}

// Removes the folders of path that were not there before, those inside first.
static void remove_made(const char *path, size_t before) {
    char part[OS_PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part) return;
    memcpy(part, path, n + 1);
    for (; n > before; n--) {
        if (part[n] != '/' && part[n] != 0) continue;
        part[n] = 0;
        if (rmdir(part) && errno != ENOENT) return;
    }
}

// Whether path can be a folder that takes files. It is made for the question, and removed again.
static bool check_folder(const char *name, const char *path, config_report *r) {
    err e;
    char file[OS_PATH_MAX];
    size_t before = existing_part(path);
    status rc = os_mkdirs(path, &e);
    if (!rc) rc = os_path_join(file, sizeof file, path, "stemforge-check", &e);
    if (!rc) rc = os_can_write(file, &e);
    if (rc) config_fault(r, "%s: expected a folder to write in: %s", name, e.text);
    remove_made(path, before);
    return rc == OK;
}

static void check_database(const config *c, config_report *r) {
    static const char magic[] = "SQLite format 3"; // and a NUL
    err e;
    os_file_map map;
    char folder[OS_PATH_MAX];
    const char *slash = strrchr(c->database, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - c->database) : 1,
             slash ? c->database : ".");
    if (!folder[0]) snprintf(folder, sizeof folder, "/");
    if (!os_exists(c->database)) {
        bool own = strcmp(folder, c->data_dir) == 0; // serve makes this one only
        if (!own && !os_is_dir(folder))
            config_fault(r, "DATABASE: %s is not there; make this folder", folder);
        else if (!own && access(folder, W_OK))
            config_fault(r, "DATABASE: %s cannot be written to", folder);
        return;
    }
    if (os_map_open(&map, c->database, &e)) {
        config_fault(r, "DATABASE: %s", e.text);
        return;
    }
    bool begun = map.data.n > 0;
    bool is_one = map.data.n >= sizeof magic && memcmp(map.data.p, magic, sizeof magic) == 0;
    os_map_close(&map);
    if (begun && !is_one)
        config_fault(r, "DATABASE: %s is no SQLite database; name another file", c->database);
    else if (access(c->database, W_OK))
        config_fault(r, "DATABASE: %s cannot be written to", c->database);
}

static void check_roots(const char *name, const char *path, config_report *r) {
    if (!path[0]) return;
    err e;
    os_file_map map;
    static const char mark[] = "CERTIFICATE-----";
    if (os_map_open(&map, path, &e)) {
        config_fault(r, "%s: %s", name, e.text);
        return;
    }
    bool found = false;
    for (size_t i = 0; !found && i + sizeof mark - 1 <= map.data.n; i++)
        found = memcmp(map.data.p + i, mark, sizeof mark - 1) == 0;
    if (!found) config_fault(r, "%s: expected certificates in PEM, found none in %s", name, path);
    os_map_close(&map);
}

// ---- the network

static void check_listen(const config *c, config_report *r) {
    char at[SERVE_LISTEN_MAX];
    err e;
    serve_listen(c, at);
    status rc = http_listen_check(at, &e);
    if (rc == ERR_BUSY)
        config_warning(r, "PORT: %s; serve would refuse while that is so", e.text);
    else if (rc)
        config_fault(r, "LISTEN_ADDR: %s", e.text);
}

static void check_public_url(const config *c, config_report *r) {
    err e;
    fetch_url *u = mem_alloc(sizeof *u);
    status rc = u ? fetch_url_parse(u, c->public_url, &e) : err_set(&e, ERR_OOM, "no memory");
    if (!rc && (u->query[0] || strlen(c->public_url) > 2000))
        rc = err_set(&e, ERR_ARG, "a query, or over 2,000 bytes");
    if (rc) {
        config_fault(r,
                     "PUBLIC_URL: expected a URL like https://stems.example.com, found \"%.200s\""
                     ": %s",
                     c->public_url, e.text);
    }
    mem_free(u);
}

// Each of the callback settings alone, so that all that are wrong are named.
static void check_callbacks(const config *c, config_report *r) {
    const hook_config all = serve_hook_config(c);
    hook_config one[3] = {hook_config_default(), hook_config_default(), hook_config_default()};
    static const char *const names[] = {"CALLBACK_SECRET", "CALLBACK_SECRET_OLD",
                                        "CALLBACK_ALLOWED_ORIGINS"};
    one[0].secret = all.secret;
    one[1].secret = all.secret_old;
    one[2].allowed_origins = all.allowed_origins;
    for (size_t i = 0; i < ARRAY_LEN(one); i++) {
        err e;
        hook *h;
        if (hook_open(&h, &one[i], &e))
            config_fault(r, "%s: %s", names[i], e.text);
        else
            hook_close(h);
    }
    if (c->secret_old[0] && !c->secret[0])
        config_warning(r, "CALLBACK_SECRET_OLD signs alone: CALLBACK_SECRET is unset");
    check_roots("CALLBACK_CA_FILE", c->callback_ca, r);
}

// ---- storage

// Whether a store opens that way. what: the setting to name, or NULL when the error does.
static bool try_azure(const blob_config *b, const char *what, config_report *r) {
    err e;
    blob_store *s;
    if (blob_open(&s, b, &e)) {
        config_fault(r, "%s%s%s", what ? what : "", what ? ": " : "", e.text);
        return false;
    }
    blob_close(s);
    return true;
}

// Account, container and links one after the other, so that all that are wrong are named.
static void check_azure(const config *c, config_report *r) {
    char url[BLOB_URL_MAX];
    const blob_config all = serve_blob_config(c, url);
    blob_config account = all, container = all, links = all;
    account.container = links.container = blob_config_default().container;
    account.sas_hours = container.sas_hours = 0;
    container.connection = "UseDevelopmentStorage=true";
    const char *who = all.connection ? "AZURE_STORAGE_CONNECTION_STRING" : "AZURE_STORAGE_ACCOUNT";
    bool known = try_azure(&account, who, r);
    try_azure(&container, NULL, r);
    if (known && c->sas_hours) try_azure(&links, NULL, r);
}

static void check_storage(const config *c, bool data_ok, config_report *r) {
    check_roots("STORAGE_CA_FILE", c->storage_ca, r);
    if (c->azure_connection[0] || c->azure_account[0]) {
        check_azure(c, r);
        return;
    }
    bool inside = strncmp(c->storage_dir, c->data_dir, strlen(c->data_dir)) == 0;
    if (data_ok || !inside) check_folder("STORAGE_DIR", c->storage_dir, r);
    if (!serve_is_local(c) && c->public_url_guessed) {
        config_warning(r,
                       "PUBLIC_URL is unset: blob_url of stems begins with %s, which only this "
                       "machine reaches; set PUBLIC_URL to what clients reach",
                       c->public_url);
    }
}

// ---- the model

static void check_models(const config *c, config_report *r) {
    err e;
    char path[OS_PATH_MAX];
    const served_models m = serve_models_of(c);
    for (size_t i = 0; i < m.count; i++)
        if (hubdir_find_model(path, m.list[i].options.model, &e))
            config_fault(r, "%s: %s", m.list[i].setting, e.text);
    serve_models_check(&m, r);
}

void serve_check_model(const config *c, config_report *r) {
    const served_models m = serve_models_of(c);
    for (size_t i = 0; i < m.count && serve_works(c); i++) {
        err e;
        char path[OS_PATH_MAX];
        stemforge_engine *g = NULL;
        if (hubdir_find_model(path, m.list[i].options.model, NULL)) continue; // it has been said
        if (stemforge_open(&g, &m.list[i].options, &e))
            config_fault(r, "%s: %s", m.list[i].setting, e.text);
        stemforge_close(g);
    }
}

void serve_check(const config *c, config_report *r) {
    check_device(c, r);
    check_key_count(c, r);
    check_queue(c, r);
    if (serve_works(c)) check_models(c, r);
    check_listen(c, r);
    check_public_url(c, r);
    bool data_ok = check_folder("DATA_DIR", c->data_dir, r);
    if (!c->queue_url[0]) check_database(c, r);
    check_storage(c, data_ok, r);
    check_callbacks(c, r);
    if (!serve_is_local(c) && !c->api_keys[0] && serve_answers(c)) {
        config_warning(r, "API_KEYS is unset: whoever reaches %s:%lld may submit jobs",
                       c->listen_addr, (long long)c->port);
    }
    if (c->allow_private && !c->allowed_origins[0]) {
        config_warning(r, "Callbacks may go to private addresses; CALLBACK_ALLOWED_ORIGINS or "
                          "CALLBACK_ALLOW_PRIVATE=false narrow that");
    }
    config_warn_names(r);
}
