// kern_draw.cuh - scores to the next code: engine/musicgen/sampler.c and compute/rng.c.
#pragma once
#include "gpu/kern_rows.cuh"

#define DRAW_THREADS 256

// ---- random numbers

DEVICE double random_of(uint64_t key, uint64_t hi, uint64_t lo) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c[4] = {(uint32_t)lo, (uint32_t)(lo >> 32), (uint32_t)hi, (uint32_t)(hi >> 32)};
    for (int i = 0; i < 10; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[0] = n0, c[1] = (uint32_t)p1, c[2] = n2, c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return (double)(((uint64_t)c[0] << 32 | c[1]) >> 11) * 0x1p-53;
}

// ---- the whole block on one array

struct draw_shared {
    int32_t count[DRAW_THREADS]; // of scores by eight bits of their key; or of what a thread keeps
    float best[DRAW_THREADS];
    int32_t at[DRAW_THREADS];
    int32_t left, kept, flag;
    uint32_t key;
    float scale, floor;
};

// The index of the largest of s [n], the first of equal ones, in t->at[0]. None is NaN.
DEVICE void draw_best(draw_shared *t, const float *s, int n) {
    int id = thread_id();
    float best = -INFINITE;
    int at = n;
    for (int i = id; i < n; i += thread_count())
        if (at == n || s[i] > best) best = s[i], at = i;
    t->best[id] = best, t->at[id] = at;
    block_sync();
    for (int half = DRAW_THREADS / 2; half; half /= 2) {
        if (id < half) {
            float other = t->best[id + half];
            int from = t->at[id + half];
            bool take = from < n && (other > t->best[id] ||
                                     (other == t->best[id] && from < t->at[id]) || t->at[id] == n);
            if (take) t->best[id] = other, t->at[id] = from;
        }
        block_sync();
    }
}

// Integers in the order of the floats.
DEVICE uint32_t key_of(float f) {
    uint32_t u = bits_of(f);
    return u >> 31 ? ~u : u | 0x80000000u;
}
DEVICE float of_key(uint32_t k) {
    return float_of(k >> 31 ? k & 0x7fffffffu : ~k);
}

// The k-th largest of s [n], k from 1: eight bits of its key at a time, by counting.
DEVICE float draw_kth(draw_shared *t, const float *s, int n, int k) {
    if (thread_id() == 0) t->left = k, t->key = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = thread_id(); i < 256; i += thread_count()) t->count[i] = 0;
        block_sync();
        uint32_t key = t->key;
        for (int i = thread_id(); i < n; i += thread_count()) {
            uint32_t u = key_of(s[i]);
            if (shift == 24 || u >> (shift + 8) == key >> (shift + 8))
                count_up(&t->count[u >> shift & 255], 1);
        }
        block_sync();
        if (thread_id() == 0) {
            int bin = 255, left = t->left;
            for (; left > t->count[bin]; bin--) left -= t->count[bin];
            t->left = left, t->key = key | (uint32_t)bin << shift;
        }
        block_sync();
    }
    return of_key(t->key);
}

// Lists what is above 0 of p [n], in rising order: values to list, places to ids; t->kept of them.
// list and p may be the same, and ids may hold the places of p's values (mapped).
DEVICE void draw_compact(draw_shared *t, const float *p, int n, float *list, int32_t *ids) {
    int each = (n + DRAW_THREADS - 1) / DRAW_THREADS, from = thread_id() * each, mine = 0;
    for (int i = from; i < from + each && i < n; i++) mine += p[i] > 0.0f;
    t->count[thread_id()] = mine;
    block_sync();
    if (thread_id() == 0) {
        int sum = 0;
        for (int i = 0; i < DRAW_THREADS; i++) {
            int c = t->count[i];
            t->count[i] = sum;
            sum += c;
        }
        t->kept = sum;
    }
    block_sync();
    int to = t->count[thread_id()];
    for (int i = from; i < from + each && i < n; i++)
        if (p[i] > 0.0f) list[to] = p[i], ids[to++] = i;
    block_sync();
}

// Divides p [m] by its sum, in double and in order, as normalize does: what was 0 adds nothing.
DEVICE void draw_normalize(draw_shared *t, float *p, int m) {
    if (thread_id() == 0) {
        double sum = 0;
        for (int i = 0; i < m; i++) sum = sum + (double)p[i];
        t->scale = (float)(1.0 / sum);
    }
    block_sync();
    for (int i = thread_id(); i < m; i += thread_count()) p[i] = p[i] * t->scale;
    block_sync();
}

// Sorts x [room], a power of two, upwards.
DEVICE void draw_sort(float *x, int room) {
    for (int run = 2; run <= room; run *= 2) {
        for (int step = run / 2; step; step /= 2) {
            for (int i = thread_id(); i < room / 2; i += thread_count()) {
                int lo = i / step * 2 * step + i % step, hi = lo + step;
                bool down = (lo & run) != 0;
                float a = x[lo], b = x[hi];
                if ((a > b) != down && a != b) x[lo] = b, x[hi] = a;
            }
            block_sync();
        }
    }
}

// The smallest probability that top-p keeps of p [m]: top_p_floor.
DEVICE void draw_floor(draw_shared *t, const float *p, int m, float top_p, float *sorted) {
    int room = 1, zeros;
    while (room < m) room *= 2;
    zeros = room - m;
    for (int i = thread_id(); i < room; i += thread_count()) sorted[i] = i < m ? p[i] : 0.0f;
    block_sync();
    draw_sort(sorted, room);
    if (thread_id() == 0) {
        double below = 0;
        int at = zeros;                               // the smallest that is kept
        while (at < room && sorted[at] <= 0.0f) at++; // what scaling made 0
        while (at + 1 < room && below + (double)sorted[at] <= 1.0 - (double)top_p)
            below = below + (double)sorted[at++];
        t->floor = at < room ? sorted[at] : 0.0f;
    }
    block_sync();
}

// ---- one codebook

// Guided scores to s [n]. All are looked at: t->flag is 0 if one is not finite.
DEVICE void draw_guide(draw_shared *t, float *s, const gpu_seq_entry *q, const draw_args *a) {
    int64_t size = (int64_t)a->codebooks * a->vocab, at = (int64_t)block_x() * a->vocab;
    const float *cond = a->logits + q->cond * size + at;
    const float *null = q->null < 0 ? nullptr : a->logits + q->null * size + at;
    if (thread_id() == 0) t->flag = 1;
    block_sync();
    for (int i = thread_id(); i < a->vocab; i += thread_count()) {
        float v = null ? null[i] + q->guidance * (cond[i] - null[i]) : cond[i];
        s[i] = v;
        if (q->first) q->first[at + i] = v;
        if ((bits_of(v) & 0x7f800000u) == 0x7f800000u) t->flag = 0; // any number of threads
    }
    block_sync();
}

// The draw from probabilities p [m] of the codes ids.
DEVICE int draw_code(const float *p, const int32_t *ids, int m, double u) {
    double sum = 0;
    int last = 0;
    for (int i = 0; i < m; i++) {
        if (p[i] <= 0.0f) continue;
        sum = sum + (double)p[i];
        last = ids[i];
        if (u < sum) break;
    }
    return last;
}

// Draws from scores s [vocab]: sampler_draw. The result is thread 0's.
DEVICE int draw_from(draw_shared *t, float *s, const gpu_seq_entry *q, const draw_args *a,
                     double u) {
    int64_t at = ((int64_t)block_y() * a->codebooks + block_x()) * a->room;
    float *p = a->probs + at, floor = -INFINITE;
    int n = a->vocab;
    draw_best(t, s, n);
    if (q->temperature < 1e-4f) return t->at[0];
    float best = s[t->at[0]], inv = div32(1.0f, q->temperature);
    if (q->top_k > 0 && q->top_k < n) floor = draw_kth(t, s, n, q->top_k);
    block_sync();
    for (int i = thread_id(); i < n; i += thread_count())
        s[i] = s[i] >= floor ? exp32((s[i] - best) * inv) : 0.0f;
    block_sync();
    draw_compact(t, s, n, p, a->ids + at);
    int m = t->kept;
    draw_normalize(t, p, m);
    if (q->top_p > 0.0f && q->top_p < 1.0f) {
        draw_floor(t, p, m, q->top_p, a->sorted + at);
        for (int i = thread_id(); i < m; i += thread_count())
            if (p[i] < t->floor) p[i] = 0.0f;
        block_sync();
        draw_normalize(t, p, m);
    }
    return thread_id() == 0 ? draw_code(p, a->ids + at, m, u) : 0;
}

KERNEL(draw) {
    SHARED(draw_shared, t, 1);
    if (block_y() >= *a.n) return;
    const gpu_seq_entry *q = a.seqs + block_y();
    int k = block_x(), lag = q->parallel ? 0 : k / a.channels, f = q->column - 1 - lag;
    bool free = f >= 0 && f < q->window && f >= q->known;
    if (!free && !q->first) return;
    float *s = a.scores + ((int64_t)block_y() * a.codebooks + k) * a.vocab;
    draw_guide(t, s, q, &a);
    if (!t->flag && thread_id() == 0 && *q->broken == 0) *q->broken = q->start + q->column;
    if (!free || !t->flag) return;
    uint64_t number = (uint64_t)q->index << 40 | (uint64_t)q->column << 8 | (uint64_t)k;
    int code = draw_from(t, s, q, &a, random_of(q->seed, q->stream, number));
    if (thread_id() == 0) q->codes[(int64_t)k * q->frames + q->start + f] = code;
}
