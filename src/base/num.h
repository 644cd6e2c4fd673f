// num.h - elementary functions in double, the same bits on every machine.
//
// libm may round differently from one version or machine to the next, and what is made here
// (filters, windows, twiddle factors, tables) ends up in samples whose bytes we promise. These use
// only +, -, *, /, square roots and exact scaling, each rounded once by IEEE 754, in a fixed order.
// Errors are a few units in the last place, shown in the test against libm. Arguments are finite.
#pragma once
#include "base/base.h"

#define NUM_PI 3.14159265358979323846
#define NUM_E 2.71828182845904523536

double num_sin_turns(double x); // sin(2 pi x); |x| up to 2^50
double num_cos_turns(double x); // cos(2 pi x); exact at multiples of a quarter turn
double num_exp(double x);       // |x| up to 700
double num_log2(double x);      // x > 0 and normal
double num_atan(double x);      // finite
double num_bessel_i0(double x); // modified Bessel function of the first kind, order 0; |x| up to 50
