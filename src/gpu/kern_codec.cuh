// kern_codec.cuh - the layers of the codec: convolutions as products of one chain a sum, the cells
// of an LSTM, the nearest vector of a codebook.
#pragma once
#include "gpu/kern_rows.cuh"

// ---- rows of a padded sequence

// Value i of row t of the padded sequence.
DEVICE float padded_value(const gpu_padded *p, int64_t t, int64_t i) {
    int64_t at = t - p->left, behind = at - p->n;
    if (behind >= 0) {
        int64_t back = 2 + behind - 2 * p->zeros;
        if (behind >= p->right || behind < p->zeros || back < 1) return 0.0f;
        at = p->n - back;
    }
    if (at < 0) at = p->reflect && -at < p->n ? -at : -1;
    float v = at < 0 ? 0.0f : p->x[at * p->ldx + i];
    return p->elu ? elu32(v) : v;
}

DEVICE void put_typed(void *y, int type, int64_t at, float v) {
    if (type == GPU_F32)
        ((float *)y)[at] = v;
    else
        ((uint16_t *)y)[at] = bf16_kept(v);
}

// The value of this thread, of all that the grid makes.
DEVICE int64_t value_id() {
    return (int64_t)block_x() * thread_count() + thread_id();
}

KERNEL(lay_rows) {
    int64_t id = value_id(), r = a.first + id / a.from.in;
    if (id >= a.n * a.from.in) return;
    if (a.dilation > 1) r = r / a.taps * a.stride + r % a.taps * a.dilation;
    put_typed(a.y, a.from.type, id, padded_value(&a.from, r, id % a.from.in));
}

KERNEL(lay_tiles) {
    int64_t id = value_id(), in = a.from.in, tile = id / in, i = id % in;
    if (id >= a.n * in) return;
    float d[4];
    for (int j = 0; j < 4; j++) d[j] = padded_value(&a.from, (a.first + tile) * a.step + j, i);
    const float e[4] = {d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]};
    for (int j = 0; j < 4; j++) put_typed(a.y, a.from.type, (tile * 4 + j) * in + i, e[j]);
}

// ---- products

#define CHAIN_ROWS 128 // of x, of a block
#define CHAIN_OUT 32   // weight rows of a block: two panels
#define CHAIN_STEP 16  // columns that are shared at a time

struct chain_shared {
    float x[CHAIN_ROWS][CHAIN_STEP + 1];
    float w[CHAIN_STEP][CHAIN_OUT];
};

// Value k of weight row r, in panels of sixteen rows; bf16 has pairs of columns together.
DEVICE float chain_weight_at(const chain_dots_args *a, int64_t r, int64_t k) {
    int64_t cols = a->cols * a->parts, lane = r % 16;
    if (a->type == GPU_F32) return ((const float *)a->w)[r / 16 * cols * 16 + k * 16 + lane];
    int64_t panel = r / 16 * ((cols + 1) / 2) * 32;
    return bf16_of(((const uint16_t *)a->w)[panel + k / 2 * 32 + 2 * lane + k % 2]);
}

// Copies columns k0 to k0 + n - 1 of a part: zeros where there is no row, or no second column.
DEVICE void chain_load(chain_shared *s, const chain_dots_args *a, int64_t row, int64_t out,
                       int64_t part, int64_t k0, int n) {
    for (int i = thread_id(); i < CHAIN_ROWS * CHAIN_STEP; i += thread_count()) {
        int64_t j = row + i / CHAIN_STEP, k = k0 + i % CHAIN_STEP,
                at = j * a->ldx + part * a->cols + k;
        bool there = j < a->n && k < a->cols;
        float v = 0.0f;
        if (there)
            v = a->type == GPU_F32 ? ((const float *)a->x)[at]
                                   : bf16_of(((const uint16_t *)a->x)[at]);
        s->x[i / CHAIN_STEP][i % CHAIN_STEP] = v;
    }
    for (int i = thread_id(); i < n * CHAIN_OUT; i += thread_count()) {
        int64_t r = out + i % CHAIN_OUT, k = part * a->cols + k0 + i / CHAIN_OUT;
        bool there = r < (a->rows + 15) / 16 * 16;
        s->w[i / CHAIN_OUT][i % CHAIN_OUT] = there ? chain_weight_at(a, r, k) : 0.0f;
    }
}

// Adds column k of what is shared to the thread's four rows times four weight rows.
DEVICE void chain_column(float acc[4][4], const chain_shared *s, int k) {
    int out = thread_id() % 8 * 4, row = thread_id() / 8;
    UNROLL for (int j = 0; j < 4; j++) {
        float x = s->x[row + 32 * j][k];
        UNROLL for (int i = 0; i < 4; i++) acc[j][i] = fma32(s->w[k][out + i], x, acc[j][i]);
    }
}

DEVICE void chain_finish(void *y, int type, int64_t at, float v, const float *bias,
                         const float *add, int act) {
    v = activate(bias ? v + *bias : v, act);
    put_typed(y, type, at, add ? add[at] + v : v);
}

KERNEL(chain_dots) {
    SHARED(chain_shared, s, 1);
    int64_t tiles = (a.rows + CHAIN_OUT - 1) / CHAIN_OUT, part = block_x() / tiles;
    int64_t out = block_x() % tiles * CHAIN_OUT, row = (int64_t)block_y() * CHAIN_ROWS;
    int64_t cols = a.type == GPU_F32 ? a.cols : (a.cols + 1) / 2 * 2;
    float acc[4][4] = {};
    for (int64_t k0 = 0; k0 < cols; k0 += CHAIN_STEP) {
        int n = (int)min64(CHAIN_STEP, cols - k0);
        chain_load(s, &a, row, out, part, k0, n);
        block_sync();
        for (int k = 0; k < n; k += 2) {
            // A pair of bf16: its second column first.
            if (a.type == GPU_BF16) chain_column(acc, s, k + 1);
            chain_column(acc, s, k);
            if (a.type == GPU_F32 && k + 1 < n) chain_column(acc, s, k + 1);
        }
        block_sync();
    }
    UNROLL for (int i = 0; i < 16; i++) {
        int64_t r = out + thread_id() % 8 * 4 + i % 4, j = row + thread_id() / 8 + 32 * (i / 4);
        if (r >= a.rows || j >= a.n) continue;
        if (a.parts > 1)
            a.p[(part * a.n + j) * a.rows + r] = acc[i / 4][i % 4];
        else
            chain_finish(a.y, a.y_type, j * a.ldy + r, acc[i / 4][i % 4],
                         a.bias ? a.bias + r : a.bias, a.add, a.act);
    }
}

KERNEL(chain_join) {
    int64_t id = value_id(), j = id / a.rows, r = id % a.rows, at = j % a.step;
    if (id >= a.n * a.rows) return;
    const float *p = a.p + j / a.step * a.rows + r;
    int64_t part = a.tiles * a.rows;
    float v = at % 2 ? p[part] - p[2 * part] : p[part] + p[2 * part];
    if (at == 0) v = p[0] + v;
    if (at == a.step - 1) v = v + p[3 * part];
    chain_finish(a.y, a.y_type, id, v, a.bias ? a.bias + r : a.bias, a.add, a.act);
}

// ---- recurrence, sums, codebooks

// h of one cell, from its four gates: `lstm` of kern.h.
DEVICE float lstm_cell(const float z[4], float *cell) {
    float in = sigmoid32(z[0]), forget = sigmoid32(z[1]);
    float gate = tanh32(z[2]), out = sigmoid32(z[3]);
    *cell = fma32(forget, *cell, in * gate);
    return out * tanh32(*cell);
}

KERNEL(lstm_cells) {
    int64_t id = value_id();
    if (id >= a.n * a.d) return;
    const float *at = a.z + id / a.d * 4 * a.d + id % a.d;
    const float z[4] = {at[0], at[a.d], at[2 * a.d], at[3 * a.d]};
    a.h[id] = lstm_cell(z, a.cell + id);
}

KERNEL(add_values) {
    int64_t id = value_id();
    if (id < a.n) a.y[id] = a.y[id] + a.x[id];
}

#define NEAREST_THREADS 256

// What stays is what the CPU's loop keeps: the first of the largest, and past NaN what stood.
KERNEL(nearest) {
    SHARED(int32_t, chosen, 1);
    const float *score = a.score + block_x() * a.codes;
    if (thread_id() == 0) *chosen = 0;
    block_sync();
    SHARED(float, best, NEAREST_THREADS);
    SHARED(int32_t, at, NEAREST_THREADS);
    float first = score[0] - a.half_norm[0], most = first;
    int mine = 0;
    for (int64_t i = thread_id(); i < a.codes; i += thread_count()) {
        float v = score[i] - a.half_norm[i];
        if (v > most) most = v, mine = (int)i;
    }
    best[thread_id()] = most, at[thread_id()] = mine;
    block_sync();
    if (thread_id() == 0) {
        for (int t = 0; t < thread_count(); t++) {
            bool more = best[t] > first || (best[t] == first && at[t] < *chosen);
            if (more) first = best[t], *chosen = at[t];
        }
        a.ids[block_x()] = *chosen;
    }
    block_sync();
    float *latent = a.latent + block_x() * a.dim;
    for (int64_t i = thread_id(); i < a.dim; i += thread_count())
        latent[i] = latent[i] - a.book[*chosen * a.dim + i];
}
