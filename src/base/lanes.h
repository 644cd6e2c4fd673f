// lanes.h - four floats or two doubles at a time, on every machine.
//
// Each lane is computed like the plain number, so what is added and multiplied in lanes has the
// same bits as a loop over single values in the same order.
#pragma once
#include <string.h>

#include "base/base.h"

typedef float lanes_f4 __attribute__((vector_size(16)));
typedef double lanes_d2 __attribute__((vector_size(16)));
typedef int64_t lanes_m2 __attribute__((vector_size(16))); // of a comparison: -1 where it holds

static inline lanes_f4 lanes_f4_load(const float *p) {
    lanes_f4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void lanes_f4_store(float *p, lanes_f4 v) {
    memcpy(p, &v, sizeof v);
}

static inline lanes_d2 lanes_d2_load(const double *p) {
    lanes_d2 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void lanes_d2_store(double *p, lanes_d2 v) {
    memcpy(p, &v, sizeof v);
}

// Two floats, widened.
static inline lanes_d2 lanes_d2_widen(const float *p) {
    typedef float f2 __attribute__((vector_size(8)));
    f2 v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, lanes_d2);
}

// Two doubles, rounded to floats.
static inline void lanes_d2_narrow(float *p, lanes_d2 v) {
    typedef float f2 __attribute__((vector_size(8)));
    f2 narrow = __builtin_convertvector(v, f2);
    memcpy(p, &narrow, sizeof narrow);
}

// What is over 0; the rest becomes 0.
static inline lanes_f4 lanes_f4_positive(lanes_f4 a) {
    return (lanes_f4)((lanes_m2)a & (lanes_m2)(a > 0));
}

// Whether a lane of a or b lies outside -bound to bound.
static inline bool lanes_d2_beyond(lanes_d2 a, lanes_d2 b, double bound) {
    lanes_m2 m = (a > bound) | (a < -bound) | (b > bound) | (b < -bound);
    return (m[0] | m[1]) != 0;
}

// Whether a lane of a is bound or -bound or lies outside of them.
static inline bool lanes_f4_reaches(lanes_f4 a, float bound) {
    lanes_m2 m = (lanes_m2)((a >= bound) | (a <= -bound));
    return (m[0] | m[1]) != 0;
}

// The lanes in the other order.
static inline lanes_d2 lanes_d2_swap(lanes_d2 v) {
    return __builtin_shufflevector(v, v, 1, 0);
}

// Every other one of the eight floats at p: those at even places, or at odd ones.
static inline lanes_f4 lanes_f4_evens(const float *p) {
    return __builtin_shufflevector(lanes_f4_load(p), lanes_f4_load(p + 4), 0, 2, 4, 6);
}

static inline lanes_f4 lanes_f4_odds(const float *p) {
    return __builtin_shufflevector(lanes_f4_load(p), lanes_f4_load(p + 4), 1, 3, 5, 7);
}
