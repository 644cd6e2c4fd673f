// sampler.h - scores to one code: guidance, temperature, top-k, top-p, and the draw.
//
// The order is that of both reference systems: guide the raw scores, divide them by the
// temperature, keep the top k, keep the top p of the rest, take the softmax, draw. The arithmetic
// is scalar and in a fixed order.
#pragma once
#include "base/base.h"

typedef struct {
    float temperature; // 0: greedy (the first of equal scores)
    int top_k;         // 0: all; ties with the k-th are kept
    float top_p;       // 0 or 1: off
    float guidance;    // used when there are null scores
} sampler_params;

#define SAMPLER_CODES_MAX 65536

// Guided scores [n]: out = null + guidance (cond - null). With null NULL, out = cond.
void sampler_guide(float *out, const float *cond, const float *null, float guidance, int64_t n);

// Turns scores [n] into probabilities in place (excluded codes become 0); temperature > 0.
// scratch [n].
void sampler_probs(float *scores, int64_t n, const sampler_params *p, float *scratch);

// Draws from scores [n], which it overwrites. u in [0, 1). scratch [n].
int32_t sampler_draw(float *scores, int64_t n, const sampler_params *p, double u, float *scratch);
