// judge_count.c - see judge_count.h.
#include "engine/judge_count.h"

#include <math.h> // floor: exact
#include <string.h>

#include "base/mem.h"
#include "base/num.h"

#define FINE 2 // places a value of the curve
#define BPM_LOW 50.0
#define BPM_HIGH 215.0
#define HALF_OCTAVE 1.4142135623730951
#define EVEN 0.1    // the chance at which a beat is worth as much as none
#define FLOOR 0.01  // what a chance of 0 counts as
#define STIFF 200.0 // times the square of the logarithm by which a step changes
#define TURN 0.15   // the most that a step changes by
#define WIDE 1.5    // values of the curve that a beat adds up to (train/pulse.py)
#define NEAR 2      // of them on each side that are its own
#define AROUND 2    // beats on each side that a beat's time is smoothed over
#define BARS_BEYOND 2
#define NONE 255

typedef struct {
    int64_t places, lo, hi, steps; // lo to hi: places a step may last
    int of;                        // beats a bar
    double *worth;                 // [places, 2] of a beat here: within a bar, at its beginning
    double *score;                 // [hi + 1, steps, of] of the best way to here, the last places
    double *onward; // [hi + 1, steps, of] the same, before a next step of that length
    uint8_t *from;  // [places, steps, of] the step before that one; NONE: begins
    double *cost;   // [steps, steps]
} counting;

// --- the best way to count

static double chance_at(const float *v, int64_t n, int64_t place) {
    int64_t i = place / FINE;
    double part = (double)(place % FINE) / FINE, a = (double)v[i];
    return i + 1 < n ? a + ((double)v[i + 1] - a) * part : a;
}

static double worth_of(double chance) {
    return (num_log2(MAX(chance, 0.0) + FLOOR) - num_log2(EVEN)) / 1.4426950408889634;
}

static void fill_worth(counting *c, const pulse_curve *p) {
    for (int64_t i = 0; i < c->places; i++) {
        double beat = chance_at(p->beat, p->n, i), bar = chance_at(p->bar, p->n, i);
        c->worth[2 * i] = worth_of(beat - bar);
        c->worth[2 * i + 1] = worth_of(bar);
    }
}

static void fill_cost(counting *c) {
    for (int64_t a = 0; a < c->steps; a++) {
        for (int64_t b = 0; b < c->steps; b++) {
            double turn = num_log2((double)(c->lo + a) / (double)(c->lo + b)) / 1.4426950408889634;
            c->cost[a * c->steps + b] = turn < TURN && turn > -TURN ? STIFF * turn * turn : 1e9;
        }
    }
}

static void close_counting(counting *c) {
    mem_free(c->worth);
    mem_free(c->score);
    mem_free(c->onward);
    mem_free(c->from);
    mem_free(c->cost);
}

static status open_counting(counting *c, const pulse_curve *p, double asked, int of, err *e) {
    double low = asked > 0 ? asked / HALF_OCTAVE : BPM_LOW;
    double high = asked > 0 ? asked * HALF_OCTAVE : BPM_HIGH, fast = p->per_second * FINE;
    *c = (counting){.places = p->n * FINE, .of = of};
    c->lo = MAX((int64_t)(60 / high * fast), 4);
    c->hi = MIN(c->lo + NONE - 1, (int64_t)(60 / low * fast) + 1);
    c->steps = c->hi - c->lo + 1;
    size_t row = (size_t)(c->steps * of), ring = (size_t)(c->hi + 1) * row;
    c->worth = mem_alloc((size_t)(2 * c->places) * sizeof *c->worth);
    c->score = mem_alloc(ring * sizeof *c->score);
    c->onward = mem_alloc(ring * sizeof *c->onward);
    c->from = mem_alloc((size_t)c->places * row);
    c->cost = mem_alloc((size_t)(c->steps * c->steps) * sizeof *c->cost);
    if (!c->worth || !c->score || !c->onward || !c->from || !c->cost)
        return err_set(e, ERR_OOM, "no memory to count beats");
    fill_worth(c, p);
    fill_cost(c);
    return OK;
}

static double *row_at(const counting *c, double *ring, int64_t place) {
    return ring + place % (c->hi + 1) * c->steps * c->of;
}

// The scores of the beats that fall on a place: each has come there by a step.
static void score_place(const counting *c, int64_t at) {
    double *score = row_at(c, c->score, at);
    for (int64_t s = 0; s < c->steps; s++) {
        int64_t before = at - c->lo - s;
        const double *onward = before >= 0 ? row_at(c, c->onward, before) : NULL;
        for (int b = 0; b < c->of; b++) {
            double so_far = onward ? onward[s * c->of + (b + c->of - 1) % c->of] : 0;
            score[s * c->of + b] = c->worth[2 * at + (b == 0)] + so_far;
        }
    }
}

// What each next step finds there, and which step it is best to have come by. To begin is free.
static void look_onward(const counting *c, int64_t at) {
    const double *score = row_at(c, c->score, at);
    double *onward = row_at(c, c->onward, at);
    uint8_t *from = c->from + at * c->steps * c->of;
    for (int64_t next = 0; next < c->steps; next++) {
        const double *cost = c->cost + next * c->steps;
        double *best = onward + next * c->of;
        uint8_t *by = from + next * c->of;
        for (int b = 0; b < c->of; b++) best[b] = MAX(c->worth[2 * at + (b == 0)], 0), by[b] = NONE;
        for (int64_t s = 0; s < c->steps; s++) {
            if (cost[s] > 1e8) continue;
            for (int b = 0; b < c->of; b++) {
                double so_far = score[s * c->of + b] - cost[s];
                if (so_far > best[b]) best[b] = so_far, by[b] = (uint8_t)s;
            }
        }
    }
}

typedef struct {
    int64_t at, step;
    int b;
} beat;

// Follows the best way back from its end. beats [places], from the last one on; returns how many.
static size_t trace(beat *out, const counting *c, beat end) {
    size_t n = 0;
    for (beat k = end;;) {
        out[n++] = k;
        beat before = {.at = k.at - c->lo - k.step, .b = (k.b + c->of - 1) % c->of};
        if (before.at < 0) return n;
        uint8_t by = c->from[(before.at * c->steps + k.step) * c->of + before.b];
        before.step = by;
        if (by == NONE) {
            if (c->worth[2 * before.at + (before.b == 0)] > 0) out[n++] = before;
            return n;
        }
        k = before;
    }
}

static size_t count_way(beat *out, const counting *c) {
    double best = 0;
    beat end = {.at = -1};
    for (int64_t at = 0; at < c->places; at++) {
        score_place(c, at);
        look_onward(c, at);
        const double *score = row_at(c, c->score, at);
        for (int64_t s = 0; s < c->steps; s++)
            for (int b = 0; b < c->of; b++)
                if (score[s * c->of + b] > best)
                    best = score[s * c->of + b], end = (beat){at, s, b};
    }
    return end.at < 0 ? 0 : trace(out, c, end);
}

// --- beats in seconds

static double mass(const float *v, int64_t n, int64_t from, int64_t to) {
    double sum = 0;
    for (int64_t i = MAX(from, 0); i < MIN(to, n); i++) sum += (double)v[i];
    return sum;
}

// The middle of what the curve has around a place, in values of it.
static double middle(const pulse_curve *p, int64_t place) {
    int64_t at = (place + FINE / 2) / FINE;
    double sum = 0, moment = 0;
    for (int64_t i = MAX(at - NEAR, 0); i < MIN(at + NEAR + 1, p->n); i++) {
        sum += (double)p->beat[i];
        moment += (double)p->beat[i] * (double)(i - at);
    }
    return (double)at + (sum > 0 ? moment / sum : 0);
}

// A straight line through the n times from t[0] on: its step, and its value at index i.
static double line_at(const double *t, size_t n, double i, double *step) {
    double mean = 0, slope = 0, square = 0, half = ((double)n - 1) / 2;
    for (size_t k = 0; k < n; k++) mean += t[k] / (double)n;
    for (size_t k = 0; k < n; k++) {
        slope += ((double)k - half) * t[k];
        square += ((double)k - half) * ((double)k - half);
    }
    *step = square > 0 ? slope / square : 0;
    return mean + *step * (i - half);
}

static void smooth(double *out, const double *t, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t from = i > AROUND ? i - AROUND : 0, to = MIN(i + AROUND + 1, n);
        double step;
        out[i] = line_at(t + from, to - from, (double)(i - from), &step);
    }
}

// Of what the network expects and of what was counted, the share that is both.
static double expected_f(const float *v, const pulse_curve *p, const double *t, size_t first,
                         size_t n, size_t apart) {
    double all = mass(v, p->n, 0, p->n) / WIDE, both = 0;
    size_t count = 0;
    for (size_t i = first; i < n; i += apart, count++) {
        int64_t at = (int64_t)(t[i] * p->per_second + 0.5);
        both += MIN(mass(v, p->n, at - NEAR, at + NEAR + 1) / WIDE, 1.0);
    }
    return count ? 2 * both / MAX((double)count + all, 2 * both) : 0;
}

// The beats in t [n], and those of up to BARS_BEYOND bars at both ends that the sound has room for.
static status lay_out(counted *out, const double *t, size_t n, const pulse_curve *p, size_t down,
                      int of, err *e) {
    size_t most = (size_t)(BARS_BEYOND * of), some = MIN(n, (size_t)of + 1), front = 0, back = 0;
    double first, last, seconds = (double)(p->n - 1) / p->per_second;
    line_at(t, some, 0, &first);
    line_at(t + n - some, some, 0, &last);
    while (front < most && t[0] - (double)(front + 1) * first >= 0) front++;
    while (back < most && t[n - 1] + (double)(back + 1) * last < seconds) back++;
    beat_track *b = &out->beats;
    b->n = front + n + back;
    b->at = mem_alloc(b->n * sizeof *b->at);
    if (!b->at) return err_set(e, ERR_OOM, "no memory for %zu beats", b->n);
    for (size_t i = 0; i < front; i++) b->at[i] = t[0] - (double)(front - i) * first;
    memcpy(b->at + front, t, n * sizeof *t);
    for (size_t i = 0; i < back; i++) b->at[front + n + i] = t[n - 1] + (double)(i + 1) * last;
    out->first_down = (down + front) % (size_t)of;
    b->first = b->at[0];
    return OK;
}

static status to_seconds(counted *out, const beat *way, size_t n, const pulse_curve *p, int of,
                         err *e) {
    double *t = mem_alloc(2 * n * sizeof *t), step;
    if (!t) return err_set(e, ERR_OOM, "no memory for %zu beats", n);
    for (size_t i = 0; i < n; i++) t[n + i] = middle(p, way[n - 1 - i].at) / p->per_second;
    smooth(t, t + n, n);
    line_at(t, n, 0, &step);
    size_t down = (size_t)((of - way[n - 1].b) % of);
    status rc = lay_out(out, t, n, p, down, of, e);
    mem_free(t);
    if (rc) return rc;
    beat_track *b = &out->beats;
    b->bpm = 60 / step;
    b->sure = expected_f(p->beat, p, b->at, 0, b->n, 1);
    out->down_sure = expected_f(p->bar, p, b->at, out->first_down, b->n, (size_t)of);
    return OK;
}

status count_find(counted *out, const pulse_curve *p, double asked, int of, err *e) {
    *out = (counted){0};
    counting c;
    status rc = open_counting(&c, p, asked, of, e);
    beat *way = rc ? NULL : mem_alloc((size_t)c.places * sizeof *way);
    if (!rc && !way) rc = err_set(e, ERR_OOM, "no memory to count beats");
    size_t n = rc ? 0 : count_way(way, &c);
    if (n > (size_t)of) rc = to_seconds(out, way, n, p, of, e);
    mem_free(way);
    close_counting(&c);
    return rc;
}
