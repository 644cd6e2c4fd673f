// kern_chain.h - products as chains of fma, sixteen weight rows in vector lanes; after kern_body.h.
//
// The including file defines, besides v16,
//   v_put_bf16(p, a)    sixteen values, none of them denormal, rounded to bf16 as f32_to_bf16
//   vpair               sixteen pairs of bf16
//   vp_load(p)
//   vp_all(p)           one pair in every lane
//   vp_dot(acc, a, b)   lane + product of second values, then + product of first values
//   With V_PAIR_HALVES it defines these instead of the four above:
//   v_odd(p) v_even(p)  second and first values of sixteen pairs, widened
//   CHAIN_PANELS, CHAIN_X       panels (4, 2 or 1) and x rows of the largest tile
//   CHAIN_SHAPES and CHAIN_ALL  its functions
#pragma once

#ifdef V_PAIR_HALVES
typedef struct {
    v16 odd, even;
} vpair;

INLINE vpair vp_load(const uint16_t *p) {
    return (vpair){v_odd(p), v_even(p)};
}

INLINE vpair vp_all(const uint16_t *p) {
    return (vpair){v_set(bf16_to_f32(p[1])), v_set(bf16_to_f32(p[0]))};
}

INLINE v16 vp_dot(v16 acc, vpair a, vpair b) {
    return v_fma(a.even, b.even, v_fma(a.odd, b.odd, acc));
}
#endif

#define CHAIN_SUMS (CHAIN_PANELS * CHAIN_X)
#define CHAIN_ROWS 3 // of y that a window gives at most

// One column of f32 or two of bf16: 64 bytes of each panel.
INLINE void chain_step_f32(v16 *acc, const uint8_t *w, size_t panel, const float *x, int64_t ldx,
                           const int panels, const int nx) {
    v16 wv[CHAIN_PANELS];
    UNROLLED
    for (int p = 0; p < panels; p++) wv[p] = v_load((const float *)(const void *)(w + p * panel));
    UNROLLED
    for (int j = 0; j < nx; j++) {
        v16 xv = v_set(x[j * ldx]);
        UNROLLED
        for (int p = 0; p < panels; p++) {
            acc[j * panels + p] = v_fma(wv[p], xv, acc[j * panels + p]);
        }
    }
}

INLINE void chain_step_bf16(v16 *acc, const uint8_t *w, size_t panel, const uint16_t *x,
                            int64_t ldx, const int panels, const int nx) {
    vpair wv[CHAIN_PANELS];
    UNROLLED
    for (int p = 0; p < panels; p++)
        wv[p] = vp_load((const uint16_t *)(const void *)(w + p * panel));
    UNROLLED
    for (int j = 0; j < nx; j++) {
        vpair xv = vp_all(x + j * ldx);
        UNROLLED
        for (int p = 0; p < panels; p++) {
            acc[j * panels + p] = vp_dot(acc[j * panels + p], wv[p], xv);
        }
    }
}

// cols columns of x rows, ldx apart.
INLINE void chain_sums(v16 *acc, const uint8_t *w, size_t panel, const void *x, int64_t ldx,
                       int64_t cols, const int panels, const int nx, const dtype type) {
    if (type == DT_F32) {
        const float *f = x;
        for (int64_t c = 0; c < cols; c++, w += 64) {
            chain_step_f32(acc, w, panel, f + c, ldx, panels, nx);
        }
        return;
    }
    const uint16_t *h = x;
    int64_t c = 0;
    for (; c + 2 <= cols; c += 2, w += 64) {
        chain_step_bf16(acc, w, panel, h + c, ldx, panels, nx);
    }
    if (c == cols) return;
    uint16_t last[CHAIN_X][2] = {0}; // what lies behind the last value is not ours
    for (int j = 0; j < nx; j++) last[j][0] = h[j * ldx + c];
    chain_step_bf16(acc, w, panel, last[0], 2, panels, nx);
}

INLINE v16 v_not_tiny(v16 x) {
    return v_pick(v_abs(x), v_set(CHAIN_TINY), v_set(0.0f), x);
}

// n values, at most sixteen.
INLINE void put_bf16(void *y, v16 x, int64_t n) {
    uint16_t t[16];
    v_put_bf16(n == 16 ? y : t, x);
    if (n < 16) memcpy(y, t, (size_t)n * sizeof *t);
}

INLINE v16 pack16(v16 x, bool elu_first) {
    return v_not_tiny(elu_first ? v_elu(x) : x);
}

static void pack(uint16_t *y, const float *x, int64_t n, bool elu_first) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) v_put_bf16(y + i, pack16(v_load(x + i), elu_first));
    if (i < n) put_bf16(y + i, pack16(v_load_n(x + i, n - i), elu_first), n - i);
}

// Sixteen columns of all windows: rows that two windows share are read once.
INLINE void winograd_cols(const winograd_args *a, int64_t col, const int step, const bool elu_first,
                          const dtype type) {
    v16 d[CHAIN_TILE];
    const float *const *row = a->rows;
    int64_t to = col;
    UNROLLED
    for (int j = 0; j < CHAIN_TILE - step; j++) {
        d[j] = v_load(*row++ + col);
        if (elu_first) d[j] = v_elu(d[j]);
    }
    for (int64_t g = 0; g < a->n; g++) {
        UNROLLED
        for (int j = CHAIN_TILE - step; j < CHAIN_TILE; j++) {
            d[j] = v_load(*row++ + col);
            if (elu_first) d[j] = v_elu(d[j]);
        }
        const v16 e[CHAIN_TILE] = {v_sub(d[0], d[2]), v_add(d[1], d[2]), v_sub(d[2], d[1]),
                                   v_sub(d[3], d[1])};
        UNROLLED
        for (int j = 0; j < CHAIN_TILE; j++, to += a->cols) {
            if (type == DT_F32)
                v_store((float *)a->y + to, e[j]);
            else
                v_put_bf16((uint16_t *)a->y + to, v_not_tiny(e[j]));
        }
        UNROLLED
        for (int j = 0; j < CHAIN_TILE - step; j++) d[j] = d[j + step];
    }
}

INLINE void winograd_as(const winograd_args *a, const bool elu_first, const dtype type) {
    for (int64_t col = 0; col < a->cols; col += 16) {
        if (a->step == 3)
            winograd_cols(a, col, 3, elu_first, type);
        else
            winograd_cols(a, col, 2, elu_first, type);
    }
}

static void winograd(const winograd_args *a) {
    if (a->elu && a->type == DT_BF16)
        winograd_as(a, true, DT_BF16);
    else if (a->elu)
        winograd_as(a, true, DT_F32);
    else if (a->type == DT_BF16)
        winograd_as(a, false, DT_BF16);
    else
        winograd_as(a, false, DT_F32);
}

// Lane by lane of one panel: its bias, how many of its weight rows there are, and its rows of y.
typedef struct {
    v16 bias;
    int64_t n;
    uint8_t *y; // of the first x row
    size_t step;
} put_lanes;

// One panel's sums, `width` apart from x row to x row, as results.
INLINE void put_sums(const put_lanes *l, const float *sums, int64_t width, int64_t nx,
                     const activation act, const bool add, const dtype to) {
    uint8_t *y = l->y;
    for (int64_t j = 0; j < nx; j++, sums += width, y += l->step) {
        float *f = (float *)(void *)y;
        v16 v = v_activate(v_add(v_load(sums), l->bias), act);
        if (to == DT_BF16) {
            put_bf16(y, v_not_tiny(v), l->n);
        } else if (l->n == 16) {
            v_store(f, add ? v_add(v_load(f), v) : v);
        } else {
            v_store_n(f, add ? v_add(v_load_n(f, l->n), v) : v, l->n);
        }
    }
}

// Inlined are the ways to finish that the codec spends its time with.
static bool put_known(const chain_args *a, const put_lanes *l, const float *sums, int64_t width,
                      int64_t nx) {
    if (a->act == ACT_NONE && a->y_type == DT_F32 && !a->add)
        put_sums(l, sums, width, nx, ACT_NONE, false, DT_F32);
    else if (a->act == ACT_NONE && a->y_type == DT_F32)
        put_sums(l, sums, width, nx, ACT_NONE, true, DT_F32);
    else if (a->act == ACT_ELU && a->y_type == DT_F32 && !a->add)
        put_sums(l, sums, width, nx, ACT_ELU, false, DT_F32);
    else if (a->act == ACT_ELU && a->y_type == DT_BF16)
        put_sums(l, sums, width, nx, ACT_ELU, false, DT_BF16);
    else
        return false;
    return true;
}

static void put_any(const chain_args *a, const put_lanes *l, const float *bias, const float *sums,
                    int64_t width, int64_t nx) {
    uint8_t *y = l->y;
    for (int64_t j = 0; j < nx; j++, sums += width, y += l->step) {
        float out[16];
        float *f = a->y_type == DT_BF16 ? out : (float *)(void *)y;
        finish(f, sums, bias, l->n, a->act, a->add);
        if (f == out) pack((uint16_t *)(void *)y, out, l->n, false);
    }
}

// Sums [nx, width] become results, rows from `from` on, of weight rows from `row` on.
static void put_tile(const chain_args *a, int64_t row, int64_t from, const float *sums,
                     int64_t width, int64_t nx) {
    size_t size = a->y_type == DT_BF16 ? sizeof(uint16_t) : sizeof(float);
    for (int64_t r = row; r < MIN(row + width, a->rows); r += 16, sums += 16) {
        const float *bias = a->bias ? a->bias + r : NULL;
        put_lanes l = {.n = MIN(16, a->rows - r), .step = (size_t)a->ldy * size};
        l.y = (uint8_t *)a->y + (size_t)from * l.step + (size_t)r * size;
        if (bias) l.bias = l.n == 16 ? v_load(bias) : v_load_n(bias, l.n);
        if (!bias || !put_known(a, &l, sums, width, nx)) put_any(a, &l, bias, sums, width, nx);
    }
}

// The four products of nx windows, [4][nx, width] in memory that has room for CHAIN_SUMS vectors
// each, become rows of y [nx, rows, width].
static void join_tiles(float *y, const float *p, int64_t width, int64_t nx, int rows) {
    for (int64_t j = 0; j < nx; j++, y += (rows - 1) * width, p += width) {
        for (int64_t c = 0; c < width; c += 16, y += 16) {
            v16 v[CHAIN_TILE];
            UNROLLED
            for (int i = 0; i < CHAIN_TILE; i++) v[i] = v_load(p + i * CHAIN_SUMS * 16 + c);
            v16 even = v_add(v[1], v[2]), odd = v_sub(v[1], v[2]);
            v_store(y, v_add(v[0], even));
            v_store(y + width, rows == 2 ? v_add(odd, v[3]) : odd);
            if (rows == 3) v_store(y + 2 * width, v_add(even, v[3]));
        }
    }
}

// Rows of y that one x row, or one window, gives.
INLINE int64_t rows_each(const chain_args *a) {
    return a->taps ? CHAIN_TILE + 1 - a->taps : 1;
}

static void put_tiles(const chain_args *a, int64_t row, int64_t from, const float *sums,
                      int64_t width, int64_t nx) {
    int64_t rows = rows_each(a);
    float y[CHAIN_ROWS * CHAIN_SUMS * 16];
    join_tiles(y, sums, width, nx, (int)rows);
    put_tile(a, row, from * rows, y, width, MIN(nx * rows, a->n - from * rows));
}

// Weight rows from `row` on against x rows from `from` on. Always inlined with constant shape.
INLINE void chain_tile(const chain_args *a, int64_t row, int64_t from, const int panels,
                       const int nx, const dtype type) {
    size_t panel = (size_t)(type == DT_F32 ? a->cols : (a->cols + 1) / 2) * 64;
    const uint8_t *w = (const uint8_t *)a->w + (size_t)(row / 16) * panel;
    const uint8_t *x = (const uint8_t *)a->x + (size_t)(from * a->ldx) * (type == DT_F32 ? 4 : 2);
    int products = a->taps ? CHAIN_TILE : 1;
    // Through memory: the ways to finish, inlined here, would cost the loop above its registers.
    float out[CHAIN_TILE * CHAIN_SUMS * 16];
    for (int i = 0; i < products; i++) {
        v16 acc[CHAIN_SUMS];
        UNROLLED
        for (int s = 0; s < panels * nx; s++) acc[s] = v_set(0.0f);
        chain_sums(acc, w, panel, x, a->ldx, a->cols / products, panels, nx, type);
        UNROLLED
        for (int s = 0; s < panels * nx; s++) v_store(out + (i * CHAIN_SUMS + s) * 16, acc[s]);
        w += panel / (size_t)products;
        x += (size_t)(a->cols / products) * (type == DT_F32 ? 4 : 2);
    }
    if (a->taps)
        put_tiles(a, row, from, out, 16 * panels, nx);
    else
        put_tile(a, row, from, out, 16 * panels, nx);
}

typedef void (*chain_fn)(const chain_args *a, int64_t row, int64_t from);

#define CHAIN_FN(panels, nx)                                                                       \
    static void chain_##panels##_##nx##_f32(const chain_args *a, int64_t row, int64_t from) {      \
        chain_tile(a, row, from, panels, nx, DT_F32);                                              \
    }                                                                                              \
    static void chain_##panels##_##nx##_bf16(const chain_args *a, int64_t row, int64_t from) {     \
        chain_tile(a, row, from, panels, nx, DT_BF16);                                             \
    }
#define CHAIN_NAME(panels, nx)                                                                     \
    { chain_##panels##_##nx##_f32, chain_##panels##_##nx##_bf16 }

CHAIN_SHAPES // CHAIN_FN(panels, 1 to CHAIN_X), for CHAIN_PANELS and half of it down to 1

    static const chain_fn chain_fns[][CHAIN_X][2] = {CHAIN_ALL};

// A group of panels stays in cache while all x rows pass over it, in tiles of nearly equal width.
static void chain(const chain_args *a) {
    if (a->n < 1) return;
    int64_t n = (a->n + rows_each(a) - 1) / rows_each(a); // x rows, or windows
    int64_t tiles = (n + CHAIN_X - 1) / CHAIN_X, left = (a->rows + 15) / 16, row = 0;
    for (int kind = 0, panels = CHAIN_PANELS; left > 0; kind++, panels /= 2) {
        for (; left >= panels; left -= panels, row += 16 * panels) {
            for (int64_t t = 0; t < tiles; t++) {
                int64_t from = n * t / tiles, nx = n * (t + 1) / tiles - from;
                chain_fns[kind][nx - 1][a->type == DT_BF16](a, row, from);
            }
        }
    }
}
