// noise.h - normal deviates, numbered by seed, stem, draw and element.
//
// Philox (compute/rng.h) gives the bits, Box and Muller's formula over base/num.h the deviates: the
// same on every machine, in any order.
#pragma once
#include "base/base.h"

// out [n] gets elements 0 to n-1 of the draw. stream tells the stems of a seed apart.
void sa_noise(float *out, int64_t n, uint64_t seed, uint64_t stream, uint64_t draw);
