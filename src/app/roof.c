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

double roof_multiply(compute *c) {
    enum { N = 768, ROUNDS = 20 };
    float *w = mem_aligned(N * N * sizeof *w), *x = mem_aligned(N * N * sizeof *x),
          *y = mem_aligned(N * N * sizeof *y);
    double best = 0;
    const weight m = {.type = DT_F32, .rows = N, .cols = N, .data = w};
    for (int i = 0; i < ROUNDS && w && x && y; i++) {
        double from = os_seconds();
        op_linear(c, &(linear_args){.y = y, .ldy = N, .x = x, .ldx = N, .n = N, .w = &m});
        best = fmax(best, 2.0 * N * N * N / (os_seconds() - from) / 1e9);
    }
    mem_free(w);
    mem_free(x);
    mem_free(y);
    return best;
}
