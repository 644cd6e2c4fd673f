// mix.c - see mix.h.
#include "audio/mix.h"

#include <string.h>

#include "audio/loudness.h"
#include "audio/post.h"
#include "base/mem.h"
#include "base/num.h"

#define CHANNELS 2
#define LN_10 2.302585092994045684
#define SQRT_2 1.41421356237309505

void mix_init(mix *m, int rate) {
    *m = (mix){.rate = rate};
}

void mix_deinit(mix *m) {
    mem_free(m->x);
    *m = (mix){0};
}

static double factor_of(double db) {
    return num_exp(db / 20 * LN_10);
}

static void interleave(float *x, const float *planes, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        for (int c = 0; c < CHANNELS; c++) x[i * CHANNELS + c] = planes[c * n + i];
    }
}

static status grow(mix *m, int64_t n, err *e) {
    if (n <= m->frames) return OK;
    float *x = mem_realloc(m->x, (size_t)n * CHANNELS * sizeof *x);
    if (!x) return err_set(e, ERR_OOM, "no memory for a mix of %lld frames", (long long)n);
    memset(x + m->frames * CHANNELS, 0, (size_t)(n - m->frames) * CHANNELS * sizeof *x);
    m->x = x;
    m->frames = n;
    return OK;
}

status mix_add(mix *m, const float *planes, int64_t n, const mix_track *t, err *e) {
    status rc = grow(m, n, e);
    float *x = rc ? NULL : mem_alloc((size_t)n * CHANNELS * sizeof *x);
    if (!rc && !x) rc = err_set(e, ERR_OOM, "no memory for a track of %lld frames", (long long)n);
    if (rc) return rc;
    interleave(x, planes, n);
    double gain = factor_of(t->gain_db), lufs = LOUDNESS_SILENCE;
    if (t->lufs < 0) rc = loudness_of(&lufs, x, n, CHANNELS, m->rate, e);
    if (lufs > LOUDNESS_SILENCE) gain *= factor_of(t->lufs - lufs);
    double turns = (t->pan + 1) / 8; // from 0 to a quarter of a turn
    const double side[CHANNELS] = {t->pan == 0 ? gain : gain * SQRT_2 * num_cos_turns(turns),
                                   t->pan == 0 ? gain : gain * SQRT_2 * num_sin_turns(turns)};
    for (int64_t i = 0; !rc && i < n * CHANNELS; i++)
        m->x[i] += (float)((double)x[i] * side[i % CHANNELS]);
    mem_free(x);
    return rc;
}

void mix_set_peak(mix *m, float peak) {
    post_normalise(m->x, m->frames * CHANNELS, peak);
}

status mix_set_loudness(mix *m, double lufs, double *got, err *e) {
    status rc = loudness_of(got, m->x, m->frames, CHANNELS, m->rate, e);
    if (rc || *got <= LOUDNESS_SILENCE) return rc;
    double gain = factor_of(lufs - *got);
    double peak = (double)post_measure(m->x, m->frames * CHANNELS).peak;
    if (peak * gain > (double)MIX_PEAK_MAX) gain = (double)MIX_PEAK_MAX / peak;
    for (int64_t i = 0; i < m->frames * CHANNELS; i++) m->x[i] = (float)((double)m->x[i] * gain);
    return loudness_of(got, m->x, m->frames, CHANNELS, m->rate, e);
}
