// conv_tmpl.h - template: the kernels of the codec: products and Winograd tiles of chain.h, LSTM.
//
// A block of a product is 1, 2 or 4 panels of sixteen weight rows times some rows of x, whose sums
// all stay in registers. The level lists the blocks it has as CHAIN_BLOCKS(F): F(panels, x rows).
//
// bf16x32 is sixteen pairs of bf16. p_all: one pair in every lane. p_dot(acc, a, b): each lane plus
// the product of its second values, then plus that of its first values.
#if !defined(CHAIN_BLOCKS)
#error "define CHAIN_BLOCKS before conv_tmpl.h, as kern_avx2.c does"
#endif

#ifndef HAVE_BF16_PAIRS // else vec_*.h has the processor's own
typedef struct {
    f32x16 odd, even;
} bf16x32;

INLINE bf16x32 p_load(const uint16_t *p) {
    return (bf16x32){v_odd(p), v_even(p)};
}

INLINE bf16x32 p_all(const uint16_t *p) {
    return (bf16x32){v_set(bf16_to_f32(p[1])), v_set(bf16_to_f32(p[0]))};
}

INLINE f32x16 p_dot(f32x16 acc, bf16x32 a, bf16x32 b) {
    return v_fma(a.even, b.even, v_fma(a.odd, b.odd, acc));
}
#endif

#define CHAIN_ONE(panels, nx) +((panels) == 1)
#define CHAIN_FOUR(panels, nx) +((panels) == 4)
enum {
    CHAIN_X = 0 CHAIN_BLOCKS(CHAIN_ONE),
    CHAIN_PANELS = (0 CHAIN_BLOCKS(CHAIN_FOUR)) ? 4 : 1,
    CHAIN_SUMS = CHAIN_PANELS * CHAIN_X,
    CHAIN_ROWS = 3, // the most rows of y that a Winograd tile gives
};

// Adds one column of f32 weights: 64 bytes of each panel.
INLINE void chain_step_f32(f32x16 *acc, const uint8_t *w, size_t panel, const float *x, int64_t ldx,
                           const int panels, const int nx) {
    f32x16 wv[CHAIN_PANELS];
    UNROLLED
    for (int p = 0; p < panels; p++) wv[p] = v_load((const float *)(const void *)(w + p * panel));
    UNROLLED
    for (int j = 0; j < nx; j++) {
        f32x16 xv = v_set(x[j * ldx]);
        UNROLLED
        for (int p = 0; p < panels; p++) {
            acc[j * panels + p] = v_fma(wv[p], xv, acc[j * panels + p]);
        }
    }
}

// Adds two columns of bf16 weights: 64 bytes of each panel.
INLINE void chain_step_bf16(f32x16 *acc, const uint8_t *w, size_t panel, const uint16_t *x,
                            int64_t ldx, const int panels, const int nx) {
    bf16x32 wv[CHAIN_PANELS];
    UNROLLED
    for (int p = 0; p < panels; p++)
        wv[p] = p_load((const uint16_t *)(const void *)(w + p * panel));
    UNROLLED
    for (int j = 0; j < nx; j++) {
        bf16x32 xv = p_all(x + j * ldx);
        UNROLLED
        for (int p = 0; p < panels; p++) {
            acc[j * panels + p] = p_dot(acc[j * panels + p], wv[p], xv);
        }
    }
}

// Adds `cols` columns. Rows of x lie ldx values apart.
INLINE void chain_sums(f32x16 *acc, const uint8_t *w, size_t panel, const void *x, int64_t ldx,
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
    uint16_t last[CHAIN_X][2] = {0}; // memory past the last value may belong to another row
    for (int j = 0; j < nx; j++) last[j][0] = h[j * ldx + c];
    chain_step_bf16(acc, w, panel, last[0], 2, panels, nx);
}

// x, and 0 where |x| is below CHAIN_TINY.
INLINE f32x16 v_not_tiny(f32x16 x) {
    return v_pick(v_abs(x), v_set(CHAIN_TINY), v_set(0.0f), x);
}

// Stores the first n values of x, at most sixteen, as bf16.
INLINE void put_bf16(void *y, f32x16 x, int64_t n) {
    uint16_t t[16];
    v_put_bf16(n == 16 ? y : t, x);
    if (n < 16) memcpy(y, t, (size_t)n * sizeof *t);
}

INLINE f32x16 pack16(f32x16 x, bool elu_first) {
    return v_not_tiny(elu_first ? v_elu(x) : x);
}

static void FN(pack)(uint16_t *y, const float *x, int64_t n, bool elu_first) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) v_put_bf16(y + i, pack16(v_load(x + i), elu_first));
    if (i < n) put_bf16(y + i, pack16(v_load_n(x + i, n - i), elu_first), n - i);
}

// Transforms sixteen columns of all tiles. A row that two tiles share is read once.
INLINE void winograd_cols(const winograd_args *a, int64_t col, const int step, const bool elu_first,
                          const dtype type) {
    f32x16 d[CHAIN_TILE];
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
        const f32x16 e[CHAIN_TILE] = {v_sub(d[0], d[2]), v_add(d[1], d[2]), v_sub(d[2], d[1]),
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

static void FN(winograd)(const winograd_args *a) {
    if (a->elu && a->type == DT_BF16)
        winograd_as(a, true, DT_BF16);
    else if (a->elu)
        winograd_as(a, true, DT_F32);
    else if (a->type == DT_BF16)
        winograd_as(a, false, DT_BF16);
    else
        winograd_as(a, false, DT_F32);
}

// Where the sums of one panel go.
typedef struct {
    f32x16 bias;
    int64_t n;   // weight rows of the panel that exist
    uint8_t *y;  // the first row of y
    size_t step; // bytes from one row of y to the next
} put_lanes;

// Finishes the sums of one panel and stores them. Sums of the next row of y lie `width` further on.
INLINE void put_sums(const put_lanes *l, const float *sums, int64_t width, int64_t nx,
                     const activation act, const bool add, const dtype to) {
    uint8_t *y = l->y;
    for (int64_t j = 0; j < nx; j++, sums += width, y += l->step) {
        float *f = (float *)(void *)y;
        f32x16 v = v_activate(v_add(v_load(sums), l->bias), act);
        if (to == DT_BF16) {
            put_bf16(y, v_not_tiny(v), l->n);
        } else if (l->n == 16) {
            v_store(f, add ? v_add(v_load(f), v) : v);
        } else {
            v_store_n(f, add ? v_add(v_load_n(f, l->n), v) : v, l->n);
        }
    }
}

// Finishes in one of the ways that the codec uses most, each with code of its own. False: another
// way.
static bool FN(put_known)(const chain_args *a, const put_lanes *l, const float *sums, int64_t width,
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

// Finishes in any way.
static void FN(put_any)(const chain_args *a, const put_lanes *l, const float *bias,
                        const float *sums, int64_t width, int64_t nx) {
    uint8_t *y = l->y;
    for (int64_t j = 0; j < nx; j++, sums += width, y += l->step) {
        float out[16];
        float *f = a->y_type == DT_BF16 ? out : (float *)(void *)y;
        FN(finish)(f, sums, bias, l->n, a->act, a->add);
        if (f == out) FN(pack)((uint16_t *)(void *)y, out, l->n, false);
    }
}

// Finishes sums [nx, width] into rows `from` on of y. Their weight rows begin at `row`.
static void FN(put_tile)(const chain_args *a, int64_t row, int64_t from, const float *sums,
                         int64_t width, int64_t nx) {
    size_t size = a->y_type == DT_BF16 ? sizeof(uint16_t) : sizeof(float);
    for (int64_t r = row; r < MIN(row + width, a->rows); r += 16, sums += 16) {
        const float *bias = a->bias ? a->bias + r : NULL;
        put_lanes l = {.n = MIN(16, a->rows - r), .step = (size_t)a->ldy * size};
        l.y = (uint8_t *)a->y + (size_t)from * l.step + (size_t)r * size;
        if (bias) l.bias = l.n == 16 ? v_load(bias) : v_load_n(bias, l.n);
        if (!bias || !FN(put_known)(a, &l, sums, width, nx))
            FN(put_any)(a, &l, bias, sums, width, nx);
    }
}

// Turns the four products of nx Winograd tiles into rows of y [nx, rows, width]. Product i of p is
// [nx, width] and begins at i * CHAIN_SUMS * 16.
static void FN(join_tiles)(float *y, const float *p, int64_t width, int64_t nx, int rows) {
    for (int64_t j = 0; j < nx; j++, y += (rows - 1) * width, p += width) {
        for (int64_t c = 0; c < width; c += 16, y += 16) {
            f32x16 v[CHAIN_TILE];
            UNROLLED
            for (int i = 0; i < CHAIN_TILE; i++) v[i] = v_load(p + i * CHAIN_SUMS * 16 + c);
            f32x16 even = v_add(v[1], v[2]), odd = v_sub(v[1], v[2]);
            v_store(y, v_add(v[0], even));
            v_store(y + width, rows == 2 ? v_add(odd, v[3]) : odd);
            if (rows == 3) v_store(y + 2 * width, v_add(even, v[3]));
        }
    }
}

// Rows of y that one row of x, or one Winograd tile, gives.
INLINE int64_t rows_each(const chain_args *a) {
    return a->taps ? CHAIN_TILE + 1 - a->taps : 1;
}

static void FN(put_tiles)(const chain_args *a, int64_t row, int64_t from, const float *sums,
                          int64_t width, int64_t nx) {
    int64_t rows = rows_each(a);
    float y[CHAIN_ROWS * CHAIN_SUMS * 16];
    FN(join_tiles)(y, sums, width, nx, (int)rows);
    FN(put_tile)(a, row, from * rows, y, width, MIN(nx * rows, a->n - from * rows));
}

// Multiplies the weight rows from `row` on with rows of x, or Winograd tiles, from `from` on. Each
// call has constant panels, nx and type.
INLINE void chain_block(const chain_args *a, int64_t row, int64_t from, const int panels,
                        const int nx, const dtype type) {
    size_t panel = (size_t)(type == DT_F32 ? a->cols : (a->cols + 1) / 2) * 64;
    const uint8_t *w = (const uint8_t *)a->w + (size_t)(row / 16) * panel;
    const uint8_t *x = (const uint8_t *)a->x + (size_t)(from * a->ldx) * (type == DT_F32 ? 4 : 2);
    int products = a->taps ? CHAIN_TILE : 1;
    // The sums pass through memory: finishing them here would take registers from the loop below.
    float out[CHAIN_TILE * CHAIN_SUMS * 16];
    for (int i = 0; i < products; i++) {
        f32x16 acc[CHAIN_SUMS];
        UNROLLED
        for (int s = 0; s < panels * nx; s++) acc[s] = v_set(0.0f);
        chain_sums(acc, w, panel, x, a->ldx, a->cols / products, panels, nx, type);
        UNROLLED
        for (int s = 0; s < panels * nx; s++) v_store(out + (i * CHAIN_SUMS + s) * 16, acc[s]);
        w += panel / (size_t)products;
        x += (size_t)(a->cols / products) * (type == DT_F32 ? 4 : 2);
    }
    if (a->taps)
        FN(put_tiles)(a, row, from, out, 16 * panels, nx);
    else
        FN(put_tile)(a, row, from, out, 16 * panels, nx);
}

typedef void (*chain_fn)(const chain_args *a, int64_t row, int64_t from);

#define CHAIN_FN(name, panels, nx, type)                                                           \
    static void name(const chain_args *a, int64_t row, int64_t from) {                             \
        chain_block(a, row, from, panels, nx, type);                                               \
    }
#define CHAIN_FNS(panels, nx)                                                                      \
    CHAIN_FN(FN(chain_##panels##_##nx##_f32), panels, nx, DT_F32)                                  \
    CHAIN_FN(FN(chain_##panels##_##nx##_bf16), panels, nx, DT_BF16)

CHAIN_BLOCKS(CHAIN_FNS)

#define CHAIN_ENTRY(panels, nx)                                                                    \
    [panels][(nx)-1] = {FN(chain_##panels##_##nx##_f32), FN(chain_##panels##_##nx##_bf16)},

// [panels][x rows - 1][DT_F32, DT_BF16]
static const chain_fn chain_fns[CHAIN_PANELS + 1][CHAIN_X][2] = {CHAIN_BLOCKS(CHAIN_ENTRY)};

// Some panels stay in the cache while all rows of x pass over them, in blocks of nearly equal
// width.
static void FN(chain)(const chain_args *a) {
    if (a->n < 1) return;
    int64_t n = (a->n + rows_each(a) - 1) / rows_each(a); // rows of x, or Winograd tiles
    int64_t blocks = (n + CHAIN_X - 1) / CHAIN_X, left = (a->rows + 15) / 16, row = 0;
    for (int panels = CHAIN_PANELS; left > 0; panels /= 2) {
        for (; left >= panels; left -= panels, row += 16 * panels) {
            for (int64_t b = 0; b < blocks; b++) {
                int64_t from = n * b / blocks, nx = n * (b + 1) / blocks - from;
                chain_fns[panels][nx - 1][a->type == DT_BF16](a, row, from);
            }
        }
    }
}

static void FN(elu)(float *y, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_elu(v_load(x + i)));
    if (i < n) v_store_n(y + i, v_elu(v_load_n(x + i, n - i)), n - i);
}

// One step of n LSTM cells, at most sixteen.
INLINE void lstm16(float *h, float *cell, const float *z, int64_t ld, int64_t n) {
    f32x16 in = v_sigmoid(v_load_n(z, n)), forget = v_sigmoid(v_load_n(z + ld, n));
    f32x16 gate = v_tanh(v_load_n(z + 2 * ld, n)), out = v_sigmoid(v_load_n(z + 3 * ld, n));
    f32x16 c = v_fma(forget, v_load_n(cell, n), v_mul(in, gate));
    v_store_n(cell, c, n);
    v_store_n(h, v_mul(out, v_tanh(c)), n);
}

static void FN(lstm)(float *h, float *cell, const float *z, int64_t ld, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) lstm16(h + i, cell + i, z + i, ld, 16);
    if (i < n) lstm16(h + i, cell + i, z + i, ld, n - i);
}

static const kern_codec FN(codec) = {
    .chain = FN(chain),
    .winograd = FN(winograd),
    .pack = FN(pack),
    .elu = FN(elu),
    .lstm = FN(lstm),
};
