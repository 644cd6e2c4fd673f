// finite.h - finds values that are not a number or infinite, in weights and in what comes of them.
//
// Such a value must end the stem that meets it: activations and rounding can hide it (ReLU of NaN
// is 0), and the sound would be wrong without a word. The test looks at exponents only and runs
// about as fast as memory is read.
#pragma once
#include "compute/ops.h"

// Whether every value of x [n] is finite.
bool finite_f32(const float *x, int64_t n);
// Whether every value of m, size bytes, is: of packed weights, every scale. c's threads share the
// work; NULL: the caller's alone.
bool finite_weight(const weight *m, size_t size, compute *c);
