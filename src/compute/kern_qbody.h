// kern_qbody.h - products of packed weights, written once over sixteen rows in the lanes of a
// vector.
//
// The including file defines, besides v16 (v_set v_mul v_fma v_f16 v_store):
//   w64: a group of 64 bytes as it lies in a panel: w_load; w_q8 w_q4_low w_q4_high make weights of
//   it i16: sixteen int32 lanes: i_start(sum, offset) where weights are q + offset and sum is that
//   of the x,
//        i_dot(acc, w, x4): lane r += the four weights of row r times the four bytes of x4; i_float
//   QTILE_X: the x rows of a tile
#pragma once
#include "compute/kern.h"

#define QINLINE static inline __attribute__((always_inline))
#define QUNROLLED _Pragma("GCC unroll 32")
#define QAHEAD 2048 // bytes ahead of the sums that weights are fetched

QINLINE int32_t four(const int8_t *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// The integer sums of one block: x[j] is the block of x row j.
QINLINE void qsums8(i16 *sum, const uint8_t *w, const qblock *x, int64_t blocks, const int nx) {
    QUNROLLED
    for (int j = 0; j < nx; j++) sum[j] = i_start(x[j * blocks].sum, 128);
    QUNROLLED
    for (int g = 0; g < 8; g++) {
        w64 v = w_q8(w_load(w + 64 * g));
        QUNROLLED
        for (int j = 0; j < nx; j++) sum[j] = i_dot(sum[j], v, four(x[j * blocks].q + 4 * g));
    }
}

QINLINE void qsums4(i16 *sum, const uint8_t *w, const qblock *x, int64_t blocks, const int nx) {
    QUNROLLED
    for (int j = 0; j < nx; j++) sum[j] = i_start(x[j * blocks].sum, 8);
    QUNROLLED
    for (int g = 0; g < 4; g++) {
        w64 both = w_load(w + 64 * g), lo = w_q4_low(both), hi = w_q4_high(both);
        QUNROLLED
        for (int j = 0; j < nx; j++) {
            const int8_t *q = x[j * blocks].q + 4 * g;
            sum[j] = i_dot(i_dot(sum[j], lo, four(q)), hi, four(q + 16));
        }
    }
}

// One panel against nx rows of x.
QINLINE void qtile(const qdots_args *a, const uint8_t *w, const qblock *x, float *out, const int nx,
                   const dtype type) {
    const int size = 32 + (type == DT_Q8 ? 512 : 256);
    v16 acc[QTILE_X];
    QUNROLLED
    for (int j = 0; j < nx; j++) acc[j] = v_set(0.0f);
    for (int64_t b = 0; b < a->blocks; b++, w += size, x++) {
        i16 sum[QTILE_X];
        QUNROLLED
        for (int i = 0; i < size; i += 64) __builtin_prefetch(w + QAHEAD + i);
        if (type == DT_Q8)
            qsums8(sum, w + 32, x, a->blocks, nx);
        else
            qsums4(sum, w + 32, x, a->blocks, nx);
        v16 d = v_f16(w);
        QUNROLLED
        for (int j = 0; j < nx; j++) {
            v16 scale = v_mul(d, v_set(x[j * a->blocks].scale));
            acc[j] = v_fma(i_float(sum[j]), scale, acc[j]);
        }
    }
    QUNROLLED
    for (int j = 0; j < nx; j++) v_store(out + j * a->ldo, acc[j]);
}

typedef void (*qtile_fn)(const qdots_args *a, const uint8_t *w, const qblock *x, float *out);

#define QTILE_FN(name, nx, type)                                                                   \
    static void name(const qdots_args *a, const uint8_t *w, const qblock *x, float *out) {         \
        qtile(a, w, x, out, nx, type);                                                             \
    }
#define QTILE_FNS(nx) QTILE_FN(qtile_##nx##_q8, nx, DT_Q8) QTILE_FN(qtile_##nx##_q4, nx, DT_Q4)
#define QTILE_NAMES(nx)                                                                            \
    { qtile_##nx##_q8, qtile_##nx##_q4 }

QTILE_SHAPES // QTILE_FNS(nx) for 1 to QTILE_X

    static const qtile_fn qtiles[QTILE_X][2] = {QTILE_ALL};

// Panel after panel, each against all x rows in tiles of nearly equal width.
static void qdots(const qdots_args *a) {
    if (a->n < 1) return;
    int64_t tiles = (a->n + QTILE_X - 1) / QTILE_X, least = a->n / tiles, wider = a->n % tiles;
    size_t panel = (size_t)a->blocks * (a->type == DT_Q8 ? 544 : 288);
    for (int64_t p = 0; p < a->panels; p++) {
        const qblock *x = a->x;
        float *out = a->out + p * QUANT_ROWS;
        for (int64_t t = 0; t < tiles; t++) {
            int64_t nx = least + (t < wider);
            qtiles[nx - 1][a->type == DT_Q4](a, a->w + (size_t)p * panel, x, out);
            x += nx * a->blocks, out += nx * a->ldo;
        }
    }
}
