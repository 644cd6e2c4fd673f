// sampler.h - scores to one code: guidance, temperature, top-k, top-p, and the draw.
//
// The order is that of both reference systems: guide the raw scores, divide them by the
// temperature, keep the top k, keep the top p of the rest, take the softmax, draw. A score becomes
// an integer, its weight, so sums are exact in any order. W is the sum of the weights:
//   weight  floor(math_exp((score - best) * (1 / temperature)) * 2^31); 0 outside the top k
//   top-p   keeps the largest weights, as few as sum to max(1, floor(P W / 2^64)) at least, and
//           those that equal the smallest of them; the others become 0. P = p * 2^64
//   draw    the first code at which the weights up to it sum to more than floor(u W / 2^64), with
//           64 random bits u
#pragma once
#include "base/base.h"

typedef struct {
    float temperature; // 0: greedy (the first of equal scores)
    int top_k;         // 0: all; ties with the k-th are kept
    float top_p;       // 0 or 1: off
    float guidance;    // used when there are null scores
    float fine_less;   // the share of guidance - 1 that fine codebooks do without: 0 to 1
} sampler_params;

#define SAMPLER_CODES_MAX 65536

// The guidance of a codebook. Of each channel the first codebook is coarse, the others are fine.
float sampler_guidance(const sampler_params *p, bool fine);

// Guided scores [n]: out = null + guidance (cond - null). With null NULL, out = cond.
void sampler_guide(float *out, const float *cond, const float *null, float guidance, int64_t n);

// Writes the weights of finite scores [n], and returns their sum; temperature > 0. scratch [n].
uint64_t sampler_weights(uint32_t *weight, const float *scores, int64_t n, const sampler_params *p,
                         uint32_t *scratch);

// Draws from finite scores [n]. scratch [2 * n].
int32_t sampler_draw(const float *scores, int64_t n, const sampler_params *p, uint64_t u,
                     uint32_t *scratch);
