// kern_lanes.h - what the vector kernels share over v16: rests of rows, rounding to 8 bits, and
// what attention fetches ahead.
//
// Included after the vec_*.h of one instruction set.
#pragma once
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "compute/math.h"

#define INLINE static inline __attribute__((always_inline))
// Loops over registers: arrays of v16 become registers only where every index is a constant.
#define UNROLLED _Pragma("GCC unroll 32")

// How far ahead keys and values that lie row by row are fetched, in bytes: of 4 to 32 KiB about the
// best for bf16 on Zen 5.
#define KV_AHEAD ((size_t)12 << 10)

INLINE v16 v_load_n(const float *p, int64_t n) {
    float t[16] = {0};
    memcpy(t, p, (size_t)n * sizeof(float));
    return v_load(t);
}

INLINE void v_store_n(float *p, v16 a, int64_t n) {
    float t[16];
    v_store(t, a);
    memcpy(p, t, (size_t)n * sizeof(float));
}

// The first n lanes of a, and of b the rest.
INLINE v16 v_first_n(v16 a, v16 b, int64_t n) {
    static const float lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return v_pick(v_load(lane), v_set((float)n), a, b);
}

// A pass over n bytes of keys or values, and where the one after it begins. What lies KV_AHEAD
// bytes on is fetched: of this pass, and near its end of the next, but nothing that neither reads.
typedef struct {
    const uint8_t *p, *next;
    size_t n, ahead;
} kv_pass;

INLINE kv_pass kv_pass_of(const void *p, const void *next, size_t n) {
    return (kv_pass){p, next, n, MIN(KV_AHEAD, n)};
}

// Where that lies, from a place in the pass.
INLINE ptrdiff_t kv_ahead(const kv_pass *r, const uint8_t *at) {
    size_t to = (size_t)(at - r->p) + r->ahead;
    return (to < r->n ? r->p + to : r->next + (to - r->n)) - at;
}

// The nearest integer, halves to even, within +-127; NaN: -127.
INLINE v16 v_quantum(v16 x) {
    v16 round = v_set(MATH_ROUND);
    return v_min(v_max(v_sub(v_add(x, round), round), v_set(-127.0f)), v_set(127.0f));
}

// max16 of the lanes' largest |x| (as a > b ? a : b from 0 on).
INLINE float v_largest(const float *x, int64_t n) {
    v16 top = v_set(0.0f);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) top = v_max(top, v_abs(v_load(x + i)));
    if (i < n) top = v_max(top, v_abs(v_load_n(x + i, n - i)));
    return v_top(top);
}
