// num.c - see num.h. Series around a reduced argument; sums run from the smallest term to the
// largest.
#include "base/num.h"

#include <math.h> // floor, frexp, ldexp and sqrt only: IEEE 754 defines their bits

// sin(a) and cos(a) for |a| <= pi/4 by their Taylor series: the first term left out is below 2^-55.
static double sin_small(double a) {
    double z = a * a, s = 0;
    for (int k = 17; k >= 3; k -= 2) s = (s + 1) * (-z / ((double)k * (k - 1)));
    return a + a * s;
}

static double cos_small(double a) {
    double z = a * a, s = 0;
    for (int k = 18; k >= 2; k -= 2) s = (s + 1) * (-z / ((double)k * (k - 1)));
    return 1 + s;
}

double num_sin_turns(double x) {
    double r = x - floor(x + 0.5); // exact: both are multiples of the same power of two
    double q = floor(4 * r + 0.5);
    double a = (r - q / 4) * (2 * NUM_PI);
    switch ((int)q & 3) {
    case 0: return sin_small(a);
    case 1: return cos_small(a);
    case 2: return -sin_small(a);
    default: return -cos_small(a);
    }
}

double num_cos_turns(double x) {
    double r = x - floor(x + 0.5);
    double q = floor(4 * r + 0.5);
    double a = (r - q / 4) * (2 * NUM_PI);
    switch ((int)q & 3) {
    case 0: return cos_small(a);
    case 1: return -sin_small(a);
    case 2: return -cos_small(a);
    default: return sin_small(a);
    }
}

double num_exp(double x) {
    // ln 2 in two parts: the first has 21 trailing zero bits, so k times it is exact.
    static const double ln2_hi = 0x1.62e42feep-1, ln2_lo = 0x1.a39ef35793c76p-33;
    double k = floor(x / (ln2_hi + ln2_lo) + 0.5);
    double r = x - k * ln2_hi - k * ln2_lo, s = 0;
    for (int i = 15; i >= 1; i--) s = (s + 1) * (r / i);
    return ldexp(1 + s, (int)k);
}

double num_log2(double x) {
    int k;
    double m = frexp(x, &k); // x = m 2^k, m in [0.5, 1)
    if (m < 0.70710678118654752) m *= 2, k--;
    double t = (m - 1) / (m + 1), z = t * t, s = 0; // ln m = 2 (t + t^3/3 + t^5/5 ...)
    for (int i = 23; i >= 3; i -= 2) s = s * z + 1.0 / i;
    return k + (t + t * z * s) * (2 / 0.693147180559945309417);
}

double num_atan(double x) {
    double a = x < 0 ? -x : x, turn = a > 1 ? NUM_PI / 2 : 0, s = 0;
    if (a > 1) a = 1 / a;
    // tan(y/2) = tan y / (1 + sqrt(1 + tan^2 y)), twice: then a is below 0.2.
    for (int i = 0; i < 2; i++) a = a / (1 + sqrt(1 + a * a));
    double z = a * a; // atan a = a - a^3/3 + a^5/5 ...
    for (int i = 25; i >= 3; i -= 2) s = (1.0 / i - s) * z;
    double y = 4 * (a - a * s);
    if (turn > 0) y = turn - y;
    return x < 0 ? -y : y;
}

double num_bessel_i0(double x) {
    double q = x * x / 4, term = 1, sum = 1;
    for (int k = 1; term > sum * 1e-18; k++) { // terms rise, then fall for ever
        term *= q / ((double)k * k);
        sum += term;
    }
    return sum;
}
