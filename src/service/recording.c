// recording.c - see recording.h.
#include "service/recording.h"

#include <stdio.h>
#include <string.h>

#include "base/os.h"

#define PIECE ((int64_t)4 << 20)

static status find(char *key, size_t cap, blob_info *info, blob_store *s, const char *id, err *e) {
    static const char *const suffixes[] = {"", ".wav", ".flac", ".mp3", ".ogg"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(key, cap, "%s%s", id, suffixes[i]);
        status rc = blob_head(s, key, info, e);
        if (rc != ERR_NOT_FOUND) return rc;
    }
    return err_set(e, ERR_NOT_FOUND,
                   "expected a recording named %s, or that with .wav, .flac, .mp3 or .ogg, in the "
                   "container, found none",
                   id);
}

// What uploaders write of a file that they know nothing of is let through: the reader looks.
static bool is_sound(const char *type) {
    return !*type || strncmp(type, "audio/", 6) == 0 ||
           strncmp(type, "application/octet-stream", 24) == 0 ||
           strncmp(type, "application/ogg", 15) == 0 ||
           strncmp(type, "binary/octet-stream", 19) == 0;
}

static status check(const char *key, const blob_info *info, int64_t most, err *e) {
    if (info->size > most)
        return err_set(e, ERR_LIMIT, "expected a recording of at most %lld MiB, %s has %lld bytes",
                       (long long)(most >> 20), key, (long long)info->size);
    if (info->size < 1) return err_set(e, ERR_FORMAT, "expected a recording, %s is empty", key);
    if (!is_sound(info->type))
        return err_set(e, ERR_FORMAT, "expected a recording (audio/...), %s is %.40s", key,
                       info->type);
    return OK;
}

status recording_fetch(buf *out, blob_store *s, const char *audio_file_id,
                       const recording_limits *l, bool (*stopped)(void *arg), void *arg, err *e) {
    char key[BLOB_KEY_MAX + 1];
    blob_info info = {0};
    double began = os_seconds();
    status rc = find(key, sizeof key, &info, s, audio_file_id, e);
    if (!rc) rc = check(key, &info, l->bytes_max, e);
    for (int64_t at = 0; !rc && at < info.size;) {
        size_t before = out->n;
        if (stopped(arg)) return err_set(e, ERR_CANCELED, "stopped while fetching %s", key);
        if (os_seconds() - began > l->seconds_max)
            return err_set(e, ERR_LIMIT,
                           "expected all of %s within %.0f s, found %lld of %lld bytes", key,
                           l->seconds_max, (long long)at, (long long)info.size);
        rc = blob_get(s, key, at, MIN(PIECE, info.size - at), out, e);
        if (!rc) rc = buf_status(out, e);
        if (!rc && out->n == before)
            rc = err_set(e, ERR_FORMAT, "expected %lld bytes of %s, found %lld",
                         (long long)info.size, key, (long long)at);
        at += (int64_t)(out->n - before);
    }
    return rc;
}
