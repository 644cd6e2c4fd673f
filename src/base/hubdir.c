// hubdir.c - see hubdir.h.
#include "base/hubdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One path component of a repository or revision: nothing that means something to a path or a URL.
static bool part_ok(const char *s, size_t n) {
    if (n == 0 || s[0] == '.' || s[0] == '-' || s[n - 1] == '.' || s[n - 1] == '-') return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && c != '-' && c != '_' && c != '.') return false;
        if (i && c == s[i - 1] && (c == '.' || c == '-')) return false;
    }
    return true;
}

static bool revision_ok(const char *s) {
    if (strlen(s) > HUBDIR_REF_MAX) return false;
    for (;;) { // "refs/pr/3" is a revision too
        size_t n = strcspn(s, "/");
        if (!part_ok(s, n)) return false;
        if (!s[n]) return true;
        s += n + 1;
    }
}

status hubdir_name_parse(hubdir_name *out, const char *text, err *e) {
    size_t n = strcspn(text, "@"), org = strcspn(text, "/@");
    const char *revision = text[n] ? text + n + 1 : "main";
    bool ok = n <= HUBDIR_NAME_MAX && text[org] == '/' && part_ok(text, org) &&
              part_ok(text + org + 1, n - org - 1) && revision_ok(revision);
    if (!ok) {
        return err_set(e, ERR_ARG, "'%.200s' is not a repository: expected ORG/NAME[@REVISION]",
                       text);
    }
    *out = (hubdir_name){0};
    memcpy(out->repo, text, n);
    memcpy(out->revision, revision, strlen(revision));
    return OK;
}

bool hubdir_commit_is(const char *s) {
    return strspn(s, "0123456789abcdef") == HUBDIR_COMMIT_LEN && !s[HUBDIR_COMMIT_LEN];
}

static const char *variable(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static status home_join(char *out, const char *name, err *e) {
    const char *home = variable("HOME");
    if (home) return os_path_join(out, OS_PATH_MAX, home, name, e);
    return err_set(e, ERR_NOT_FOUND, "no model cache: neither HF_HOME nor HOME is set");
}

status hubdir_root(char *out, err *e) {
    const char *cache = variable("HF_HUB_CACHE"), *hf = variable("HF_HOME");
    const char *xdg = variable("XDG_CACHE_HOME");
    if (cache) return os_path_join(out, OS_PATH_MAX, cache, "", e);
    if (hf) return os_path_join(out, OS_PATH_MAX, hf, "hub", e);
    if (xdg) return os_path_join(out, OS_PATH_MAX, xdg, "huggingface/hub", e);
    return home_join(out, ".cache/huggingface/hub", e);
}

status hubdir_repo(char *out, const hubdir_name *n, err *e) {
    char root[OS_PATH_MAX], name[HUBDIR_NAME_MAX + 32];
    status rc = hubdir_root(root, e);
    if (rc) return rc;
    int org = (int)strcspn(n->repo, "/");
    snprintf(name, sizeof name, "models--%.*s--%s", org, n->repo, n->repo + org + 1);
    return os_path_join(out, OS_PATH_MAX, root, name, e);
}

static status ref_read(char out[HUBDIR_COMMIT_LEN + 1], const char *repo, const char *revision,
                       err *e) {
    char refs[OS_PATH_MAX], path[OS_PATH_MAX];
    os_file_map map;
    status rc = os_path_join(refs, sizeof refs, repo, "refs", e);
    if (!rc) rc = os_path_join(path, sizeof path, refs, revision, e);
    if (!rc) rc = os_map_open(&map, path, e);
    if (rc) return rc;
    size_t n = map.data.n;
    while (n && (map.data.p[n - 1] == '\n' || map.data.p[n - 1] == ' ')) n--;
    bool ok = n == HUBDIR_COMMIT_LEN;
    if (ok) {
        memcpy(out, map.data.p, n);
        out[n] = 0;
        ok = hubdir_commit_is(out);
    }
    os_map_close(&map);
    if (ok) return OK;
    return err_set(e, ERR_FORMAT, "%s: expected a commit of %d hex digits", path,
                   HUBDIR_COMMIT_LEN);
}

// The commit that the cache has for n's revision, 40 digits and a NUL. ERR_NOT_FOUND when none.
static status commit_of(char out[HUBDIR_COMMIT_LEN + 1], const hubdir_name *n, err *e) {
    if (hubdir_commit_is(n->revision)) {
        memcpy(out, n->revision, HUBDIR_COMMIT_LEN + 1);
        return OK;
    }
    char repo[OS_PATH_MAX];
    status rc = hubdir_repo(repo, n, e);
    return rc ? rc : ref_read(out, repo, n->revision, e);
}

static status snapshot_find(char *out, const hubdir_name *n, err *e) {
    char repo[OS_PATH_MAX] = "there is none: neither HF_HOME nor HOME is set";
    char commit[HUBDIR_COMMIT_LEN + 1], snapshots[OS_PATH_MAX];
    status rc = hubdir_repo(repo, n, e);
    if (!rc) rc = commit_of(commit, n, e);
    if (!rc) rc = os_path_join(snapshots, sizeof snapshots, repo, "snapshots", e);
    if (!rc) rc = os_path_join(out, OS_PATH_MAX, snapshots, commit, e);
    if (!rc && !os_is_dir(out)) rc = ERR_NOT_FOUND;
    if (rc != ERR_NOT_FOUND) return rc;
    return err_set(
        e, ERR_NOT_FOUND,
        "there is no folder %s here, and the cache has no model of that name (%s): correct "
        "the path, or stemforge pull %s",
        n->repo, repo, n->repo);
}

status hubdir_find_model(char *out, const char *name, err *e) {
    if (os_exists(name)) {
        size_t n = strlen(name);
        if (n >= OS_PATH_MAX) return err_set(e, ERR_LIMIT, "path of %zu bytes", n);
        memcpy(out, name, n + 1);
        return OK;
    }
    hubdir_name n;
    if (hubdir_name_parse(&n, name, NULL)) {
        return err_set(e, ERR_NOT_FOUND,
                       "no model at %.400s: correct the path, or write ORG/NAME for a model of the "
                       "hub (stemforge pull ORG/NAME fetches it)",
                       name);
    }
    return snapshot_find(out, &n, e);
}

void hubdir_short_name(char *out, size_t cap, const char *model) {
    const char *snapshot = strstr(model, "/snapshots/");
    size_t n = snapshot ? (size_t)(snapshot - model) : strlen(model);
    while (n > 1 && model[n - 1] == '/') n--;
    size_t from = n;
    while (from && model[from - 1] != '/') from--;
    if (strncmp(model + from, "models--", 8) == 0) {
        for (size_t i = from; i + 2 < n; i++) {
            if (model[i] == '-' && model[i + 1] == '-') from = i + 2;
        }
    }
    snprintf(out, cap, "%.*s", (int)(n - from), model + from);
}
