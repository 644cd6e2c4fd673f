// os.c - see os.h. Linux first; what is not POSIX is marked.
#define _GNU_SOURCE // sched_getaffinity
#include "base/os_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

static status cannot_open(const char *path, err *e) {
    char to[256];
    ssize_t n = errno == ENOENT ? readlink(path, to, sizeof to) : -1;
    if (n < 0) return err_errno(e, "cannot open %s", path);
    return err_set(
        e, ERR_NOT_FOUND,
        "%s is a link to %.*s, which is not there: fetch the file again, or copy it with "
        "links followed (cp -L)",
        path, (int)n, to);
}

static const char *kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    return S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
}

status os_map_open(os_file_map *out, const char *path, err *e) {
    *out = (os_file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO would wait for a writer
    if (fd < 0) return cannot_open(path, e);
    status rc = OK;
    struct stat st;
    if (fstat(fd, &st))
        rc = err_errno(e, "cannot stat %s", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "%s is not a regular file but %s: name a file", path,
                     kind_of(st.st_mode));
    if (!rc && st.st_size > 0) {
        size_t n = (size_t)st.st_size;
        void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = err_errno(e, "cannot map %s", path);
        else
            *out = (os_file_map){.data = {p, n}, .base = p, .len = n};
    }
    close(fd);
    return rc;
}

void os_map_close(os_file_map *m) {
    if (m->base) munmap(m->base, m->len);
    *m = (os_file_map){0};
}

void os_map_forget(const os_file_map *m, bytes part) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), at = (size_t)(part.p - m->data.p);
    size_t from = size_align(at, page), to = (at + part.n) / page * page;
    if (m->base && to > from) madvise((uint8_t *)m->base + from, to - from, MADV_DONTNEED);
}

bool os_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool os_is_link(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

bool os_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool os_is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool os_file_identify(os_file_id *out, const char *path) {
    struct stat st;
    *out = (os_file_id){0};
    if (stat(path, &st)) return false;
    *out = (os_file_id){.device = st.st_dev, .inode = st.st_ino};
    return true;
}

status os_mkdirs(const char *path, err *e) {
    char part[OS_PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part)
        return err_set(e, ERR_LIMIT, "path of %zu bytes, expected under %d", n, OS_PATH_MAX);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        char keep = part[i];
        part[i] = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            return err_errno(e, "cannot make folder %s", part);
        part[i] = keep;
    }
    return os_is_dir(path) ? OK : err_set(e, ERR_IO, "%s is not a folder", path);
}

status os_path_join(char *out, size_t cap, const char *dir, const char *name, err *e) {
    size_t n = strlen(dir);
    const char *sep = n && dir[n - 1] == '/' ? "" : "/";
    int len = snprintf(out, cap, "%s%s%s", dir, sep, name);
    if (len >= 0 && (size_t)len < cap) return OK;
    return err_set(e, ERR_LIMIT, "path of %d bytes, expected under %zu", len, cap);
}

int64_t os_clock_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t os_time_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

double os_seconds(void) {
    return (double)os_clock_ns() * 1e-9;
}

void os_sleep_ms(int ms) {
    struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&ts, &ts) && errno == EINTR && !os_stop_requested()) {
    }
}

int os_cpu_count(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set)) return 1;
    return MAX(1, CPU_COUNT(&set));
}

size_t os_memory_resident(void) {
    unsigned long long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re"); // Linux
    if (!f) return 0;
    if (fscanf(f, "%llu %llu", &all, &resident) != 2) resident = 0;
    fclose(f);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

size_t os_memory_huge(void) {
    char line[200];
    unsigned long long kb = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "re"); // Linux
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "AnonHugePages: %llu", &kb) == 1) break;
    if (f) fclose(f);
    return (size_t)kb << 10;
}

bool os_is_terminal(int fd) {
    return isatty(fd) == 1;
}

int os_terminal_columns(int fd) {
    struct winsize w;
    if (ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col) return w.ws_col;
    const char *said = getenv("COLUMNS");
    long n = said ? strtol(said, NULL, 10) : 0;
    return n > 0 && n < 10000 ? (int)n : 80;
}

void os_time_text(char out[OS_TIME_SIZE], int64_t time_ms, bool thousandths) {
    int64_t ms = time_ms % 1000 + (time_ms % 1000 < 0 ? 1000 : 0); // 0..999 before 1970 too
    time_t seconds = (time_t)((time_ms - ms) / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(out, OS_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    if (thousandths) n += (size_t)snprintf(out + n, OS_TIME_SIZE - n, ".%03d", (int)ms);
    snprintf(out + n, OS_TIME_SIZE - n, "Z");
}

void os_cond_init(pthread_cond_t *c) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

bool os_cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *mu, int64_t ms) {
    int64_t until = os_clock_ns() + MAX(ms, 0) * 1000000;
    struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    return pthread_cond_timedwait(c, mu, &at) == 0;
}

static volatile sig_atomic_t stop_signal;

static void on_stop(int sig) {
    if (stop_signal) _exit(128 + sig);
    stop_signal = sig;
}

static void on_end(int sig) {
    os_remove_unfinished();
    raise(sig); // the handler is reset: the parent sees the signal
}

static void on_signals(void (*handler)(int), int flags) {
    struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    struct sigaction hup;
    bool ignored = sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler == SIG_IGN; // nohup
    if (!ignored) sigaction(SIGHUP, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

void os_stop_on_signals(void) {
    on_signals(on_stop, 0);
}

void os_end_on_signals(void) {
    on_signals(on_end, (int)SA_RESETHAND);
}

bool os_stop_requested(void) {
    return stop_signal != 0;
}

int os_stop_status(void) {
    return 128 + stop_signal;
}
