// blob_dir.c - blobs as files below one directory, which is held open.
//
// Paths are walked with openat and O_NOFOLLOW from that descriptor, so neither a key nor a symbolic
// link leads out. An object is written in .tmp/, synced, renamed to its place, and the folder is
// synced: after OK it survives a crash, and nobody ever sees half of it. No key begins with a dot,
// so .tmp/ collides with none.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/blob_ops.h"

#define TEMP_DIR ".tmp"
#define TEMP_AGE_S 3600 // older ones were left by a process that died
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

typedef struct {
    blob_store base;
    int root, temp; // descriptors of the directory and of .tmp in it
    char *public_url;
    atomic_uint_fast64_t up, down;
} dir_store;

static dir_store *self(blob_store *s) {
    return (dir_store *)s;
}

// A full or read-only disk is "try later": jobs wait until somebody makes room.
static status io_error(err *e, const char *what, const char *key) {
    bool later = errno == ENOSPC || errno == EDQUOT || errno == EROFS;
    bool named = errno == ENAMETOOLONG; // the key's fault, not the disk's
    status rc = err_errno(e, "%s %.200s", what, key);
    if (rc == ERR_OOM || (!later && !named)) return rc;
    rc = later ? ERR_BUSY : ERR_ARG;
    if (e) e->code = rc;
    return rc;
}

static status not_found(err *e, const char *key) {
    return err_set(e, ERR_NOT_FOUND, "no object %.200s", key);
}

// Opens the folder that holds key; *name is key's last segment. With make, missing folders are made
// and their entries synced. ERR_NOT_FOUND when one is missing.
static status open_folder(const dir_store *d, const char *key, bool make, int *fd,
                          const char **name, err *e) {
    int at = fcntl(d->root, F_DUPFD_CLOEXEC, 0);
    if (at < 0) return io_error(e, "open", key);
    const char *p = key;
    for (const char *slash; (slash = strchr(p, '/')); p = slash + 1) {
        char segment[256];
        int n = snprintf(segment, sizeof segment, "%.*s", (int)(slash - p), p);
        int next = -1;
        if (n >= (int)sizeof segment) {
            errno = ENAMETOOLONG;
        } else {
            bool made = make && mkdirat(at, segment, 0755) == 0;
            if (!made || fsync(at) == 0) next = openat(at, segment, FOLDER_FLAGS);
        }
        if (next < 0) {
            status rc = errno == ENOENT ? not_found(e, key) : io_error(e, "open folder of", key);
            close(at);
            return rc;
        }
        close(at);
        at = next;
    }
    *fd = at;
    *name = p;
    return OK;
}

static bool write_all(int fd, bytes data) {
    while (data.n) {
        ssize_t n = write(fd, data.p, MIN(data.n, (size_t)1 << 30));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data.p += n;
        data.n -= (size_t)n;
    }
    return true;
}

static void describe(const struct stat *st, const char *key, blob_info *info) {
    info->size = st->st_size;
    snprintf(info->etag, sizeof info->etag, "\"%llx-%llx%09lx\"", (unsigned long long)st->st_ino,
             (unsigned long long)st->st_mtim.tv_sec, (unsigned long)st->st_mtim.tv_nsec);
    const char *dot = strrchr(key, '.');
    bool wav = dot && strcmp(dot, ".wav") == 0;
    snprintf(info->type, sizeof info->type, "%s", wav ? "audio/wav" : "application/octet-stream");
}

static status temp_name(char out[40], err *e) {
    uint8_t random[16];
    status rc = random_bytes(random, sizeof random, e);
    if (!rc) hex_encode(out, random, sizeof random);
    return rc;
}

// Writes data to .tmp/name and syncs it. What it left on failure is the caller's to unlink.
static status write_temp(const dir_store *d, const char *name, const char *key, bytes data,
                         blob_info *info, err *e) {
    int fd = openat(d->temp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) return io_error(e, "create", key);
    struct stat st;
    status rc = OK;
    if (!write_all(fd, data) || fsync(fd) || fstat(fd, &st)) rc = io_error(e, "write", key);
    if (!rc) describe(&st, key, info);
    if (close(fd) && !rc) rc = io_error(e, "close", key);
    return rc;
}

static status move_in(const dir_store *d, const char *temp, const char *key, err *e) {
    int folder;
    const char *name;
    status rc = open_folder(d, key, true, &folder, &name, e);
    if (rc) return rc;
    if (renameat(d->temp, temp, folder, name)) {
        rc = io_error(e, "rename", key);
    } else if (fsync(folder)) {
        rc = io_error(e, "sync the folder of", key);
    }
    close(folder);
    return rc;
}

// Missing folders are made, so the directory itself is gone. Jobs wait for somebody to notice.
static status gone(const dir_store *d, err *e) {
    return err_set(e, ERR_BUSY, "folder %.400s was removed while in use; make it again and restart",
                   d->base.place);
}

static status dir_put(blob_store *s, const char *key, bytes data, const char *type, blob_info *info,
                      err *e) {
    dir_store *d = self(s);
    (void)type; // said by the name's end
    char temp[40];
    uint8_t md5[MD5_LEN];
    status rc = hash_md5(md5, data, e);
    if (!rc) rc = temp_name(temp, e);
    if (rc) return rc;
    rc = write_temp(d, temp, key, data, info, e);
    if (!rc) rc = move_in(d, temp, key, e);
    if (rc) {
        unlinkat(d->temp, temp, 0);
        return rc == ERR_NOT_FOUND ? gone(d, e) : rc;
    }
    base64_encode(info->md5, (bytes){md5, sizeof md5});
    atomic_fetch_add(&d->up, data.n);
    return OK;
}

static status dir_open_fd(blob_store *s, const char *key, int *fd, blob_info *info, err *e) {
    int folder;
    const char *name;
    status rc = open_folder(self(s), key, false, &folder, &name, e);
    if (rc) return rc;
    int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (file < 0) {
        rc = errno == ENOENT ? not_found(e, key) : io_error(e, "open", key);
    } else if (fstat(file, &st)) {
        rc = io_error(e, "stat", key);
    } else if (!S_ISREG(st.st_mode)) {
        rc = not_found(e, key);
    }
    close(folder);
    if (rc) {
        if (file >= 0) close(file);
        return rc;
    }
    describe(&st, key, info);
    *fd = file;
    return OK;
}

static status dir_head(blob_store *s, const char *key, blob_info *info, err *e) {
    int fd;
    status rc = dir_open_fd(s, key, &fd, info, e);
    if (!rc) close(fd);
    return rc;
}

static status read_range(int fd, const char *key, int64_t offset, int64_t n, buf *out, err *e) {
    uint8_t piece[65536];
    while (n > 0) {
        ssize_t got = pread(fd, piece, (size_t)MIN(n, (int64_t)sizeof piece), offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_error(e, "read", key);
        if (got == 0) break;
        buf_add(out, piece, (size_t)got);
        offset += got;
        n -= got;
    }
    return buf_status(out, e);
}

static status dir_get(blob_store *s, const char *key, int64_t offset, int64_t n, buf *out, err *e) {
    int fd;
    blob_info info;
    status rc = dir_open_fd(s, key, &fd, &info, e);
    if (rc) return rc;
    size_t before = out->n;
    rc = read_range(fd, key, offset, n, out, e);
    atomic_fetch_add(&self(s)->down, out->n - before);
    close(fd);
    return rc;
}

static status dir_remove(blob_store *s, const char *key, err *e) {
    int folder;
    const char *name;
    status rc = open_folder(self(s), key, false, &folder, &name, e);
    if (rc) return rc;
    if (unlinkat(folder, name, 0)) {
        rc = errno == ENOENT ? not_found(e, key) : io_error(e, "remove", key);
    } else if (fsync(folder)) {
        rc = io_error(e, "sync the folder of", key);
    }
    close(folder);
    return rc;
}

static status dir_link(blob_store *s, const char *key, int64_t now_ms, buf *url, err *e) {
    (void)now_ms, (void)e;
    buf_printf(url, "%s/%s", self(s)->public_url, key); // no character of a key needs escaping
    return OK;
}

static status dir_check(blob_store *s, err *e) {
    char name[40];
    status rc = temp_name(name, e);
    if (rc) return rc;
    int fd = openat(self(s)->temp, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT) return gone(self(s), e);
    if (fd < 0) return io_error(e, "create a file in", s->place);
    static const char block[4096];
    bool ok = write(fd, block, sizeof block) == (ssize_t)sizeof block && fdatasync(fd) == 0;
    if (!ok) rc = io_error(e, "write a file in", s->place);
    close(fd);
    unlinkat(self(s)->temp, name, 0);
    return rc;
}

static void dir_counts(blob_store *s, blob_counts *out) {
    out->bytes_up = atomic_load(&self(s)->up);
    out->bytes_down = atomic_load(&self(s)->down);
}

static void dir_close(blob_store *s) {
    dir_store *d = self(s);
    if (d->root >= 0) close(d->root);
    if (d->temp >= 0) close(d->temp);
    mem_free(d->public_url);
    mem_free(d);
}

// Removes what a process that died was writing.
static void sweep(const dir_store *d) {
    int fd = fcntl(d->temp, F_DUPFD_CLOEXEC, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0) close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;
        if (fstatat(d->temp, entry->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
        if (S_ISREG(st.st_mode) && st.st_mtime + TEMP_AGE_S < time(NULL)) {
            unlinkat(d->temp, entry->d_name, 0);
        }
    }
    closedir(dir);
}

static const blob_ops dir_ops = {.put = dir_put,
                                 .link = dir_link,
                                 .head = dir_head,
                                 .get = dir_get,
                                 .remove = dir_remove,
                                 .check = dir_check,
                                 .open_fd = dir_open_fd,
                                 .counts = dir_counts,
                                 .close = dir_close};

static status open_root(dir_store *d, const char *path, err *e) {
    status rc = os_mkdirs(path, e);
    if (rc) return rc;
    d->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->root < 0) return err_errno(e, "open %s", path);
    if (mkdirat(d->root, TEMP_DIR, 0755) && errno != EEXIST) {
        return err_errno(e, "make %s/%s", path, TEMP_DIR);
    }
    d->temp = openat(d->root, TEMP_DIR, FOLDER_FLAGS);
    if (d->temp < 0) return err_errno(e, "open %s/%s", path, TEMP_DIR);
    sweep(d);
    return OK;
}

status blob_dir_open(blob_store **out, const blob_config *c, err *e) {
    dir_store *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "blob store");
    d->base.ops = &dir_ops;
    d->base.kind = "dir";
    d->root = d->temp = -1;
    snprintf(d->base.place, sizeof d->base.place, "%s", c->dir);
    d->public_url = mem_strdup(c->public_url ? c->public_url : "");
    status rc = d->public_url ? open_root(d, c->dir, e) : err_set(e, ERR_OOM, "blob store");
    if (rc) {
        dir_close(&d->base);
        return rc;
    }
    *out = &d->base;
    return OK;
}
