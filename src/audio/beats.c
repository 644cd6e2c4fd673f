// beats.c - see beats.h.
#include "audio/beats.h"

#include <math.h> // floor, fabs and sqrt: exact

#include "base/mem.h"
#include "base/num.h"

#define BPM_LOW 55.0
#define BPM_HIGH 200.0
// Of a tempo, its half and its double, that near 115 is preferred: a Gaussian over octaves.
#define BPM_LIKELY 115.0
#define OCTAVES 0.75
// What a step of the path costs: this times the square of the logarithm of its length in beats. The
// curve's deviation is 1.
#define TIGHT 100.0

typedef struct {
    const onset_curve *c;
    double period;  // of the curve's values
    double *level;  // [n] the curve, its deviation 1
    double *score;  // [n] of the best path that ends here
    int32_t *from;  // [n] the beat before; -1: none
    int64_t lo, hi; // lengths of a step
    double *cost;   // [hi - lo + 1] of a step
} path;

static double deviation(const onset_curve *c) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < c->n; i++) {
        sum += (double)c->v[i];
        square += (double)c->v[i] * (double)c->v[i];
    }
    double mean = sum / (double)c->n, power = square / (double)c->n - mean * mean;
    return power > 0 ? sqrt(power) : 0;
}

static status path_open(path *p, const onset_curve *c, double bpm, err *e) {
    double period = 60 / bpm * c->per_second, unit = deviation(c);
    *p = (path){.c = c, .period = period, .lo = (int64_t)(period / 2), .hi = (int64_t)(period * 2)};
    size_t n = (size_t)c->n;
    p->level = mem_alloc(n * sizeof *p->level);
    p->score = mem_alloc(n * sizeof *p->score);
    p->from = mem_alloc(n * sizeof *p->from);
    p->cost = mem_alloc((size_t)(p->hi - p->lo + 1) * sizeof *p->cost);
    if (!p->level || !p->score || !p->from || !p->cost)
        return err_set(e, ERR_OOM, "no memory for beats");
    for (int64_t i = 0; i < c->n; i++) p->level[i] = unit > 0 ? (double)c->v[i] / unit : 0;
    for (int64_t k = p->lo; k <= p->hi; k++) {
        double turns = num_log2((double)k / period) / 1.4426950408889634;
        p->cost[k - p->lo] = TIGHT * turns * turns;
    }
    return OK;
}

static void path_close(path *p) {
    mem_free(p->level);
    mem_free(p->score);
    mem_free(p->from);
    mem_free(p->cost);
}

// The best path to each value of the curve.
static void path_fill(path *p) {
    for (int64_t i = 0; i < p->c->n; i++) {
        double best = 0; // to begin here is free
        p->from[i] = -1;
        for (int64_t k = p->lo; k <= p->hi && k <= i; k++) {
            double s = p->score[i - k] - p->cost[k - p->lo];
            if (s > best) best = s, p->from[i] = (int32_t)(i - k);
        }
        p->score[i] = p->level[i] + best;
    }
}

// The best end within the last beat and a half.
static int64_t path_end(const path *p) {
    int64_t n = p->c->n, best = n - 1;
    for (int64_t i = MAX(n - (int64_t)(p->period * 1.5), 0); i < n; i++)
        if (p->score[i] > p->score[best]) best = i;
    return best;
}

// The top of the curve near i, between its values.
static double top_near(const onset_curve *c, int64_t i) {
    double a = i > 0 ? (double)c->v[i - 1] : 0, b = (double)c->v[i];
    double d = i + 1 < c->n ? (double)c->v[i + 1] : 0, bend = a - 2 * b + d;
    double shift = bend < 0 ? (a - d) / (2 * bend) : 0;
    return ((double)i + (fabs(shift) <= 1 ? shift : 0)) / c->per_second;
}

static status path_read(beat_track *out, const path *p, err *e) {
    int64_t end = path_end(p);
    for (int64_t i = end; i >= 0; i = p->from[i]) out->n++;
    out->at = mem_alloc((out->n + 1) * sizeof *out->at);
    if (!out->at) return err_set(e, ERR_OOM, "no memory for beats");
    size_t k = out->n;
    for (int64_t i = end; i >= 0; i = p->from[i]) out->at[--k] = top_near(p->c, i);
    return OK;
}

// The tempo whose beats and bars of four the curve repeats with best. Beats alone would let five of
// a wrong tempo pass for four of the right one.
static double tempo_of(const onset_curve *c) {
    double best = 0, top = 0;
    for (double bpm = BPM_LOW; bpm <= BPM_HIGH; bpm *= 1.001) {
        double octaves = num_log2(bpm / BPM_LIKELY) / OCTAVES;
        double strength = analyse_tempo_strength(c, bpm) + analyse_tempo_strength(c, bpm / 4) * 0.7;
        double score = strength * num_exp(-octaves * octaves / 2);
        if (score > top) top = score, best = bpm;
    }
    return best;
}

static double octave_of(double bpm, double asked) {
    while (asked > 0 && bpm > asked * 1.4142) bpm /= 2;
    while (asked > 0 && bpm * 1.4142 < asked) bpm *= 2;
    return bpm;
}

// Mean rise at the beats against the mean rise between them.
static double sureness(const beat_track *b, const path *p) {
    double on = 0, off = 0;
    for (size_t i = 0; i + 1 < b->n; i++) {
        int64_t at = (int64_t)(b->at[i] * p->c->per_second + 0.5);
        int64_t mid = (int64_t)((b->at[i] + b->at[i + 1]) / 2 * p->c->per_second + 0.5);
        on += at < p->c->n ? p->level[at] : 0;
        off += mid < p->c->n ? p->level[mid] : 0;
    }
    return on > off ? (on - off) / on : 0;
}

status beats_find(beat_track *out, const onset_curve *c, double asked, err *e) {
    *out = (beat_track){0};
    double near = tempo_of(c);
    if (near <= 0) return OK;
    analyse_tempo t = analyse_find_tempo(c, near * 0.998, near * 1.002);
    if (t.bpm <= 0) return OK;
    out->bpm = octave_of(t.bpm, asked);
    path p;
    status rc = path_open(&p, c, out->bpm, e);
    if (!rc) {
        path_fill(&p);
        rc = path_read(out, &p, e);
    }
    if (!rc) out->sure = sureness(out, &p);
    out->first = t.first;
    path_close(&p);
    if (rc) beats_deinit(out);
    return rc;
}

void beats_deinit(beat_track *b) {
    mem_free(b->at);
    *b = (beat_track){0};
}
