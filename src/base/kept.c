// kept.c - see kept.h.
#define _GNU_SOURCE // MAP_ANONYMOUS
#include "base/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOTS 256

// Read by the signal's handler. A slot is free while its base is 0.
static struct {
    atomic_uintptr_t base;
    atomic_size_t len;
    atomic_bool broken;
} slots[SLOTS];

static size_t page; // set before the handler is installed
static struct sigaction before;

static int slot_take(const os_file_map *m) {
    for (int i = 0; i < SLOTS && m->base; i++) {
        uintptr_t none = 0;
        // 1 is no page's address: the slot is taken, and its length is not there yet.
        if (!atomic_compare_exchange_strong(&slots[i].base, &none, 1)) continue;
        atomic_store(&slots[i].len, m->len);
        atomic_store(&slots[i].broken, false);
        atomic_store(&slots[i].base, (uintptr_t)m->base);
        return i;
    }
    return -1;
}

static int64_t changed_ns(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

status kept_open(kept_file *out, const char *path, err *e) {
    *out = (kept_file){.fd = -1, .slot = -1};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    // Looked at before it is mapped: a change in between shows.
    bool known = fd >= 0 && fstat(fd, &st) == 0;
    status rc = os_map_open(&out->map, path, e);
    if (rc || !known || !out->map.base) { // an empty file has no pages to lose
        if (fd >= 0) close(fd);
        return rc;
    }
    out->fd = fd;
    out->size = st.st_size;
    out->changed_ns = changed_ns(&st);
    out->slot = slot_take(&out->map);
    return OK;
}

void kept_close(kept_file *k) {
    if (!k->map.base) return;
    if (k->slot >= 0) atomic_store(&slots[k->slot].base, 0);
    if (k->fd >= 0) close(k->fd);
    os_map_close(&k->map);
    *k = (kept_file){.fd = -1, .slot = -1};
}

status kept_check(const kept_file *k, const char *path, err *e) {
    struct stat st;
    if (!k->map.base || k->fd < 0) return OK;
    bool broken = k->slot >= 0 && atomic_load(&slots[k->slot].broken);
    bool same = fstat(k->fd, &st) == 0 && st.st_size == k->size && changed_ns(&st) == k->changed_ns;
    if (!broken && same) return OK;
    return err_set(e, ERR_DEVICE,
                   "%.200s was %s while it was in use: start again; to replace a model's file, "
                   "write a new one and rename it over the old one",
                   path, broken && same ? "not readable" : "changed");
}

// Everything from the touched page to the end of the file becomes zeros.
static bool mend(uintptr_t at) {
    for (int i = 0; i < SLOTS; i++) {
        uintptr_t base = atomic_load(&slots[i].base);
        size_t len = atomic_load(&slots[i].len);
        if (base <= 1 || at < base || at - base >= size_align(len, page)) continue;
        atomic_store(&slots[i].broken, true);
        uintptr_t from = at / page * page;
        size_t n = size_align(len, page) - (from - base);
        return mmap((void *)from, n, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) !=
               MAP_FAILED;
    }
    return false;
}

// mmap is one system call and takes no lock.
static void on_bus_error(int sig, siginfo_t *info, void *context) {
    int no = errno;
    bool mended = mend((uintptr_t)info->si_addr);
    errno = no;
    if (mended) return; // the touch is made again
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(sig, info, context);
    else
        sigaction(sig, &before, NULL); // the touch is made again, and does what it did before
}

void kept_survive_bus_errors(void) {
    page = (size_t)sysconf(_SC_PAGESIZE);
    struct sigaction sa = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGBUS, &sa, &before);
}
