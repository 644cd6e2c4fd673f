// kern_amx.c - products of packed weights for AMX, the tiles of Intel's Xeons (x86-64).
//
// A slice of a panel of 8-bit weights is a tile as it lies (quant.h), and so are up to sixteen rows
// of x: their product is 16 x 16 integer sums. The four slices of a block are summed in the tile;
// then AVX-512 adds them to the results, in the order of kern.h. Weights of 4 bits are expanded to
// such slices first. Few rows of x leave a tile mostly empty, and reading the weights is the limit
// then: they go the way of kern_vnni.c.
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/cpu/tile_amx.h"
#include "compute/math.h"

#if defined(__x86_64__)
#ifndef __AVX512VNNI__
#error "kern_amx.c is compiled without AVX-512 VNNI: see ISA_kern_amx in the Makefile"
#endif
#if !defined(TILES_IN_C)
#define LEVEL amx
#else
#define LEVEL amx_in_c
void kern_init_amx_in_c(kern_table *k);
#endif
// Of kern_vnni.c's tiles those that few rows need.
#define PACKED_TILES(F) F(1, 1) F(1, 2) F(1, 3)
#define TILES_FROM 4 // rows of x; not tuned: nobody has run this on a machine of its own yet

#include "compute/cpu/vec_avx512.h"

#include "compute/cpu/level_tmpl.h"

#include "compute/cpu/packed_dots_tmpl.h"

// Which tile holds what: sums of a group of x rows and a panel, rows of x, weights. A number is a
// part of the instruction, so it is a constant.
#define SUM_00 0 // group 0, panel 0
#define SUM_01 1
#define SUM_10 2
#define SUM_11 3
#define X_0 4
#define X_1 5
#define W_0 6
#define W_1 7

#define PAIR 2 // groups of x rows, and panels, that are multiplied together
#define SLICE_SIZE (QUANT_ROWS * QUANT_SLICE)

// One or two panels times one or two groups of x rows.
typedef struct {
    qtile_args t;
    int rows[PAIR]; // of x in each group; the second group follows the first
} amx_pair;

// Results of a pair, and its sums over a block.
typedef struct {
    f32x16 acc[PAIR][PAIR][TILE_ROWS]; // [group][panel][row]
    int32_t sum[PAIR][PAIR][TILE_ROWS][QUANT_ROWS];
    uint8_t slice[PAIR][SLICE_SIZE]; // weights of 4 bits, expanded
} amx_work;

INLINE void shape_tiles(const amx_pair *p, const int groups) {
    tile_shapes s = {.palette = 1};
    for (int g = 0; g < groups; g++) {
        const int of_group[] = {g ? SUM_10 : SUM_00, g ? SUM_11 : SUM_01, g ? X_1 : X_0};
        for (int i = 0; i < 3; i++)
            s.rows[of_group[i]] = (uint8_t)p->rows[g], s.bytes[of_group[i]] = TILE_BYTES;
    }
    s.rows[W_0] = s.rows[W_1] = TILE_ROWS, s.bytes[W_0] = s.bytes[W_1] = TILE_BYTES;
    tiles_shape(&s);
}

// Expands a slice of 4-bit weights n + 8 to s * (n + 8). sub: as in qslice4.
INLINE void expand_slice(uint8_t *to, const uint8_t *w, u8x64 *sub) {
    UNROLLED
    for (int half = 0; half < 2; half++, to += 512, w += 256) {
        const w_scales s = w_sub(*sub);
        *sub = w_next(*sub);
        UNROLLED
        for (int g = 0; g < 4; g++) {
            const u8x64 both = w_load(w + 64 * g);
            _mm512_storeu_si512(to + 64 * g, w_q4(w_low(both), s));
            _mm512_storeu_si512(to + 256 + 64 * g, w_q4(w_high(both), s));
        }
    }
}

INLINE void multiply_slice(const uint8_t *w0, const uint8_t *w1, const amx_pair *p, const int8_t *q,
                           const int panels, const int groups) {
    const size_t apart = (size_t)p->t.blocks * sizeof(qblock);
    tile_load(W_0, w0, TILE_BYTES);
    tile_load(X_0, q, apart);
    tile_dot(SUM_00, X_0, W_0);
    if (panels == 2) {
        tile_load(W_1, w1, TILE_BYTES);
        tile_dot(SUM_01, X_0, W_1);
    }
    if (groups == 1) return;
    tile_load(X_1, q + p->rows[0] * (int64_t)apart, apart);
    tile_dot(SUM_10, X_1, W_0);
    if (panels == 2) tile_dot(SUM_11, X_1, W_1);
}

INLINE void zero_sums(const int panels, const int groups) {
    tile_zero(SUM_00);
    if (panels == 2) tile_zero(SUM_01);
    if (groups == 2) tile_zero(SUM_10);
    if (panels == 2 && groups == 2) tile_zero(SUM_11);
}

INLINE void store_sums(amx_work *k, const int panels, const int groups) {
    tile_store(SUM_00, k->sum[0][0], TILE_BYTES);
    if (panels == 2) tile_store(SUM_01, k->sum[0][1], TILE_BYTES);
    if (groups == 2) tile_store(SUM_10, k->sum[1][0], TILE_BYTES);
    if (panels == 2 && groups == 2) tile_store(SUM_11, k->sum[1][1], TILE_BYTES);
}

// Adds the sums of one block to the results of a group and a panel. w: the block of that panel.
INLINE void add_block(f32x16 acc[TILE_ROWS], int32_t sum[TILE_ROWS][QUANT_ROWS], const uint8_t *w,
                      const qblock *x, int64_t blocks, int rows, const dtype type) {
    const f32x16 d = v_load((const float *)(const void *)w);
    const u8x64 sub = type == DT_Q4 ? w_load(w + 64) : i_start(0, 0);
    for (int j = 0; j < rows; j++, x += blocks) {
        i32x16 start = type == DT_Q8 ? i_start(x->less128, 0) : i_start4(sub, x->less8);
        const i32x16 s = i_add(_mm512_loadu_si512(sum[j]), start);
        acc[j] = v_fma(i_float(s), v_mul(d, v_set(x->scale)), acc[j]);
    }
}

// One block of `slices`.
INLINE void pair_block(amx_work *k, const uint8_t *w, const uint8_t *ahead, const amx_pair *p,
                       const qblock *x, int64_t slices, const int panels, const int groups,
                       const dtype type) {
    const qtile_args *t = &p->t;
    const uint8_t *at = w + 64 * qhead_lines(type);
    const int lines = qslice_lines(type);
    u8x64 sub[PAIR];
    UNROLLED
    for (int i = 0; i < panels && type == DT_Q4; i++) sub[i] = w_load(w + 64 + i * t->panel);
    zero_sums(panels, groups);
    for (int64_t s = 0; s < slices; s++, ahead += lines * t->step) {
        const uint8_t *from[PAIR] = {at, at + t->panel};
        at += 64 * lines;
        UNROLLED
        for (int i = 0; i < panels; i++) {
            kern_fetch(ahead + i * t->panel, (lines * t->step + 63) / 64, 64, t->into);
            if (type == DT_Q8) continue;
            expand_slice(k->slice[i], from[i], &sub[i]);
            from[i] = k->slice[i];
        }
        multiply_slice(from[0], from[1], p, x->q + s * QUANT_SLICE, panels, groups);
    }
    store_sums(k, panels, groups);
    UNROLLED
    for (int g = 0; g < groups; g++) {
        UNROLLED
        for (int i = 0; i < panels; i++) {
            add_block(k->acc[g][i], k->sum[g][i], w + i * t->panel, x + g * p->rows[0] * t->blocks,
                      t->blocks, p->rows[g], type);
        }
    }
}

INLINE void pair_run(const amx_pair *p, const int panels, const int groups, const dtype type) {
    const int block_slices = QUANT_BLOCK / QUANT_SLICE, lines = qblock_lines(type);
    const qtile_args *t = &p->t;
    const uint8_t *w = t->w, *ahead = t->ahead;
    amx_work k;
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < panels; i++)
            for (int j = 0; j < p->rows[g]; j++) k.acc[g][i][j] = v_set(0.0f);
    shape_tiles(p, groups);
    for (int64_t b = 0, left = t->slices; left > 0; b++, left -= block_slices) {
        const int64_t slices = MIN(left, block_slices);
        pair_block(&k, w, ahead, p, t->x + b, slices, panels, groups, type);
        w += 64 * lines, ahead += lines * t->step;
    }
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < panels; i++)
            for (int j = 0; j < p->rows[g]; j++)
                v_store(t->out + (g * p->rows[0] + j) * t->ldo + i * QUANT_ROWS, k.acc[g][i][j]);
}

#define PAIR_FN(panels, groups)                                                                    \
    static void FN(pair_##panels##_##groups##_q8)(const amx_pair *p) {                             \
        pair_run(p, panels, groups, DT_Q8);                                                        \
    }                                                                                              \
    static void FN(pair_##panels##_##groups##_q4)(const amx_pair *p) {                             \
        pair_run(p, panels, groups, DT_Q4);                                                        \
    }
PAIR_FN(1, 1)
PAIR_FN(1, 2)
PAIR_FN(2, 1)
PAIR_FN(2, 2)

// [panels - 1][groups - 1][DT_Q8, DT_Q4]
static void (*const pair_fns[PAIR][PAIR][2])(const amx_pair *p) = {
    {{FN(pair_1_1_q8), FN(pair_1_1_q4)}, {FN(pair_1_2_q8), FN(pair_1_2_q4)}},
    {{FN(pair_2_1_q8), FN(pair_2_1_q4)}, {FN(pair_2_2_q8), FN(pair_2_2_q4)}},
};

// One or two panels times all x rows, in groups of nearly equal size.
static void panels_times_x(const qdots_args *a, amx_pair p, int panels) {
    const int64_t groups = (a->n + TILE_ROWS - 1) / TILE_ROWS, pairs = (groups + 1) / 2;
    const int64_t least = a->n / groups, wider = a->n % groups;
    qtile_args *t = &p.t;
    FN(qshare)(t, a, panels, pairs);
    for (int64_t g = 0; g < groups; g += PAIR) {
        const int together = (int)MIN(PAIR, groups - g);
        for (int i = 0; i < together; i++) p.rows[i] = (int)(least + (g + i < wider));
        pair_fns[panels - 1][together - 1][a->type == DT_Q4](&p);
        const int64_t rows = p.rows[0] + (together == 2 ? p.rows[1] : 0);
        t->x += rows * t->blocks, t->out += rows * t->ldo, t->ahead += t->panel / (size_t)pairs;
    }
}

static void FN(qdots_tiles)(const qdots_args *a) {
    if (a->n < TILES_FROM) {
        FN(qdots)(a);
        return;
    }
    amx_pair p = {.t = {.w = a->w, .x = a->x, .out = a->out, .ldo = a->ldo}};
    p.t.blocks = quant_blocks(a->cols), p.t.slices = quant_slices(a->cols);
    p.t.panel = quant_panel_size(a->type, a->cols);
    for (int64_t i = 0; i < a->panels; i += PAIR) {
        const int panels = (int)MIN(PAIR, a->panels - i);
        panels_times_x(a, p, panels);
        p.t.w += (size_t)panels * p.t.panel, p.t.out += panels * QUANT_ROWS;
    }
    tiles_end();
}

void FN(kern_init)(kern_table *k) {
    k->packed = FN(packed);
    k->packed.dots = FN(qdots_tiles);
}
#endif
