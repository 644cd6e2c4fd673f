// test_num.c - elementary functions against libm, the transform against its definition.
#include <criterion/criterion.h>
#include <math.h>

#include "base/fft.h"
#include "base/mem.h"
#include "base/num.h"

// Difference in units of the last place of want; pi itself is rounded, so a true zero may come out
// as 1e-19 from the long double reference.
static double ulps(double got, double want) {
    if (fabs(got - want) < 1e-18) return 0;
    return fabs(got - want) / (nextafter(fabs(want), INFINITY) - fabs(want));
}

Test(num, functions_agree_with_libm_to_a_few_units_in_the_last_place) {
    for (int i = -3000; i <= 3000; i++) {
        double x = i * 0.0317 + 1e-3;
        long double turns = (long double)x - floorl((long double)x + 0.5L);
        double s = (double)sinl(2 * acosl(-1) * turns), c = (double)cosl(2 * acosl(-1) * turns);
        cr_assert_lt(ulps(num_sin_turns(x), s), 4, "sin of %g turns", x);
        cr_assert_lt(ulps(num_cos_turns(x), c), 4, "cos of %g turns", x);
        cr_assert_lt(ulps(num_atan(x), (double)atanl((long double)x)), 4, "atan %g", x);
        cr_assert_lt(ulps(num_exp(x), (double)expl((long double)x)), 4, "exp %g", x);
        double y = exp2(x / 3);
        cr_assert_lt(fabs(num_log2(y) - (double)log2l((long double)y)), 2e-14, "log2 %g", y);
    }
    cr_assert_eq(num_sin_turns(0.5), 0);
    cr_assert_eq(num_cos_turns(0.25), 0);
    cr_assert_eq(num_cos_turns(-3), 1);
    cr_assert_eq(num_log2(0x1p-30), -30);
    cr_assert_eq(num_exp(0), 1);
    cr_assert_eq(num_atan(0), 0);
    cr_assert_lt(ulps(num_atan(1e300), atan(1e300)), 2);
}

Test(num, bessel_agrees_with_published_values) {
    // Abramowitz and Stegun, table 9.8: e^-x I0(x) at x = 1, 5 and 10.
    const double x[] = {1, 5, 10}, scaled[] = {0.4657596077, 0.1835408126, 0.1278333372};
    for (size_t i = 0; i < ARRAY_LEN(x); i++)
        cr_assert_float_eq(num_bessel_i0(x[i]) * exp(-x[i]), scaled[i], 1e-9);
}

Test(fft, equals_the_sum_that_defines_it) {
    for (size_t n = FFT_SIZE_MIN; n <= 256; n *= 2) {
        fft *f;
        float x[256];
        double out[258];
        cr_assert_eq(fft_open(&f, n, NULL), OK);
        for (size_t i = 0; i < n; i++) x[i] = (float)sin((double)(i * i) * 0.7) + 0.25f;
        fft_real(f, out, x);
        for (size_t k = 0; k <= n / 2; k++) {
            double re = 0, im = 0;
            for (size_t i = 0; i < n; i++) {
                double a = 2 * acos(-1) * (double)(i * k % n) / (double)n;
                re += (double)x[i] * cos(a);
                im -= (double)x[i] * sin(a);
            }
            double off = fabs(out[k] - re) + fabs(out[n / 2 + 1 + k] - im);
            cr_assert_lt(off, 1e-11, "%zu %zu", n, k);
        }
        fft_close(f);
    }
}

Test(fft, a_large_transform_keeps_the_energy) { // Parseval
    const size_t n = 16384;
    fft *f;
    cr_assert_eq(fft_open(&f, n, NULL), OK);
    float *x = mem_alloc(n * sizeof *x), *p = mem_alloc((n / 2 + 1) * sizeof *p);
    double *scratch = mem_alloc((n + 2) * sizeof *scratch), time = 0, freq = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)cos(0.37 * (double)i) * (float)(i % 7);
        time += (double)x[i] * (double)x[i];
    }
    fft_power(f, p, x, scratch);
    for (size_t k = 0; k <= n / 2; k++) freq += (double)p[k] * (k == 0 || k == n / 2 ? 1 : 2);
    cr_assert_float_eq(freq / (double)n / time, 1, 1e-6);
    mem_free(x), mem_free(p), mem_free(scratch), fft_close(f);
}

Test(fft, refuses_lengths_that_are_no_power_of_two) {
    fft *f;
    const size_t bad[] = {0, 1, 2, 4, 100, FFT_SIZE_MAX * 2};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_assert_eq(fft_open(&f, bad[i], NULL), ERR_ARG);
        cr_assert_null(f);
    }
}

Test(fft, open_survives_each_failed_allocation) {
    fft *f;
    for (int n = 0; n < 4; n++) {
        mem_fail_after(n);
        cr_assert_eq(fft_open(&f, 64, NULL), ERR_OOM);
        mem_fail_after(-1);
        cr_assert_null(f);
    }
}
