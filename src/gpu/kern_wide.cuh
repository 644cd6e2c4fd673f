// kern_wide.cuh - matrix products for many rows: tensor cores for packed weights, tiles of fma for
// f32 and bf16.
#pragma once
#include "gpu/kern_dots.cuh"

// ---- packed weights: mma of 16 weight rows, 8 rows of x and 32 columns

#define MANY_ROWS 64 // rows of x of a block
#define MANY_TILES (MANY_ROWS / 8)

// The lane's words of A: rows lane/4 and lane/4 + 8 of a panel, 32 columns. The layout of a panel
// is that of the mma: four columns of sixteen rows lie together.
DEVICE void words_q8(uint32_t a[4], const uint8_t *slice, int chunk) {
    int lane = thread_id() % 32;
    const uint8_t *at = slice + (chunk * 8 + lane % 4) * 64 + lane / 4 * 4;
    for (int i = 0; i < 4; i++)
        a[i] = *(const uint32_t *)(at + i / 2 * 256 + i % 2 * 32) ^ 0x80808080u;
}

DEVICE void words_q4(uint32_t a[4], const uint8_t *slice, int chunk) {
    int lane = thread_id() % 32;
    const uint8_t *at = slice + (chunk * 4 + lane % 4) * 64 + lane / 4 * 4;
    for (int i = 0; i < 2; i++) {
        uint32_t w = *(const uint32_t *)(at + i * 32);
        a[i] = signed_of_low(w), a[i + 2] = signed_of_low(w >> 4);
    }
}

// The lane's four sums of a tile and one block of columns, exact: rows lane/4 and + 8 of the panel,
// rows 2 * (lane%4) and + 1 of the tile.
struct tile_sums {
    int32_t v[4];
};

// Adds 32 columns of all tiles. subs: the sub-scales of the lane's two rows, for 4 bits.
DEVICE void many_chunk(tile_sums *sum, const uint8_t *slices, const gpu_qblock *x, int type,
                       int chunk, const uint32_t subs[2]) {
    int lane = thread_id() % 32;
    uint32_t a[4];
    if (type == GPU_Q8)
        words_q8(a, slices, chunk);
    else
        words_q4(a, slices, chunk);
    UNROLL for (int t = 0; t < MANY_TILES; t++) {
        const int8_t *q = x[8 * t + lane / 4].q + 32 * chunk + 4 * (lane % 4);
        uint32_t b[2] = {*(const uint32_t *)q, *(const uint32_t *)(q + 16)};
        if (type == GPU_Q8) {
            mma_s8(sum[t].v, a, b);
            continue;
        }
        int32_t part[4] = {};
        mma_s8(part, a, b);
        for (int i = 0; i < 4; i++)
            sum[t].v[i] += (int32_t)(subs[i / 2] >> 4 * chunk & 15) * part[i];
    }
}

struct tile_chains {
    float v[4];
};

// Adds a block of 256 columns to the chains.
DEVICE void many_block(tile_chains *acc, const uint8_t *block, const gpu_qblock *x, int type,
                       int64_t cols) {
    int row = thread_id() % 32 / 4, col = thread_id() % 4 * 2;
    int chunks = (int)(min64(cols, GPU_QBLOCK) + 31) / 32;
    const float *d = (const float *)block;
    const uint32_t *s = (const uint32_t *)(block + SCALES);
    tile_sums sum[MANY_TILES] = {};
    uint32_t subs[2] = {};
    if (type == GPU_Q4) subs[0] = s[row], subs[1] = s[row + 8];
    for (int c = 0; c < chunks; c++)
        many_chunk(sum, block + (type == GPU_Q8 ? 1 : 2) * SCALES, x, type, c, subs);
    UNROLL for (int t = 0; t < MANY_TILES; t++) {
        for (int i = 0; i < 4; i++) {
            float by = d[row + i / 2 * 8] * x[8 * t + col + i % 2].scale;
            acc[t].v[i] = fma32((float)sum[t].v[i], by, acc[t].v[i]);
        }
    }
}

// Copies block b of the rows from `row` on to shared memory; rows past the end repeat the last.
DEVICE void many_load(gpu_qblock *to, const product_args *a, int64_t row, int64_t b,
                      int64_t blocks) {
    const int words = sizeof(gpu_qblock) / 16;
    for (int i = thread_id(); i < MANY_ROWS * words; i += thread_count()) {
        int64_t from = min64(row + i / words, rows_of(a) - 1);
        ((u32x4 *)to)[i] = ((const u32x4 *)(a->xq + from * blocks + b))[i % words];
    }
}

KERNEL(qdots_many) {
    SHARED(gpu_qblock, x, MANY_ROWS);
    int64_t row = (int64_t)block_y() * MANY_ROWS, blocks = (a.cols + GPU_QBLOCK - 1) / GPU_QBLOCK;
    if (row >= rows_of(&a)) return;
    int64_t head = (a.type == GPU_Q8 ? 1 : 2) * SCALES, padded = padded_rows(&a, GPU_PANEL_ROWS);
    int64_t slice = a.type == GPU_Q8 ? PANEL_SLICE_Q8 : PANEL_SLICE_Q8 / 2;
    int64_t p = (int64_t)block_x() * (thread_count() / 32) + thread_id() / 32;
    int64_t last = a.count * padded / GPU_PANEL_ROWS - 1, real = min64(p, last);
    const uint8_t *panel = a.w + real * panel_size(&a);
    tile_chains acc[MANY_TILES] = {};
    for (int64_t b = 0; b < blocks; b++) {
        many_load(x, &a, row, b, blocks);
        block_sync();
        many_block(acc, panel + b * (head + 4 * slice), x, a.type, a.cols - b * GPU_QBLOCK);
        block_sync();
    }
    UNROLL for (int t = 0; t < MANY_TILES; t++) {
        for (int i = 0; i < 4 && p <= last; i++) {
            int64_t r = p * GPU_PANEL_ROWS + thread_id() % 32 / 4 + i / 2 * 8;
            int64_t j = row + 8 * t + thread_id() % 4 * 2 + i % 2;
            float *y = place_of(&a, r, padded);
            if (y && j < rows_of(&a))
                finish(y + j * a.ldy, acc[t].v[i], a.bias ? a.bias + r : a.bias, a.act, a.add);
        }
    }
}

// ---- f32 and bf16: a thread has one residue of eight weight rows times eight rows of x

#define WIDE_ROWS 32 // of x, of a block: four groups of eight

// One value of each row of a strip, at the lane's residue.
DEVICE void strip_column(float w[8], const uint8_t *strip, int type, int64_t chunk) {
    UNROLL for (int i = 0; i < 8; i++) {
        int64_t at = chunk * 128 + i * 16 + half_lane();
        w[i] =
            type == GPU_F32 ? ((const float *)strip)[at] : bf16_of(((const uint16_t *)strip)[at]);
    }
}

// The tree of dot16 over the sixteen lanes of a half warp: n sums in, n/2 out, in the lower half of
// the list for lanes without `bit`, and the others' for those with it. Addition commutes.
DEVICE void tree_half(float *s, int n, int bit) {
    bool upper = (half_lane() & bit) != 0;
    UNROLL for (int i = 0; i < 32; i++) {
        if (i >= n / 2) break;
        float mine = upper ? s[i + n / 2] : s[i], other = upper ? s[i] : s[i + n / 2];
        s[i] = mine + lane_xor(other, bit);
    }
}

// Block 256: half warp h has strip h % 4 of the block's four and group h / 4 of x.
KERNEL(dots_many) {
    SHARED(float, tile, WIDE_ROWS *TILE_COLS);
    float(*xs)[TILE_COLS] = (float(*)[TILE_COLS])tile;
    int64_t row = (int64_t)block_y() * WIDE_ROWS, chunks = (a.cols + 15) / 16;
    if (row >= rows_of(&a)) return;
    int n = (int)min64(WIDE_ROWS, rows_of(&a) - row), group = half_warp() / 4 * 8;
    int64_t padded = padded_rows(&a, GPU_STRIP_ROWS), last = a.count * padded / 8 - 1;
    int64_t s = (int64_t)block_x() * 4 + half_warp() % 4, real = min64(s, last);
    const uint8_t *strip = a.w + real * (chunks * 128 * (a.type == GPU_F32 ? 4 : 2));
    float acc[64] = {}; // [rows of x][weight rows]
    for (int64_t c = 0; c < a.cols; c += TILE_COLS) {
        tile_load(xs, &a, nullptr, row, n, c);
        block_sync();
        for (int k = 0; k < 16 && c / 16 + k < chunks; k++) {
            float w[8];
            strip_column(w, strip, a.type, c / 16 + k);
            UNROLL for (int j = 0; j < 8; j++) {
                float x = group + j < n ? xs[group + j][16 * k + half_lane()] : 0.0f;
                UNROLL for (int i = 0; i < 8; i++) acc[8 * j + i] = fma32(w[i], x, acc[8 * j + i]);
            }
        }
        block_sync();
    }
    tree_half(acc, 64, 8);
    tree_half(acc, 32, 4);
    tree_half(acc, 16, 2);
    tree_half(acc, 8, 1);
    // What a lane kept: four sums, whose place its bits tell.
    int first = half_lane() / 8 * 32 + half_lane() / 4 % 2 * 16 + half_lane() / 2 % 2 * 8 +
                half_lane() % 2 * 4;
    for (int i = 0; i < 4 && s <= last; i++) {
        int64_t r = s * 8 + (first + i) % 8;
        int j = group + (first + i) / 8;
        float *y = place_of(&a, r, padded);
        if (y && j < n)
            finish(y + (row + j) * a.ldy, acc[i], a.bias ? a.bias + r : a.bias, a.act, a.add);
    }
}
