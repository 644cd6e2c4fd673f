// resample.c - see resample.h.
//
// With from/to = M/L in lowest terms, output k lies at input time kM/L: whole part base, remainder
// phase/L. Each of the L phases has its own row of taps. Rows are stored in the order outputs visit
// them, so the table is read from front to back.
#include "audio/resample.h"

#include <math.h> // sqrt: exact to the last bit by IEEE 754
#include <string.h>

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

// Four lanes of IEEE floats; the compiler maps them to what the machine has, lane by lane.
typedef float v4 __attribute__((vector_size(16)));

static v4 load(const float *p) {
    v4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

// Sixteen sums, tap j goes to sum j mod 16 in rising j, each product rounded before it is added;
// then the sums are added pairwise: 8+8, 4+4, 2+2, 1+1.
static float dot(const float *a, const float *b, int64_t n) {
    v4 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        s0 += load(a + i) * load(b + i);
        s1 += load(a + i + 4) * load(b + i + 4);
        s2 += load(a + i + 8) * load(b + i + 8);
        s3 += load(a + i + 12) * load(b + i + 12);
    }
    v4 s = (s0 + s2) + (s1 + s3);
    return (s[0] + s[2]) + (s[1] + s[3]);
}

// Copies x[from .. from + count) into out, silence outside 0..n.
static void gather(float *out, const float *x, int step, int64_t n, int64_t from, int64_t count) {
    int64_t lo = MIN(MAX(-from, 0), count), hi = MAX(MIN(n - from, count), lo);
    memset(out, 0, (size_t)lo * sizeof *out);
    for (int64_t i = lo; i < hi; i++) out[i] = x[(from + i) * step];
    memset(out + hi, 0, (size_t)(count - hi) * sizeof *out);
}

status resample_run(const resampler *r, float *y, int y_step, const float *x, int x_step, int64_t n,
                    err *e) {
    if (r->up == r->down) {
        for (int64_t i = 0; i < n; i++) y[i * y_step] = x[i * x_step];
        return OK;
    }
    int64_t taps = 2 * r->half, total = resample_frames(r, n), k = 0, row = 0;
    float *block = mem_alloc((size_t)(BLOCK + taps) * sizeof *block);
    if (!block) return err_set(e, ERR_OOM, "no memory to resample");
    // Every output whose base lies in [start, start + BLOCK) needs taps from start - half + 1 on.
    for (int64_t start = 0; k < total; start += BLOCK) {
        gather(block, x, x_step, n, start - r->half + 1, BLOCK + taps);
        for (; k < total; k++) {
            int64_t base = k * r->down / r->up;
            if (base >= start + BLOCK) break;
            y[k * y_step] = dot(block + (base - start), r->rows + row * taps, taps);
            if (++row == r->up) row = 0;
        }
    }
    mem_free(block);
    return OK;
}
