// roof.c - see roof.h.
#include "app/roof.h"

#include <math.h>

#include "base/mem.h"
#include "base/os.h"

#define READ_BYTES ((size_t)512 << 20)
#define READ_ROUNDS 7
#define PARTS_PER_THREAD 4
#define READ_AHEAD 4096 // bytes: the best of 1024 to 16384 on Zen 5, by a few per cent
#define LINE 8          // values of 8 bytes

typedef struct {
    const uint64_t *p;
    uint64_t *sums; // a line for each part
} reader;

static void read_part(void *arg, int part, int parts) {
    const reader *r = arg;
    size_t lines = READ_BYTES / 64, from = lines * (size_t)part / (size_t)parts;
    size_t to = lines * (size_t)(part + 1) / (size_t)parts;
    uint64_t sum[LINE] = {0};
    for (const uint64_t *p = r->p + from * LINE, *end = r->p + to * LINE; p < end; p += LINE) {
        __builtin_prefetch((const uint8_t *)p + READ_AHEAD);
        _Pragma("GCC unroll 8") // sums in registers
            for (int i = 0; i < LINE; i++) sum[i] += p[i];
    }
    for (int i = 0; i < LINE; i++) r->sums[part * LINE + i] = sum[i];
}

double roof_read(compute *c) {
    int parts = PARTS_PER_THREAD * compute_threads(c);
    uint64_t *p = mem_aligned(READ_BYTES), *sums = mem_aligned((size_t)parts * 64);
    double best = 0;
    for (int i = 0; i < READ_ROUNDS && p && sums; i++) {
        reader r = {p, sums};
        double from = os_seconds();
        op_parallel(c, parts, read_part, &r);
        best = fmax(best, (double)READ_BYTES / (os_seconds() - from) / 1e9);
    }
    mem_free(p);
    mem_free(sums);
    return best;
}

enum { N = 768, MULTIPLY_ROUNDS = 10 };

// The best rate of `rounds` calls of f, each of which does 2 * products operations.
static double best_rate(void (*f)(void *arg), void *arg, double products) {
    double best = 0;
    for (int i = 0; i < MULTIPLY_ROUNDS; i++) {
        double from = os_seconds();
        f(arg);
        best = fmax(best, 2 * products / (os_seconds() - from) / 1e9);
    }
    return best;
}

typedef struct {
    compute *c;
    linear_args a;
    chain_linear_args chain;
} multiply;

static void do_linear(void *arg) {
    multiply *m = arg;
    op_linear(m->c, &m->a);
}

static void do_chain(void *arg) {
    multiply *m = arg;
    chain_linear(m->c, &m->chain);
}

double roof_multiply(compute *c, const weight *w) {
    arena own = {0};
    const weight cube = {.type = DT_F32, .rows = N, .cols = N, .data = arena_f32(&own, N, N)};
    if (!w) w = &cube;
    float *x = arena_f32(&own, N, (size_t)w->cols), *y = arena_f32(&own, N, (size_t)w->rows);
    multiply m = {.c = c, .a = {.y = y, .ldy = w->rows, .x = x, .ldx = w->cols, .n = N, .w = w}};
    double best =
        own.failed ? 0 : best_rate(do_linear, &m, (double)N * (double)w->rows * (double)w->cols);
    arena_deinit(&own);
    return best;
}

double roof_chain(compute *c, dtype type) {
    arena own = {0};
    size_t size = 0;
    chain_weight w = {.type = type, .rows = N, .cols = N};
    if (chain_size(&size, type, N, N)) w.data = arena_alloc(&own, size);
    float *x = arena_f32(&own, N, N), *y = arena_f32(&own, N, N);
    multiply m = {.c = c, .chain = {.y = y, .ldy = N, .x = x, .ldx = N, .n = N, .w = &w}};
    double best = own.failed ? 0 : best_rate(do_chain, &m, (double)N * N * N);
    arena_deinit(&own);
    return best;
}
