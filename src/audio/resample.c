// resample.c - see resample.h.
//
// With from/to = M/L in lowest terms, output k lies at input time kM/L: whole part base, remainder
// phase/L. Each of the L phases has its own row of taps. Rows are stored in the order outputs visit
// them, so the table is read from front to back.
#include "audio/resample.h"

#include <math.h> // sqrt: exact to the last bit by IEEE 754
#include <string.h>

#include "base/lanes.h"
#include "base/mem.h"
#include "base/num.h"

#define HALF_TAPS 80        // each side of the centre, in samples of the lower rate
#define CUTOFF 0.95         // middle of the transition band, of the lower Nyquist frequency
#define KAISER_BETA 12.2653 // 0.1102 (120 - 8.7): 120 dB, by Kaiser's formula
#define TABLE_MAX ((int64_t)32 << 20) // bytes
#define BLOCK 4096                    // input frames gathered at a time
#define LANES 16

struct resampler {
    int64_t up, down; // L, M
    int64_t half;     // taps each side of the centre; 2 * half is a multiple of LANES
    float *rows;      // [up, 2 * half]: row k serves outputs k, k + up, ...
};

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

// The filter at t input samples from its centre. scale: cut-off in cycles per input sample, twice.
static double prototype(double t, double half, double scale) {
    double u = t / half;
    if (u >= 1) return 0;
    double w = num_bessel_i0(KAISER_BETA * sqrt(1 - u * u));
    double a = scale * t; // sinc's argument in half turns
    return w * (t == 0 ? 1 : num_sin_turns(a / 2) / (NUM_PI * a));
}

// side[i] is the filter at i/L samples from its centre, [half * L + 1]; it is even.
static void fill_rows(resampler *r, const double *side) {
    int64_t taps = 2 * r->half;
    for (int64_t k = 0; k < r->up; k++) {
        int64_t phase = k * r->down % r->up;
        double sum = 0;
        for (int64_t j = 0; j < taps; j++) {
            int64_t at = (j - r->half + 1) * r->up - phase;
            sum += side[at < 0 ? -at : at];
        }
        // Each row sums to 1, so that a constant stays one whatever the phase.
        for (int64_t j = 0; j < taps; j++) {
            int64_t at = (j - r->half + 1) * r->up - phase;
            r->rows[k * taps + j] = (float)(side[at < 0 ? -at : at] / sum);
        }
    }
}

static status make_filter(resampler *r, err *e) {
    double slow = r->up < r->down ? (double)r->up / (double)r->down : 1; // lower rate / from
    int64_t want = (int64_t)((double)HALF_TAPS / slow + 0.5);
    r->half = (want + LANES / 2 - 1) / (LANES / 2) * (LANES / 2);
    int64_t size = r->up * 2 * r->half * (int64_t)sizeof(float);
    if (size > TABLE_MAX)
        return err_set(e, ERR_LIMIT, "rates with a filter of %lld MB, at most %lld are supported",
                       (long long)(size >> 20), (long long)(TABLE_MAX >> 20));
    size_t side_count = (size_t)(r->half * r->up + 1);
    r->rows = mem_aligned((size_t)size);
    double *side = mem_alloc(side_count * sizeof *side);
    if (!r->rows || !side) {
        mem_free(side);
        return err_set(e, ERR_OOM, "no memory for a resampling filter");
    }
    for (size_t i = 0; i < side_count; i++)
        side[i] = prototype((double)i / (double)r->up, (double)r->half, CUTOFF * slow);
    fill_rows(r, side);
    mem_free(side);
    return OK;
}

static bool rate_ok(int rate) {
    return rate >= RESAMPLE_RATE_MIN && rate <= RESAMPLE_RATE_MAX;
}

status resample_open(resampler **out, int from, int to, err *e) {
    *out = NULL;
    if (!rate_ok(from) || !rate_ok(to))
        return err_set(e, ERR_ARG, "sample rate %d, expected %d to %d", rate_ok(from) ? to : from,
                       RESAMPLE_RATE_MIN, RESAMPLE_RATE_MAX);
    resampler *r = mem_calloc(1, sizeof *r);
    if (!r) return err_set(e, ERR_OOM, "no memory for a resampler");
    int64_t g = gcd(from, to);
    r->up = to / g;
    r->down = from / g;
    status rc = r->up == r->down ? OK : make_filter(r, e);
    if (rc) {
        resample_close(r);
        return rc == ERR_LIMIT ? err_within(e, rc, "%d Hz to %d Hz", from, to) : rc;
    }
    *out = r;
    return OK;
}

void resample_close(resampler *r) {
    if (!r) return;
    mem_free(r->rows);
    mem_free(r);
}

int64_t resample_frames(const resampler *r, int64_t n) {
    return (n * r->up * 2 + r->down) / (2 * r->down);
}

// Of two stretches a and b, the products with one row of taps: sixteen sums each, tap j goes to sum
// j mod 16 in rising j, each product rounded before it is added; then the sums are added pairwise:
// 8+8, 4+4, 2+2, 1+1.
static void dot_two(float out[2], const float *a, const float *b, const float *row, int64_t n) {
    lanes_f4 a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0}, b0 = {0}, b1 = {0}, b2 = {0}, b3 = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        lanes_f4 r = lanes_f4_load(row + i);
        a0 += lanes_f4_load(a + i) * r, b0 += lanes_f4_load(b + i) * r;
        r = lanes_f4_load(row + i + 4);
        a1 += lanes_f4_load(a + i + 4) * r, b1 += lanes_f4_load(b + i + 4) * r;
        r = lanes_f4_load(row + i + 8);
        a2 += lanes_f4_load(a + i + 8) * r, b2 += lanes_f4_load(b + i + 8) * r;
        r = lanes_f4_load(row + i + 12);
        a3 += lanes_f4_load(a + i + 12) * r, b3 += lanes_f4_load(b + i + 12) * r;
    }
    a0 = (a0 + a2) + (a1 + a3), b0 = (b0 + b2) + (b1 + b3);
    out[0] = (a0[0] + a0[2]) + (a0[1] + a0[3]);
    out[1] = (b0[0] + b0[2]) + (b0[1] + b0[3]);
}

// Copies x[from .. from + count) into out, silence outside 0..n.
static void gather(float *out, const float *x, int step, int64_t n, int64_t from, int64_t count) {
    int64_t lo = MIN(MAX(-from, 0), count), hi = MAX(MIN(n - from, count), lo);
    memset(out, 0, (size_t)lo * sizeof *out);
    for (int64_t i = lo; i < hi; i++) out[i] = x[(from + i) * step];
    memset(out + hi, 0, (size_t)(count - hi) * sizeof *out);
}

// A block of input and the outputs that lie in it.
typedef struct {
    const float *x;      // [BLOCK + taps] the taps of input frame `from` begin here
    int64_t from;        // of the block
    int64_t first, last; // outputs, last excluded
} stretch;

// All outputs of the block that use the same row as output k: each lies `up` outputs and `down`
// inputs behind the one before.
static void run_row(const resampler *r, float *y, int y_step, const stretch *s, int64_t k) {
    int64_t taps = 2 * r->half;
    const float *row = r->rows + k % r->up * taps;
    int64_t at = k * r->down / r->up - s->from;
    float out[2];
    for (; k < s->last; k += 2 * r->up, at += 2 * r->down) {
        bool two = k + r->up < s->last;
        const float *x = s->x + at;
        dot_two(out, x, two ? x + r->down : x, row, taps);
        y[k * y_step] = out[0];
        if (two) y[(k + r->up) * y_step] = out[1];
    }
}

// The first output whose base is input frame `at` or a later one.
static int64_t output_at(const resampler *r, int64_t at) {
    return (at * r->up + r->down - 1) / r->down;
}

status resample_run(const resampler *r, float *y, int y_step, const float *x, int x_step, int64_t n,
                    err *e) {
    if (r->up == r->down) {
        for (int64_t i = 0; i < n; i++) y[i * y_step] = x[i * x_step];
        return OK;
    }
    int64_t taps = 2 * r->half, total = resample_frames(r, n);
    float *block = mem_alloc((size_t)(BLOCK + taps) * sizeof *block);
    if (!block) return err_set(e, ERR_OOM, "no memory to resample");
    stretch s = {.x = block};
    // Every output whose base lies in [from, from + BLOCK) needs taps from `from` - half + 1 on.
    for (; s.last < total; s.from += BLOCK) {
        gather(block, x, x_step, n, s.from - r->half + 1, BLOCK + taps);
        s.first = s.last;
        s.last = MIN(output_at(r, s.from + BLOCK), total);
        for (int64_t k = s.first; k < MIN(s.first + r->up, s.last); k++)
            run_row(r, y, y_step, &s, k);
    }
    mem_free(block);
    return OK;
}
