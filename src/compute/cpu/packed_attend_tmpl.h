// packed_attend_tmpl.h - template: attention over keys and values of 8 bits (kvpack.h).
//
// Keys are the weight rows in the lanes of a register; of values the columns are.

// Vectors in two 8-bit digits: x[i] is nearly unit * (128*hi[i] + lo[i]), and 0 past the end. It
// holds queries (`width` values a head), or the probabilities of KVPACK_RUN rows a head.
typedef struct {
    float unit[KVPACK_HEADS];
    int32_t less8[KVPACK_HEADS][2]; // qblock's less8 of hi and of lo
    int8_t hi[KVPACK_HEADS * KVPACK_RUN], lo[KVPACK_HEADS * KVPACK_RUN];
} digits;

// Splits sixteen values into digits and adds these to sum[0] (hi) and sum[1] (lo).
INLINE void digits16(int8_t *hi, int8_t *lo, f32x16 sum[2], f32x16 x, f32x16 by) {
    f32x16 t = v_mul(x, by), h = v_quantum(t), l = v_quantum(v_mul(v_sub(t, h), v_set(128.0f)));
    int8_t both[32];
    v_bytes(both, h, l);
    memcpy(hi, both, 16), memcpy(lo, both + 16, 16);
    sum[0] = v_add(sum[0], h), sum[1] = v_add(sum[1], l);
}

// Splits the n values x of head h into digits, from index `at` on.
INLINE void digits_of(digits *d, int64_t h, int64_t at, const float *x, int64_t n) {
    float m = v_largest(x, n);
    f32x16 by = v_set(127.0f / (m > DIGITS_LEAST ? m : DIGITS_LEAST));
    f32x16 sum[2] = {v_set(0.0f), v_set(0.0f)};
    int8_t *hi = d->hi + at, *lo = d->lo + at;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) digits16(hi + i, lo + i, sum, v_load(x + i), by);
    if (i < n) digits16(hi + i, lo + i, sum, v_load_n(x + i, n - i), by);
    d->unit[h] = m * (1.0f / 16256.0f);
    d->less8[h][0] = -8 * (int32_t)v_sum(sum[0]); // exact: at most KVPACK_WIDTH * 127
    d->less8[h][1] = -8 * (int32_t)v_sum(sum[1]);
}

// 128 * hi + lo, rounded once. Both sums are below 2^24, so they are exact as f32.
INLINE f32x16 digits_join(i32x16 hi, i32x16 lo) {
    return v_fma(i_float(hi), v_set(128.0f), i_float(lo));
}

// Distance from the panels of row `row` to the panels to prefetch, KVPACK_HEADS heads ahead. Past
// the last panel these are the first ones of k->next.
INLINE ptrdiff_t panels_ahead(const kv_panels *k, int64_t row) {
    int64_t n = (k->len + KVPACK_ROWS - 1) / KVPACK_ROWS, at = row / KVPACK_ROWS;
    int64_t to = at + MIN(n, KVPACK_HEADS / k->heads);
    const uint8_t *p = to < n ? k->p + to * k->stride : k->next + (to - n) * k->stride;
    return p - (k->p + at * k->stride);
}

// Scores of head h and the sixteen keys of a panel, without the query's unit.
INLINE f32x16 qscores16(const digits *q, int64_t h, const uint8_t *panel, ptrdiff_t ahead,
                        kern_fetch_into into, const int64_t width) {
    i32x16 hi = i_start(q->less8[h][0], 4), lo = i_start(q->less8[h][1], 4);
    const uint8_t *k = panel + KVPACK_ROWS * 4;
    const int8_t *q_hi = q->hi + h * width, *q_lo = q->lo + h * width;
    UNROLLED
    for (int64_t i = 0; i < width; i += 4) {
        u8x64 w = w_q8(w_load(k + 16 * i));
        kern_fetch(k + 16 * i + ahead, 1, 0, into);
        hi = i_dot(hi, w, four(q_hi + i));
        lo = i_dot(lo, w, four(q_lo + i));
    }
    return v_mul(digits_join(hi, lo), v_load((const float *)(const void *)panel));
}

// Scores of all heads and the sixteen keys from `row` on; top: the largest so far of each head.
INLINE void qscores_rows(float *s, f32x16 *top, const digits *q, const kv_panels *k, int64_t row,
                         float scale, const int64_t width) {
    const uint8_t *panel = k->p + row / KVPACK_ROWS * k->stride;
    const ptrdiff_t ahead = panels_ahead(k, row);
    const int64_t rest = k->len - row;
    for (int64_t h = 0; h < k->heads; h++, panel += kvpack_panel_size(width)) {
        __builtin_prefetch(k->next + (panel - k->p)); // units of the values: they are read first
        f32x16 v = qscores16(q, h, panel, ahead, k->prefetch, width);
        v = v_mul(v, v_set(q->unit[h] * scale));
        f32x16 both = v_max(top[h], v);
        if (rest < 16)
            v = v_first_n(v, v_set(-INFINITY), rest), both = v_first_n(both, top[h], rest);
        v_store(s + h * k->lds + row, v);
        top[h] = both;
    }
}

INLINE void qscores_as(float *s, float *max, const float *q, const kv_panels *k, float scale,
                       const int64_t width) {
    digits d;
    f32x16 top[KVPACK_HEADS];
    for (int64_t h = 0; h < k->heads; h++) {
        digits_of(&d, h, h * width, q + h * k->dh, k->dh);
        top[h] = v_set(-INFINITY);
    }
    for (int64_t j = 0; j < k->len; j += 16) qscores_rows(s, top, &d, k, j, scale, width);
    for (int64_t h = 0; h < k->heads; h++) max[h] = v_top(top[h]);
}

static void FN(qscores)(float *s, float *max, const float *q, const kv_panels *k, float scale) {
    if (k->dh == 64) // a constant width unrolls the loops; 64 is MusicGen's
        qscores_as(s, max, q, k, scale, 64);
    else
        qscores_as(s, max, q, k, scale, kvpack_width(k->dh));
}

// ---- values ----

// The sums of sixteen columns, one for each digit.
typedef struct {
    i32x16 hi, lo;
} digit_sums;

// Adds sixteen rows to the sums of 16*cols columns. at: the first group of these columns; hi, lo:
// the digits of the rows.
INLINE void qweigh16(digit_sums *sum, const int8_t *hi, const int8_t *lo, const uint8_t *at,
                     ptrdiff_t ahead, kern_fetch_into into, const int cols, const int64_t width) {
    digit_sums acc[4];
    UNROLLED
    for (int i = 0; i < cols; i++) acc[i] = sum[i];
    UNROLLED
    for (int i = 0; i < 4 * cols; i++) {
        const uint8_t *group = at + i / cols * 4 * width + i % cols * 64;
        digit_sums *to = &acc[i % cols];
        u8x64 w = w_q8(w_load(group));
        kern_fetch(group + ahead, 1, 0, into);
        to->hi = i_dot(to->hi, w, four(hi + i / cols * 4));
        to->lo = i_dot(to->lo, w, four(lo + i / cols * 4));
    }
    UNROLLED
    for (int i = 0; i < cols; i++) sum[i] = acc[i];
}

// Adds rows row to row + 15 of every head. `in` is the index of the first in x.
INLINE void qweigh_rows(digit_sums *sum, const digits *x, const kv_panels *v, int64_t row,
                        int64_t in, const int64_t width) {
    const uint8_t *panel = v->p + row / KVPACK_ROWS * v->stride;
    const ptrdiff_t ahead = panels_ahead(v, row);
    for (int64_t h = 0; h < v->heads; h++, panel += kvpack_panel_size(width), sum += width / 16) {
        const int8_t *hi = x->hi + h * KVPACK_RUN + in, *lo = x->lo + h * KVPACK_RUN + in;
        const uint8_t *at = panel + KVPACK_ROWS * 4;
        int64_t c = 0;
        for (; c + 64 <= width; c += 64)
            qweigh16(sum + c / 16, hi, lo, at + 4 * c, ahead, v->prefetch, 4, width);
        for (; c < width; c += 16)
            qweigh16(sum + c / 16, hi, lo, at + 4 * c, ahead, v->prefetch, 1, width);
    }
}

// Splits the weights of head h and its n rows from `row` on, times their units, into digits.
INLINE void qweigh_digits(digits *x, const float *s, const kv_panels *v, int64_t h, int64_t row,
                          int64_t n) {
    const uint8_t *panel = v->p + row / KVPACK_ROWS * v->stride + h * kvpack_panel_size(v->dh);
    float e[KVPACK_RUN];
    s += h * v->lds + row;
    for (int64_t j = 0; j < n; j += 16, panel += v->stride) {
        f32x16 unit = v_load((const float *)(const void *)panel), by = v_load(s + j);
        v_store(e + j, v_pick(v_set(0.0f), by, v_mul(by, unit), v_set(0.0f)));
    }
    digits_of(x, h, h * KVPACK_RUN, e, (n + 15) / 16 * 16);
}

// Adds one run of rows, from `row` on, to total [heads, width].
INLINE void qweigh_run(float *total, const float *s, const kv_panels *v, int64_t row,
                       const int64_t width) {
    const int64_t n = MIN(KVPACK_RUN, v->len - row), cols = width / 16;
    digit_sums sum[KVPACK_WIDTH / 16];
    digits x;
    for (int64_t h = 0; h < v->heads; h++) {
        qweigh_digits(&x, s, v, h, row, n);
        for (int64_t c = 0; c < cols; c++) {
            sum[h * cols + c].hi = i_start(x.less8[h][0], 4);
            sum[h * cols + c].lo = i_start(x.less8[h][1], 4);
        }
    }
    for (int64_t j = 0; j < n; j += 16) qweigh_rows(sum, &x, v, row + j, j, width);
    for (int64_t i = 0; i < v->heads * cols; i++) {
        f32x16 exact = digits_join(sum[i].hi, sum[i].lo), unit = v_set(x.unit[i / cols]);
        v_store(total + 16 * i, v_fma(exact, unit, v_load(total + 16 * i)));
    }
}

static void FN(qweigh)(float *out, const float *s, const kv_panels *v, const float *by) {
    const int64_t width = kvpack_width(v->dh);
    float total[KVPACK_WIDTH] = {0};
    for (int64_t j = 0; j < v->len; j += KVPACK_RUN) {
        if (v->dh == 64) // as in qscores
            qweigh_run(total, s, v, j, 64);
        else
            qweigh_run(total, s, v, j, width);
    }
    for (int64_t h = 0; h < v->heads; h++) {
        for (int64_t c = 0; c < v->dh; c += 16) {
            f32x16 a = v_mul(v_load(total + h * width + c), v_set(by[h]));
            v_store_n(out + h * v->dh + c, a, MIN(16, v->dh - c));
        }
    }
}

static const kern_packed_attention FN(packed_attention) = {
    .scores = FN(qscores),
    .weigh = FN(qweigh),
};
