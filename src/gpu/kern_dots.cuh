// kern_dots.cuh - matrix products for few rows: each weight is read once for eight rows of x.
#pragma once
#include "gpu/kern_rows.cuh"

// A loop over n rows whose sums stay in registers.
#define EACH_ROW(j, n) UNROLL for (int j = 0; j < GPU_FEW_ROWS; j++) if (j < (n))

DEVICE int64_t rows_of(const product_args *a) {
    return a->n ? *a->n : a->fixed;
}

// Where row r of the stacked matrices goes, for row 0 of x; NULL: it is filling.
DEVICE float *place_of(const product_args *a, int64_t r, int64_t padded) {
    int64_t m = r / padded, row = r % padded;
    return m < a->count && row < a->rows ? a->y + m * a->step + row : nullptr;
}

DEVICE int64_t padded_rows(const product_args *a, int64_t unit) {
    return (a->rows + unit - 1) / unit * unit;
}

// ---- packed weights

#define PANEL_SLICE_Q8 1024 // bytes of 64 columns
#define SCALES 64           // bytes of the scales of a block, and of its sub-scales

// n + 8 in the low halves of the bytes of w, as signed bytes.
DEVICE uint32_t signed_of_low(uint32_t w) {
    return (((w & 0x0f0f0f0fu) | 0x80808080u) - 0x08080808u) ^ 0x80808080u;
}

// Adds the products of one block of four panel rows and n rows of x to sum. at: behind the
// block's scales; the lane reads four rows of every eighth group of four columns.
DEVICE void block_q8(int32_t sum[4][GPU_FEW_ROWS], const uint8_t *at, int64_t slices,
                     const int8_t (*x)[GPU_QBLOCK], int n) {
    int lane = thread_id() % 32, groups = (int)(slices * 16);
    for (int g = lane / 4; g < groups; g += 8) {
        u32x4 w = load_once((const u32x4 *)(at + 64 * g) + lane % 4);
        EACH_ROW(j, n) {
            uint32_t four = *(const uint32_t *)(x[j] + 4 * g);
            for (int i = 0; i < 4; i++) sum[i][j] = dot4(w.v[i] ^ 0x80808080u, four, sum[i][j]);
        }
    }
}

// subs: the sub-scales of the lane's four rows.
DEVICE void block_q4(int32_t sum[4][GPU_FEW_ROWS], const uint8_t *at, int64_t slices,
                     const int8_t (*x)[GPU_QBLOCK], int n, const uint32_t subs[4]) {
    int lane = thread_id() % 32, groups = (int)(slices * 8);
    for (int g = lane / 4; g < groups; g += 8) {
        u32x4 w = load_once((const u32x4 *)(at + 64 * g) + lane % 4);
        int sub = g / 4, from = 32 * sub + 4 * (g % 4);
        EACH_ROW(j, n) {
            uint32_t low = *(const uint32_t *)(x[j] + from);
            uint32_t high = *(const uint32_t *)(x[j] + from + 16);
            for (int i = 0; i < 4; i++) {
                int32_t v = dot4(signed_of_low(w.v[i]), low, 0);
                v = dot4(signed_of_low(w.v[i] >> 4), high, v);
                sum[i][j] += (int32_t)(subs[i] >> 4 * sub & 15) * v;
            }
        }
    }
}

// The exact sums of one block of a panel for n rows of x [n]: sums [n][16]. One warp.
DEVICE void block_sums(int32_t (*sums)[GPU_PANEL_ROWS], float *scales, const uint8_t *block,
                       int type, int64_t cols, const int8_t (*x)[GPU_QBLOCK], int n) {
    int32_t sum[4][GPU_FEW_ROWS] = {};
    int lane = thread_id() % 32, rows = 4 * (lane % 4);
    int64_t slices = (min64(cols, GPU_QBLOCK) + 63) / 64;
    if (lane < 16) scales[lane] = ((const float *)block)[lane];
    if (type == GPU_Q8) {
        block_q8(sum, block + SCALES, slices, x, n);
    } else {
        const uint32_t *subs = (const uint32_t *)(block + SCALES) + rows;
        block_q4(sum, block + 2 * SCALES, slices, x, n, subs);
    }
    EACH_ROW(j, n) {
        for (int i = 0; i < 4; i++) {
            int32_t v = sum[i][j];
            for (int mask = 4; mask < 32; mask *= 2) v += lane_xor(v, mask);
            if (lane < 4) sums[j][rows + i] = v;
        }
    }
}

// What a block of threads shares: for each warp its block of x, its sums and scales; and the chain.
struct few_shared {
    alignas(16) int8_t x[GPU_FEW_WARPS][GPU_FEW_ROWS][GPU_QBLOCK];
    int32_t sums[GPU_FEW_WARPS][GPU_FEW_ROWS][GPU_PANEL_ROWS];
    float xscale[GPU_FEW_WARPS][GPU_FEW_ROWS], scales[GPU_FEW_WARPS][GPU_PANEL_ROWS];
    float acc[GPU_FEW_ROWS][GPU_PANEL_ROWS];
    norm_stats stats[GPU_FEW_ROWS];
};

// Rounds block b of n rows of x. One warp, two rows at a time.
DEVICE void few_quantise(few_shared *s, const product_args *a, int64_t row, int n, int64_t b) {
    int w = thread_id() / 32;
    for (int j = 0; j < n; j += 2) {
        int r = j + half_warp() % 2;
        r = r < n ? r : n - 1; // the other half's: the same bytes
        const float *x = a->in.x + (row + r) * a->in.ldx;
        quantise_block(s->x[w][r], &s->xscale[w][r], &a->in, x, &s->stats[r], b * GPU_QBLOCK,
                       a->cols);
    }
    warp_sync();
}

// Adds `warps` blocks in order to the chains: one chain a thread, or a few.
DEVICE void few_chain(few_shared *s, int n, int warps) {
    for (int i = thread_id(); i < n * GPU_PANEL_ROWS; i += thread_count()) {
        int j = i / GPU_PANEL_ROWS, r = i % GPU_PANEL_ROWS;
        float acc = s->acc[j][r];
        for (int w = 0; w < warps; w++)
            acc = fma32((float)s->sums[w][j][r], s->scales[w][r] * s->xscale[w][j], acc);
        s->acc[j][r] = acc;
    }
}

DEVICE int64_t panel_bytes(int type, int64_t cols) {
    int64_t blocks = (cols + GPU_QBLOCK - 1) / GPU_QBLOCK, slices = (cols + 63) / 64;
    return type == GPU_Q8 ? blocks * SCALES + slices * PANEL_SLICE_Q8
                          : blocks * 2 * SCALES + slices * (PANEL_SLICE_Q8 / 2);
}

// Bytes from one block of columns of a panel to the next.
DEVICE int64_t panel_step(int type) {
    return type == GPU_Q8 ? SCALES + 4 * PANEL_SLICE_Q8 : 2 * SCALES + 2 * PANEL_SLICE_Q8;
}

DEVICE int64_t panel_size(const product_args *a) {
    return panel_bytes(a->type, a->cols);
}

// Asks for the block's n bytes of weights at w, once for all rows.
DEVICE void few_fetch(const uint8_t *w, int64_t n) {
    for (int64_t i = thread_id() * 128; i < n && block_y() == 0; i += thread_count() * 128)
        fetch(w + i);
}

DEVICE void panel_ahead(const product_args *a) {
    few_fetch(a->w + block_x() * panel_size(a), panel_size(a));
}

KERNEL_AHEAD(qdots_few, panel_ahead) {
    SHARED(few_shared, s, 1);
    int64_t row = (int64_t)block_y() * GPU_FEW_ROWS,
            blocks = (a.cols + GPU_QBLOCK - 1) / GPU_QBLOCK;
    if (row >= rows_of(&a)) return;
    int n = (int)min64(GPU_FEW_ROWS, rows_of(&a) - row), w = thread_id() / 32,
        warps = thread_count() / 32;
    int64_t head = a.type == GPU_Q8 ? SCALES : 2 * SCALES;
    int64_t slice = a.type == GPU_Q8 ? PANEL_SLICE_Q8 : PANEL_SLICE_Q8 / 2;
    const uint8_t *panel = a.w + block_x() * panel_size(&a);
    for (int i = thread_id(); i < GPU_FEW_ROWS * GPU_PANEL_ROWS; i += thread_count())
        s->acc[0][i] = 0.0f;
    stats_of_rows(s->stats, &a.in, row, n, a.cols);
    for (int64_t from = 0; from < blocks; from += warps) {
        int64_t b = from + w;
        if (b < blocks) {
            few_quantise(s, &a, row, n, b);
            block_sums(s->sums[w], s->scales[w], panel + b * (head + 4 * slice), a.type,
                       a.cols - b * GPU_QBLOCK, s->x[w], n);
        }
        block_sync();
        few_chain(s, n, (int)min64(warps, blocks - from));
        block_sync();
    }
    for (int i = thread_id(); i < n * GPU_PANEL_ROWS; i += thread_count()) {
        int64_t r = (int64_t)block_x() * GPU_PANEL_ROWS + i % GPU_PANEL_ROWS;
        float *y = place_of(&a, r, padded_rows(&a, GPU_PANEL_ROWS));
        if (y)
            finish(y + (row + i / GPU_PANEL_ROWS) * a.ldy, s->acc[0][i],
                   a.bias ? a.bias + r : a.bias, a.act, a.add);
    }
}

// ---- f32 and bf16: dot16

#define TILE_COLS 256 // columns of x that a block shares at a time

// The lane's two residues of sixteen columns of its weight row.
DEVICE void strip_pair(float w[2], const uint8_t *strip, int type, int64_t chunk, int at) {
    if (type == GPU_F32) {
        u32x2 v = load_once((const u32x2 *)(strip + (chunk * 128 + at) * 4));
        w[0] = float_of(v.v[0]), w[1] = float_of(v.v[1]);
    } else {
        uint32_t v = load_once((const uint32_t *)(strip + (chunk * 128 + at) * 2));
        w[0] = bf16_of(v & 0xffffu), w[1] = float_of(v & 0xffff0000u);
    }
}

// Copies columns c to c + 255 of n rows of x, or of their norm, with zeros behind the end.
DEVICE void tile_load(float (*tile)[TILE_COLS], const product_args *a, const norm_stats *stats,
                      int64_t row, int n, int64_t c) {
    for (int i = thread_id(); i < n * TILE_COLS; i += thread_count()) {
        int64_t at = c + i % TILE_COLS;
        int j = i / TILE_COLS;
        const float *x = a->in.x + (row + j) * a->in.ldx;
        tile[j][i % TILE_COLS] = at < a->cols ? input_value(&a->in, x, &stats[j], at) : 0.0f;
    }
}

// The tree of dot16 over the eight lanes of a weight row: lane l has sums 2l and 2l + 1.
DEVICE float pair_tree(float lo, float hi) {
    for (int half = 4; half; half /= 2) {
        lo = lo + lane_xor(lo, half);
        hi = hi + lane_xor(hi, half);
    }
    return lo + hi;
}

DEVICE void strips_ahead(const product_args *a) {
    int64_t size = (a->cols + 15) / 16 * 128 * (a->type == GPU_F32 ? 4 : 2);
    int64_t strips = a->count * padded_rows(a, GPU_STRIP_ROWS) / GPU_STRIP_ROWS;
    few_fetch(a->w + 2 * block_x() * size, min64(2, strips - 2 * block_x()) * size);
}

// A warp has four weight rows, a lane two of a row's sixteen sums.
KERNEL_AHEAD(dots_few, strips_ahead) {
    SHARED(float, tile, GPU_FEW_ROWS *TILE_COLS);
    SHARED(norm_stats, stats, GPU_FEW_ROWS);
    float(*xs)[TILE_COLS] = (float(*)[TILE_COLS])tile;
    int64_t row = (int64_t)block_y() * GPU_FEW_ROWS, chunks = (a.cols + 15) / 16;
    if (row >= rows_of(&a)) return;
    int n = (int)min64(GPU_FEW_ROWS, rows_of(&a) - row), lane = thread_id() % 32;
    int64_t r = ((int64_t)block_x() * thread_count() + thread_id()) / 8;
    int64_t padded = padded_rows(&a, GPU_STRIP_ROWS), last = a.count * padded - 1;
    int64_t size = a.type == GPU_F32 ? 4 : 2, real = min64(r, last);
    const uint8_t *strip = a.w + real / 8 * (chunks * 128 * size);
    int at = (int)(real % 8) * 16 + lane % 8 * 2;
    float acc[GPU_FEW_ROWS][2] = {};
    stats_of_rows(stats, &a.in, row, n, a.cols);
    for (int64_t c = 0; c < a.cols; c += TILE_COLS) {
        tile_load(xs, &a, stats, row, n, c);
        block_sync();
        for (int64_t k = 0; k < 16 && c / 16 + k < chunks; k++) {
            float w[2];
            strip_pair(w, strip, a.type, c / 16 + k, at);
            EACH_ROW(j, n) {
                const float *x = xs[j] + 16 * k + lane % 8 * 2;
                acc[j][0] = fma32(w[0], x[0], acc[j][0]);
                acc[j][1] = fma32(w[1], x[1], acc[j][1]);
            }
        }
        block_sync();
    }
    float *y = r <= last ? place_of(&a, r, padded) : nullptr;
    EACH_ROW(j, n) {
        float s = pair_tree(acc[j][0], acc[j][1]);
        if (y && lane % 8 == 0)
            finish(y + (row + j) * a.ldy, s, a.bias ? a.bias + r : a.bias, a.act, a.add);
    }
}
