// kern_attend.cuh - caches of keys and values, and attention over them.
#pragma once
#include "gpu/kern_rows.cuh"

// ---- caches: op_cache_put

// The shape of a cache with room for `cap` rows: from one head to the next, from a row of panels
// to the next (GPU_I8 alone), and from the keys to the values and to the next layer; in bytes.
struct cache_shape {
    int64_t head, panels, block;
};

DEVICE int64_t panel_bytes(int dh) {
    return GPU_PANEL_ROWS * (4 + (dh + 15) / 16 * 16);
}

DEVICE cache_shape shape_of(int type, int64_t cap, int heads, int dh) {
    int64_t panels = heads * panel_bytes(dh), head = cap * dh * (type == GPU_F32 ? 4 : 2);
    if (type != GPU_I8) return {head, 0, heads * head};
    return {panel_bytes(dh), panels, (cap + GPU_PANEL_ROWS - 1) / GPU_PANEL_ROWS * panels};
}

// Of a layer of self: the rows in front that have no place there, its shape, and where it begins.
struct layer_place {
    int64_t unread, base;
    cache_shape shape;
};

DEVICE layer_place layer_of(const cache_shape &all, const cache_shape &rest, int layer, int whole,
                            int64_t unread) {
    if (layer < whole) return {0, 2 * layer * all.block, all};
    return {unread, 2 * (whole * all.block + (layer - whole) * rest.block), rest};
}

DEVICE int64_t unread_of(const attend_args *a, const gpu_row *row) {
    return a->which == ATTEND_SELF && a->layer >= a->whole ? row->unread : 0;
}

// Where the keys of a head of a row's cache lie, and its values.
struct cache_place {
    uint8_t *keys, *values;
    int64_t panels; // as in cache_shape
};

DEVICE cache_place cache_of(const attend_args *a, const gpu_row *row, int64_t head) {
    bool text = a->which == ATTEND_TEXT;
    int64_t cap = text ? row->text_cap : row->cap, unread = text ? 0 : row->unread;
    cache_shape all = shape_of(a->type, cap, a->heads, a->dh);
    cache_shape rest = shape_of(a->type, cap - unread, a->heads, a->dh);
    layer_place l = layer_of(all, rest, a->layer, a->whole, unread);
    uint8_t *keys = (text ? row->text : row->self) + l.base + head * l.shape.head;
    return {keys, keys + l.shape.block, l.shape.panels};
}

// Rounds x [dh] with one scale, the unit, and writes it to a panel: keys four columns together,
// values four rows together. Half a warp.
DEVICE void put_packed(uint8_t *panel, const float *x, int dh, int pos, bool key) {
    float m = 0.0f;
    int row = pos % GPU_PANEL_ROWS, width = (dh + 15) / 16 * 16;
    for (int i = half_lane(); i < width; i += 16) m = max2(m, i < dh ? abs32(x[i]) : 0.0f);
    m = max16(m);
    float by = m > 0.0f ? div32(127.0f, m) : 0.0f;
    if (half_lane() == 0) ((float *)panel)[row] = m * (1.0f / 127.0f);
    panel += 4 * GPU_PANEL_ROWS;
    for (int i = half_lane(); i < dh; i += 16) {
        int at = key ? i / 4 * 64 + 4 * row + i % 4 : row / 4 * 4 * width + 4 * i + row % 4;
        panel[at] = (uint8_t)(quantum(x[i], by) + 128);
    }
}

// Writes one head of a row's key or value. Half a warp.
DEVICE void put_head(const attend_args *a, const gpu_row *row, int head, const float *x, bool key) {
    cache_place c = cache_of(a, row, head);
    uint8_t *to = key ? c.keys : c.values;
    int64_t pos = row->pos - unread_of(a, row);
    if (a->type == GPU_I8) {
        put_packed(to + pos / GPU_PANEL_ROWS * c.panels, x, a->dh, (int)pos, key);
        return;
    }
    int64_t at = pos * a->dh;
    for (int i = half_lane(); i < a->dh; i += 16) {
        if (a->type == GPU_F32)
            ((float *)to)[at + i] = x[i];
        else
            ((uint16_t *)to)[at + i] = bf16_kept(x[i]);
    }
}

// The head's key and value of a row: the first warp of the block.
DEVICE void put_both(const attend_args *a, const gpu_row *row, int64_t index, int head) {
    if (thread_id() >= 32) return;
    bool key = half_warp() == 0;
    const float *x = (key ? a->k : a->v) + index * a->ld + head * a->dh;
    put_head(a, row, head, x, key);
}

KERNEL(put_rows) {
    if (a.n && block_y() >= *a.n) return;
    put_both(&a, a.rows + block_y(), block_y(), block_x());
}

KERNEL(copy_rows) {
    int layer = (int)(block_y() / 2), values = (int)(block_y() % 2);
    layer_place to =
        layer_of(shape_of(a.type, a.to_cap, a.heads, a.dh),
                 shape_of(a.type, a.to_cap - a.unread, a.heads, a.dh), layer, a.whole, a.unread);
    layer_place from =
        layer_of(shape_of(a.type, a.from_cap, a.heads, a.dh),
                 shape_of(a.type, a.from_cap - a.unread, a.heads, a.dh), layer, a.whole, a.unread);
    uint8_t *y = a.to + to.base + values * to.shape.block + block_x() * to.shape.head;
    const uint8_t *x = a.from + from.base + values * from.shape.block + block_x() * from.shape.head;
    int64_t n = a.n - to.unread, units = n * a.dh * (a.type == GPU_F32 ? 2 : 1), runs = 1;
    if (a.type == GPU_I8) {
        units = panel_bytes(a.dh) / 2;
        runs = (n + GPU_PANEL_ROWS - 1) / GPU_PANEL_ROWS;
    }
    for (int64_t r = 0; r < runs; r++) {
        uint16_t *to_run = (uint16_t *)(y + r * to.shape.panels);
        const uint16_t *run = (const uint16_t *)(x + r * from.shape.panels);
        for (int64_t i = thread_id(); i < units; i += thread_count()) to_run[i] = run[i];
    }
}

// ---- what both kinds of attention share

DEVICE int64_t keys_of(const attend_args *a, const gpu_row *row) {
    return a->which == ATTEND_SELF ? row->pos + 1 - unread_of(a, row) : row->text_n;
}

// What a block has to do: a head of a row.
typedef struct {
    const gpu_row *at;
    const float *q;
    float *s, *out; // scores, results
    int64_t len;    // keys
    cache_place kept;
} head_work;

DEVICE head_work head_of(const attend_args *a, int64_t row, int64_t head) {
    const gpu_row *at = a->rows + row;
    int64_t i = row * a->heads + head;
    return head_work{at,
                     a->q + row * a->ld + head * a->dh,
                     a->scores + i * a->lds,
                     a->out + i * a->dh,
                     keys_of(a, at),
                     cache_of(a, at, head)};
}

// Turns scores s [len] into exp(s - max), and returns 1 / their sum. s has room for a multiple of
// sixteen and is 0 there afterwards. The whole block.
DEVICE float softmax(float *s, int64_t len, float *shared) {
    int64_t full = (len + 15) / 16 * 16;
    float most = -INFINITE, sum = 0.0f;
    for (int64_t j = len + thread_id(); j < full; j += thread_count()) s[j] = -INFINITE;
    block_sync();
    // Every half warp finds the largest: the lanes' order counts when there are NaN.
    for (int64_t j = half_lane(); j < full; j += 16) most = max2(most, s[j]);
    most = max16(most);
    block_sync();
    for (int64_t j = thread_id(); j < full; j += thread_count()) s[j] = exp32(s[j] - most);
    block_sync();
    if (thread_id() < 32) {
        for (int64_t j = half_lane(); j < full; j += 16) sum = sum + s[j];
        sum = sum16(sum);
        if (thread_id() == 0) *shared = div32(1.0f, sum);
    }
    block_sync();
    return *shared;
}

// ---- f32 and bf16

DEVICE float kept_value(const uint8_t *p, int type, int64_t i) {
    return type == GPU_F32 ? ((const float *)p)[i] : bf16_of(((const uint16_t *)p)[i]);
}

// Scores of all keys: half a warp a key. Row j's filled lanes are 0, as dot16 has it.
DEVICE void plain_scores(float *s, const attend_args *a, const float *q, const uint8_t *keys,
                         int64_t len, const float *bias) {
    int64_t rounds = (len + half_warps() - 1) / half_warps();
    for (int64_t r = 0; r < rounds; r++) {
        int64_t j = r * half_warps() + half_warp();
        float sum = 0.0f;
        for (int i = half_lane(); i < (a->dh + 15) / 16 * 16; i += 16) {
            bool there = i < a->dh && j < len;
            sum = fma32(there ? q[i] : 0.0f,
                        there ? kept_value(keys, a->type, j * a->dh + i) : 0.0f, sum);
        }
        sum = sum16(sum);
        if (j < len && half_lane() == 0) s[j] = bias ? sum * a->scale + bias[j] : sum * a->scale;
    }
}

KERNEL(attend) {
    SHARED(float, by, 1);
    int64_t row = block_y(), head = block_x();
    if (a.n && row >= *a.n) return;
    const head_work h = head_of(&a, row, head);
    if (a.put) put_both(&a, h.at, row, head);
    block_sync();
    plain_scores(h.s, &a, h.q, h.kept.keys, h.len,
                 a.bias ? a.bias + head * a.bias_step - h.at->pos : nullptr);
    block_sync();
    float scale = softmax(h.s, h.len, by);
    for (int64_t i = thread_id(); i < a.dh; i += thread_count()) {
        float sum = 0.0f;
        for (int64_t j = 0; j < h.len; j++)
            sum = fma32(h.s[j], kept_value(h.kept.values, a.type, j * a.dh + i), sum);
        h.out[i] = h.len ? sum * scale : 0.0f;
    }
}

// ---- 8 bits

#define DIGITS_LEAST 0x1p-100f // compute/cpu/kern.h

// Splits the half warp's n values x into digits, zeros up to a multiple of 16, and returns their
// unit.
DEVICE float digits_of(int8_t *hi, int8_t *lo, const float *x, int64_t n) {
    float m = 0.0f;
    int64_t full = (n + 15) / 16 * 16;
    for (int64_t i = half_lane(); i < full; i += 16) m = max2(m, i < n ? abs32(x[i]) : 0.0f);
    m = max16(m);
    float by = div32(127.0f, m > DIGITS_LEAST ? m : DIGITS_LEAST);
    for (int64_t i = half_lane(); i < full; i += 16) {
        float v = i < n ? x[i] : 0.0f;
        int32_t h = quantum(v, by);
        hi[i] = (int8_t)(i < n ? h : 0);
        lo[i] = (int8_t)(i < n ? quantum(v * by - (float)h, 128.0f) : 0);
    }
    return m * (1.0f / 16256.0f);
}

struct attend8_shared {
    alignas(16) int8_t hi[GPU_DH_MAX], lo[GPU_DH_MAX]; // of the query, then of a run
    float x[GPU_RUN], total[GPU_DH_MAX];
    int32_t sum[GPU_DH_MAX];
    float unit, by;
};

// Scores of all keys: a thread a key.
DEVICE void packed_scores(float *s, const attend8_shared *q, const attend_args *a,
                          const uint8_t *keys, int64_t stride, int64_t len) {
    for (int64_t j = thread_id(); j < len; j += thread_count()) {
        const uint8_t *panel = keys + j / 16 * stride;
        const uint32_t *words = (const uint32_t *)(panel + 64) + j % 16;
        int32_t hi = 0, lo = 0;
        for (int g = 0; g < (a->dh + 3) / 4; g++) {
            uint32_t w = words[16 * g] ^ 0x80808080u;
            hi = dot4(w, ((const uint32_t *)q->hi)[g], hi);
            lo = dot4(w, ((const uint32_t *)q->lo)[g], lo);
        }
        float sum = (float)(128 * hi + lo);
        s[j] = (sum * ((const float *)panel)[j % 16]) * (q->unit * a->scale);
    }
}

// Adds rows from to from + n - 1, at most GPU_RUN, to the totals. The whole block.
DEVICE void packed_run(attend8_shared *t, const float *s, const attend_args *a,
                       const uint8_t *values, int64_t stride, int64_t from, int64_t n) {
    int width = (a->dh + 15) / 16 * 16, groups = (int)(n + 3) / 4;
    for (int64_t j = thread_id(); j < n; j += thread_count()) {
        float unit = ((const float *)(values + (from + j) / 16 * stride))[j % 16];
        t->x[j] = s[from + j] > 0.0f ? s[from + j] * unit : 0.0f;
    }
    for (int i = thread_id(); i < a->dh; i += thread_count()) t->sum[i] = 0;
    block_sync();
    if (thread_id() < 32) {
        float unit = digits_of(t->hi, t->lo, t->x, n); // both halves write the same
        if (thread_id() == 0) t->unit = unit;
    }
    block_sync();
    // A thread a column and every so many of the groups of four rows: exact, in any order.
    int parts = thread_count() / a->dh > 1 ? thread_count() / a->dh : 1;
    for (int i = thread_id(); i < parts * a->dh; i += thread_count()) {
        int col = i % a->dh, hi = 0, lo = 0;
        for (int g = i / a->dh; g < groups; g += parts) {
            const uint8_t *panel = values + (from / 16 + g / 4) * stride + 64;
            uint32_t w = ((const uint32_t *)panel)[g % 4 * width + col] ^ 0x80808080u;
            hi = dot4(w, ((const uint32_t *)t->hi)[g], hi);
            lo = dot4(w, ((const uint32_t *)t->lo)[g], lo);
        }
        count_up(&t->sum[col], 128 * hi + lo);
    }
    block_sync();
    for (int i = thread_id(); i < a->dh; i += thread_count())
        t->total[i] = fma32((float)t->sum[i], t->unit, t->total[i]);
    block_sync();
}

KERNEL(attend8) {
    SHARED(attend8_shared, t, 1);
    int64_t row = block_y(), head = block_x();
    if (a.n && row >= *a.n) return;
    const head_work h = head_of(&a, row, head);
    if (a.put) put_both(&a, h.at, row, head);
    if (thread_id() < 32) {
        float unit = digits_of(t->hi, t->lo, h.q, a.dh);
        if (thread_id() == 0) t->unit = unit;
    }
    for (int i = thread_id(); i < a.dh; i += thread_count()) t->total[i] = 0.0f;
    block_sync();
    packed_scores(h.s, t, &a, h.kept.keys, h.kept.panels, h.len);
    block_sync();
    float scale = softmax(h.s, h.len, &t->by);
    for (int64_t from = 0; from < h.len; from += GPU_RUN)
        packed_run(t, h.s, &a, h.kept.values, h.kept.panels, from, min64(GPU_RUN, h.len - from));
    for (int i = thread_id(); i < a.dh; i += thread_count())
        h.out[i] = h.len ? t->total[i] * scale : 0.0f;
}
