// kern_rows.cuh - the table of a step, embeddings, norms and rounding.
#pragma once
#include "gpu/kern_math.cuh"

KERNEL(table_rows) {
    for (int i = thread_id(); i < a.n; i += thread_count()) a.to[a.first + i] = a.row[i];
    if (a.counts && thread_id() == 0) *a.counts = a.value;
}

KERNEL(table_seqs) {
    for (int i = thread_id(); i < a.n; i += thread_count()) a.to[a.first + i] = a.seq[i];
}

KERNEL(table_advance) {
    for (int i = thread_id(); i < a.counts->rows; i += thread_count())
        a.rows[i].pos++, a.rows[i].column++;
    for (int i = thread_id(); i < a.counts->seqs; i += thread_count()) {
        a.seqs[i].column++;
        a.seqs[i].first = nullptr;
    }
}

// ---- embeddings

// The frame of codebook k in column p, or -1: delay_frame.
DEVICE int frame_of(const gpu_seq_entry *s, int k, int channels, int p) {
    int t = p - 1 - (s->parallel ? 0 : k / channels);
    return t >= 0 && t < s->window ? t : -1;
}

// What codebook k feeds in column p, when the first `known` frames are there: delay_column.
DEVICE int code_of(const gpu_seq_entry *s, const gpu_row *row, int k, const embed_rows_args *a) {
    int t = frame_of(s, k, a->channels, row->column);
    return t >= 0 && t < row->known ? s->codes[(int64_t)k * s->frames + s->start + t] : a->vocab;
}

DEVICE float table_value(const void *table, int type, int64_t i) {
    return type == GPU_F32 ? ((const float *)table)[i] : bf16_of(((const uint16_t *)table)[i]);
}

KERNEL(embed_rows) {
    if (block_x() >= *a.n) return;
    const gpu_row *row = a.rows + block_x();
    const gpu_seq_entry *s = a.seqs + row->seq;
    float *x = a.x + (int64_t)block_x() * a.d;
    for (int i = thread_id(); i < a.d; i += thread_count()) {
        float v = row->column < 0 ? x[i] : 0.0f;
        for (int k = 0; k < a.codebooks && row->column >= 0; k++) {
            int64_t at = (int64_t)k * (a.vocab + 1) + code_of(s, row, k, &a);
            float e = table_value(a.table, a.type, at * a.d + i);
            v = k ? v + e : e;
        }
        x[i] = v + a.position[(int64_t)row->pos * a.d + i];
    }
}

// ---- norms

// What a norm subtracts from a row and what it multiplies it with.
struct norm_stats {
    float mean, scale;
};

// Of row x [d]; all lanes of a half warp get it.
DEVICE norm_stats stats_of(const gpu_input *in, const float *x, int64_t d) {
    float sum = 0.0f, squares = 0.0f, mean = 0.0f;
    if (in->b) {
        for (int64_t i = half_lane(); i < d; i += 16) sum = sum + x[i];
        mean = div32(sum16(sum), (float)d);
    }
    for (int64_t i = half_lane(); i < d; i += 16) {
        float c = x[i] - mean;
        squares = fma32(c, c, squares);
    }
    return {mean, div32(1.0f, sqrt32(div32(sum16(squares), (float)d) + in->eps))};
}

// Fills stats [n] for rows from `row` on. The whole block calls it, and meets afterwards.
DEVICE void stats_of_rows(norm_stats *stats, const gpu_input *in, int64_t row, int n, int64_t d) {
    int rounds = in->w ? (n + half_warps() - 1) / half_warps() : 0;
    for (int r = 0; r < rounds; r++) {
        int j = r * half_warps() + half_warp();
        // A half warp without a row works on the last one, so that its warp stays together.
        norm_stats s = stats_of(in, in->x + (row + (j < n ? j : n - 1)) * in->ldx, d);
        if (j < n && half_lane() == 0) stats[j] = s;
    }
    block_sync();
}

// Column i of a row x, or of its norm.
DEVICE float input_value(const gpu_input *in, const float *x, const norm_stats *s, int64_t i) {
    if (!in->w) return x[i];
    if (!in->b) return (x[i] * s->scale) * in->w[i];
    return fma32((x[i] - s->mean) * s->scale, in->w[i], in->b[i]);
}

// ---- rounding to 8 bits

// Rounds columns c to c + 255 of a row: half a warp, sixteen columns a lane.
DEVICE void quantise_block(int8_t *q, float *scale, const gpu_input *in, const float *x,
                           const norm_stats *s, int64_t c, int64_t cols) {
    float v[16], m = 0.0f;
    for (int i = 0; i < 16; i++) {
        int64_t at = c + 16 * i + half_lane();
        v[i] = at < cols ? input_value(in, x, s, at) : 0.0f;
        if (c + 16 * i < cols) m = max2(m, abs32(v[i]));
    }
    m = max16(m);
    float by = m > 0.0f ? div32(127.0f, m) : 0.0f;
    for (int i = 0; i < 16; i++) {
        bool there = c + 16 * i + half_lane() < cols;
        q[16 * i + half_lane()] = (int8_t)(there ? quantum(v[i], by) : 0);
    }
    if (half_lane() == 0) *scale = m * (1.0f / 127.0f);
}

KERNEL(norm_rows) {
    SHARED(norm_stats, stats, 1);
    int64_t row = block_x(), blocks = (a.d + GPU_QBLOCK - 1) / GPU_QBLOCK;
    if (a.n && row >= *a.n) return;
    const float *x = a.in.x + row * a.in.ldx;
    stats_of_rows(stats, &a.in, row, 1, a.d);
    for (int64_t i = thread_id(); a.y && i < a.d; i += thread_count())
        a.y[row * a.d + i] = input_value(&a.in, x, stats, i);
    int64_t rounds = a.yq ? (blocks + half_warps() - 1) / half_warps() : 0;
    for (int64_t r = 0; r < rounds; r++) {
        // A half warp without a block repeats the last one: the same bytes.
        int64_t b = min64(r * half_warps() + half_warp(), blocks - 1);
        gpu_qblock *to = a.yq + row * blocks + b;
        quantise_block(to->q, &to->scale, &a.in, x, stats, b * GPU_QBLOCK, a.d);
    }
}
