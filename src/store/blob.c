// blob.c - see blob.h: checks keys, counts, and picks the implementation.
#include "store/blob.h"

#include <stdio.h>
#include <string.h>

#include "store/blob_ops.h"

blob_config blob_config_default(void) {
    return (blob_config){
        .container = "audio-files", .whole_max = (size_t)256 << 20, .block_size = (size_t)8 << 20};
}

static bool key_char(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool blob_key_ok(const char *key) {
    size_t n = strnlen(key, BLOB_KEY_MAX + 1);
    if (n == 0 || n > BLOB_KEY_MAX) return false;
    for (size_t i = 0; i < n; i++) {
        bool first = i == 0 || key[i - 1] == '/', last = i + 1 == n || key[i + 1] == '/';
        if (key[i] == '/') {
            if (first || i + 1 == n) return false; // an empty segment
        } else if (!key_char(key[i]) || (key[i] == '.' && (first || last))) {
            return false; // a dot at an end: hidden files, "..", names Azure drops the dot of
        }
    }
    return true;
}

status blob_open(blob_store **out, const blob_config *c, err *e) {
    *out = NULL;
    bool azure = (c->connection && c->connection[0]) || (c->account && c->account[0]);
    if (azure) return blob_azure_open(out, c, e);
    if (!c->dir || !c->dir[0]) return err_set(e, ERR_ARG, "no storage is configured");
    return blob_dir_open(out, c, e);
}

void blob_close(blob_store *s) {
    if (s) s->ops->close(s);
}

void blob_stop(blob_store *s) {
    if (s->ops->stop) s->ops->stop(s);
}

const char *blob_kind(const blob_store *s) {
    return s->kind;
}

const char *blob_place(const blob_store *s) {
    return s->place;
}

static status check_key(const char *key, err *e) {
    return blob_key_ok(key) ? OK : err_set(e, ERR_ARG, "'%.100s' is no blob key", key);
}

// An absent object is an answer, not a failure.
static status counted(blob_store *s, status rc) {
    atomic_fetch_add(&s->requests, 1);
    if (rc && rc != ERR_NOT_FOUND) atomic_fetch_add(&s->failures, 1);
    return rc;
}

status blob_put(blob_store *s, const char *key, bytes data, const char *type, blob_info *info,
                err *e) {
    blob_info unwanted;
    status rc = check_key(key, e);
    if (rc) return rc;
    if (!info) info = &unwanted;
    *info = (blob_info){.size = (int64_t)data.n};
    snprintf(info->type, sizeof info->type, "%s", type);
    return counted(s, s->ops->put(s, key, data, type, info, e));
}

// life_ms negative: as the store is configured.
static status write_link(blob_store *s, const char *key, int64_t now_ms, int64_t life_ms, char *url,
                         size_t cap, err *e) {
    status rc = check_key(key, e);
    if (rc) return rc;
    buf text;
    buf_init(&text, cap ? cap - 1 : 0);
    rc = life_ms < 0 ? s->ops->link(s, key, now_ms, &text, e)
                     : s->ops->sign(s, key, now_ms, life_ms, &text, e);
    if (!rc) rc = buf_status(&text, e);
    if (!rc) memcpy(url, buf_str(&text), text.n + 1);
    buf_deinit(&text);
    return rc;
}

status blob_link(blob_store *s, const char *key, int64_t now_ms, char *url, size_t cap, err *e) {
    return write_link(s, key, now_ms, -1, url, cap, e);
}

status blob_sign(blob_store *s, const char *key, int64_t now_ms, int64_t life_ms, char *url,
                 size_t cap, err *e) {
    if (!s->ops->sign) return err_set(e, ERR_ARG, "this store signs no links");
    return write_link(s, key, now_ms, MAX(life_ms, 0), url, cap, e);
}

status blob_head(blob_store *s, const char *key, blob_info *info, err *e) {
    *info = (blob_info){0};
    status rc = check_key(key, e);
    return rc ? rc : counted(s, s->ops->head(s, key, info, e));
}

status blob_get(blob_store *s, const char *key, int64_t offset, int64_t n, buf *out, err *e) {
    status rc = check_key(key, e);
    if (rc) return rc;
    if (offset < 0 || n < 0) return err_set(e, ERR_ARG, "negative range");
    return n == 0 ? OK : counted(s, s->ops->get(s, key, offset, n, out, e));
}

status blob_remove(blob_store *s, const char *key, err *e) {
    status rc = check_key(key, e);
    if (rc) return rc;
    rc = counted(s, s->ops->remove(s, key, e));
    return rc == ERR_NOT_FOUND ? OK : rc;
}

status blob_check(blob_store *s, err *e) {
    return counted(s, s->ops->check(s, e));
}

status blob_open_fd(blob_store *s, const char *key, int *fd, blob_info *info, err *e) {
    *fd = -1;
    *info = (blob_info){0};
    status rc = check_key(key, e);
    if (rc) return rc;
    if (!s->ops->open_fd) return err_set(e, ERR_ARG, "objects are not kept in local files");
    return counted(s, s->ops->open_fd(s, key, fd, info, e));
}

void blob_read_counts(blob_store *s, blob_counts *out) {
    *out = (blob_counts){0};
    if (s->ops->counts) s->ops->counts(s, out);
    out->requests = atomic_load(&s->requests);
    out->failures = atomic_load(&s->failures);
}
