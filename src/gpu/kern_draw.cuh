// kern_draw.cuh - scores to the next code: engine/musicgen/sampler.c and compute/rng.c.
#pragma once
#include "gpu/kern_rows.cuh"

#define DRAW_THREADS 256

// ---- random numbers

DEVICE uint64_t random_of(uint64_t key, uint64_t hi, uint64_t lo) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c[4] = {(uint32_t)lo, (uint32_t)(lo >> 32), (uint32_t)hi, (uint32_t)(hi >> 32)};
    for (int i = 0; i < 10; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[0] = n0, c[1] = (uint32_t)p1, c[2] = n2, c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return (uint64_t)c[0] << 32 | c[1];
}

// ---- the whole block on one array

struct draw_shared {
    uint64_t sum[DRAW_THREADS]; // by eight bits of a key; or of a thread's weights and all before
    float best[DRAW_THREADS];
    int32_t at[DRAW_THREADS];
    int32_t flag;
    uint32_t key;
    uint64_t above; // what larger keys sum to
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

// Adds to each of t->sum all sums before it.
DEVICE void draw_running(draw_shared *t) {
    int id = thread_id();
    for (int step = 1; step < DRAW_THREADS; step *= 2) {
        uint64_t before = id < step ? 0 : t->sum[id - step];
        block_sync();
        t->sum[id] += before;
        block_sync();
    }
}

// Finds the next eight bits of a key from t->sum, which lists what keys with each eight bits there
// sum to: the smallest key that has less than `need` in those above it.
DEVICE void draw_digit(draw_shared *t, uint64_t need, int shift) {
    int id = thread_id();
    draw_running(t);
    uint64_t all = t->above + t->sum[DRAW_THREADS - 1], with = id ? t->sum[id - 1] : 0;
    uint64_t above = all - t->sum[id];
    block_sync();
    if (above < need && need <= all - with) t->key |= (uint32_t)id << shift, t->above = above;
    block_sync();
}

// Whether the bits of a key above the eight from `shift` on are those found.
DEVICE bool draw_same(const draw_shared *t, uint32_t key, int shift) {
    return (uint64_t)(key ^ t->key) >> (shift + 8) == 0;
}

// The k-th largest of s [n], k from 1.
DEVICE float draw_kth(draw_shared *t, const float *s, int n, int k) {
    t->key = 0, t->above = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        t->sum[thread_id()] = 0;
        block_sync();
        for (int i = thread_id(); i < n; i += DRAW_THREADS) {
            uint32_t key = key_of(s[i]);
            if (draw_same(t, key, shift)) sum_up(&t->sum[key >> shift & 255], 1);
        }
        block_sync();
        draw_digit(t, (uint64_t)k, shift);
    }
    return of_key(t->key);
}

// The smallest of w [n] that top-p keeps: top_p_floor.
DEVICE uint32_t draw_floor(draw_shared *t, const uint32_t *w, int n, uint64_t need) {
    t->key = 0, t->above = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        t->sum[thread_id()] = 0;
        block_sync();
        for (int i = thread_id(); i < n; i += DRAW_THREADS)
            if (draw_same(t, w[i], shift)) sum_up(&t->sum[w[i] >> shift & 255], w[i]);
        block_sync();
        draw_digit(t, need, shift);
    }
    return t->key;
}

// The weights w [n] that a thread adds up lie together, `each` of them.
DEVICE int draw_each(int n) {
    return (n + DRAW_THREADS - 1) / DRAW_THREADS;
}

// Returns the sum of w [n]. t->sum gets the running sums of the threads.
DEVICE uint64_t draw_sum(draw_shared *t, const uint32_t *w, int n) {
    int from = thread_id() * draw_each(n);
    uint64_t mine = 0;
    for (int i = from; i < from + draw_each(n) && i < n; i++) mine += w[i];
    t->sum[thread_id()] = mine;
    block_sync();
    draw_running(t);
    return t->sum[DRAW_THREADS - 1];
}

// ---- one codebook

// Guided scores to s [n]. All are looked at: t->flag is 0 if one is not finite.
DEVICE void draw_guide(draw_shared *t, float *s, const gpu_seq_entry *q, const draw_args *a) {
    int64_t size = (int64_t)a->codebooks * a->vocab, at = (int64_t)block_x() * a->vocab;
    const float *cond = a->logits + q->cond * size + at;
    const float *null = q->null < 0 ? nullptr : a->logits + q->null * size + at;
    float by = (int)block_x() < a->channels ? q->guidance : q->fine_guidance;
    if (thread_id() == 0) t->flag = 1;
    block_sync();
    for (int i = thread_id(); i < a->vocab; i += thread_count()) {
        float v = null ? null[i] + by * (cond[i] - null[i]) : cond[i];
        s[i] = v;
        if (q->first) q->first[at + i] = v;
        if ((bits_of(v) & 0x7f800000u) == 0x7f800000u) t->flag = 0; // any number of threads
    }
    block_sync();
}

// The code at which weights w [n] sum to more than `at`. The thread that has it writes it.
DEVICE void draw_code(const draw_shared *t, const uint32_t *w, int n, uint64_t at, int32_t *code) {
    int id = thread_id(), i = id * draw_each(n);
    uint64_t sum = id ? t->sum[id - 1] : 0;
    if (at < sum || at >= t->sum[id]) return;
    for (; sum + w[i] <= at; i++) sum += w[i];
    *code = i;
}

// Draws from scores s [n] with 64 random bits: sampler_draw.
DEVICE void draw_from(draw_shared *t, const float *s, uint32_t *w, int n, const gpu_seq_entry *q,
                      uint64_t random, int32_t *code) {
    float floor = -INFINITE;
    draw_best(t, s, n);
    if (q->temperature < 1e-4f) {
        if (thread_id() == 0) *code = t->at[0];
        return;
    }
    float best = s[t->at[0]], inv = div32(1.0f, q->temperature);
    if (q->top_k > 0 && q->top_k < n) floor = draw_kth(t, s, n, q->top_k);
    for (int i = thread_id(); i < n; i += DRAW_THREADS)
        w[i] = s[i] >= floor ? (uint32_t)(exp32((s[i] - best) * inv) * 0x1p31f) : 0;
    block_sync();
    uint64_t sum = draw_sum(t, w, n);
    if (q->top_p > 0.0f && q->top_p < 1.0f) {
        uint64_t need = high_product((uint64_t)(q->top_p * 0x1p64f), sum);
        block_sync();
        uint32_t least = draw_floor(t, w, n, need ? need : 1);
        for (int i = thread_id(); i < n; i += DRAW_THREADS)
            if (w[i] < least) w[i] = 0;
        block_sync();
        sum = draw_sum(t, w, n);
    }
    draw_code(t, w, n, high_product(random, sum), code);
}

KERNEL(draw) {
    SHARED(draw_shared, t, 1);
    if (block_y() >= *a.n) return;
    const gpu_seq_entry *q = a.seqs + block_y();
    int k = block_x(), lag = q->parallel ? 0 : k / a.channels, f = q->column - 1 - lag;
    bool free = f >= 0 && f < q->window && f >= q->known;
    if (!free && !q->first) return;
    int64_t at = ((int64_t)block_y() * a.codebooks + k) * a.vocab;
    float *s = a.scores + at;
    draw_guide(t, s, q, &a);
    if (!t->flag && thread_id() == 0 && *q->broken == 0) *q->broken = q->start + q->column;
    if (!free || !t->flag) return;
    uint64_t number = (uint64_t)q->index << 40 | (uint64_t)q->column << 8 | (uint64_t)k;
    uint64_t random = random_of(q->seed, q->stream, number);
    draw_from(t, s, a.weights + at, a.vocab, q, random,
              q->codes + (int64_t)k * q->frames + q->start + f);
}
