// compute.c - opens a `compute`: chooses kernels, starts threads, takes scratch memory.
#include "compute/cpu/compute.h"

#include <stdlib.h>

#include "base/cgroup.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "compute/cpu/isa.h"

// Values that a part should have at least: with fewer a fork costs more than it saves.
#define FORK_VALUES ((int64_t)4 << 10)

// Writes the levels this machine has to out, for an error text: "scalar avx2".
static void level_list(char *out, size_t cap, unsigned have) {
    static const char *const names[] = {"scalar", "avx2", "avx512", "amx", "neon"};
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        unsigned flags;
        if (!isa_level(have, names[i], &flags)) continue;
        for (const char *s = at ? " " : ""; *s && at + 1 < cap; s++) out[at++] = *s;
        for (const char *s = names[i]; *s && at + 1 < cap; s++) out[at++] = *s;
    }
    out[at] = 0;
}

// The kernels of AMX were written on machines without it. So each process looks whether they agree
// with those of AVX-512, and does without them if they do not.
static void choose_kernels(compute *c, unsigned flags) {
    kern_init(&c->k, flags);
    if (flags & ISA_AMX) {
        kern_table without;
        kern_init(&without, flags & ~ISA_AMX);
        if (!kern_packed_agree(&c->k, &without)) {
            log_warn("compute", "AMX gives other results than AVX-512 here, so it is not used: "
                                "please report this, with the processor's name");
            flags &= ~ISA_AMX, c->k = without;
        }
    }
    c->isa = isa_level_name(flags);
}

static status choose_isa(compute *c, const char *isa, err *e) {
    unsigned have = isa_flags(), flags = have;
    if (!isa) isa = getenv("STEMFORGE_ISA");
    if (isa && *isa && !isa_level(have, isa, &flags)) {
        char list[64];
        level_list(list, sizeof list, have);
        return err_set(e, ERR_ARG, "instruction set: expected one of \"%s\", found \"%s\"", list,
                       isa);
    }
    choose_kernels(c, flags);
    return OK;
}

static status scratch_open(compute *c, int threads, err *e) {
    c->scratch = mem_calloc((size_t)threads, sizeof *c->scratch);
    if (!c->scratch) return err_set(e, ERR_OOM, "no memory for %d threads", threads);
    for (int i = 0; i < threads; i++) {
        c->scratch[i].panel = mem_aligned((size_t)COMPUTE_PANEL * sizeof(float));
        if (!c->scratch[i].panel) return err_set(e, ERR_OOM, "no memory for thread %d", i);
    }
    c->qx = mem_aligned((size_t)COMPUTE_QBLOCKS * sizeof(qblock));
    if (!c->qx) return err_set(e, ERR_OOM, "no memory for quantised rows");
    return compute_reserve(c, 2048, e);
}

// Sets *out to STEMFORGE_THREADS, or else to the processors that this process may use: fewer where
// a container has a quota.
static status default_threads(int *out, err *e) {
    const char *text = getenv("STEMFORGE_THREADS");
    *out = MIN(cgroup_threads(cgroup_cpus(""), os_cpu_count()), POOL_THREADS_MAX);
    if (!text || !*text) return OK;
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || n < 1 || n > POOL_THREADS_MAX) {
        return err_set(e, ERR_ARG, "STEMFORGE_THREADS: expected 1 to %d, found \"%.40s\"",
                       POOL_THREADS_MAX, text);
    }
    *out = (int)n;
    return OK;
}

status compute_open(compute **out, int threads, const char *isa, err *e) {
    *out = NULL;
    if (threads < 0) return err_set(e, ERR_ARG, "threads: expected 0 or more, found %d", threads);
    status got = threads ? OK : default_threads(&threads, e);
    if (got) return got;
    compute *c = mem_calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_OOM, "no memory for a compute");
    status rc = choose_isa(c, isa, e);
    if (rc == OK) rc = pool_open(&c->pool, threads, e);
    if (rc == OK) rc = scratch_open(c, threads, e);
    if (rc != OK) {
        compute_close(c);
        return rc;
    }
    *out = c;
    return OK;
}

void compute_close(compute *c) {
    if (!c) return;
    for (int i = 0; c->scratch && i < pool_threads(c->pool); i++) {
        mem_free(c->scratch[i].panel);
        mem_free(c->scratch[i].scores);
    }
    mem_free(c->scratch);
    mem_free(c->qx);
    pool_close(c->pool);
    mem_free(c);
}

status compute_reserve(compute *c, int64_t len_max, err *e) {
    if (len_max <= c->scores_max) return OK;
    size_t n = size_align((size_t)len_max, 16);
    for (int i = 0; i < pool_threads(c->pool); i++) {
        float *p = mem_aligned(n * KVPACK_HEADS * sizeof(float));
        if (!p) return err_set(e, ERR_OOM, "no memory for attention over %lld", (long long)len_max);
        mem_free(c->scratch[i].scores);
        c->scratch[i].scores = p;
    }
    c->scores_max = (int64_t)n;
    return OK;
}

int compute_threads(const compute *c) {
    return pool_threads(c->pool);
}
const char *compute_isa(const compute *c) {
    return c->isa;
}

int compute_parts(const compute *c, int64_t n, int64_t cost) {
    int64_t threads = pool_threads(c->pool), most = MIN(n, MIN(2 * threads, cost / FORK_VALUES));
    return (int)MAX(1, most > threads ? most / threads * threads : most);
}

span span_of(int64_t n, int64_t grain, int part, int parts) {
    int64_t units = (n + grain - 1) / grain;
    return (span){MIN(n, units * part / parts * grain), MIN(n, units * (part + 1) / parts * grain)};
}
