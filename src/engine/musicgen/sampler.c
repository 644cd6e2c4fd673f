// sampler.c - see sampler.h.
#include "engine/musicgen/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/math.h"

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

// The k-th largest of x [n] (k from 1), by Hoare's selection with the middle as pivot. Reorders x.
static float select_largest(float *x, int64_t n, int64_t k) {
    int64_t lo = 0, hi = n - 1, want = k - 1;
    while (lo < hi) {
        float pivot = x[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i > j) break;
            float t = x[i];
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

// Maps x to one of CLASSES classes, in the order of x: sign, exponent and three more bits.
#define CLASSES 4096
static uint32_t class_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (u >> 31 ? ~u : u | 0x80000000u) / ((UINT32_MAX >> 12) + 1);
}

// The k-th largest of x [n] (k from 1). scratch [n]. Counting finds the class of the result without
// a branch that the processor could mispredict; the selection then sees that class alone.
static float kth_largest(const float *x, int64_t n, int64_t k, float *scratch) {
    uint32_t count[CLASSES] = {0}, at = CLASSES - 1;
    for (int64_t i = 0; i < n; i++) count[class_of(x[i])]++;
    for (; k > count[at]; at--) k -= count[at];
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        scratch[m] = x[i];
        m += class_of(x[i]) == at;
    }
    return select_largest(scratch, m, k);
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

// The smallest probability that top-p keeps; probs sum to 1. Codes leave from the smallest on, as
// long as those that left sum to 1 - p at most. One code always stays.
static float top_p_floor(const float *probs, int64_t n, float p, float *sorted) {
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        if (probs[i] > 0) sorted[m++] = probs[i];
    }
    qsort(sorted, (size_t)m, sizeof *sorted, descending);
    double below = 0; // sum of the codes that left
    int64_t keep = m;
    while (keep > 1 && below + sorted[keep - 1] <= 1.0 - (double)p) below += sorted[--keep];
    return m ? sorted[keep - 1] : 0;
}

static void normalize(float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    float scale = (float)(1.0 / sum);
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
}

void sampler_probs(float *scores, int64_t n, const sampler_params *p, float *scratch) {
    float floor = -INFINITY, best = scores[argmax(scores, n)];
    if (p->top_k > 0 && p->top_k < n) floor = kth_largest(scores, n, p->top_k, scratch);
    float inv = 1.0f / p->temperature;
    for (int64_t i = 0; i < n; i++) {
        scores[i] = scores[i] >= floor ? math_exp((scores[i] - best) * inv) : 0;
    }
    normalize(scores, n);
    if (p->top_p <= 0 || p->top_p >= 1) return;
    floor = top_p_floor(scores, n, p->top_p, scratch);
    for (int64_t i = 0; i < n; i++) {
        if (scores[i] < floor) scores[i] = 0;
    }
    normalize(scores, n);
}

int32_t sampler_draw(float *scores, int64_t n, const sampler_params *p, double u, float *scratch) {
    // The division by a smaller temperature overflows, and the draw is the best code already.
    if (p->temperature < 1e-4f) return (int32_t)argmax(scores, n);
    sampler_probs(scores, n, p, scratch);
    double sum = 0;
    int32_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        if (scores[i] <= 0) continue;
        sum += scores[i];
        last = (int32_t)i;
        if (u < sum) return last;
    }
    return last; // the sum was rounded to below 1, and u lies above it
}
