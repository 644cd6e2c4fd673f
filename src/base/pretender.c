// pretender.c - see pretender.h.
#include "base/pretender.h"

#include <string.h>

#include "base/os.h"

#define LINK_MAX_BYTES 1024

static bool begins(bytes data, const char *with) {
    size_t n = strlen(with);
    return data.n >= n && memcmp(data.p, with, n) == 0;
}

// One line of a path and nothing else: a link that was copied as a file. JSON never looks so.
static bool is_link_text(bytes data) {
    bool slash = false;
    size_t n = data.n;
    if (n && data.p[n - 1] == '\n') n--;
    if (!n || n > LINK_MAX_BYTES || !(data.p[0] == '.' || data.p[0] == '/')) return false;
    for (size_t i = 0; i < n; i++) {
        if (data.p[i] < 0x20 || data.p[i] == 0x7f) return false;
        slash |= data.p[i] == '/';
    }
    return slash;
}

status pretender_check(bytes data, const char *path, err *e) {
    if (!data.n) {
        return err_set(e, ERR_FORMAT, "%s is empty: fetch it again", path);
    }
    if (begins(data, "version https://git-lfs.")) {
        return err_set(e, ERR_FORMAT,
                       "%s is a Git LFS pointer, not the file itself: run \"git lfs pull\" in its "
                       "folder (for a model of the hub also stemforge pull)",
                       path);
    }
    if (is_link_text(data)) {
        return err_set(e, ERR_FORMAT,
                       "%s holds the text of a link (%.*s) in place of the file: copy the folder "
                       "again with links followed (cp -L), or stemforge pull",
                       path, (int)MIN(data.n, (size_t)60), (const char *)data.p);
    }
    if (begins(data, "<!DOCTYPE") || begins(data, "<!doctype") || begins(data, "<html")) {
        return err_set(e, ERR_FORMAT,
                       "%s is a web page, not the file itself: fetch it again by its download link",
                       path);
    }
    return OK;
}

status pretender_check_file(const char *path, err *e) {
    os_file_map map;
    if (os_map_open(&map, path, NULL)) return OK;
    status rc = pretender_check(map.data, path, e);
    os_map_close(&map);
    return rc;
}
