// kern_lstm.cuh - all steps of a layer of an LSTM in one launch, whose blocks meet once a step.
//
// A block has sixteen cells, and the rows of the recurrent matrix for their four gates; or several
// such sixteens, one after another, where the device has fewer places than there are. What other
// blocks made of h in a step is there after grid_sync. The sums are those of kern_dots.cuh.
#pragma once
#include "gpu/kern_codec.cuh"
#include "gpu/kern_dots.cuh"

// What the four gates of the block's cells add to z.
struct lstm_sums {
    float v[4][GPU_FEW_ROWS][GPU_LSTM_CELLS];
};

// n streams from `row` on; the first of sixteen cells.
struct lstm_part {
    int64_t t, row, cell;
    int n;
};

// h before step t, for streams from `row` on.
DEVICE const float *lstm_before(const lstm_steps_args *a, int64_t t, int64_t row) {
    return (t ? a->y + (t - 1) * a->streams * a->d : a->h) + row * a->d;
}

// The block's cells of a step. All threads have met since the sums were made.
DEVICE void lstm_block_cells(const lstm_steps_args *a, const lstm_sums *sums, lstm_part p) {
    for (int i = thread_id(); i < p.n * GPU_LSTM_CELLS; i += thread_count()) {
        int j = i / GPU_LSTM_CELLS, c = i % GPU_LSTM_CELLS;
        int64_t row = p.t * a->streams + p.row + j, cell = p.cell + c;
        float z[4];
        for (int g = 0; g < 4; g++) z[g] = a->z[(row * 4 + g) * a->d + cell] + sums->v[g][j][c];
        a->y[row * a->d + cell] = lstm_cell(z, a->cell + (p.row + j) * a->d + cell);
    }
}

// ---- packed weights

#define LSTM_BLOCKS (GPU_LSTM_MAX / GPU_QBLOCK) // of columns

struct lstm_packed {
    alignas(16) int8_t x[LSTM_BLOCKS][GPU_FEW_ROWS][GPU_QBLOCK];
    float xscale[LSTM_BLOCKS][GPU_FEW_ROWS];
    int32_t part[4][LSTM_BLOCKS][GPU_FEW_ROWS][GPU_PANEL_ROWS];
    float scales[4][LSTM_BLOCKS][GPU_PANEL_ROWS];
    lstm_sums sums;
};

// Rounds n rows of h: half a warp a block of columns.
DEVICE void lstm_round(lstm_packed *s, const float *h, int n, int64_t d) {
    int all = (int)((d + GPU_QBLOCK - 1) / GPU_QBLOCK) * n;
    gpu_input none = {};
    for (int r = 0; r < (all + half_warps() - 1) / half_warps(); r++) {
        // A half warp without a block repeats the last one: the same bytes.
        int i = (int)min64(r * half_warps() + half_warp(), all - 1), b = i / n, j = i % n;
        quantise_block(s->x[b][j], &s->xscale[b][j], &none, h + j * d, nullptr, b * GPU_QBLOCK, d);
    }
}

// The gates' sums of sixteen cells: a warp a gate and block of columns, then a thread a chain.
DEVICE void lstm_packed_sums(lstm_packed *s, const lstm_steps_args *a, lstm_part p) {
    int blocks = (int)((a->d + GPU_QBLOCK - 1) / GPU_QBLOCK), warps = thread_count() / 32;
    for (int i = thread_id() / 32; i < 4 * blocks; i += warps) {
        int g = i % 4, b = i / 4;
        int64_t panel = (g * a->d + p.cell) / GPU_PANEL_ROWS;
        const uint8_t *at = a->w + panel * panel_bytes(a->type, a->d) + b * panel_step(a->type);
        block_sums(s->part[g][b], s->scales[g][b], at, a->type, a->d - b * GPU_QBLOCK, s->x[b],
                   p.n);
    }
    block_sync();
    for (int i = thread_id(); i < 4 * p.n * GPU_PANEL_ROWS; i += thread_count()) {
        int r = i % GPU_PANEL_ROWS, j = i / GPU_PANEL_ROWS % p.n, g = i / GPU_PANEL_ROWS / p.n;
        float acc = 0.0f;
        for (int b = 0; b < blocks; b++)
            acc = fma32((float)s->part[g][b][j][r], s->scales[g][b][r] * s->xscale[b][j], acc);
        s->sums.v[g][j][r] = acc;
    }
}

KERNEL(qlstm_steps) {
    SHARED(lstm_packed, s, 1);
    for (int64_t t = 0; t < a.n; t++) {
        for (int64_t row = 0; row < a.streams; row += GPU_FEW_ROWS) {
            int n = (int)min64(GPU_FEW_ROWS, a.streams - row);
            lstm_round(s, lstm_before(&a, t, row), n, a.d);
            block_sync();
            for (int64_t u = block_x(); u < a.d / GPU_LSTM_CELLS; u += a.blocks) {
                const lstm_part p = {t, row, u * GPU_LSTM_CELLS, n};
                lstm_packed_sums(s, &a, p);
                block_sync();
                lstm_block_cells(&a, &s->sums, p);
            }
        }
        grid_sync(a.meetings, (uint32_t)((t + 1) * a.blocks));
    }
}

// ---- f32 and bf16: dot16

// The sums of the gates of sixteen cells: four warps a gate, eight lanes a weight row. x [n, d].
DEVICE void lstm_plain_sums(lstm_sums *sums, const float *x, const lstm_steps_args *a,
                            lstm_part p) {
    int lane = thread_id() % 32, g = thread_id() / 128, r = thread_id() / 8 % GPU_LSTM_CELLS;
    int64_t chunks = a->d / 16, size = a->type == GPU_F32 ? 4 : 2;
    const uint8_t *strip = a->w + (g * a->d + p.cell + r) / 8 * chunks * 128 * size;
    float acc[GPU_FEW_ROWS][2] = {};
    for (int64_t k = 0; k < chunks; k++) {
        float w[2];
        strip_pair(w, strip, a->type, k, r % 8 * 16 + lane % 8 * 2);
        EACH_ROW(j, p.n) {
            const float *at = x + j * a->d + 16 * k + lane % 8 * 2;
            acc[j][0] = fma32(w[0], at[0], acc[j][0]);
            acc[j][1] = fma32(w[1], at[1], acc[j][1]);
        }
    }
    EACH_ROW(j, p.n) {
        float v = pair_tree(acc[j][0], acc[j][1]);
        if (lane % 8 == 0) sums->v[g][j][r] = v;
    }
}

KERNEL(lstm_steps) {
    SHARED(float, x, GPU_FEW_ROWS *GPU_LSTM_MAX);
    SHARED(lstm_sums, sums, 1);
    for (int64_t t = 0; t < a.n; t++) {
        for (int64_t row = 0; row < a.streams; row += GPU_FEW_ROWS) {
            int n = (int)min64(GPU_FEW_ROWS, a.streams - row);
            const float *h = lstm_before(&a, t, row);
            for (int64_t i = thread_id(); i < n * a.d; i += thread_count()) x[i] = h[i];
            block_sync();
            for (int64_t u = block_x(); u < a.d / GPU_LSTM_CELLS; u += a.blocks) {
                const lstm_part p = {t, row, u * GPU_LSTM_CELLS, n};
                lstm_plain_sums(sums, x, &a, p);
                block_sync();
                lstm_block_cells(&a, sums, p);
                block_sync();
            }
        }
        grid_sync(a.meetings, (uint32_t)((t + 1) * a.blocks));
    }
}
