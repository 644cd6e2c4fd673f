// kern_qbody.h - products of packed weights, written once over sixteen rows in the lanes of a
// vector.
//
// The including file defines, besides v16 (v_set v_mul v_fma v_f16 v_store):
//   w64: a group of 64 bytes as it lies in a panel; w_load; w_q8 w_q4_low w_q4_high make weights of
//   it i16: sixteen int32 lanes; i_start(less8, shift) for weights that are q + (8 << shift),
//   i_float i_dot(acc, w, x4): lane r += the four weights of row r times the four bytes of x4
//   QTILE_X: the x rows of a tile
#pragma once
#include "compute/kern.h"
#include "compute/kern_lanes.h"

// How far ahead of the sums a single tile fetches, in bytes: the best of 1024 to 16384 on Zen 5.
#define QAHEAD 8192

INLINE int32_t four(const int8_t *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// The integer sums of one block: x[j] is the block of x row j.
INLINE void qsums8(i16 *sum, const uint8_t *w, const qblock *x, int64_t blocks, const int nx) {
    UNROLLED
    for (int j = 0; j < nx; j++) sum[j] = i_start(x[j * blocks].less8, 4);
    UNROLLED
    for (int g = 0; g < 8; g++) {
        w64 v = w_q8(w_load(w + 64 * g));
        UNROLLED
        for (int j = 0; j < nx; j++) sum[j] = i_dot(sum[j], v, four(x[j * blocks].q + 4 * g));
    }
}

INLINE void qsums4(i16 *sum, const uint8_t *w, const qblock *x, int64_t blocks, const int nx) {
    UNROLLED
    for (int j = 0; j < nx; j++) sum[j] = i_start(x[j * blocks].less8, 0);
    UNROLLED
    for (int g = 0; g < 4; g++) {
        w64 both = w_load(w + 64 * g), lo = w_q4_low(both), hi = w_q4_high(both);
        UNROLLED
        for (int j = 0; j < nx; j++) {
            const int8_t *q = x[j * blocks].q + 4 * g;
            sum[j] = i_dot(i_dot(sum[j], lo, four(q)), hi, four(q + 16));
        }
    }
}

// One panel against some rows of x.
typedef struct {
    const uint8_t *w;
    const uint8_t *ahead; // what to fetch meanwhile: ahead_step bytes each block
    size_t ahead_step;
    bool once;       // no other tile reads this panel
    const qblock *x; // rows `blocks` apart
    int64_t blocks;
    float *out; // rows ldo apart
    int64_t ldo;
} qtile_args;
typedef void (*qtile_fn)(const qtile_args *t);

INLINE void qtile(const qtile_args *t, const int nx, const dtype type) {
    const uint8_t *w = t->w, *ahead = t->ahead;
    const qblock *x = t->x;
    const int size = 32 + (type == DT_Q8 ? 512 : 256);
    v16 acc[QTILE_X];
    UNROLLED
    for (int j = 0; j < nx; j++) acc[j] = v_set(0.0f);
    for (int64_t b = 0; b < t->blocks; b++, w += size, x++, ahead += t->ahead_step) {
        i16 sum[QTILE_X];
        kern_fetch(ahead, (t->ahead_step + 63) / 64, 64, t->once);
        if (type == DT_Q8)
            qsums8(sum, w + 32, x, t->blocks, nx);
        else
            qsums4(sum, w + 32, x, t->blocks, nx);
        v16 d = v_f16(w);
        UNROLLED
        for (int j = 0; j < nx; j++) {
            v16 scale = v_mul(d, v_set(x[j * t->blocks].scale));
            acc[j] = v_fma(i_float(sum[j]), scale, acc[j]);
        }
    }
    UNROLLED
    for (int j = 0; j < nx; j++) v_store(t->out + j * t->ldo, acc[j]);
}

#define QTILE_FN(name, nx, type)                                                                   \
    static void name(const qtile_args *t) {                                                        \
        qtile(t, nx, type);                                                                        \
    }
#define QTILE_FNS(nx) QTILE_FN(qtile_##nx##_q8, nx, DT_Q8) QTILE_FN(qtile_##nx##_q4, nx, DT_Q4)
#define QTILE_NAMES(nx)                                                                            \
    { qtile_##nx##_q8, qtile_##nx##_q4 }

QTILE_SHAPES // QTILE_FNS(nx) for 1 to QTILE_X

    static const qtile_fn qtiles[QTILE_X][2] = {QTILE_ALL};

// Panel after panel, each against all x rows in tiles of nearly equal width. One tile fetches a
// little ahead of itself; several share the fetching of the next panel. From the shared cache the
// hardware fetches as fast by itself, and needs no instructions for it.
static void qdots(const qdots_args *a) {
    if (a->n < 1) return;
    const size_t block = a->type == DT_Q8 ? 544 : 288, panel = (size_t)a->blocks * block;
    int64_t tiles = (a->n + QTILE_X - 1) / QTILE_X, least = a->n / tiles, wider = a->n % tiles;
    qtile_args t = {.w = a->w, .blocks = a->blocks, .ldo = a->ldo};
    t.ahead_step = a->cached ? 0 : block / (size_t)tiles, t.once = tiles == 1;
    for (int64_t p = 0; p < a->panels; p++, t.w += panel) {
        t.x = a->x, t.out = a->out + p * QUANT_ROWS;
        t.ahead = t.w + (tiles == 1 ? QAHEAD : panel);
        for (int64_t i = 0; i < tiles; i++) {
            int64_t nx = least + (i < wider);
            qtiles[nx - 1][a->type == DT_Q4](&t);
            t.x += nx * t.blocks, t.out += nx * t.ldo, t.ahead += panel / (size_t)tiles;
        }
    }
}

#include "compute/kern_qattend.h"

static void fill_packed(kern_table *k) {
    k->qdots = qdots;
    k->qscores = qscores;
    k->qweigh = qweigh;
}
