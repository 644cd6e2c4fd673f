// analyse_defects.c - see analyse.h: silence, flat tops and clicks.
#include <math.h> // fabs: exact

#include "audio/analyse.h"

static void find_silence(analyse_defects *d, const float *x, int64_t n, int rate) {
    int64_t block = rate / 10, blocks = 0, silent = 0, run = 0, longest = 0;
    for (int64_t at = 0; at + block <= n; at += block, blocks++) {
        double sum = 0;
        for (int64_t i = at; i < at + block; i++) sum += (double)x[i] * (double)x[i];
        bool quiet = sum < 1e-6 * (double)block; // -60 dB
        silent += quiet;
        run = quiet ? run + 1 : 0;
        longest = MAX(longest, run);
    }
    d->silent_share = blocks ? (double)silent / (double)blocks : 0;
    d->silence_max_s = (double)longest / 10;
    d->silence_end_s = (double)run / 10;
}

static void find_flat_tops(analyse_defects *d, const float *x, int64_t n) {
    double peak = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        peak = MAX(peak, fabs((double)x[i]));
        sum += (double)x[i];
    }
    d->mean = n ? sum / (double)n : 0;
    for (int64_t i = 0, run = 0; i < n && peak > 0; i++) {
        run = fabs((double)x[i]) == peak ? run + 1 : 0;
        d->clipped_runs += run == 3;
    }
}

static double second_difference(const float *x, int64_t i) {
    return fabs((double)x[i + 1] - 2 * (double)x[i] + (double)x[i - 1]);
}

static void find_clicks(analyse_defects *d, const float *x, int64_t n, int rate) {
    int64_t reach = rate / 200;
    for (int64_t i = 1; i + 1 < n; i++) {
        double here = second_difference(x, i), sum = 0;
        if (here <= 0.1) continue;
        int64_t count = 0;
        for (int64_t k = MAX(i - reach, 1); k <= MIN(i + reach, n - 2); k++) {
            if (k >= i - 3 && k <= i + 3) continue;
            double other = second_difference(x, k);
            sum += other * other;
            count++;
        }
        if (here * here * (double)count <= 25.0 * 25 * sum) continue;
        d->clicks++;
        i += reach;
    }
}

analyse_defects analyse_find_defects(const float *x, int64_t n, int rate) {
    analyse_defects d = {0};
    find_silence(&d, x, n, rate);
    find_flat_tops(&d, x, n);
    find_clicks(&d, x, n, rate);
    return d;
}
