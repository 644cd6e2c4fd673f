// kern_qbody.h - products of packed weights, written once over sixteen rows in vector lanes.
//
// The including file defines, besides v16 (v_set v_mul v_fma v_f16 v_store):
//   w64                     a group of 64 bytes as it lies in a panel
//   w_load
//   w_q8 w_q4_low w_q4_high  make weights of it
//   i16                     sixteen int32 lanes
//   i_start(less8, shift)   for weights that are q + (8 << shift)
//   i_float
//   i_dot(acc, w, x4)       lane r += the four weights of row r times the four bytes of x4
//   QTILE_PANELS, QTILE_X, QTILE_SHAPES, QTILE_ALL
//                           tiles of one panel by up to QTILE_X x rows, and where QTILE_PANELS is 2
//                           of two by up to QPAIR_X
#pragma once
#include "compute/cpu/kern.h"
#include "compute/cpu/kern_lanes.h"

// How far ahead of the sums a single tile fetches, in bytes: the best of 1024 to 16384 on Zen 5.
#define QAHEAD 8192

INLINE int32_t four(const int8_t *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// Panels against some rows of x.
typedef struct {
    const uint8_t *w; // the first panel; the second lies panel bytes on
    size_t panel;
    const uint8_t *ahead; // what to fetch meanwhile for each: ahead_step bytes each block
    size_t ahead_step;
    bool once;       // no other tile reads them
    const qblock *x; // rows `blocks` apart
    int64_t blocks;
    float *out; // rows ldo apart
    int64_t ldo;
} qtile_args;
typedef void (*qtile_fn)(const qtile_args *t);

// The integer sums of one block: of panel p, whose integers begin at w + p*panel, and the block x[j
// * blocks] of x row j. What is loaded of x serves all panels.
INLINE void qsums8(i16 *sum, const uint8_t *w, const qtile_args *t, const qblock *x,
                   const int panels, const int nx) {
    UNROLLED
    for (int g = 0; g < 8; g++) {
        w64 v[2];
        UNROLLED
        for (int p = 0; p < panels; p++) v[p] = w_q8(w_load(w + p * t->panel + 64 * g));
        UNROLLED
        for (int i = 0; i < panels * nx; i++) {
            int32_t x4 = four(x[i / panels * t->blocks].q + 4 * g);
            sum[i] = i_dot(sum[i], v[i % panels], x4);
        }
    }
}

INLINE void qsums4(i16 *sum, const uint8_t *w, const qtile_args *t, const qblock *x,
                   const int panels, const int nx) {
    UNROLLED
    for (int g = 0; g < 4; g++) {
        w64 lo[2], hi[2];
        UNROLLED
        for (int p = 0; p < panels; p++) {
            w64 both = w_load(w + p * t->panel + 64 * g);
            lo[p] = w_q4_low(both), hi[p] = w_q4_high(both);
        }
        UNROLLED
        for (int i = 0; i < panels * nx; i++) {
            const int8_t *q = x[i / panels * t->blocks].q + 4 * g;
            sum[i] = i_dot(i_dot(sum[i], lo[i % panels], four(q)), hi[i % panels], four(q + 16));
        }
    }
}

// One block: acc[j*panels + p] of x row j and panel p.
INLINE void qtile_block(v16 *acc, const uint8_t *w, const qtile_args *t, const qblock *x,
                        const int panels, const int nx, const dtype type) {
    i16 sum[2 * QTILE_X];
    v16 d[2];
    UNROLLED
    for (int i = 0; i < panels * nx; i++)
        sum[i] = i_start(x[i / panels * t->blocks].less8, type == DT_Q8 ? 4 : 0);
    if (type == DT_Q8)
        qsums8(sum, w + 32, t, x, panels, nx);
    else
        qsums4(sum, w + 32, t, x, panels, nx);
    UNROLLED
    for (int p = 0; p < panels; p++) d[p] = v_f16(w + p * t->panel);
    UNROLLED
    for (int i = 0; i < panels * nx; i++) {
        v16 scale = v_mul(d[i % panels], v_set(x[i / panels * t->blocks].scale));
        acc[i] = v_fma(i_float(sum[i]), scale, acc[i]);
    }
}

INLINE void qtile(const qtile_args *t, const int panels, const int nx, const dtype type) {
    const uint8_t *w = t->w, *ahead = t->ahead;
    const int size = 32 + (type == DT_Q8 ? 512 : 256);
    v16 acc[2 * QTILE_X];
    UNROLLED
    for (int i = 0; i < panels * nx; i++) acc[i] = v_set(0.0f);
    for (int64_t b = 0; b < t->blocks; b++, w += size, ahead += t->ahead_step) {
        UNROLLED
        for (int p = 0; p < panels; p++)
            kern_fetch(ahead + p * t->panel, (t->ahead_step + 63) / 64, 64, t->once);
        qtile_block(acc, w, t, t->x + b, panels, nx, type);
    }
    UNROLLED
    for (int i = 0; i < panels * nx; i++)
        v_store(t->out + i / panels * t->ldo + i % panels * QUANT_ROWS, acc[i]);
}

#define QTILE_FN(name, panels, nx, type)                                                           \
    static void name(const qtile_args *t) {                                                        \
        qtile(t, panels, nx, type);                                                                \
    }
#define QTILE_FNS(panels, nx)                                                                      \
    QTILE_FN(qtile_##panels##_##nx##_q8, panels, nx, DT_Q8)                                        \
    QTILE_FN(qtile_##panels##_##nx##_q4, panels, nx, DT_Q4)
#define QTILE_NAMES(panels, nx)                                                                    \
    { qtile_##panels##_##nx##_q8, qtile_##panels##_##nx##_q4 }

QTILE_SHAPES // QTILE_FNS(1, nx) for 1 to QTILE_X, and QTILE_FNS(2, nx) for 1 to QPAIR_X

    static const qtile_fn qtiles[QTILE_PANELS][QTILE_X][2] = {QTILE_ALL};

#ifndef QPAIR_X
#define QPAIR_X 1
#endif

// One panel, or two, against all x rows in tiles of nearly equal width. One tile fetches a little
// ahead of itself; several share the fetching of what comes next. From the shared cache the
// hardware fetches as fast by itself, and needs no instructions for it.
static void qdots_panels(const qdots_args *a, qtile_args t, int panels) {
    int64_t most = panels == 1 ? QTILE_X : QPAIR_X, tiles = (a->n + most - 1) / most;
    int64_t least = a->n / tiles, wider = a->n % tiles;
    t.ahead_step = a->cached ? 0 : t.panel / (size_t)(t.blocks * tiles), t.once = tiles == 1;
    t.ahead = t.w + (tiles == 1 ? QAHEAD : (size_t)panels * t.panel);
    for (int64_t i = 0; i < tiles; i++) {
        int64_t nx = least + (i < wider);
        qtiles[panels - 1][nx - 1][a->type == DT_Q4](&t);
        t.x += nx * t.blocks, t.out += nx * t.ldo, t.ahead += t.panel / (size_t)tiles;
    }
}

// Two panels at once share what is loaded of x; but where one tile does for all x rows, it is bound
// by reading, and one stream is read faster than two.
static void qdots(const qdots_args *a) {
    if (a->n < 1) return;
    const size_t block = a->type == DT_Q8 ? 544 : 288;
    qtile_args t = {.w = a->w, .x = a->x, .blocks = a->blocks, .out = a->out, .ldo = a->ldo};
    t.panel = (size_t)a->blocks * block;
    const int step = a->n > QTILE_X ? QTILE_PANELS : 1;
    for (int64_t p = 0; p < a->panels; p += step) {
        int panels = (int)MIN(step, a->panels - p);
        qdots_panels(a, t, panels);
        t.w += (size_t)panels * t.panel, t.out += panels * QUANT_ROWS;
    }
}

#include "compute/cpu/kern_qattend.h"

static void fill_packed(kern_table *k) {
    k->qdots = qdots;
    k->qscores = qscores;
    k->qweigh = qweigh;
}
