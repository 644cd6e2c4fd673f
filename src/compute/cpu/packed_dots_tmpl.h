// packed_dots_tmpl.h - template: products of weights of 8 and 4 bits (quant.h).
//
// A tile is one or two panels of sixteen weight rows times some activation rows (x rows). The level
// lists the tiles it has as PACKED_TILES(F): F(panels, x rows).
#if !defined(PACKED_TILES)
#error "define PACKED_TILES before packed_dots_tmpl.h, as kern_avx2.c does"
#endif

#define QTILE_ONE(panels, nx) +((panels) == 1)
#define QTILE_TWO(panels, nx) +((panels) == 2)
enum {
    QTILE_X = 0 PACKED_TILES(QTILE_ONE), // the most x rows of one panel,
    QPAIR_X = 0 PACKED_TILES(QTILE_TWO), // of two panels
    QTILE_PANELS = QPAIR_X ? 2 : 1
};

// Distance in bytes at which a single tile prefetches. 8192: the best of 1024 to 16384 on Zen 5.
#define QAHEAD 8192

// The operands of a tile.
typedef struct {
    const uint8_t *w;     // the first panel
    size_t panel;         // bytes of a panel: the second follows the first
    const uint8_t *ahead; // what to prefetch for each panel: `step` bytes for a line that is read
    size_t step;
    kern_fetch_into into; // where it is prefetched to
    const qblock *x;      // rows `blocks` apart
    int64_t blocks, slices;
    float *out; // rows ldo apart
    int64_t ldo;
} qtile_args;
typedef void (*qtile_fn)(const qtile_args *t);

// Lines of 64 bytes: before the slices of a block, of a slice, and of a whole block.
INLINE int qhead_lines(dtype type) {
    return type == DT_Q8 ? 1 : 2;
}
INLINE int qslice_lines(dtype type) {
    return type == DT_Q8 ? 16 : 8;
}
INLINE int qblock_lines(dtype type) {
    return qhead_lines(type) + QUANT_BLOCK / QUANT_SLICE * qslice_lines(type);
}

// Few sums are kept as two halves each, so that no product waits for the one before.
#define QHALVES(sums) ((sums) <= 4 ? 2 : 1)

// Prefetches for line n of those that are read. One line at a time: sixteen at once keep the loads
// of the products waiting.
INLINE void qahead(const uint8_t *ahead, const qtile_args *t, int n, const int panels) {
    UNROLLED
    for (int p = 0; p < panels; p++)
        kern_fetch(ahead + (size_t)n * t->step + p * t->panel, 1, 0, t->into);
}

// Adds one slice of 8-bit weights to the integer sums. Panel p has its integers at w + p*panel, x
// row j its values at q + j*blocks*sizeof(qblock). Each value of x is loaded once for both panels.
INLINE void qslice8(i32x16 *sum, const uint8_t *w, const uint8_t *ahead, const qtile_args *t,
                    const int8_t *q, const int panels, const int nx) {
    const int sums = panels * nx, halves = QHALVES(sums);
    UNROLLED
    for (int g = 0; g < 16; g++) {
        u8x64 v[2];
        qahead(ahead, t, g, panels);
        UNROLLED
        for (int p = 0; p < panels; p++) v[p] = w_q8(w_load(w + p * t->panel + 64 * g));
        UNROLLED
        for (int i = 0; i < sums; i++) {
            int32_t x4 = four(q + i / panels * t->blocks * (int64_t)sizeof(qblock) + 4 * g);
            i32x16 *to = &sum[g % halves * sums + i];
            *to = i_dot(*to, v[i % panels], x4);
        }
    }
}

// The same for weights of 4 bits. sub[p]: the sub-scales that panel p still needs; the next one
// comes first.
INLINE void qslice4(i32x16 *sum, u8x64 *sub, const uint8_t *w, const uint8_t *ahead,
                    const qtile_args *t, const int8_t *q, const int panels, const int nx) {
    const int sums = panels * nx, halves = QHALVES(sums);
    w_scales s[2];
    UNROLLED
    for (int g = 0; g < 8; g++) {
        u8x64 lo[2], hi[2];
        qahead(ahead, t, g, panels);
        UNROLLED
        for (int p = 0; p < panels; p++) {
            if (g % 4 == 0) s[p] = w_sub(sub[p]), sub[p] = w_next(sub[p]);
            u8x64 both = w_load(w + p * t->panel + 64 * g);
            lo[p] = w_q4(w_low(both), s[p]), hi[p] = w_q4(w_high(both), s[p]);
        }
        UNROLLED
        for (int i = 0; i < sums; i++) {
            const int8_t *x = q + i / panels * t->blocks * (int64_t)sizeof(qblock);
            x += g / 4 * 32 + g % 4 * 4;
            i32x16 *even = &sum[i], *odd = &sum[(halves - 1) * sums + i];
            *even = i_dot(*even, lo[i % panels], four(x));
            *odd = i_dot(*odd, hi[i % panels], four(x + 16));
        }
    }
}

// What the sums begin with. The second halves begin with 0.
INLINE void qsums_start(i32x16 *sum, const u8x64 *sub, const qtile_args *t, const qblock *x,
                        const int panels, const int nx, const dtype type) {
    const int sums = panels * nx;
    UNROLLED
    for (int i = 0; i < sums; i++) {
        const qblock *of = x + i / panels * t->blocks;
        sum[i] = type == DT_Q8 ? i_start(of->less128, 0) : i_start4(sub[i % panels], of->less8);
        if (QHALVES(sums) == 2) sum[sums + i] = i_start(0, 0);
    }
}

// The scaled sums of a block are added to the results.
INLINE void qsums_add(f32x16 *acc, i32x16 *sum, const uint8_t *w, const qtile_args *t,
                      const qblock *x, const int panels, const int nx) {
    const int sums = panels * nx;
    UNROLLED
    for (int i = 0; i < sums; i++) {
        const f32x16 d = v_load((const float *)(const void *)(w + i % panels * t->panel));
        const f32x16 scale = v_mul(d, v_set(x[i / panels * t->blocks].scale));
        if (QHALVES(sums) == 2) sum[i] = i_add(sum[i], sum[sums + i]);
        acc[i] = v_fma(i_float(sum[i]), scale, acc[i]);
    }
}

// Adds one block of `slices` to the results: acc[j*panels + p] is that of x row j and panel p.
INLINE void qtile_block(f32x16 *acc, const uint8_t *w, const uint8_t *ahead, const qtile_args *t,
                        const qblock *x, int64_t slices, const int panels, const int nx,
                        const dtype type) {
    const int lines = qslice_lines(type), head = qhead_lines(type);
    i32x16 sum[2 * QTILE_X];
    u8x64 sub[2];
    const uint8_t *at = w + 64 * head;
    UNROLLED
    for (int i = 0; i < head; i++) qahead(ahead, t, i, panels);
    ahead += head * t->step;
    UNROLLED
    for (int p = 0; p < panels && type == DT_Q4; p++) sub[p] = w_load(w + 64 + p * t->panel);
    qsums_start(sum, sub, t, x, panels, nx, type);
    for (int64_t s = 0; s < slices; s++, at += 64 * lines, ahead += lines * t->step) {
        if (type == DT_Q8)
            qslice8(sum, at, ahead, t, x->q + s * QUANT_SLICE, panels, nx);
        else
            qslice4(sum, sub, at, ahead, t, x->q + s * QUANT_SLICE, panels, nx);
    }
    qsums_add(acc, sum, w, t, x, panels, nx);
}

INLINE void qtile(const qtile_args *t, const int panels, const int nx, const dtype type) {
    const int block_slices = QUANT_BLOCK / QUANT_SLICE, lines = qblock_lines(type);
    const uint8_t *w = t->w, *ahead = t->ahead;
    f32x16 acc[2 * QTILE_X];
    UNROLLED
    for (int i = 0; i < panels * nx; i++) acc[i] = v_set(0.0f);
    for (int64_t b = 0, left = t->slices; left > 0; b++, left -= block_slices) {
        const int64_t slices = MIN(left, block_slices);
        qtile_block(acc, w, ahead, t, t->x + b, slices, panels, nx, type);
        w += lines * 64, ahead += lines * t->step;
    }
    UNROLLED
    for (int i = 0; i < panels * nx; i++)
        v_store(t->out + i / panels * t->ldo + i % panels * QUANT_ROWS, acc[i]);
}

#define QTILE_FN(name, panels, nx, type)                                                           \
    static void name(const qtile_args *t) {                                                        \
        qtile(t, panels, nx, type);                                                                \
    }
#define QTILE_FNS(panels, nx)                                                                      \
    QTILE_FN(FN(qtile_##panels##_##nx##_q8), panels, nx, DT_Q8)                                    \
    QTILE_FN(FN(qtile_##panels##_##nx##_q4), panels, nx, DT_Q4)

PACKED_TILES(QTILE_FNS)

#define QTILE_ENTRY(panels, nx)                                                                    \
    [(panels)-1][(nx)-1] = {FN(qtile_##panels##_##nx##_q8), FN(qtile_##panels##_##nx##_q4)},

// [panels - 1][x rows - 1][DT_Q8, DT_Q4]
static const qtile_fn qtiles[QTILE_PANELS][QTILE_X][2] = {PACKED_TILES(QTILE_ENTRY)};

// Fetches what the caller will write of a tile, from row `row` of x and panel p on: while the tile
// is multiplied, and not all lines of y at once.
INLINE void qfetch_y(const qdots_args *a, int64_t p, int64_t row, int panels, int64_t nx) {
    if (!a->y) return;
    const float *y = a->y + row * a->ldy + p * QUANT_ROWS;
    for (int64_t j = 0; j < nx; j++, y += a->ldy)
        for (int i = 0; i < panels; i++) __builtin_prefetch(y + i * QUANT_ROWS, 1);
}

// ---- weights of 4 bits and many x rows: a block is expanded once for all tiles ----

// More x rows than this: with fewer, reading the weights is the limit and a tile reads them as they
// lie (measured on an Intel Xeon; 32 rows take as long either way).
#define QMADE_FROM 32
#define QGROUPS (QUANT_BLOCK / 4)

// A block of two panels, expanded: group g has columns 4g..4g+3.
typedef struct {
    u8x64 w[2][QGROUPS];
} qmade;

// Expands a block. Prefetches the one at `ahead`, which lies in the next panels.
INLINE void qmade_fill(qmade *to, const uint8_t *w, const uint8_t *ahead, const qtile_args *t,
                       int64_t slices, int panels) {
    for (int p = 0; p < panels; p++, w += t->panel, ahead += t->panel) {
        const uint8_t *at = w + 128;
        u8x64 sub = w_load(w + 64), *made = to->w[p];
        for (int64_t half = 0; half < 2 * slices; half++, at += 256, made += 8) {
            const w_scales s = w_sub(sub);
            sub = w_next(sub);
            UNROLLED
            for (int g = 0; g < 4; g++) {
                kern_fetch(ahead + (at - w) + 64 * g, 1, 0, t->into);
                const u8x64 both = w_load(at + 64 * g);
                made[g] = w_q4(w_low(both), s), made[4 + g] = w_q4(w_high(both), s);
            }
        }
    }
}

// Multiplies an expanded block of the panels at w with x rows of one block, and adds the results to
// t->out; first: it has none yet.
INLINE void qmade_tile(const qmade *m, const uint8_t *w, const qtile_args *t, const qblock *x,
                       int64_t slices, bool first, const int panels, const int nx) {
    const int sums = panels * nx, halves = QHALVES(sums);
    i32x16 sum[2 * QTILE_X];
    f32x16 acc[2 * QTILE_X];
    u8x64 sub[2];
    UNROLLED
    for (int p = 0; p < panels; p++) sub[p] = w_load(w + 64 + p * t->panel);
    qsums_start(sum, sub, t, x, panels, nx, DT_Q4);
    for (int64_t s = 0; s < slices; s++) {
        UNROLLED
        for (int g = 0; g < 16; g++) {
            UNROLLED
            for (int i = 0; i < sums; i++) {
                const int64_t group = s * 16 + g;
                const qblock *of = x + i / panels * t->blocks;
                i32x16 *to = &sum[g % halves * sums + i];
                *to = i_dot(*to, m->w[i % panels][group], four(of->q + 4 * group));
            }
        }
    }
    UNROLLED
    for (int i = 0; i < sums; i++) {
        const float *out = t->out + i / panels * t->ldo + i % panels * QUANT_ROWS;
        acc[i] = first ? v_set(0.0f) : v_load(out);
    }
    qsums_add(acc, sum, w, t, x, panels, nx);
    UNROLLED
    for (int i = 0; i < sums; i++)
        v_store(t->out + i / panels * t->ldo + i % panels * QUANT_ROWS, acc[i]);
}

typedef void (*qmade_fn)(const qmade *m, const uint8_t *w, const qtile_args *t, const qblock *x,
                         int64_t slices, bool first);
#define QMADE_FN(panels, nx)                                                                       \
    static void FN(qmade_##panels##_##nx)(const qmade *m, const uint8_t *w, const qtile_args *t,   \
                                          const qblock *x, int64_t slices, bool first) {           \
        qmade_tile(m, w, t, x, slices, first, panels, nx);                                         \
    }
#define QMADE_ENTRY(panels, nx) [(panels)-1][(nx)-1] = FN(qmade_##panels##_##nx),
PACKED_TILES(QMADE_FN)
static const qmade_fn qmade_tiles[QTILE_PANELS][QTILE_X] = {PACKED_TILES(QMADE_ENTRY)};

// As qdots_panels.
static void FN(qmade_panels)(const qdots_args *a, qtile_args t, int64_t p, int panels) {
    const int64_t most = panels == 1 ? QTILE_X : QPAIR_X, tiles = (a->n + most - 1) / most;
    const int64_t least = a->n / tiles, wider = a->n % tiles;
    const int64_t block_slices = QUANT_BLOCK / QUANT_SLICE;
    const uint8_t *w = t.w;
    float *out = t.out;
    qmade m;
    t.into = a->cached ? FETCH_NOTHING : FETCH_L1;
    for (int64_t b = 0, left = t.slices; b < t.blocks; b++, left -= block_slices) {
        const int64_t slices = MIN(left, block_slices);
        const qblock *x = t.x + b;
        qmade_fill(&m, w, w + (size_t)panels * t.panel, &t, slices, panels);
        t.out = out;
        for (int64_t i = 0, row = 0; i < tiles; i++) {
            const int64_t nx = least + (i < wider);
            if (b + 1 == t.blocks) qfetch_y(a, p, row, panels, nx);
            qmade_tiles[panels - 1][nx - 1](&m, w, &t, x, slices, b == 0);
            x += nx * t.blocks, t.out += nx * t.ldo, row += nx;
        }
        w += 64 * qblock_lines(DT_Q4);
    }
}

// ---- all panels ----

// Shares the prefetching among the tiles of one or two panels. A single tile prefetches QAHEAD
// bytes ahead in its panel; several prefetch the next panels, each a part of them. What several
// tiles read must not be gone after the first. Weights that a cache holds are not prefetched: from
// the shared cache the hardware is as fast by itself.
static void FN(qshare)(qtile_args *t, const qdots_args *a, int panels, int64_t tiles) {
    const size_t ahead = a->prefetch.ahead ? (size_t)a->prefetch.ahead : QAHEAD;
    t->into = tiles > 1 && a->prefetch.into == FETCH_ONCE ? FETCH_L1 : a->prefetch.into;
    if (a->cached) t->into = FETCH_NOTHING;
    t->step = 64 / (size_t)tiles;
    t->ahead = t->w + (tiles == 1 ? ahead : (size_t)panels * t->panel);
}

// One or two panels times all x rows, in tiles of nearly equal width.
static void FN(qdots_panels)(const qdots_args *a, qtile_args t, int64_t p, int panels) {
    const int64_t most = panels == 1 ? QTILE_X : QPAIR_X;
    const int64_t tiles = (a->n + most - 1) / most;
    const int64_t least = a->n / tiles, wider = a->n % tiles;
    FN(qshare)(&t, a, panels, tiles);
    for (int64_t i = 0, row = 0; i < tiles; i++) {
        const int64_t nx = least + (i < wider);
        qfetch_y(a, p, row, panels, nx);
        qtiles[panels - 1][nx - 1][a->type == DT_Q4](&t);
        t.x += nx * t.blocks, t.out += nx * t.ldo, t.ahead += t.panel / (size_t)tiles;
        row += nx;
    }
}

// Two panels at once share the loads of x. If one tile takes all x rows, reading weights is the
// limit, and then one panel at a time is faster: one stream of memory instead of two.
static void FN(qdots)(const qdots_args *a) {
    if (a->n < 1) return;
    qtile_args t = {.w = a->w, .x = a->x, .out = a->out, .ldo = a->ldo};
    t.blocks = quant_blocks(a->cols), t.slices = quant_slices(a->cols);
    t.panel = quant_panel_size(a->type, a->cols);
    const int step = a->n > QTILE_X ? QTILE_PANELS : 1;
    for (int64_t p = 0; p < a->panels; p += step) {
        const int panels = (int)MIN(step, a->panels - p);
        if (a->type == DT_Q4 && a->n > QMADE_FROM)
            FN(qmade_panels)(a, t, p, panels);
        else
            FN(qdots_panels)(a, t, p, panels);
        t.w += (size_t)panels * t.panel, t.out += panels * QUANT_ROWS;
    }
}

static const kern_packed FN(packed) = {.dots = FN(qdots)};
