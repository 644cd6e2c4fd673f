// quant_search.c - quant_search of quant.h: which 4 bits, sub-scales and scale stand for a block.
//
// The error of a run of 32 values under a scale t is the sum of (v - t n)^2, n the nearest of -8 to
// 7. A run's own best scale is found first; then the block's scale d, of which every run takes one
// of 16 multiples; then d once more by least squares. All of it once for each sign of d, because
// there is no +8. Everything is f32 in a fixed order, so files are equal on every machine.
#include <string.h>

#include "compute/math.h"
#include "compute/quant.h"

#define RUNS (QUANT_BLOCK / QUANT_SUB)
#define SUB_MAX 15
#define TINY 0x1p-100f // a block of smaller values becomes zeros

// What a scale t makes of a run: its error is the sum of v^2, minus 2 t vn, plus t^2 nn.
typedef struct {
    float vn, nn; // sums of v n and of n^2
} run_fit;

static inline float nearest(float x) {
    float n = (x + MATH_ROUND) - MATH_ROUND;
    n = n > -8.0f ? n : -8.0f;
    return n < 7.0f ? n : 7.0f;
}

static run_fit fit_run(const float *v, float t) {
    float by = 1.0f / t, vn[8] = {0}, nn[8] = {0};
    for (int i = 0; i < QUANT_SUB; i += 8) {
        for (int l = 0; l < 8; l++) {
            float n = nearest(v[i + l] * by);
            vn[l] += v[i + l] * n;
            nn[l] += n * n;
        }
    }
    for (int half = 4; half; half /= 2)
        for (int l = 0; l < half; l++) vn[l] += vn[l + half], nn[l] += nn[l + half];
    return (run_fit){vn[0], nn[0]};
}

static float error_of(run_fit f, float t) {
    return t * (t * f.nn - 2.0f * f.vn);
}

// The best scale of a run of its own, with the given sign of d; 0: none is better than zeros.
static float scale_of(const float *v, float sign) {
    static const float shorter[] = {0.68f, 0.76f, 0.84f, 0.92f, 1.0f};
    float low = 0, high = 0, best = 0, found = 0;
    for (int i = 0; i < QUANT_SUB; i++) {
        float a = v[i] * sign;
        low = a < low ? a : low, high = a > high ? a : high;
    }
    float end = -low / 8.0f > high / 7.0f ? -low / 8.0f : high / 7.0f;
    if (end < 0x1p-30f) return 0; // of values up to 1
    for (size_t i = 0; i < ARRAY_LEN(shorter); i++) {
        run_fit f = fit_run(v, end * shorter[i] * sign);
        float t = f.nn > 0 ? f.vn / f.nn : 0, error = error_of(f, t);
        if (error < best) best = error, found = t * sign;
    }
    return found;
}

typedef struct {
    float d, error;
    uint8_t s[RUNS];
} candidate;

// Chooses the sub-scale of run j: one of the two multiples of c->d around its own scale t.
static run_fit choose_sub(candidate *c, const float *v, int j, float t) {
    float most = t / (c->d < 0 ? -c->d : c->d), error = 0;
    int below = (int)(most < SUB_MAX ? most : SUB_MAX);
    run_fit chosen = {0};
    c->s[j] = 0;
    for (int s = below; s <= below + 1 && s <= SUB_MAX; s++) {
        if (!s) continue;
        run_fit f = fit_run(v, c->d * (float)s);
        float e = error_of(f, c->d * (float)s);
        if (e < error) error = e, chosen = f, c->s[j] = (uint8_t)s;
    }
    return chosen;
}

// The sub-scales for a first d, then d by least squares, and the error with it.
static candidate try_scale(const float *v, const float own[RUNS], float d) {
    candidate c = {.d = d};
    float vn = 0, nn = 0;
    for (int j = 0; j < RUNS; j++) {
        run_fit f = choose_sub(&c, v + j * QUANT_SUB, j, own[j]);
        float s = (float)c.s[j];
        vn += s * f.vn, nn += s * s * f.nn;
    }
    if (nn > 0) c.d = vn / nn;
    for (int j = 0; j < RUNS; j++) {
        float t = c.d * (float)c.s[j];
        if (c.s[j]) c.error += error_of(fit_run(v + j * QUANT_SUB, t), t);
    }
    return c;
}

static candidate try_sign(const float *v, float sign) {
    static const float tops[] = {15.0f, 14.0f, 12.5f}; // of the run with the largest scale
    float own[RUNS], most = 0;
    candidate best = {.d = 1.0f};
    for (int j = 0; j < RUNS; j++) {
        own[j] = scale_of(v + j * QUANT_SUB, sign);
        most = own[j] > most ? own[j] : most;
    }
    for (size_t i = 0; i < ARRAY_LEN(tops) && most > 0; i++) {
        candidate c = try_scale(v, own, sign * most / tops[i]);
        if (c.error < best.error) best = c;
    }
    return best;
}

void quant_search(quant4 *out, const float v[QUANT_BLOCK]) {
    float most = 0, u[QUANT_BLOCK];
    *out = (quant4){0};
    for (int i = 0; i < QUANT_BLOCK; i++) {
        float a = v[i] < 0 ? -v[i] : v[i];
        most = a > most ? a : most;
    }
    if (most < TINY) return;
    for (int i = 0; i < QUANT_BLOCK; i++) u[i] = v[i] / most;
    candidate plus = try_sign(u, 1.0f), minus = try_sign(u, -1.0f);
    const candidate *c = minus.error < plus.error ? &minus : &plus;
    memcpy(out->s, c->s, sizeof out->s);
    out->d = c->d * most;
    for (int i = 0; i < QUANT_BLOCK; i++) {
        float t = c->d * (float)c->s[i / QUANT_SUB];
        out->n[i] = (int8_t)(t == 0.0f ? 0 : nearest(u[i] * (1.0f / t)));
    }
}
