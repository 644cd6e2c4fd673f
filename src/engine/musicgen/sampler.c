// sampler.c - see sampler.h.
#include "engine/musicgen/sampler.h"

#include <math.h>
#include <string.h>

#include "compute/math.h"

float sampler_guidance(const sampler_params *p, bool fine) {
    if (!fine || p->fine_less == 0) return p->guidance;
    return 1 + (p->guidance - 1) * (1 - p->fine_less);
}

void sampler_guide(float *out, const float *cond, const float *null, float guidance, int64_t n) {
    if (!null) {
        for (int64_t i = 0; i < n; i++) out[i] = cond[i];
        return;
    }
    for (int64_t i = 0; i < n; i++) out[i] = null[i] + guidance * (cond[i] - null[i]);
}

static int64_t argmax(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        if (x[i] > x[best]) best = i;
    }
    return best;
}

// Integers in the order of the floats, and back.
static uint32_t key_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u >> 31 ? ~u : u | 0x80000000u;
}
static float of_key(uint32_t k) {
    float x;
    k = k >> 31 ? k & 0x7fffffffu : ~k;
    memcpy(&x, &k, sizeof x);
    return x;
}

// The k-th largest of x [n] (k from 1), by Hoare's selection with the middle as pivot. Reorders x.
static uint32_t select_largest(uint32_t *x, int64_t n, int64_t k) {
    int64_t lo = 0, hi = n - 1, want = k - 1;
    while (lo < hi) {
        uint32_t pivot = x[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i > j) break;
            uint32_t t = x[i];
            x[i++] = x[j];
            x[j--] = t;
        }
        if (want <= j)
            hi = j;
        else if (want >= i)
            lo = i;
        else
            break;
    }
    return x[want];
}

// The k-th largest of x [n] (k from 1). scratch [n]. Counting finds the class of the result (sign,
// exponent and three more bits) without a branch that the processor could mispredict; the selection
// then sees that class alone.
#define CLASS_BITS 12
static float kth_largest(const float *x, int64_t n, int64_t k, uint32_t *scratch) {
    uint32_t count[1 << CLASS_BITS] = {0}, at = (1 << CLASS_BITS) - 1;
    for (int64_t i = 0; i < n; i++) count[key_of(x[i]) >> (32 - CLASS_BITS)]++;
    for (; k > count[at]; at--) k -= count[at];
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        scratch[m] = key_of(x[i]);
        m += scratch[m] >> (32 - CLASS_BITS) == at;
    }
    return of_key(select_largest(scratch, m, k));
}

// floor(a b / 2^64)
static uint64_t high_product(uint64_t a, uint64_t b) {
    uint64_t low = (a & UINT32_MAX) * (b & UINT32_MAX);
    uint64_t mid = (a >> 32) * (b & UINT32_MAX) + (low >> 32); // at most (2^32 - 1) 2^32
    uint64_t other = (a & UINT32_MAX) * (b >> 32) + (mid & UINT32_MAX);
    return (a >> 32) * (b >> 32) + (mid >> 32) + (other >> 32);
}

// The smallest weight that top-p keeps: the smallest with less than `need` in the weights above it.
// Eight bits of it at a time; `above` is what the weights whose bits so far are larger sum to.
static uint32_t top_p_floor(const uint32_t *weight, int64_t n, uint64_t need, uint32_t *scratch) {
    uint32_t floor = 0;
    uint64_t above = 0;
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        scratch[m] = weight[i];
        m += weight[i] > 0;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint64_t sum[256] = {0};
        int digit = 255;
        for (int64_t i = 0; i < m; i++) {
            if ((uint64_t)(scratch[i] ^ floor) >> (shift + 8) == 0)
                sum[scratch[i] >> shift & 255] += scratch[i];
        }
        for (; above + sum[digit] < need; digit--) above += sum[digit];
        floor |= (uint32_t)digit << shift;
    }
    return floor;
}

// Takes the weights below top-p's floor away. Returns the sum of the others.
static uint64_t keep_top_p(uint32_t *weight, int64_t n, float p, uint64_t sum, uint32_t *scratch) {
    uint64_t need = high_product((uint64_t)(p * 0x1p64f), sum);
    uint32_t floor = top_p_floor(weight, n, MAX(need, 1), scratch);
    sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (weight[i] < floor) weight[i] = 0;
        sum += weight[i];
    }
    return sum;
}

uint64_t sampler_weights(uint32_t *weight, const float *scores, int64_t n, const sampler_params *p,
                         uint32_t *scratch) {
    float floor = -INFINITY, best = scores[argmax(scores, n)], inv = 1.0f / p->temperature;
    uint64_t sum = 0;
    if (p->top_k > 0 && p->top_k < n) floor = kth_largest(scores, n, p->top_k, scratch);
    for (int64_t i = 0; i < n; i++) {
        weight[i] = 0;
        if (scores[i] >= floor)
            weight[i] = (uint32_t)(math_exp((scores[i] - best) * inv) * 0x1p31f);
        sum += weight[i];
    }
    bool top_p = p->top_p > 0 && p->top_p < 1;
    return top_p ? keep_top_p(weight, n, p->top_p, sum, scratch) : sum;
}

int32_t sampler_draw(const float *scores, int64_t n, const sampler_params *p, uint64_t u,
                     uint32_t *scratch) {
    // The division by a smaller temperature overflows, and the draw is the best code already.
    if (p->temperature < 1e-4f) return (int32_t)argmax(scores, n);
    uint32_t *weight = scratch + n;
    uint64_t at = high_product(u, sampler_weights(weight, scores, n, p, scratch)), sum = 0;
    int32_t code = 0;
    for (; sum + weight[code] <= at; code++) sum += weight[code]; // at is less than all of them
    return code;
}
