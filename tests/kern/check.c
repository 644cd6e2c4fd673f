// check.c - see check.h.
#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "compute/cpu/isa.h"
#include "compute/rng.h"

long check_count, check_failed;

void fill(float *p, int64_t n, uint64_t seed) {
    for (int64_t i = 0; i < n; i++) {
        rng_u32x4 r = rng_draw(seed, 1, (uint64_t)i);
        p[i] = ldexpf(2 * rng_f32(r.v[0]) - 1, (int)(r.v[1] % 5) - 2);
    }
}

void fill_odd(float *p, int64_t n, uint64_t seed) {
    static const float odd[] = {0.0f,   -0.0f,  0x1p-149f,  -0x1p-130f, 1e30f,  -1e30f,
                                1e-30f, -80.0f, 88.7f,      -103.9f,    120.0f, 0.9f,
                                -0.9f,  NAN,    INFINITY,   -INFINITY,  10.0f,  -9.01f,
                                0.5f,   -0.34f, 0x1.8p-12f, -3.99f,     4.01f,  -20.0f};
    fill(p, n, seed);
    for (int64_t i = 0; i < n; i++) {
        rng_u32x4 r = rng_draw(seed, 2, (uint64_t)i);
        if (r.v[0] % 4 == 0) p[i] = odd[r.v[1] % ARRAY_LEN(odd)];
    }
}

void narrow(uint8_t *out, const float *p, dtype type, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = type == DT_BF16 ? f32_to_bf16(p[i]) : f32_to_f16(p[i]);
        if (type == DT_F32)
            memcpy(out + 4 * i, p + i, 4);
        else
            memcpy(out + 2 * i, &h, 2);
    }
}

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return isnan(f) ? 0x7fc00000u : u;
}

void same(const float *want, const float *got, int64_t n, const char *what, ...) {
    check_count++;
    int64_t i = 0;
    while (i < n && bits_of(want[i]) == bits_of(got[i])) i++;
    if (i == n) return;
    check_failed++;
    va_list ap;
    va_start(ap, what);
    printf("FAIL ");
    vprintf(what, ap);
    printf(": value %lld is %a, expected %a\n", (long long)i, (double)got[i], (double)want[i]);
    va_end(ap);
}

void expect(bool ok, const char *fmt, ...) {
    check_count++;
    if (ok) return;
    check_failed++;
    va_list ap;
    va_start(ap, fmt);
    printf("FAIL ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

static uint64_t digest = 0xcbf29ce484222325u;

void digest_add(const float *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = bits_of(p[i]);
        for (int b = 0; b < 32; b += 8) digest = (digest ^ (u >> b & 255)) * 0x100000001b3u;
    }
}

uint64_t digest_value(void) {
    return digest;
}

#if defined(__x86_64__)
void kern_init_amx_in_c(kern_table *k); // amx_in_c.c
#define AMX_IN_C kern_init_amx_in_c
#else
#define AMX_IN_C NULL
#endif

// A CPU may have a level without its integer products: those are tested too. And so are the tiles
// of AMX in plain C, where the rest of that kernel runs.
static const struct {
    const char *name, *level;
    unsigned without, needs;
    void (*then)(kern_table *k);
} all_levels[] = {
    {"amx", "amx", 0, 0, NULL},
    {"amx in c", "avx512", 0, ISA_VNNI, AMX_IN_C},
    {"avx512", "avx512", 0, 0, NULL},
    {"avx512 without vnni", "avx512", ISA_VNNI, 0, NULL},
    {"avx2", "avx2", 0, 0, NULL},
    {"avx2 without vnni", "avx2", ISA_AVXVNNI, 0, NULL},
    {"neon", "neon", 0, 0, NULL},
    {"neon without dotprod", "neon", ISA_DOTPROD | ISA_I8MM, 0, NULL},
    {"neon without i8mm", "neon", ISA_I8MM, 0, NULL},
    {"scalar", "scalar", 0, 0, NULL},
};

const char *const *levels(void) {
    static const char *have[ARRAY_LEN(all_levels)];
    size_t n = 0;
    for (size_t i = 0; i + 1 < ARRAY_LEN(all_levels); i++) {
        unsigned flags, needs = all_levels[i].needs;
        if (!isa_level(isa_flags(), all_levels[i].level, &flags)) continue;
        if ((flags & needs) == needs) have[n++] = all_levels[i].name;
    }
    have[n] = NULL;
    return have;
}

kern_table table_of(const char *level) {
    kern_table k;
    unsigned flags = 0;
    size_t i = 0;
    while (strcmp(all_levels[i].name, level)) i++;
    isa_level(isa_flags(), all_levels[i].level, &flags);
    kern_init(&k, flags & ~all_levels[i].without);
    if (all_levels[i].then) all_levels[i].then(&k);
    return k;
}

compute *open_or_die(int threads, const char *isa) {
    compute *c;
    err e;
    if (compute_open(&c, threads, isa, &e) == OK) return c;
    printf("FAIL compute_open: %s\n", e.text);
    exit(1);
}
