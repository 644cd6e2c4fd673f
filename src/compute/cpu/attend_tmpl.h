// attend_tmpl.h - template: attention over keys and values of f32 or bf16, one head a call.

#if !defined(SCORE_ROWS) || !defined(SCORE_PANELS)
#error "define SCORE_ROWS and SCORE_PANELS before attend_tmpl.h, as kern_avx2.c does"
#endif

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

// ---- many queries ----

// Lanes of a vector are keys here, and dot16's lanes are sums of their own, so nothing is added
// across a vector. The level says how many queries and panels of sixteen keys go together:
// SCORE_ROWS and SCORE_PANELS. Sums of query i and panel p lie at i*panels + p.
enum { SCORE_SUMS = SCORE_ROWS * SCORE_PANELS };

// The sums of dot16's lane j.
INLINE void lane_sums1(f32x16 *sum, const float *k, const query_rows *a, const float *q, int64_t j,
                       const int nx, const int panels) {
    UNROLLED
    for (int i = 0; i < nx * panels; i++) sum[i] = v_set(0.0f);
    for (int64_t d = j; d < a->dh; d += 16) {
        f32x16 key[SCORE_PANELS];
        UNROLLED
        for (int p = 0; p < panels; p++) key[p] = v_load(k + (p * a->dh + d) * 16);
        UNROLLED
        for (int i = 0; i < nx; i++) {
            f32x16 qv = v_set(q[i * a->ldq + d]);
            UNROLLED
            for (int p = 0; p < panels; p++)
                sum[i * panels + p] = v_fma(qv, key[p], sum[i * panels + p]);
        }
    }
}

INLINE void lane_add(f32x16 *sum, const f32x16 *other, const int sums) {
    UNROLLED
    for (int i = 0; i < sums; i++) sum[i] = v_add(sum[i], other[i]);
}

// The same of lanes j and j + 8, added.
INLINE void lane_sums2(f32x16 *sum, const float *k, const query_rows *a, const float *q, int64_t j,
                       const int nx, const int panels) {
    f32x16 other[SCORE_SUMS];
    lane_sums1(sum, k, a, q, j, nx, panels);
    lane_sums1(other, k, a, q, j + 8, nx, panels);
    lane_add(sum, other, nx * panels);
}

// The same of lanes j, j + 4, j + 8 and j + 12.
INLINE void lane_sums4(f32x16 *sum, const float *k, const query_rows *a, const float *q, int64_t j,
                       const int nx, const int panels) {
    f32x16 other[SCORE_SUMS];
    lane_sums2(sum, k, a, q, j, nx, panels);
    lane_sums2(other, k, a, q, j + 4, nx, panels);
    lane_add(sum, other, nx * panels);
}

// The same of the lanes of one parity: j is 0 or 1.
INLINE void lane_sums8(f32x16 *sum, const float *k, const query_rows *a, const float *q, int64_t j,
                       const int nx, const int panels) {
    f32x16 other[SCORE_SUMS];
    lane_sums4(sum, k, a, q, j, nx, panels);
    lane_sums4(other, k, a, q, j + 2, nx, panels);
    lane_add(sum, other, nx * panels);
}

// Scores of nx queries from row `from` on with the panels from key j on. top: the largest of each
// query's lanes so far.
INLINE void score_some(const query_rows *a, f32x16 *top, int64_t from, int64_t j, const int nx,
                       const int panels) {
    const float *q = a->q + from * a->ldq, *k = a->k + j * a->dh;
    f32x16 even[SCORE_SUMS], odd[SCORE_SUMS];
    lane_sums8(even, k, a, q, 0, nx, panels);
    lane_sums8(odd, k, a, q, 1, nx, panels);
    UNROLLED
    for (int i = 0; i < nx * panels; i++) {
        const int64_t at = j + i % panels * 16;
        f32x16 s = v_mul(v_add(even[i], odd[i]), v_set(a->scale));
        if (a->len < at + 16) s = v_first_n(s, v_set(-INFINITY), a->len - at);
        v_store(a->s + (from + i / panels) * a->lds + at, s);
        top[from + i / panels] = v_max(top[from + i / panels], s);
    }
}

INLINE void score_panels(const query_rows *a, f32x16 *top, int64_t j, const int panels) {
    int64_t i = 0;
    for (; i + SCORE_ROWS <= a->n; i += SCORE_ROWS) score_some(a, top, i, j, SCORE_ROWS, panels);
    for (; i < a->n; i++) score_some(a, top, i, j, 1, panels);
}

// Some panels of keys stay in the first-level cache for all queries.
static void FN(score_rows)(const query_rows *a) {
    f32x16 top[SCORE_QUERIES];
    int64_t j = 0;
    for (int64_t i = 0; i < a->n; i++) top[i] = v_set(-INFINITY);
    for (; j + 16 * (SCORE_PANELS - 1) < a->len; j += 16 * SCORE_PANELS)
        score_panels(a, top, j, SCORE_PANELS);
    for (; j < a->len; j += 16) score_panels(a, top, j, 1);
    for (int64_t i = 0; i < a->n; i++) a->max[i] = v_top(top[i]);
}

// ---- weights ----

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
    .score_rows = FN(score_rows),
    .scores = FN(scores),
    .softmax = FN(softmax),
    .weigh = FN(weigh),
};
