// os_write.c - files that appear whole under their name: see os.h.
//
// A file is written beside its name and moved over it. What has no such file - a device, a FIFO -
// is written to as it stands. So is a file that cannot be moved over: its folder takes no other
// file, the owner would change, or it is a mount point.
#define _GNU_SOURCE // mkostemp
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os_inside.h"

#define LINKS_MAX 40 // as the kernel follows

// What a path leads to.
typedef struct {
    char path[OS_PATH_MAX]; // behind the links
    struct stat st;
    bool there;  // st is filled
    bool stream; // to be written to as it stands: no regular file, or one without a name
    bool ours;   // it is the standard output
} place;

struct os_atomic_file {
    int fd;
    bool direct;   // there is no temporary file
    bool in_place; // the temporary file is copied, not moved
    place to;
    char temp[OS_PATH_MAX + 32];
};

static _Atomic(const char *) unfinished; // temporary file of the last os_atomic_open

void os_remove_unfinished(void) {
    const char *temp = unfinished;
    if (temp) unlink(temp);
}

static bool is_same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static status cannot_write(const char *path, err *e) {
    if (errno == EINTR) return err_set(e, ERR_CANCELED, "stopped before %s was written", path);
    return err_errno(e, "cannot write %s", path);
}

// Puts in path what the link at path says. False: it is no link.
static bool follow(char path[OS_PATH_MAX]) {
    char to[OS_PATH_MAX];
    ssize_t n = readlink(path, to, sizeof to);
    const char *slash = strrchr(path, '/');
    size_t dir = n > 0 && to[0] != '/' && slash ? (size_t)(slash - path) + 1 : 0;
    if (n <= 0 || dir + (size_t)n >= OS_PATH_MAX) return false;
    memcpy(path + dir, to, (size_t)n);
    path[dir + (size_t)n] = 0;
    return true;
}

static status check_kind(const place *p, const char *path, err *e) {
    if (!p->there) return OK;
    if (S_ISDIR(p->st.st_mode))
        return err_set(e, ERR_ARG, "expected a file to write, %s is a folder", path);
    if (S_ISSOCK(p->st.st_mode))
        return err_set(e, ERR_ARG, "expected a file to write, %s is a socket", path);
    return p->ours || access(path, W_OK) == 0 ? OK : err_errno(e, "cannot write %s", path);
}

static status place_find(place *p, const char *path, err *e) {
    size_t n = strlen(path);
    *p = (place){0};
    if (n >= OS_PATH_MAX)
        return err_set(e, ERR_LIMIT, "path of %zu bytes, expected under %d", n, OS_PATH_MAX);
    memcpy(p->path, path, n + 1);
    p->there = stat(path, &p->st) == 0;
    status rc = check_kind(p, path, e);
    if (rc) return rc;
    p->stream = p->there && !S_ISREG(p->st.st_mode);
    if (p->stream) return OK;
    struct stat other;
    p->ours = p->there && fstat(STDOUT_FILENO, &other) == 0 && is_same(&p->st, &other);
    int links = 0;
    while (links < LINKS_MAX && follow(p->path)) links++;
    if (links == LINKS_MAX) return err_set(e, ERR_ARG, "%s is a link that leads in a circle", path);
    // A link of /proc leads to an open file that may have no name any more.
    p->stream = p->ours || (p->there && (stat(p->path, &other) || !is_same(&p->st, &other)));
    if (p->stream) memcpy(p->path, path, n + 1);
    return OK;
}

// Opens what is there, emptied, and waits for the reader of a FIFO.
static int open_there(const place *p) {
    if (p->ours) return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    int fd;
    do fd = open(p->path, O_WRONLY | O_TRUNC | O_NOCTTY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR && !os_stop_requested());
    return fd;
}

// Makes the temporary file with the owner of the file that it will take the place of.
static bool open_beside(os_atomic_file *f) {
    const struct stat *old = &f->to.st;
    snprintf(f->temp, sizeof f->temp, "%s.tmp-XXXXXX", f->to.path);
    f->fd = mkostemp(f->temp, O_CLOEXEC);
    struct stat own;
    if (f->fd < 0 || fstat(f->fd, &own) || !f->to.there) return f->fd >= 0;
    bool other = own.st_uid != old->st_uid || own.st_gid != old->st_gid;
    f->in_place = other && fchown(f->fd, old->st_uid, old->st_gid) != 0;
    return true;
}

static status open_file(os_atomic_file *f, bool may_open, err *e) {
    f->fd = -1;
    f->direct = f->to.stream;
    if (!f->direct && open_beside(f)) return OK;
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EMFILE || errno == ENFILE;
    if (!f->direct && (!f->to.there || full)) return err_errno(e, "cannot create %s", f->to.path);
    f->direct = true;
    if (may_open) f->fd = open_there(&f->to);
    return f->fd >= 0 || !may_open ? OK : cannot_write(f->to.path, e);
}

status os_atomic_open(os_atomic_file **out, const char *path, err *e) {
    *out = NULL;
    os_atomic_file *f = mem_calloc(1, sizeof *f);
    if (!f) return err_set(e, ERR_OOM, "no memory to write %s", path);
    status rc = place_find(&f->to, path, e);
    if (!rc) rc = open_file(f, true, e);
    if (rc) {
        mem_free(f);
        return rc;
    }
    if (!f->direct) unfinished = f->temp;
    *out = f;
    return OK;
}

static status write_all(int fd, bytes data, const char *path, err *e) {
    while (data.n) {
        ssize_t n = write(fd, data.p, MIN(data.n, (size_t)1 << 30));
        if (n < 0 && errno == EINTR && !os_stop_requested()) continue;
        if (n < 0) return cannot_write(path, e);
        data.p += n;
        data.n -= (size_t)n;
    }
    return OK;
}

status os_atomic_write(os_atomic_file *f, bytes data, err *e) {
    return write_all(f->fd, data, f->to.path, e);
}

static status fsync_dir_of(const char *path, err *e) {
    char dir[OS_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    memcpy(dir, path, n);
    if (!slash)
        dir[n++] = '.';
    else if (n == 0)
        dir[n++] = '/';
    dir[n] = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, "cannot open folder %s", dir);
    status rc = fsync(fd) && errno != EINVAL ? err_errno(e, "cannot sync folder %s", dir) : OK;
    close(fd);
    return rc;
}

static void close_file(os_atomic_file *f) {
    if (f->fd >= 0) close(f->fd);
    if (!f->direct) {
        unfinished = NULL;
        unlink(f->temp);
    }
    mem_free(f);
}

void os_atomic_abandon(os_atomic_file *f) {
    if (f) close_file(f);
}

// A device may not know how to sync; a pipe has nothing to.
static status sync_fd(int fd, const char *path, err *e) {
    bool failed = fsync(fd) && errno != EINVAL && errno != EROFS && errno != ENOTSUP;
    return failed ? err_errno(e, "cannot sync %s", path) : OK;
}

static status copy_over(os_atomic_file *f, err *e) {
    uint8_t block[1 << 14];
    const char *path = f->to.path;
    int fd = open_there(&f->to);
    if (fd < 0 || lseek(f->fd, 0, SEEK_SET) < 0) {
        status failed = err_errno(e, "cannot write %s", path);
        if (fd >= 0) close(fd);
        return failed;
    }
    status rc = OK;
    ssize_t n = 1;
    while (!rc && n > 0) {
        n = read(f->fd, block, sizeof block);
        rc = n < 0 ? err_errno(e, "cannot read %s", f->temp)
                   : write_all(fd, (bytes){block, (size_t)n}, path, e);
    }
    if (!rc) rc = sync_fd(fd, path, e);
    if (close(fd) && !rc) rc = err_errno(e, "cannot close %s", path);
    return rc;
}

static status move_over(os_atomic_file *f, err *e) {
    mode_t mask = umask(0);
    umask(mask);
    mode_t mode = f->to.there ? f->to.st.st_mode & 07777 : 0666 & ~mask;
    if (fchmod(f->fd, mode)) return err_errno(e, "cannot set the mode of %s", f->to.path);
    status rc = sync_fd(f->fd, f->to.path, e);
    if (rc || f->in_place) return rc ? rc : copy_over(f, e);
    if (rename(f->temp, f->to.path) == 0) {
        f->temp[0] = 0;
        return fsync_dir_of(f->to.path, e);
    }
    bool mounted = errno == EBUSY && f->to.there;
    return mounted ? copy_over(f, e) : err_errno(e, "cannot rename to %s", f->to.path);
}

status os_atomic_commit(os_atomic_file *f, err *e) {
    status rc = f->direct ? sync_fd(f->fd, f->to.path, e) : move_over(f, e);
    if (close(f->fd) && !rc) rc = err_errno(e, "cannot close %s", f->to.path);
    f->fd = -1;
    close_file(f);
    return rc;
}

status os_write_atomic(const char *path, bytes data, err *e) {
    os_atomic_file *f;
    status rc = os_atomic_open(&f, path, e);
    if (rc) return rc;
    rc = os_atomic_write(f, data, e);
    if (rc) {
        os_atomic_abandon(f);
        return rc;
    }
    return os_atomic_commit(f, e);
}

status os_can_write(const char *path, err *e) {
    os_atomic_file *f = mem_calloc(1, sizeof *f);
    if (!f) return err_set(e, ERR_OOM, "no memory to write %s", path);
    status rc = place_find(&f->to, path, e);
    if (!rc) rc = open_file(f, false, e);
    f->direct |= rc != OK;
    close_file(f);
    return rc;
}

bool os_is_stdout(const char *path) {
    struct stat there, out;
    return stat(path, &there) == 0 && fstat(STDOUT_FILENO, &out) == 0 && is_same(&there, &out);
}
