// judge_bars.c - see judge.h: which beats begin a bar, and where bars lie.
//
// A bar begins where chords change and where the low drum sounds.
#include <math.h> // sqrt: exact

#include "base/mem.h"
#include "base/num.h"
#include "engine/judge_inside.h"

#define LOW_HZ 130.0
#define LOW_SECONDS 0.09 // behind a beat, where a kick is loud
#define BARS_MAX 4096

// The seconds that a beat lasts; the last one as long as the one before.
static double beat_end(const judged *j, size_t i) {
    const beat_track *b = &j->beats;
    return i + 1 < b->n ? b->at[i + 1] : b->at[i] + 60 / b->bpm;
}

// How far the notes of two beats are from each other, 0 to 1.
static double change(const harmony_row *a, const harmony_row *b) {
    double ab = 0, aa = 0, bb = 0;
    for (int p = 0; p < 12; p++) {
        double x = sqrt((double)(a->treble[p] + a->bass[p]));
        double y = sqrt((double)(b->treble[p] + b->bass[p]));
        ab += x * y, aa += x * x, bb += y * y;
    }
    return aa > 0 && bb > 0 ? 1 - ab / sqrt(aa * bb) : 0;
}

// The power under LOW_HZ behind each beat: low [beats].
static void fill_low(double *low, const judged *j, const listened *l) {
    double keep = num_exp(-2 * NUM_PI * LOW_HZ / l->rate), y = 0, z = 0;
    size_t i = 0;
    const beat_track *b = &j->beats;
    for (size_t k = 0; k < b->n; k++) low[k] = 0;
    for (int64_t t = 0; t < l->n && i < b->n; t++) {
        y += (1 - keep) * ((double)l->x[t] - y);
        z += (1 - keep) * (y - z);
        double at = (double)t / l->rate;
        while (i < b->n && at > b->at[i] + LOW_SECONDS) i++;
        if (i < b->n && at >= b->at[i] - 0.01) low[i] += z * z;
    }
}

// What speaks for a bar at each beat, [beats], about 0 to 2.
static status fill_weight(double *weight, const judged *j, const listened *l, err *e) {
    size_t n = j->beats.n;
    double *edge = mem_alloc((n + 1) * sizeof *edge), mean = 0;
    harmony_row *row = mem_alloc(n * sizeof *row);
    status rc = edge && row ? OK : err_set(e, ERR_OOM, "no memory for %zu beats", n);
    for (size_t i = 0; !rc && i < n; i++)
        edge[i] = MAX(j->beats.at[i], 0), edge[i + 1] = beat_end(j, i);
    if (!rc) rc = harmony_rows(row, edge, n, l, NULL, e);
    if (!rc) fill_low(weight, j, l);
    for (size_t i = 0; !rc && i < n; i++) mean += weight[i] / (double)n;
    for (size_t i = 0; !rc && i < n; i++) {
        double low = mean > 0 ? MIN(weight[i] / mean, 2) / 2 : 0;
        weight[i] = low + 2 * (i ? change(&row[i - 1], &row[i]) : 0);
    }
    mem_free(edge);
    mem_free(row);
    return rc;
}

// The beat of a bar's length that most weight lies on, counted from the first.
static void find_down(judged *j, const double *weight) {
    double best = -1, next = -1;
    for (size_t k = 0; k < (size_t)j->beats_per_bar; k++) {
        double sum = 0;
        size_t count = 0;
        for (size_t i = k; i < j->beats.n; i += (size_t)j->beats_per_bar) sum += weight[i], count++;
        double mean = count ? sum / (double)count : 0;
        if (mean > best)
            next = best, best = mean, j->first_down = k;
        else
            next = MAX(next, mean);
    }
    j->down_sure = best > 0 && next >= 0 ? (best - next) / best : 0;
}

static status fill_even(judged *j, double bar, double seconds, err *e) {
    j->bars = (size_t)MAX(MIN(seconds / bar + 0.3, (double)BARS_MAX), 1.0);
    j->bar = mem_alloc((j->bars + 1) * sizeof *j->bar);
    if (!j->bar) return err_set(e, ERR_OOM, "no memory for %zu bars", j->bars);
    for (size_t i = 0; i <= j->bars; i++) j->bar[i] = MIN((double)i * bar, seconds);
    return OK;
}

static status fill_from_beats(judged *j, err *e) {
    size_t of = (size_t)j->beats_per_bar;
    j->bars = j->beats.n > j->first_down ? (j->beats.n - j->first_down) / of : 0;
    j->bars = MIN(j->bars, (size_t)BARS_MAX);
    j->bar = mem_alloc((j->bars + 1) * sizeof *j->bar);
    if (!j->bar) return err_set(e, ERR_OOM, "no memory for %zu bars", j->bars);
    for (size_t i = 0; i <= j->bars; i++) {
        size_t k = j->first_down + i * of;
        j->bar[i] = k < j->beats.n ? j->beats.at[k] : beat_end(j, k - 1);
    }
    return OK;
}

status judge_find_bars(judged *j, const listened *l, const judge_hint *h, err *e) {
    j->beats_per_bar = h->beats_per_bar ? h->beats_per_bar : CHORDS_BEATS;
    if (h->from_one && h->bpm > 0) {
        j->down_sure = 1;
        return fill_even(j, j->beats_per_bar * 60 / h->bpm, l->seconds, e);
    }
    if (j->beats.n < (size_t)j->beats_per_bar) return OK;
    double *weight = mem_alloc(j->beats.n * sizeof *weight);
    if (!weight) return err_set(e, ERR_OOM, "no memory for %zu beats", j->beats.n);
    status rc = fill_weight(weight, j, l, e);
    if (!rc) find_down(j, weight);
    if (!rc) rc = fill_from_beats(j, e);
    mem_free(weight);
    return rc;
}
