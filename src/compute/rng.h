// rng.h - counter-based random numbers: the same noise on every machine and thread count.
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
// A number is a pure function of (key, counter). There is no state, so draws can be made in any
// order.
#pragma once
#include "base/base.h"

typedef struct {
    uint32_t v[4];
} rng_u32x4;

// key: the seed. hi, lo: the 128-bit counter; use hi to tell streams apart and lo to count in one.
rng_u32x4 rng_draw(uint64_t key, uint64_t hi, uint64_t lo);

// Names a stream: stems draw from (seed, name), so adding one changes no other.
uint64_t rng_stream(const char *name);

// The first 64 bits of a number.
uint64_t rng_u64(const rng_u32x4 *r);

// Uniform in [0, 1), an exact multiple of 2^-24.
float rng_f32(uint32_t bits);
