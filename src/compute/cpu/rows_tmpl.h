// rows_tmpl.h - template: kernels along one row: norms, rounding to 8 bits, sums, widening.

// ---- norms ----

// sum16 of acc and the last n values of x: of x[i], or of (x[i] - less)^2 when square. Lanes past
// the end are left out, because adding 0 would turn -0 into +0.
static float FN(sum_of_rest)(f32x16 acc, const float *x, int64_t n, float less, bool square) {
    float lane[16];
    v_store(lane, acc);
    for (int64_t i = 0; i < n; i++) {
        float c = x[i] - less;
        lane[i] = square ? fmaf(c, c, lane[i]) : lane[i] + x[i];
    }
    return v_sum(v_load(lane));
}

static float FN(sum_of)(const float *x, int64_t d) {
    f32x16 acc = v_set(0.0f);
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) acc = v_add(acc, v_load(x + i));
    return i == d ? v_sum(acc) : FN(sum_of_rest)(acc, x + i, d - i, 0, false);
}

static float FN(sum_of_squares)(const float *x, int64_t d, float less) {
    f32x16 acc = v_set(0.0f), m = v_set(less);
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        f32x16 c = v_sub(v_load(x + i), m);
        acc = v_fma(c, c, acc);
    }
    return i == d ? v_sum(acc) : FN(sum_of_rest)(acc, x + i, d - i, less, true);
}

static void FN(layer_norm)(float *y, const float *x, const float *w, const float *b, int64_t d,
                           float eps) {
    float mean = FN(sum_of)(x, d) / (float)d;
    float scale = 1.0f / sqrtf(FN(sum_of_squares)(x, d, mean) / (float)d + eps);
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        f32x16 c = v_mul(v_sub(v_load(x + i), v_set(mean)), v_set(scale));
        v_store(y + i, v_fma(c, v_load(w + i), v_load(b + i)));
    }
    for (; i < d; i++) y[i] = fmaf((x[i] - mean) * scale, w[i], b[i]);
}

static void FN(rms_norm)(float *y, const float *x, const float *w, int64_t d, float eps) {
    float scale = 1.0f / sqrtf(FN(sum_of_squares)(x, d, 0) / (float)d + eps);
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        v_store(y + i, v_mul(v_mul(v_load(x + i), v_set(scale)), v_load(w + i)));
    }
    for (; i < d; i++) y[i] = (x[i] * scale) * w[i];
}

// ---- rounding to 8 bits ----

// Rounds n values of x, of which 32 count at most, to 8 bits. Returns the sum of these.
INLINE int32_t quantise32(int8_t *q, const float *x, int64_t n, f32x16 by) {
    f32x16 zero = v_set(0.0f), lo = zero, hi = zero;
    if (n >= 32) {
        lo = v_quantum(v_mul(v_load(x), by)), hi = v_quantum(v_mul(v_load(x + 16), by));
    } else if (n > 0) {
        int64_t first = MIN(16, n);
        lo = v_first_n(v_quantum(v_mul(v_load_n(x, first), by)), zero, first);
        if (n > 16) hi = v_first_n(v_quantum(v_mul(v_load_n(x + 16, n - 16), by)), zero, n - 16);
    }
    v_bytes(q, lo, hi);
    return (int32_t)v_sum(v_add(lo, hi)); // exact: the sum is at most 32 * 127
}

static void FN(quantise)(qblock *out, const float *x, int64_t cols) {
    for (int64_t from = 0; from < cols; from += QUANT_BLOCK, out++) {
        const int64_t n = MIN(QUANT_BLOCK, cols - from);
        const float m = v_largest(x + from, n);
        const f32x16 by = v_set(m > 0.0f ? 127.0f / m : 0.0f);
        int32_t sum = 0;
        for (int64_t i = 0; i < QUANT_BLOCK; i += QUANT_SUB) {
            int32_t s = quantise32(out->q + i, x + from + i, n - i, by);
            out->less8[i / 32 % 4][i / 128] = (int16_t)(-8 * s), sum += s;
        }
        out->scale = m * (1.0f / 127.0f);
        out->less128 = -128 * sum;
    }
}

static void FN(quantise_row)(int8_t *q, float *unit, const float *x, int64_t n) {
    float m = v_largest(x, n);
    f32x16 by = v_set(m > 0.0f ? 127.0f / m : 0.0f);
    *unit = m * (1.0f / 127.0f);
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        f32x16 lo = v_load(x + i), hi = v_load(x + i + 16);
        v_bytes(q + i, v_quantum(v_mul(lo, by)), v_quantum(v_mul(hi, by)));
    }
    for (; i < n; i += 16) {
        int8_t both[32];
        f32x16 rest = v_quantum(v_mul(v_load_n(x + i, MIN(16, n - i)), by));
        v_bytes(both, rest, rest);
        memcpy(q + i, both, (size_t)MIN(16, n - i));
    }
}

// ---- value by value ----

static void FN(add)(float *y, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_add(v_load(y + i), v_load(x + i)));
    for (; i < n; i++) y[i] = y[i] + x[i];
}

static void FN(gate)(float *y, const float *x, const float *g, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        f32x16 by = v_load(g + i);
        v_store(y + i, v_mul(v_load(x + i), v_mul(by, v_sigmoid(by))));
    }
    if (i == n) return;
    f32x16 by = v_load_n(g + i, n - i);
    v_store_n(y + i, v_mul(v_load_n(x + i, n - i), v_mul(by, v_sigmoid(by))), n - i);
}

static void FN(snake)(float *y, const float *x, const float *a, const float *by, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        f32x16 v = v_load(x + i);
        v_store(y + i, v_fma(v_sin2(v_mul(v_load(a + i), v)), v_load(by + i), v));
    }
    if (i == n) return;
    f32x16 v = v_load_n(x + i, n - i), s = v_sin2(v_mul(v_load_n(a + i, n - i), v));
    v_store_n(y + i, v_fma(s, v_load_n(by + i, n - i), v), n - i);
}

INLINE void widen_as(float *out, const uint8_t *p, int64_t n, const dtype type) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(out + i, v_read(p + (size_t)i * type_size(type), type));
    if (i < n) v_store_n(out + i, v_read_n(p + (size_t)i * type_size(type), type, n - i), n - i);
}

static void FN(widen)(float *out, const void *p, dtype type, int64_t n) {
    switch (type) {
    case DT_F32: widen_as(out, p, n, DT_F32); break;
    case DT_BF16: widen_as(out, p, n, DT_BF16); break;
    default: widen_as(out, p, n, DT_F16); break;
    }
}

static const kern_norms FN(norms) = {
    .layer_norm = FN(layer_norm),
    .rms_norm = FN(rms_norm),
};

static const kern_rows FN(rows) = {
    .quantise = FN(quantise),
    .quantise_row = FN(quantise_row),
    .add = FN(add),
    .gate = FN(gate),
    .snake = FN(snake),
    .widen = FN(widen),
};
