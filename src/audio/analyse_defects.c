// analyse_defects.c - see analyse.h: silence, flat tops and clicks.
#include <math.h> // fabs and fabsf: exact

#include "audio/analyse.h"
#include "base/lanes.h"

#define JUMP 0.1 // a second difference

// What one look at all samples says.
typedef struct {
    double sum, square; // square: of the block
    float peak[2];
} levels;

static void add_levels(levels *l, const float *x, int64_t n) {
    levels a = *l; // in registers
    a.square = 0;
    for (int64_t i = 0; i < n; i++) {
        a.sum += (double)x[i];
        a.square += (double)x[i] * (double)x[i];
        a.peak[i % 2] = MAX(a.peak[i % 2], fabsf(x[i]));
    }
    *l = a;
}

// Silence by blocks of a tenth of a second, and the levels of everything.
static levels find_silence(analyse_defects *d, const float *x, int64_t n, int rate) {
    levels l = {0};
    int64_t block = rate / 10, blocks = 0, silent = 0, run = 0, longest = 0, at = 0;
    for (; at + block <= n; at += block, blocks++) {
        add_levels(&l, x + at, block);
        bool quiet = l.square < 1e-6 * (double)block; // -60 dB
        silent += quiet;
        run = quiet ? run + 1 : 0;
        longest = MAX(longest, run);
    }
    add_levels(&l, x + at, n - at);
    d->silent_share = blocks ? (double)silent / (double)blocks : 0;
    d->silence_max_s = (double)longest / 10;
    d->silence_end_s = (double)run / 10;
    d->mean = n ? l.sum / (double)n : 0;
    return l;
}

// The first of x[i] .. x[n - 1] that is as far from 0 as peak, or n.
static int64_t next_top(const float *x, int64_t i, int64_t n, float peak) {
    while (i + 4 <= n && !lanes_f4_reaches(lanes_f4_load(x + i), peak)) i += 4;
    while (i < n && fabsf(x[i]) != peak) i++;
    return i;
}

static void find_flat_tops(analyse_defects *d, const float *x, int64_t n, float peak) {
    int64_t run = 0, last = -1;
    for (int64_t i = next_top(x, 0, n, peak); i < n && peak > 0; i = next_top(x, i + 1, n, peak)) {
        run = i == last + 1 ? run + 1 : 1;
        d->clipped_runs += run == 3;
        last = i;
    }
}

static double second_difference(const float *x, int64_t i) {
    return fabs((double)x[i + 1] - 2 * (double)x[i] + (double)x[i - 1]);
}

// Two of them, their signs kept.
static lanes_d2 second_differences(const float *x) {
    return lanes_d2_widen(x + 1) - 2 * lanes_d2_widen(x) + lanes_d2_widen(x - 1);
}

// The first of the second differences at i .. n - 2 that is a jump, or n - 1.
static int64_t next_jump(const float *x, int64_t i, int64_t n) {
    while (i + 5 <= n &&
           !lanes_d2_beyond(second_differences(x + i), second_differences(x + i + 2), JUMP))
        i += 4;
    while (i + 1 < n && second_difference(x, i) <= JUMP) i++;
    return i;
}

static void find_clicks(analyse_defects *d, const float *x, int64_t n, int rate) {
    int64_t reach = rate / 200;
    for (int64_t i = next_jump(x, 1, n); i + 1 < n; i = next_jump(x, i + 1, n)) {
        double here = second_difference(x, i), sum = 0;
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
    levels l = find_silence(&d, x, n, rate);
    find_flat_tops(&d, x, n, MAX(l.peak[0], l.peak[1]));
    find_clicks(&d, x, n, rate);
    return d;
}
