// hub.c - see hub.h.
//
// What it asks the hub:
//   GET  /api/models/ORG/NAME/revision/REVISION
//            -> {"sha": commit, "siblings": [{"rfilename": file}]}
//   HEAD /ORG/NAME/resolve/COMMIT/FILE
//            -> X-Linked-Etag or ETag, X-Linked-Size or length
//   GET  /ORG/NAME/resolve/COMMIT/FILE
//            -> the bytes, mostly by a redirect elsewhere
// The ETag of a large file is the SHA-256 of its bytes; of a small one it is its git blob id.
#define _GNU_SOURCE // symlink
#include "net/hub.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hubdir.h"
#include "base/json.h"
#include "base/mem.h"
#include "net/download.h"

#define LIST_MAX ((size_t)8 << 20) // bytes of the file list
#define FILE_NAME_MAX 255
#define ETAG_MAX 128

static const char *const needed[] = {
    "config.json",
    "model_config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "LICENSE*",
    "README.md",
};

// Of a repository with PIPELINE, which has a folder for each network. It may hold the same weights
// a second time in one file: that one is left out.
#define PIPELINE "model_index.json"
#define IN_FOLDERS(name)                                                                           \
    "*/" name ".safetensors", "*/" name ".safetensors.index.json", "*/" name "-*-of-*.safetensors"

static const char *const needed_folders[] = {PIPELINE,
                                             "*/config.json",
                                             "*/scheduler_config.json",
                                             "*/tokenizer.json",
                                             "*/tokenizer_config.json",
                                             IN_FOLDERS("diffusion_pytorch_model"),
                                             IN_FOLDERS("model"),
                                             "LICENSE*",
                                             "README.md"};

typedef struct {
    char name[FILE_NAME_MAX + 1];
    char etag[ETAG_MAX + 1];
    int64_t size; // -1: the hub did not say
} hub_file;

typedef struct {
    const hub_options *o;
    download d;
    char endpoint[512];
    hubdir_name name;
    char commit[HUBDIR_COMMIT_LEN + 1];
    char repo[OS_PATH_MAX], blobs[OS_PATH_MAX], snapshot[OS_PATH_MAX];
    hub_file *files;
    size_t count;
    hub_progress at;
} job;

hub_options hub_options_default(void) {
    return (hub_options){.retries_max = 5, .retry_ms = 1000};
}

// ---- names from the hub: each becomes a path here

static bool component_ok(const char *s, size_t n) {
    if (n == 0 || (s[0] == '.' && (n == 1 || (n == 2 && s[1] == '.')))) return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < ' ' || s[i] == '\\' || s[i] == 0x7f) return false;
    }
    return true;
}

static bool file_name_ok(const char *s) {
    if (strlen(s) > FILE_NAME_MAX) return false;
    for (;;) {
        size_t n = strcspn(s, "/");
        if (!component_ok(s, n)) return false;
        if (!s[n]) return true;
        s += n + 1;
    }
}

// W/"abc" to abc. False when what remains could not be a file name.
static bool etag_clean(char *s) {
    if (strncmp(s, "W/", 2) == 0) memmove(s, s + 2, strlen(s) - 1);
    size_t n = strlen(s);
    if (n >= 2 && s[0] == '"' && s[n - 1] == '"') {
        memmove(s, s + 1, n - 2);
        s[n - 2] = 0;
    }
    size_t plain = strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_");
    return *s && s[plain] == 0;
}

static bool is_sha256(const char *s) {
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

// ---- settings

static status endpoint_set(job *w, err *e) {
    const char *env = getenv("HF_ENDPOINT"), *url = w->o->endpoint;
    if (!url) url = env && *env ? env : HUB_ENDPOINT;
    size_t n = strlen(url);
    while (n && url[n - 1] == '/') n--;
    if (n >= sizeof w->endpoint) return err_set(e, ERR_ARG, "endpoint of %zu bytes", n);
    memcpy(w->endpoint, url, n);
    w->endpoint[n] = 0;
    fetch_url *u = mem_alloc(sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "no memory for a URL");
    status rc = fetch_url_parse(u, w->endpoint, e);
    if (!rc && u->query[0]) rc = err_set(e, ERR_ARG, "URL: query");
    if (!rc) fetch_url_origin(u, w->d.origin, sizeof w->d.origin);
    if (rc) err_within(e, rc, "HF_ENDPOINT");
    mem_free(u);
    return rc;
}

static status token_set(job *w, err *e) {
    const char *env = getenv("HF_TOKEN"), *token = w->o->token ? w->o->token : env;
    if (!token || !*token) return OK;
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i++) {
        if (token[i] <= ' ' || token[i] >= 0x7f || n > 1000) {
            return err_set(e, ERR_ARG,
                           "HF_TOKEN is not a token: expected up to 1000 characters "
                           "without blanks");
        }
    }
    w->d.token = token;
    return OK;
}

static void on_bytes(void *arg, int64_t more) {
    job *w = arg;
    w->at.done += more;
    if (w->o->progress) w->o->progress(w->o->arg, &w->at);
}

static bool on_canceled(void *arg) {
    const job *w = arg;
    return w->o->canceled && w->o->canceled(w->o->arg);
}

// ---- what there is

static status url_make(buf *url, const job *w, const char *before, const char *between,
                       const char *rest, err *e) {
    buf_init(url, FETCH_URL_MAX - 1);
    buf_printf(url, "%s%s%s%s", w->endpoint, before, w->name.repo, between);
    fetch_escape(url, bytes_of(rest), strcmp(before, "/") == 0 ? "/" : "");
    return buf_status(url, e);
}

static status file_url(buf *url, const job *w, const char *name, err *e) {
    char between[64];
    snprintf(between, sizeof between, "/resolve/%s/", w->commit);
    return url_make(url, w, "/", between, name, e);
}

static bool has_folders(const json *list) {
    for (size_t i = 0; i < json_len(list); i++) {
        const char *name = json_str_value(json_find(json_at(list, i), "rfilename"));
        if (name && strcmp(name, PIPELINE) == 0) return true;
    }
    return false;
}

static bool wanted(const hub_options *o, bool folders, const char *name) {
    const char *const *patterns = folders ? needed_folders : needed;
    size_t n = folders ? ARRAY_LEN(needed_folders) : ARRAY_LEN(needed);
    if (o->include_count) patterns = o->include, n = o->include_count;
    for (size_t i = 0; i < n; i++) {
        if (fnmatch(patterns[i], name, FNM_PATHNAME) == 0) return true;
    }
    return false;
}

static status siblings_read(job *w, const json *list, err *e) {
    size_t n = json_len(list);
    if (n > HUB_FILES_MAX) {
        return err_set(e, ERR_FORMAT, "%zu files, expected at most %d", n, HUB_FILES_MAX);
    }
    w->files = mem_calloc(n, sizeof *w->files);
    if (!w->files) return err_set(e, ERR_OOM, "no memory for %zu files", n);
    bool weights = false, folders = has_folders(list);
    for (size_t i = 0; i < n; i++) {
        const char *name;
        status rc = json_get_str(json_at(list, i), "rfilename", &name, e);
        if (rc) return rc;
        if (!wanted(w->o, folders, name)) continue;
        if (!file_name_ok(name)) return err_set(e, ERR_FORMAT, "file name '%.100s'", name);
        weights |= strstr(name, ".safetensors") != NULL;
        memcpy(w->files[w->count++].name, name, strlen(name) + 1);
    }
    if (!w->count)
        return err_set(e, ERR_NOT_FOUND, "%s has no file that is asked for", w->name.repo);
    if (weights || w->o->include_count) return OK;
    return err_set(e, ERR_NOT_FOUND, "%s has no model.safetensors and no shards of one",
                   w->name.repo);
}

static status list_read(job *w, const fetch_response *r, err *e) {
    json *root;
    status rc = json_parse(&root, buf_bytes(&r->body), LIST_MAX, e);
    if (rc) return rc;
    const char *sha;
    const json *list;
    rc = json_get_str(root, "sha", &sha, e);
    if (!rc && !hubdir_commit_is(sha)) {
        rc = err_set(e, ERR_FORMAT, "sha: expected %d hex digits", HUBDIR_COMMIT_LEN);
    }
    if (!rc) memcpy(w->commit, sha, HUBDIR_COMMIT_LEN + 1);
    if (!rc) rc = json_get_array(root, "siblings", &list, e);
    if (!rc) rc = siblings_read(w, list, e);
    json_free(root);
    return rc;
}

static status list_fetch(job *w, err *e) {
    buf url;
    fetch_response r = {0};
    char what[300];
    snprintf(what, sizeof what, "%s@%s", w->name.repo, w->name.revision);
    status rc = url_make(&url, w, "/api/models/", "/revision/", w->name.revision, e);
    if (!rc) rc = download_ask(&w->d, "GET", buf_str(&url), false, LIST_MAX, &r, e);
    if (!rc && r.code != 200) {
        rc = download_refusal(&r, what, e);
    } else if (!rc) {
        rc = list_read(w, &r, e);
        if (rc == ERR_FORMAT) err_within(e, rc, "the hub's list of %s", what);
    }
    fetch_response_deinit(&r);
    buf_deinit(&url);
    return rc;
}

static status head_read(hub_file *f, const fetch_response *r, err *e) {
    char size[32], *end;
    if (!fetch_find_header(r, "X-Linked-Etag", f->etag, sizeof f->etag)) {
        fetch_find_header(r, "ETag", f->etag, sizeof f->etag);
    }
    if (!etag_clean(f->etag)) return err_set(e, ERR_FORMAT, "the hub gives no ETag we can use");
    f->size = -1;
    bool found = fetch_find_header(r, "X-Linked-Size", size, sizeof size);
    if (!found && r->code == 200) found = fetch_find_header(r, "Content-Length", size, sizeof size);
    if (!found) return OK;
    errno = 0;
    f->size = strtoll(size, &end, 10);
    if (*end || end == size || errno || f->size < 0) {
        return err_set(e, ERR_FORMAT, "size '%s' is no number of bytes", size);
    }
    return OK;
}

static status head_fetch(job *w, hub_file *f, err *e) {
    buf url;
    fetch_response r = {0};
    status rc = file_url(&url, w, f->name, e);
    if (!rc) rc = download_ask(&w->d, "HEAD", buf_str(&url), true, 0, &r, e);
    if (!rc && r.code / 100 != 2 && r.code / 100 != 3) {
        rc = download_refusal(&r, f->name, e);
    } else if (!rc) {
        rc = head_read(f, &r, e);
        if (rc) err_within(e, rc, "%s", f->name);
    }
    fetch_response_deinit(&r);
    buf_deinit(&url);
    return rc;
}

// ---- fetching

static status folders_make(job *w, err *e) {
    char snapshots[OS_PATH_MAX];
    status rc = hubdir_repo(w->repo, &w->name, e);
    if (!rc) rc = os_path_join(w->blobs, sizeof w->blobs, w->repo, "blobs", e);
    if (!rc) rc = os_path_join(snapshots, sizeof snapshots, w->repo, "snapshots", e);
    if (!rc) rc = os_path_join(w->snapshot, sizeof w->snapshot, snapshots, w->commit, e);
    if (!rc) rc = os_mkdirs(w->blobs, e);
    return rc ? rc : os_mkdirs(w->snapshot, e);
}

// Links name in the snapshot to its blob: ../../blobs/ETAG, and one more .. for each folder in
// name.
static status link_make(const job *w, const hub_file *f, err *e) {
    char path[OS_PATH_MAX], to[OS_PATH_MAX] = "../../";
    status rc = os_path_join(path, sizeof path, w->snapshot, f->name, e);
    if (rc) return rc;
    size_t n = strlen(to);
    for (const char *p = f->name; (p = strchr(p, '/')); p++, n += 3) memcpy(to + n, "../", 4);
    snprintf(to + n, sizeof to - n, "blobs/%s", f->etag);
    char *slash = strrchr(path, '/');
    *slash = 0;
    rc = os_mkdirs(path, e);
    *slash = '/';
    if (rc) return rc;
    // A link of an earlier pull may point to another blob: replaced whole, never missing.
    char temp[OS_PATH_MAX + 8];
    snprintf(temp, sizeof temp, "%s.link", path);
    unlink(temp);
    if (symlink(to, temp)) return err_errno(e, "cannot link %s", temp);
    if (rename(temp, path) == 0) return OK;
    rc = err_errno(e, "cannot rename to %s", path);
    unlink(temp);
    return rc;
}

static bool have_blob(const char *path, int64_t size) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (size < 0 || st.st_size == size);
}

static status file_fetch(job *w, const hub_file *f, err *e) {
    char path[OS_PATH_MAX];
    buf url;
    status rc = file_url(&url, w, f->name, e);
    if (!rc) rc = os_path_join(path, sizeof path, w->blobs, f->etag, e);
    if (!rc && have_blob(path, f->size)) {
        on_bytes(w, MAX(f->size, 0));
    } else if (!rc) {
        const char *digest = is_sha256(f->etag) ? f->etag : NULL;
        rc = download_run(&w->d, &(download_file){buf_str(&url), path, f->size, digest}, e);
        if (rc) err_within(e, rc, "%s", f->name);
    }
    buf_deinit(&url);
    return rc ? rc : link_make(w, f, e);
}

static status ref_write(const job *w, err *e) {
    if (hubdir_commit_is(w->name.revision)) return OK;
    char refs[OS_PATH_MAX], path[OS_PATH_MAX];
    status rc = os_path_join(refs, sizeof refs, w->repo, "refs", e);
    if (!rc) rc = os_path_join(path, sizeof path, refs, w->name.revision, e);
    if (rc) return rc;
    char *slash = strrchr(path, '/');
    *slash = 0;
    rc = os_mkdirs(path, e);
    *slash = '/';
    return rc ? rc : os_write_atomic(path, bytes_of(w->commit), e);
}

// HF_HUB_OFFLINE, as huggingface_hub reads it.
static bool is_offline(void) {
    const char *v = getenv("HF_HUB_OFFLINE");
    static const char *const yes[] = {"1", "on", "yes", "true"};
    for (size_t i = 0; v && i < ARRAY_LEN(yes); i++) {
        if (strcasecmp(v, yes[i]) == 0) return true;
    }
    return false;
}

// What the cache has, and nothing asked for.
static status find_offline(job *w, err *e) {
    if (hubdir_find_model(w->snapshot, w->o->name, NULL) == OK) return OK;
    return err_set(e, ERR_NOT_FOUND,
                   "HF_HUB_OFFLINE is set and the cache has no %s: unset it, or copy the model's "
                   "folder to this machine and name that",
                   w->o->name);
}

// What can be done about a hub that cannot be reached or trusted.
static status add_advice(const job *w, status rc, err *e) {
    fetch_failure f = w->d.failure;
    const char *advice = NULL;
    if (f == FETCH_NO_HOST || f == FETCH_NO_CONNECT || f == FETCH_TIMEOUT)
        advice = "Is there a network? Behind a proxy set https_proxy, for a mirror HF_ENDPOINT; or "
                 "copy the model's folder from another machine";
    if (f == FETCH_BAD_TLS || f == FETCH_NO_FILE)
        advice = "SSL_CERT_FILE names a PEM file with the roots to trust, those of your network "
                 "included";
    if (!rc || !advice || !e) return rc;
    size_t n = strlen(e->text);
    snprintf(e->text + n, sizeof e->text - n, ". %s", advice);
    return rc;
}

static status pull(job *w, err *e) {
    status rc = hubdir_name_parse(&w->name, w->o->name, e);
    if (!rc && is_offline()) return find_offline(w, e);
    if (!rc) rc = endpoint_set(w, e);
    if (!rc) rc = token_set(w, e);
    if (!rc) rc = fetch_client_open(&w->d.client, e);
    if (!rc) rc = add_advice(w, list_fetch(w, e), e);
    if (!rc) rc = folders_make(w, e);
    for (size_t i = 0; !rc && i < w->count; i++) {
        rc = head_fetch(w, &w->files[i], e);
        w->at.total += MAX(w->files[i].size, 0);
    }
    w->at.count = (int)w->count;
    for (size_t i = 0; !rc && i < w->count; i++) {
        w->at.file = w->files[i].name;
        w->at.index = (int)i;
        rc = file_fetch(w, &w->files[i], e);
    }
    return rc ? rc : ref_write(w, e);
}

status hub_pull(char *snapshot, const hub_options *o, err *e) {
    job *w = mem_calloc(1, sizeof *w);
    if (!w) return err_set(e, ERR_OOM, "no memory to pull %s", o->name);
    w->o = o;
    w->d.retries_max = o->retries_max;
    w->d.retry_ms = o->retry_ms;
    w->d.canceled = on_canceled;
    w->d.progress = on_bytes;
    w->d.arg = w;
    status rc = pull(w, e);
    if (!rc) memcpy(snapshot, w->snapshot, strlen(w->snapshot) + 1);
    fetch_client_close(w->d.client);
    mem_free(w->files);
    mem_free(w);
    return rc;
}
