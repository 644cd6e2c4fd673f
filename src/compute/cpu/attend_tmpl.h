// attend_tmpl.h - template: attention over keys and values of f32 or bf16, one head a call.

// Distance in bytes at which keys and values are prefetched. 12 KiB: about the best of 4 to 32 KiB
// for bf16 on Zen 5.
#define KV_AHEAD ((size_t)12 << 10)

// One pass over the n bytes at p; the pass after it begins at `next`. Prefetches stay within these
// two: KV_AHEAD bytes ahead in this pass, and near its end in the next.
typedef struct {
    const uint8_t *p, *next;
    size_t n, ahead;
} kv_pass;

INLINE kv_pass kv_pass_of(const void *p, const void *next, size_t n) {
    return (kv_pass){p, next, n, MIN(KV_AHEAD, n)};
}

// Distance from `at`, a place in the pass, to the bytes to prefetch.
INLINE ptrdiff_t kv_ahead(const kv_pass *r, const uint8_t *at) {
    size_t to = (size_t)(at - r->p) + r->ahead;
    return (to < r->n ? r->p + to : r->next + (to - r->n)) - at;
}

// dot16 of q with sixteen keys, or with the first `keys` of them; v_sums adds all lanes together.
INLINE f32x16 scores16(const float *q, const uint8_t *k, ptrdiff_t ahead, int64_t dh, int64_t keys,
                       const dtype type) {
    f32x16 acc[16];
    size_t row = (size_t)dh * type_size(type);
    UNROLLED
    for (int j = 0; j < 16; j++) acc[j] = v_set(0.0f);
    for (int64_t c = 0; c < dh; c += 16) {
        bool whole = c + 16 <= dh;
        f32x16 qv = whole ? v_load(q + c) : v_load_n(q + c, dh - c);
        const uint8_t *at = k + (size_t)c * type_size(type);
        if (whole && keys == 16) {
            UNROLLED
            for (int j = 0; j < 16; j++) {
                if ((size_t)c * type_size(type) % 64 == 0) __builtin_prefetch(at + j * row + ahead);
                acc[j] = v_fma(v_read(at + j * row, type), qv, acc[j]);
            }
            continue;
        }
        UNROLLED
        for (int j = 0; j < keys; j++) {
            f32x16 kv = whole ? v_read(at + j * row, type) : v_read_n(at + j * row, type, dh - c);
            acc[j] = v_fma(kv, qv, acc[j]);
        }
    }
    return v_sums(acc);
}

INLINE float scores_as(float *s, const float *q, const kv_rows *k, float scale, const float *bias,
                       const dtype type) {
    f32x16 top = v_set(-INFINITY);
    const uint8_t *p = k->p;
    const size_t rows16 = 16 * (size_t)k->dh * type_size(type);
    const kv_pass pass = kv_pass_of(p, k->next, (size_t)(k->len * k->dh) * type_size(type));
    int64_t j = 0;
    for (; j + 16 <= k->len; j += 16, p += rows16) {
        f32x16 v = v_mul(scores16(q, p, kv_ahead(&pass, p), k->dh, 16, type), v_set(scale));
        if (bias) v = v_add(v, v_load(bias + j));
        v_store(s + j, v);
        top = v_max(top, v);
    }
    if (j == k->len) return v_top(top);
    f32x16 v = v_mul(scores16(q, p, kv_ahead(&pass, p), k->dh, k->len - j, type), v_set(scale));
    if (bias) v = v_add(v, v_load_n(bias + j, k->len - j));
    v_store(s + j, v_first_n(v, v_set(-INFINITY), k->len - j));
    return v_top(v_first_n(v_max(top, v), top, k->len - j));
}

static float FN(scores)(float *s, const float *q, const kv_rows *k, float scale,
                        const float *bias) {
    if (k->type == DT_F32) return scores_as(s, q, k, scale, bias, DT_F32);
    return scores_as(s, q, k, scale, bias, DT_BF16);
}

static float FN(scale_scores)(float *s, int64_t len, float scale) {
    f32x16 top = v_set(-INFINITY), by = v_set(scale);
    int64_t j = 0;
    for (; j + 16 <= len; j += 16) {
        f32x16 v = v_mul(v_load(s + j), by);
        v_store(s + j, v);
        top = v_max(top, v);
    }
    if (j == len) return v_top(top);
    f32x16 v = v_first_n(v_mul(v_load_n(s + j, len - j), by), v_set(-INFINITY), len - j);
    v_store(s + j, v);
    return v_top(v_max(top, v));
}

static float FN(softmax)(float *s, int64_t len, float max) {
    f32x16 sum = v_set(0.0f), top = v_set(max);
    for (int64_t j = 0; j < len; j += 16) {
        f32x16 e = v_exp(v_sub(v_load(s + j), top));
        v_store(s + j, e);
        sum = v_add(sum, e);
    }
    return v_sum(sum);
}

// Writes columns c to c + 16*cols - 1 of the weighted sum.
INLINE void weigh_cols(float *out, const float *s, const kv_rows *v, float by, int64_t c,
                       const int cols, const dtype type) {
    size_t row = (size_t)v->dh * type_size(type);
    const uint8_t *p = (const uint8_t *)v->p + (size_t)c * type_size(type);
    const kv_pass pass = kv_pass_of(v->p, v->next, (size_t)v->len * row);
    f32x16 acc[8];
    UNROLLED
    for (int i = 0; i < 8; i++) acc[i] = v_set(0.0f);
    for (int64_t j = 0; j < v->len; j++, p += row) {
        f32x16 e = v_set(s[j]);
        const ptrdiff_t ahead = kv_ahead(&pass, p);
        UNROLLED
        for (int i = 0; i < cols; i++) {
            const uint8_t *at = p + (size_t)i * 16 * type_size(type);
            if (i * 16 * type_size(type) % 64 == 0) __builtin_prefetch(at + ahead);
            acc[i] = v_fma(e, v_read(at, type), acc[i]);
        }
    }
    UNROLLED
    for (int i = 0; i < cols; i++) v_store(out + c + 16 * i, v_mul(acc[i], v_set(by)));
}

// Writes the columns from c on, fewer than sixteen.
INLINE void weigh_rest(float *out, const float *s, const kv_rows *v, float by, int64_t c,
                       const dtype type) {
    size_t row = (size_t)v->dh * type_size(type);
    const uint8_t *p = (const uint8_t *)v->p + (size_t)c * type_size(type);
    f32x16 acc = v_set(0.0f);
    for (int64_t j = 0; j < v->len; j++, p += row) {
        acc = v_fma(v_set(s[j]), v_read_n(p, type, v->dh - c), acc);
    }
    v_store_n(out + c, v_mul(acc, v_set(by)), v->dh - c);
}

INLINE void weigh_as(float *out, const float *s, const kv_rows *v, float by, const dtype type) {
    int64_t c = 0;
    for (; c + 64 <= v->dh; c += 64) weigh_cols(out, s, v, by, c, 4, type);
    for (; c + 16 <= v->dh; c += 16) weigh_cols(out, s, v, by, c, 1, type);
    if (c < v->dh) weigh_rest(out, s, v, by, c, type);
}

static void FN(weigh)(float *out, const float *s, const kv_rows *v, float by) {
    if (v->type == DT_F32)
        weigh_as(out, s, v, by, DT_F32);
    else
        weigh_as(out, s, v, by, DT_BF16);
}

static const kern_attention FN(attention) = {
    .scores = FN(scores),
    .scale = FN(scale_scores),
    .softmax = FN(softmax),
    .weigh = FN(weigh),
};
