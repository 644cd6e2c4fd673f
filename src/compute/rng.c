// rng.c - see rng.h.
#include "compute/rng.h"

static void philox_round(uint32_t c[4], uint32_t k0, uint32_t k1) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
    c[0] = n0, c[1] = (uint32_t)p1, c[2] = n2, c[3] = (uint32_t)p0;
}

rng_u32x4 rng_draw(uint64_t key, uint64_t hi, uint64_t lo) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    rng_u32x4 r = {{(uint32_t)lo, (uint32_t)(lo >> 32), (uint32_t)hi, (uint32_t)(hi >> 32)}};
    for (int i = 0; i < 10; i++) {
        philox_round(r.v, k0, k1);
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u; // the Weyl sequences of the paper
    }
    return r;
}

uint64_t rng_stream(const char *name) { // FNV-1a
    uint64_t h = 1469598103934665603u;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 1099511628211u;
    return h;
}

uint64_t rng_u64(const rng_u32x4 *r) {
    return (uint64_t)r->v[0] << 32 | r->v[1];
}

float rng_f32(uint32_t bits) {
    return (float)(bits >> 8) * 0x1p-24f;
}
