// tune.c - see tune.h.
#include "compute/tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/mem.h"
#include "base/os.h"
#include "compute/cpu/compute.h"
#include "compute/cpu/isa.h"

static const struct {
    const char *name;
    kern_prefetch how;
} ways[TUNE_WAYS] = {
    {"non-temporal 8192", {FETCH_ONCE, 8192}},
    {"l2 8192", {FETCH_L2, 8192}},
    {"l2 4096", {FETCH_L2, 4096}},
    {"l2 16384", {FETCH_L2, 16384}},
    {"l1 8192", {FETCH_L1, 8192}},
};

// Another way must be so much faster than the default: less is within the spread of a busy machine.
#define CLEARLY 1.05

const char *tune_way_name(int i) {
    return ways[i].name;
}

void tune_use(compute *c, int way) {
    c->way = way;
    c->prefetch = ways[way].how;
}

int tune_used(const compute *c) {
    return c->way;
}

void tune_use_huge(compute *c, bool huge) {
    c->huge = huge;
}

bool tune_huge(const compute *c) {
    return c->huge;
}

// ---- measuring ----

// Decoder steps in small: the rows of x of one guided stem, and of four, times packed weights that
// no cache holds.
static const int64_t x_rows[] = {2, 8};
#define X_ROWS 8
#define COLS ((int64_t)1024)
#define BLOCKS (COLS / QUANT_BLOCK)
#define ROWS_OUT 64 // weight rows of one kernel call
#define SLICES 64
#define SMALL_PAGE 4096
#define SLICE_BYTES ((size_t)1 << 20)
#define WEIGHT_BYTES (SLICES * SLICE_BYTES)
#define OTHERS_BYTES ((size_t)4 << 20)
#define OTHER_PAGES ((size_t)4096) // more than a processor keeps the addresses of
#define BUDGET_SECONDS 0.06
#define BUDGET_PAGES_SECONDS 0.03

// Processor time of this thread: time that other processes take does not count.
static double spent(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Takes bytes out of all caches, so that they are read from memory. A server's shared cache would
// hold them all, and what is fastest from there is not what is fastest from memory.
static void forget(const uint8_t *p, size_t n) {
#if defined(__x86_64__)
    for (size_t i = 0; i < n; i += 64) __builtin_ia32_clflush(p + i);
    __builtin_ia32_mfence();
#elif defined(__aarch64__)
    for (size_t i = 0; i < n; i += 64) __asm__ volatile("dc civac, %0" ::"r"(p + i) : "memory");
    __asm__ volatile("dsb ish" ::: "memory");
#else
    (void)p, (void)n;
#endif
}

// Multiplies one slice of the weights by n rows of x. Returns bytes a second.
static double read_slice(const kern_table *k, const uint8_t *w, int64_t n, kern_prefetch how) {
    static const qblock x[X_ROWS * BLOCKS];
    float out[X_ROWS * ROWS_OUT];
    qdots_args a = {.out = out, .ldo = ROWS_OUT, .type = DT_Q8, .x = x, .n = n, .cols = COLS};
    a.panels = ROWS_OUT / QUANT_ROWS, a.prefetch = how;
    const size_t each = (size_t)a.panels * quant_panel_size(DT_Q8, COLS);
    size_t at = 0;
    double from = spent();
    for (; at + each <= SLICE_BYTES; at += each) {
        a.w = w + at;
        k->packed.dots(&a);
    }
    return (double)at / (spent() - from);
}

// Measures the ways in turn until the time is over, each at least once with each number of rows.
// Of each the best counts, and of both numbers of rows the mean time.
static void best_of_each(const kern_table *k, const uint8_t *w, double rates[TUNE_WAYS]) {
    enum { COUNTS = ARRAY_LEN(x_rows), LEAST = TUNE_WAYS * COUNTS };
    double best[TUNE_WAYS][COUNTS] = {0}, until = spent() + BUDGET_SECONDS;
    for (int i = 0; i < LEAST || spent() < until; i++) {
        int way = i % TUNE_WAYS, count = i / TUNE_WAYS % COUNTS;
        const uint8_t *slice = w + i % SLICES * SLICE_BYTES;
        forget(slice, SLICE_BYTES);
        double rate = read_slice(k, slice, x_rows[count], ways[way].how);
        best[way][count] = MAX(best[way][count], rate);
    }
    for (int i = 0; i < TUNE_WAYS; i++) rates[i] = 2 / (1 / best[i][0] + 1 / best[i][1]);
}

// Reads other bytes than the next slice, more than a core's own caches hold: in a step, the
// addresses of pages do not stay in these either.
static void read_others(const uint8_t *p) {
    const volatile uint8_t *at = p;
    for (size_t i = 0; i < OTHERS_BYTES; i += 64) (void)at[i];
}

// Reads a byte of each of many small pages, so that the processor forgets where the next slice's
// pages are: taking them out of the caches has just told it.
static void forget_pages(const uint8_t *p) {
    const volatile uint8_t *at = p;
    for (size_t i = 0; i < OTHER_PAGES; i++) (void)at[i * SMALL_PAGE + i % 64 * 64];
}

// The same bytes in pages of both kinds, in turn.
static status measure_pages(compute *c, const uint8_t *huge, tune_rates *r, err *e) {
    uint8_t *block = mem_alloc(WEIGHT_BYTES + SMALL_PAGE);
    if (!block) return err_set(e, ERR_OOM, "no memory to measure pages");
    uint8_t *small = block + (SMALL_PAGE - (uintptr_t)block % SMALL_PAGE);
    madvise(small, WEIGHT_BYTES, MADV_NOHUGEPAGE); // advice: without it both are alike
    memset(small, 1, WEIGHT_BYTES);
    double until = spent() + BUDGET_PAGES_SECONDS;
    r->small = r->huge = 0;
    for (int i = 0; i < 2 || spent() < until; i++) {
        size_t at = (size_t)(i / 2 % SLICES) * SLICE_BYTES;
        const uint8_t *slice = (i % 2 ? huge : small) + at;
        forget(slice, SLICE_BYTES);
        forget_pages(small + (at < WEIGHT_BYTES / 2 ? WEIGHT_BYTES / 2 : 0));
        read_others(huge + (at + WEIGHT_BYTES / 2) % (WEIGHT_BYTES - OTHERS_BYTES));
        double rate = read_slice(&c->k, slice, x_rows[0], c->prefetch);
        double *best = i % 2 ? &r->huge : &r->small;
        *best = MAX(*best, rate);
    }
    mem_free(block);
    tune_use_huge(c, r->huge > r->small * CLEARLY);
    return OK;
}

status tune_measure(compute *c, tune_rates *rates, err *e) {
    uint8_t *w = mem_aligned(WEIGHT_BYTES);
    if (!w) return err_set(e, ERR_OOM, "no memory to measure prefetches");
    memset(w, 1, WEIGHT_BYTES);
    best_of_each(&c->k, w, rates->way);
    int best = 0;
    for (int i = 1; i < TUNE_WAYS; i++)
        if (rates->way[i] > rates->way[best] * (best ? 1 : CLEARLY)) best = i;
    tune_use(c, best);
    status rc = measure_pages(c, w, rates, e);
    mem_free(w);
    return rc;
}

// ---- keeping ----

#define KEPT_LINE "%s, %s pages\n"
static const char *const page_names[] = {"small", "huge"};

static status kept_path(char out[OS_PATH_MAX], bool make, err *e) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char dir[OS_PATH_MAX], name[64], processor[40];
    status rc = OK;
    if (cache && *cache)
        rc = os_path_join(dir, sizeof dir, cache, "stemforge", e);
    else if (home && *home)
        rc = os_path_join(dir, sizeof dir, home, ".cache/stemforge", e);
    else
        return err_set(e, ERR_NOT_FOUND, "no cache folder: neither XDG_CACHE_HOME nor HOME is set");
    if (!rc && make) rc = os_mkdirs(dir, e);
    isa_processor(processor, sizeof processor);
    snprintf(name, sizeof name, "prefetch-%s", processor);
    return rc ? rc : os_path_join(out, OS_PATH_MAX, dir, name, e);
}

status tune_keep(const compute *c, err *e) {
    char path[OS_PATH_MAX], line[60];
    status rc = kept_path(path, true, e);
    if (rc) return rc;
    int n = snprintf(line, sizeof line, KEPT_LINE, ways[c->way].name, page_names[c->huge]);
    return os_write_atomic(path, (bytes){(const uint8_t *)line, (size_t)n}, e);
}

int tune_kept(bool *huge) {
    char path[OS_PATH_MAX], line[60];
    os_file_map m;
    int found = -1;
    if (kept_path(path, false, NULL) || os_map_open(&m, path, NULL)) return -1;
    for (int i = 0; i < 2 * TUNE_WAYS; i++) {
        int n = snprintf(line, sizeof line, KEPT_LINE, ways[i / 2].name, page_names[i % 2]);
        if (m.data.n != (size_t)n || memcmp(m.data.p, line, m.data.n)) continue;
        found = i / 2;
        if (huge) *huge = i % 2;
    }
    os_map_close(&m);
    return found;
}

void tune_find(compute *c) {
    bool huge = false;
    int kept = tune_kept(&huge);
    if (kept < 0) return;
    tune_use(c, kept);
    tune_use_huge(c, huge);
}

void tune_apply(compute *c) {
    tune_rates rates;
    if (tune_kept(NULL) >= 0)
        tune_find(c);
    else if (!tune_measure(c, &rates, NULL))
        tune_keep(c, NULL);
}
