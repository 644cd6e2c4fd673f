// math.h - exp, expm1, tanh, sigmoid, erf, log, ELU, GELU and sin^2 in f32: constants and plain C.
//
// The vector kernels evaluate the same expressions over the same constants in the same order, so
// every instruction set gives the bits of these functions. Worst errors over every float of the
// range (`run_kern math`), in units of the last place of the result:
//   exp 1.05, expm1 1.62, tanh 2.54, sigmoid 2.49, erf 1.27, log 0.51.
// Of libm only fma and sqrt are called, because IEEE 754 defines their bits.
#pragma once
#include "base/base.h"

// exp(x) = 2^n exp(r), n = x / ln 2 to nearest, |r| <= ln 2 / 2.
#define MATH_ROUND 0x1.8p23f // adding and subtracting it rounds to an integer
#define MATH_LOG2E 0x1.715476p+0f
#define MATH_LN2_HI 0x1.62e43p-1f
#define MATH_LN2_LO -0x1.05c61p-29f
#define MATH_EXP_LO -104.0f // exp is 0 below
#define MATH_EXP_HI 89.0f   // and infinite above
#define MATH_EXPM1_LO -30.0f
#define MATH_EXPM1_HI 88.0f

// exp(r) - 1 = r + r^2 q(r); minimax of the relative error on +-0.35: 1.4e-8.
#define MATH_Q4 0x1.6da0c0p-10f
#define MATH_Q3 0x1.122d8ep-7f
#define MATH_Q2 0x1.55547ep-5f
#define MATH_Q1 0x1.5554a8p-3f
#define MATH_Q0 0.5f

// erf(x) = x + x p(x^2) below the split; 1 - exp(t(x)) above it, t fitted to log(erfc(x)).
#define MATH_ERF_SPLIT 0.9f
#define MATH_ERF_HI 4.0f // erf rounds to 1 above
#define MATH_P6 0x1.66251ep-14f
#define MATH_P5 -0x1.acf7fap-11f
#define MATH_P4 0x1.5513f2p-8f
#define MATH_P3 -0x1.b8162ap-6f
#define MATH_P2 0x1.ce2e60p-4f
#define MATH_P1 -0x1.812744p-2f
#define MATH_P0 0x1.06eba8p-3f
#define MATH_T7 -0x1.5d71cap-16f
#define MATH_T6 0x1.c459060p-12f
#define MATH_T5 -0x1.10624cp-8f
#define MATH_T4 0x1.9aebacp-6f
#define MATH_T3 -0x1.bb4548p-4f
#define MATH_T2 -0x1.444d1ep-1f
#define MATH_T1 -0x1.212626p+0f
#define MATH_T0 0x1.62d882p-13f

// sin(r) = r + r^3 p(r^2), |r| <= pi/2; minimax of the error: 1.6e-8.
#define MATH_INV_PI 0x1.45f306p-2f
#define MATH_PI_HI 0x1.921fb6p+1f
#define MATH_PI_LO -0x1.777a5cp-24f
#define MATH_SIN_MAX 1.58f // of |r|: a little over pi/2, because n is rounded
#define MATH_S3 0x1.5cf3fep-19f
#define MATH_S2 -0x1.9f5f98p-13f
#define MATH_S1 0x1.110e68p-7f
#define MATH_S0 -0x1.555548p-3f

float math_exp(float x);
float math_expm1(float x); // of x in [-inf, 88]
float math_tanh(float x);
float math_sigmoid(float x);
float math_erf(float x);
float math_elu(float x);  // x > 0 ? x : expm1(x)
float math_gelu(float x); // (0.5 x) (1 + erf(x / sqrt 2))
float math_log(float x);
float math_sin2(float x); // sin(x)^2; error below 3e-7 for |x| up to 2^16
