// bench.c - times of the ops against what this machine can do, measured in the same run.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "check.h"
#include "compute/cpu/gemm.h"

#define ARENA ((int64_t)192 << 20) // bytes of weights: more than any cache
static uint8_t *arena_bytes;
static float *x, *y;

static compute *machine;

// With one thread its processor time counts, so that other load on the machine does not; else the
// wall's.
static double now(void) {
    struct timespec t;
    clock_gettime(compute_threads(machine) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double best_of(int rounds, void (*f)(void *), void *arg) {
    double best = 1e9;
    for (int i = 0; i < rounds; i++) {
        double t = now();
        f(arg);
        t = now() - t;
        if (t < best) best = t;
    }
    return best;
}

// ---- the roof: reading, and multiplying ----

static uint64_t sink[256];

static void read_part(void *arg, int part, int parts) {
    (void)arg;
    span s = span_of(ARENA / 8, 64, part, parts);
    const uint64_t *p = (const uint64_t *)(const void *)arena_bytes;
    uint64_t a[8] = {0};
    for (int64_t i = s.from; i + 64 <= s.to; i += 64) {
        for (int k = 0; k < 64; k += 8) __builtin_prefetch(p + i + 1024 + k);
        for (int k = 0; k < 64; k++) a[k % 8] += p[i + k];
    }
    for (int k = 0; k < 8; k++) sink[part] += a[k];
}

static void read_plainly(void *arg) {
    (void)arg;
    op_parallel(machine, compute_threads(machine), read_part, NULL);
}

// One row against packed weights does next to nothing but read: here it beats the plain loop.
static void read_packed(void *arg) {
    weight w = {.type = DT_Q8, .rows = 4096, .cols = 1024};
    size_t each = quant_size(DT_Q8, w.rows, w.cols);
    for (int64_t i = 0; i < ARENA / (int64_t)each; i++) {
        w.data = arena_bytes + (size_t)i * each;
        op_linear(machine,
                  &(linear_args){.y = y, .ldy = 4096, .x = x, .ldx = 1024, .n = 1, .w = &w});
    }
    *(double *)arg = (double)(ARENA / (int64_t)each) * (double)each;
}

// Bytes a second: the better of both.
static double read_roof(void) {
    double packed = 0, plain = (double)ARENA / best_of(7, read_plainly, NULL);
    double t = best_of(7, read_packed, &packed);
    return MAX(plain, packed / t);
}

// A product whose operands lie in L1: what the inner loop can do at most.
static void multiply_part(void *arg, int part, int parts) {
    (void)parts;
    float out[6 * 4];
    dots_args d = {.out = out, .ldo = 4, .w = arena_bytes, .type = DT_F32, .ldw = 768, .rows = 4};
    d.x = x, d.ldx = 768, d.n = 6, d.cols = 768;
    for (int i = 0; i < 2000; i++) ((const kern_table *)arg)->products.dots(&d);
    sink[part] += (uint64_t)out[0];
}
#define MULTIPLY_FMAS (2000.0 * 4 * 6 * 768)

static void multiply_all(void *arg) {
    op_parallel(machine, compute_threads(machine), multiply_part, arg);
}

// The same for weights of 8 bits: two panels and twelve rows of x take 36 KiB.
static void multiply_packed_part(void *arg, int part, int parts) {
    (void)parts;
    static qblock q[12 * 2]; // zeros take as long as others
    float out[12 * 32];
    qdots_args d = {.out = out, .ldo = 32, .w = arena_bytes, .type = DT_Q8, .panels = 2};
    d.x = q, d.n = 12, d.cols = 512, d.cached = true;
    for (int i = 0; i < 2000; i++) ((const kern_table *)arg)->packed.dots(&d);
    sink[part] += (uint64_t)out[0];
}
#define MULTIPLY_PACKED_MACS (2000.0 * 32 * 12 * 512)

static void multiply_packed_all(void *arg) {
    op_parallel(machine, compute_threads(machine), multiply_packed_part, arg);
}

// What the machine gives at most: bytes read, float and integer multiplications, a second.
typedef struct {
    double read, fma, packed;
} roofs;

static roofs roofs_of(const kern_table *k) {
    int threads = compute_threads(machine);
    kern_table table = *k;
    return (roofs){.read = read_roof(),
                   .fma = threads * MULTIPLY_FMAS / best_of(7, multiply_all, &table),
                   .packed =
                       threads * MULTIPLY_PACKED_MACS / best_of(7, multiply_packed_all, &table)};
}

// ---- products ----

typedef struct {
    linear_args a;
    weight w;
    int copies; // so that weights come from memory: walk through the arena
} linear_bench;

static size_t bytes_of_weight(const weight *w) {
    if (quant_is(w->type)) return quant_size(w->type, w->rows, w->cols);
    if (w->type == DT_BF16X8) return bf16x8_size(w->rows, w->cols);
    return (size_t)(w->rows * w->cols) * dtype_size(w->type);
}

static void linear_walk(void *arg) {
    linear_bench *b = arg;
    size_t bytes_each = bytes_of_weight(&b->w);
    for (int i = 0; i < b->copies; i++) {
        weight w = b->w;
        w.data = arena_bytes + (size_t)i * bytes_each;
        linear_args a = b->a;
        a.w = &w;
        op_linear(machine, &a);
    }
}

static void linear_line(dtype type, int64_t rows, int64_t cols, int64_t n, int64_t ldx,
                        const roofs *r) {
    linear_bench b = {.w = {.type = type, .rows = rows, .cols = cols}};
    b.a = (linear_args){.y = y, .ldy = rows, .x = x, .ldx = ldx, .n = n};
    int64_t bytes_each = (int64_t)bytes_of_weight(&b.w);
    b.copies = n <= 64 ? (int)(ARENA / bytes_each) : 1;
    if (b.copies > 64) b.copies = 64;
    double t = best_of(n <= 64 ? 7 : 3, linear_walk, &b) / b.copies;
    printf("  %-6s [%5lld, %5lld] n %6lld: %9.1f us  %5.1f%% of reading  %5.1f%% of multiplying\n",
           dtype_name(type), (long long)rows, (long long)cols, (long long)n, t * 1e6,
           100 * (double)bytes_each / t / r->read,
           100 * (double)n * (double)(rows * cols) / t / (quant_is(type) ? r->packed : r->fma));
}

static void linear_lines(const roofs *r) {
    static const int64_t shapes[][2] = {{1024, 1024}, {4096, 1024}, {1024, 4096}, {2048, 1024}};
    static const int64_t ns[] = {1, 2, 4, 8, 16, 32, 64};
    static const dtype types[] = {DT_F32, DT_BF16, DT_BF16X8, DT_Q8, DT_Q4};
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
            linear_line(types[t], shapes[s][0], shapes[s][1], 2, shapes[s][1], r);
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t i = 0; i < ARRAY_LEN(ns); i++)
            linear_line(types[t], 4096, 1024, ns[i], 1024, r);
    static const int64_t big[][4] = {
        {768, 768, 128, 768},    {3072, 768, 512, 768},  {768, 3072, 512, 3072},
        {1024, 7168, 500, 1024}, {64, 192, 100000, 64},  {32, 448, 100000, 64},
        {512, 2048, 4000, 1024}, {256, 8192, 1000, 512}, {1, 448, 100000, 64}};
    for (size_t i = 0; i < ARRAY_LEN(big); i++)
        for (int t = DT_F32; t <= DT_BF16; t++)
            linear_line((dtype)t, big[i][0], big[i][1], big[i][2], big[i][3], r);
    // prefill: 250 columns of both branches
    for (int t = DT_Q8; t <= DT_Q4; t++)
        for (size_t i = 0; i < 3; i++)
            linear_line((dtype)t, shapes[i][0], shapes[i][1], 500, shapes[i][1], r);
}

// ---- attention ----

typedef struct {
    attend_shape s;
    int64_t n, len;
    int copies;
} attend_bench;

static void attend_walk(void *arg) {
    attend_bench *b = arg;
    int64_t each = b->s.heads * attend_stride(&b->s, b->len) * (int64_t)dtype_size(b->s.kv_type);
    attend_item items[64];
    for (int c = 0; c < b->copies; c++) {
        for (int64_t i = 0; i < b->n; i++) {
            const uint8_t *at = arena_bytes + (size_t)((c * b->n + i) * 2 * each);
            items[i] = (attend_item){.q = x, .out = y + i * b->s.heads * b->s.dh};
            items[i].k = at, items[i].v = at + each;
            items[i].len = b->len, items[i].kv_stride = attend_stride(&b->s, b->len);
        }
        op_attend(machine, &b->s, items, b->n);
    }
}

static void attend_line(dtype type, int64_t n, int64_t len, double read_rate) {
    attend_bench b = {.s = {.heads = 16, .dh = 64, .kv_type = type, .scale = 0.125f}, .n = n};
    b.len = len;
    double bytes_each = (double)(2 * n * 16 * attend_stride(&b.s, len)) * (double)dtype_size(type);
    b.copies = (int)((double)ARENA / bytes_each);
    if (b.copies > 24) b.copies = 24;
    double t = best_of(7, attend_walk, &b) / b.copies;
    printf("  %-4s rows %2lld len %4lld: %8.1f us  %5.1f%% of reading\n", dtype_name(type),
           (long long)n, (long long)len, t * 1e6, 100 * bytes_each / t / read_rate);
}

// ---- attention of many rows ----

typedef struct {
    attend_rows_shape s;
    attend_rows_args a;
} rows_bench;

static void rows_walk(void *arg) {
    const rows_bench *b = arg;
    op_attend_rows(machine, &b->s, &b->a);
}

// Rows that attend to each other, or to `len` others when len.
static void rows_line(int64_t n, int64_t len, int64_t kv_heads, const roofs *r) {
    rows_bench b = {.s = {.heads = 24, .kv_heads = kv_heads, .dh = 64, .scale = 0.125f}};
    float *k = (float *)(void *)arena_bytes, *v = k + attend_rows_values(&b.s, len);
    op_attend_lay(machine, &b.s, k, v, x, x, len);
    b.a = (attend_rows_args){.out = y, .q = x, .n = n, .k = k, .v = v, .len = len};
    double t = best_of(7, rows_walk, &b), products = 2 * (double)(n * len * 24 * 64);
    printf("  rows %4lld len %4lld: %8.1f us  %5.1f%% of multiplying\n", (long long)n,
           (long long)len, t * 1e6, 100 * products / t / r->fma);
}

static void nothing(void *arg, int part, int parts) {
    (void)arg, (void)part, (void)parts;
}
static void forks(void *arg) {
    (void)arg;
    for (int i = 0; i < 1000; i++) op_parallel(machine, 2, nothing, NULL);
}

static void elu_walk(void *arg) {
    (void)arg;
    chain_lay(machine, &(chain_lay_args){.y = y,
                                         .type = DT_F32,
                                         .rows = (const float *[]){x},
                                         .n = 1,
                                         .cols = 1 << 20,
                                         .elu = true});
}

void bench(int threads) {
    err e;
    arena_bytes = mem_aligned((size_t)ARENA);
    x = mem_aligned((size_t)10 << 20 << 2), y = mem_aligned((size_t)10 << 20 << 2);
    if (!arena_bytes || !x || !y || compute_open(&machine, threads, NULL, &e) != OK) exit(1);
    fill(x, 1 << 20, 1);
    for (int64_t i = 0; i < ARENA / 4; i += 1024) fill((float *)(void *)arena_bytes + i, 16, 2);
    kern_table k = table_of(compute_isa(machine));
    threads = compute_threads(machine);
    roofs r = roofs_of(&k);
    printf("%s, %d threads: reading %.1f GB/s, multiplying (tile in L1) %.1f G fma/s, in 8 bits "
           "%.1f\n",
           compute_isa(machine), threads, r.read * 1e-9, r.fma * 1e-9, r.packed * 1e-9);
    printf("fork and join: %.2f us\n", best_of(5, forks, NULL) * 1e3);
    linear_lines(&r);
    static const dtype kept[] = {DT_F32, DT_BF16, DT_I8};
    for (size_t t = 0; t < ARRAY_LEN(kept); t++) {
        attend_line(kept[t], 2, 1500, r.read);
        attend_line(kept[t], 16, 270, r.read);
        attend_line(kept[t], 8, 750, r.read);
    }
    rows_line(216, 216, 24, &r), rows_line(1025, 1025, 24, &r), rows_line(1025, 130, 12, &r);
    printf("  elu: %.2f G values/s\n", (1 << 20) / best_of(5, elu_walk, NULL) * 1e-9);
    compute_close(machine);
    mem_free(arena_bytes), mem_free(x), mem_free(y);
}
