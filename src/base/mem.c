// mem.c - see mem.h. posix_memalign backs everything aligned, so that free() fits all.
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_int fail_after = -1;

void mem_fail_after(int n) {
    atomic_store(&fail_after, n);
}

static bool refused(void) {
    int n = atomic_load(&fail_after);
    if (n < 0) return false;
    if (n == 0) return true;
    atomic_store(&fail_after, n - 1);
    return false;
}

void *mem_alloc(size_t n) {
    return refused() ? NULL : malloc(n ? n : 1);
}

void *mem_calloc(size_t count, size_t size) {
    size_t n;
    if (!size_mul(&n, count, size) || refused()) return NULL;
    return calloc(1, n ? n : 1);
}

void *mem_realloc(void *p, size_t n) {
    return refused() ? NULL : realloc(p, n ? n : 1);
}

// Weights and caches of some megabytes are walked end to end each step: huge pages spare the TLB.
#define HUGE_PAGE ((size_t)2 << 20)

void *mem_aligned(size_t n) {
    if (refused() || n > SIZE_MAX - HUGE_PAGE) return NULL;
    bool huge = n >= 2 * HUGE_PAGE;
    size_t align = huge ? HUGE_PAGE : 64;
    void *p = NULL;
    if (posix_memalign(&p, align, size_align(n ? n : 1, align))) return NULL;
    if (huge) madvise(p, size_align(n, align), MADV_HUGEPAGE); // advice: failure costs speed only
    memset(p, 0, n);
    return p;
}

char *mem_strndup(const char *s, size_t n) {
    char *p = mem_alloc(n + 1);
    if (!p) return NULL;
    if (n) memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *mem_strdup(const char *s) {
    return s ? mem_strndup(s, strlen(s)) : NULL;
}

void mem_free(void *p) {
    free(p);
}

struct arena_block {
    arena_block *next;
    size_t used, size;
    uint8_t *data;
};

// Blocks grow with what the arena holds, so that the many matrices of a model share huge pages.
#define BLOCK_MIN ((size_t)1 << 20)
#define BLOCK_MAX ((size_t)16 << 20)

void arena_init(arena *a, size_t max) {
    *a = (arena){.max = max};
}

// Larger blocks are fresh pages of the system's, which are cleared when they are first touched: by
// the threads that fill them, and not at all where nobody does.
#define PAGES_MIN (2 * HUGE_PAGE)

static void *pages_map(size_t n) {
    if (refused()) return NULL;
    uint8_t *p =
        mmap(NULL, n + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    size_t before = size_align((size_t)(uintptr_t)p, HUGE_PAGE) - (size_t)(uintptr_t)p;
    if (before) munmap(p, before);
    munmap(p + before + n, HUGE_PAGE - before);
    madvise(p + before, n, MADV_HUGEPAGE);
    return p + before;
}

static void *block_data(size_t size) {
    return size < PAGES_MIN ? mem_aligned(size) : pages_map(size);
}

static void block_free(arena_block *b) {
    if (b->size < PAGES_MIN)
        mem_free(b->data);
    else
        munmap(b->data, b->size);
    mem_free(b);
}

static arena_block *block_add(arena *a, size_t n) {
    size_t size = MAX(n, MIN(BLOCK_MAX, MAX(BLOCK_MIN, a->used)));
    if (size >= PAGES_MIN) size = size_align(size, HUGE_PAGE);
    arena_block *b = mem_calloc(1, sizeof *b);
    uint8_t *data = b ? block_data(size) : NULL;
    if (!data) {
        mem_free(b);
        return NULL;
    }
    *b = (arena_block){.next = a->head, .size = size, .data = data};
    a->head = b;
    return b;
}

void *arena_alloc(arena *a, size_t n) {
    if (a->failed || n > SIZE_MAX / 2) {
        a->failed = true;
        return NULL;
    }
    n = size_align(n ? n : 1, 64);
    if (a->max && n > a->max - a->used) {
        a->failed = true;
        return NULL;
    }
    arena_block *b = a->head;
    if (!b || b->size - b->used < n) b = block_add(a, n);
    if (!b) {
        a->failed = true;
        return NULL;
    }
    void *p = b->data + b->used;
    b->used += n;
    a->used += n;
    return p;
}

float *arena_f32(arena *a, size_t rows, size_t cols) {
    size_t n;
    if (!size_mul(&n, rows, cols) || !size_mul(&n, n, sizeof(float))) {
        a->failed = true;
        return NULL;
    }
    return arena_alloc(a, n);
}

char *arena_strdup(arena *a, const char *s) {
    size_t n = strlen(s) + 1;
    char *p = arena_alloc(a, n);
    return p ? memcpy(p, s, n) : NULL;
}

void arena_reset(arena *a) {
    while (a->head) {
        arena_block *b = a->head;
        a->head = b->next;
        block_free(b);
    }
    a->used = 0;
    a->failed = false;
}

void arena_deinit(arena *a) {
    arena_reset(a);
}
