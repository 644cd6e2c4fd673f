// kern_i8mm.c - products of packed weights for Arm's matrix products of 8-bit integers (FEAT_I8MM).
//
// One instruction multiplies two weight rows with two x rows, eight columns each. A group of a
// slice has four columns of a row, so two groups are zipped. A single x row goes the way of
// kern_dotprod.c.
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/math.h"

#if defined(__aarch64__)
#ifndef __ARM_FEATURE_MATMUL_INT8
#error "kern_i8mm.c is compiled without matrix products: see ARM_I8MM in the Makefile"
#endif
#define LEVEL i8mm
#define PACKED_TILES(F) F(1, 1)

#include "compute/cpu/vec_neon.h"

#include "compute/cpu/level_tmpl.h"

#include "compute/cpu/packed_dots_tmpl.h"

#define MM_PAIRS 2                 // of x rows in a tile, at most
#define MM_X (2 * MM_PAIRS)        // x rows
#define ROW_PAIRS (QUANT_ROWS / 2) // of a panel

// Sums of a panel and some pairs of x rows. Of weight rows r, r + 1 and x rows j, j + 1 four are
// kept together: r j, r j+1, r+1 j, r+1 j+1.
typedef struct {
    int32x4_t q[ROW_PAIRS][MM_PAIRS];
} mm_sums;

// Eight columns of two x rows.
INLINE int8x16_t two_rows(const int8_t *x, size_t apart) {
    return vcombine_s8(vld1_s8(x), vld1_s8(x + apart));
}

// Adds eight columns: those of group a, then those of group b. x: where they begin in row 0.
INLINE void mm_groups(mm_sums *s, u8x64 a, u8x64 b, const int8_t *x, size_t apart,
                      const int pairs) {
    int8x16_t rows[MM_PAIRS];
    UNROLLED
    for (int j = 0; j < pairs; j++) rows[j] = two_rows(x + 2 * (size_t)j * apart, apart);
    UNROLLED
    for (int i = 0; i < 4; i++) {
        const int32x4_t p = vreinterpretq_s32_s8(a.q[i]), q = vreinterpretq_s32_s8(b.q[i]);
        const int8x16_t lo = vreinterpretq_s8_s32(vzip1q_s32(p, q));
        const int8x16_t hi = vreinterpretq_s8_s32(vzip2q_s32(p, q));
        UNROLLED
        for (int j = 0; j < pairs; j++) {
            s->q[2 * i][j] = vmmlaq_s32(s->q[2 * i][j], lo, rows[j]);
            s->q[2 * i + 1][j] = vmmlaq_s32(s->q[2 * i + 1][j], hi, rows[j]);
        }
    }
}

INLINE void mm_slice8(mm_sums *s, const uint8_t *w, const int8_t *x, size_t apart,
                      const int pairs) {
    for (int g = 0; g < 16; g += 2, w += 128)
        mm_groups(s, w_q8(w_load(w)), w_q8(w_load(w + 64)), x + 4 * g, apart, pairs);
}

INLINE void mm_slice4(mm_sums *s, u8x64 *sub, const uint8_t *w, const int8_t *x, size_t apart,
                      const int pairs) {
    for (int half = 0; half < 2; half++, x += 32) {
        const w_scales scales = w_sub(*sub);
        *sub = w_next(*sub);
        for (int g = 0; g < 4; g += 2, w += 128) {
            const u8x64 a = w_load(w), b = w_load(w + 64);
            mm_groups(s, w_q4(w_low(a), scales), w_q4(w_low(b), scales), x + 4 * g, apart, pairs);
            mm_groups(s, w_q4(w_high(a), scales), w_q4(w_high(b), scales), x + 16 + 4 * g, apart,
                      pairs);
        }
    }
}

// The sums of one x row of a pair, in the order of the weight rows.
INLINE i32x16 mm_row(const mm_sums *s, int pair, const int second) {
    i32x16 out;
    UNROLLED
    for (int i = 0; i < 4; i++) {
        const int32x4_t a = s->q[2 * i][pair], b = s->q[2 * i + 1][pair];
        out.q[i] = second ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b);
    }
    return out;
}

// Adds the block at w, times the blocks of x, to the results.
INLINE void mm_block(f32x16 *acc, const uint8_t *w, const uint8_t *ahead, const qtile_args *t,
                     const qblock *x, int64_t slices, const int pairs, const dtype type) {
    const size_t apart = (size_t)t->blocks * sizeof(qblock);
    const uint8_t *at = w + 64 * qhead_lines(type);
    const int lines = qslice_lines(type);
    mm_sums s;
    u8x64 sub;
    UNROLLED
    for (int i = 0; i < ROW_PAIRS; i++)
        for (int j = 0; j < pairs; j++) s.q[i][j] = vdupq_n_s32(0);
    if (type == DT_Q4) sub = w_load(w + 64);
    for (int64_t k = 0; k < slices; k++, ahead += lines * t->step) {
        kern_fetch(ahead, (lines * t->step + 63) / 64, 64, t->into);
        if (type == DT_Q8)
            mm_slice8(&s, at, x->q + k * QUANT_SLICE, apart, pairs);
        else
            mm_slice4(&s, &sub, at, x->q + k * QUANT_SLICE, apart, pairs);
        at += 64 * lines;
    }
    const f32x16 d = v_load((const float *)(const void *)w);
    UNROLLED
    for (int j = 0; j < 2 * pairs; j++) {
        const f32x16 scale = v_mul(d, v_set(x[j * t->blocks].scale));
        acc[j] = v_fma(i_float(mm_row(&s, j / 2, j % 2)), scale, acc[j]);
    }
}

INLINE void mm_tile(const qtile_args *t, const int pairs, const dtype type) {
    const int block_slices = QUANT_BLOCK / QUANT_SLICE, lines = qblock_lines(type);
    const uint8_t *w = t->w, *ahead = t->ahead;
    f32x16 acc[MM_X];
    UNROLLED
    for (int j = 0; j < 2 * pairs; j++) acc[j] = v_set(0.0f);
    for (int64_t b = 0, left = t->slices; left > 0; b++, left -= block_slices) {
        const int64_t slices = MIN(left, block_slices);
        mm_block(acc, w, ahead, t, t->x + b, slices, pairs, type);
        w += 64 * lines, ahead += lines * t->step;
    }
    UNROLLED
    for (int j = 0; j < 2 * pairs; j++) v_store(t->out + j * t->ldo, acc[j]);
}

static void mm_1_q8(const qtile_args *t) {
    mm_tile(t, 1, DT_Q8);
}
static void mm_1_q4(const qtile_args *t) {
    mm_tile(t, 1, DT_Q4);
}
static void mm_2_q8(const qtile_args *t) {
    mm_tile(t, 2, DT_Q8);
}
static void mm_2_q4(const qtile_args *t) {
    mm_tile(t, 2, DT_Q4);
}
// [pairs - 1][DT_Q8, DT_Q4]
static const qtile_fn mm_tiles[MM_PAIRS][2] = {{mm_1_q8, mm_1_q4}, {mm_2_q8, mm_2_q4}};

// One panel times all x rows but an odd one.
static void mm_panel(const qdots_args *a, qtile_args t) {
    const int64_t even = a->n & ~INT64_C(1), tiles = (even + MM_X - 1) / MM_X;
    FN(qshare)(&t, a, 1, tiles);
    for (int64_t left = even; left > 0; left -= MM_X) {
        const int64_t nx = MIN(left, MM_X);
        mm_tiles[nx / 2 - 1][a->type == DT_Q4](&t);
        t.x += nx * t.blocks, t.out += nx * t.ldo, t.ahead += t.panel / (size_t)tiles;
    }
}

static void FN(qdots_mm)(const qdots_args *a) {
    const int64_t even = a->n & ~INT64_C(1), blocks = quant_blocks(a->cols);
    qtile_args t = {.w = a->w, .x = a->x, .out = a->out, .ldo = a->ldo, .blocks = blocks};
    t.slices = quant_slices(a->cols), t.panel = quant_panel_size(a->type, a->cols);
    for (int64_t p = 0; p < a->panels && even; p++, t.w += t.panel, t.out += QUANT_ROWS)
        mm_panel(a, t);
    if (a->n == even) return;
    qdots_args last = *a;
    last.x += even * blocks, last.out += even * a->ldo, last.n = 1;
    FN(qdots)(&last);
}

void kern_init_i8mm(kern_table *k) {
    k->packed = FN(packed);
    k->packed.dots = FN(qdots_mm);
}
#endif
