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
    const uint8_t *ahead; // what to prefetch for each panel: ahead_step bytes a block
    size_t ahead_step;
    kern_fetch_into into; // where it is prefetched to
    const qblock *x;      // rows `blocks` apart
    int64_t blocks;
    float *out; // rows ldo apart
    int64_t ldo;
} qtile_args;
typedef void (*qtile_fn)(const qtile_args *t);

// Adds one block of 8-bit weights to the integer sums. Panel p has its integers at w + p*panel, x
// row j its block at x[j * blocks]. Each value of x is loaded once for both panels.
INLINE void qsums8(i32x16 *sum, const uint8_t *w, const qtile_args *t, const qblock *x,
                   const int panels, const int nx) {
    UNROLLED
    for (int g = 0; g < 8; g++) {
        u8x64 v[2];
        UNROLLED
        for (int p = 0; p < panels; p++) v[p] = w_q8(w_load(w + p * t->panel + 64 * g));
        UNROLLED
        for (int i = 0; i < panels * nx; i++) {
            int32_t x4 = four(x[i / panels * t->blocks].q + 4 * g);
            sum[i] = i_dot(sum[i], v[i % panels], x4);
        }
    }
}

// The same for weights of 4 bits.
INLINE void qsums4(i32x16 *sum, const uint8_t *w, const qtile_args *t, const qblock *x,
                   const int panels, const int nx) {
    UNROLLED
    for (int g = 0; g < 4; g++) {
        u8x64 lo[2], hi[2];
        UNROLLED
        for (int p = 0; p < panels; p++) {
            u8x64 both = w_load(w + p * t->panel + 64 * g);
            lo[p] = w_q4_low(both), hi[p] = w_q4_high(both);
        }
        UNROLLED
        for (int i = 0; i < panels * nx; i++) {
            const int8_t *q = x[i / panels * t->blocks].q + 4 * g;
            sum[i] = i_dot(i_dot(sum[i], lo[i % panels], four(q)), hi[i % panels], four(q + 16));
        }
    }
}

// Adds one block to the results: acc[j*panels + p] is that of x row j and panel p.
INLINE void qtile_block(f32x16 *acc, const uint8_t *w, const qtile_args *t, const qblock *x,
                        const int panels, const int nx, const dtype type) {
    i32x16 sum[2 * QTILE_X];
    f32x16 d[2];
    UNROLLED
    for (int i = 0; i < panels * nx; i++)
        sum[i] = i_start(x[i / panels * t->blocks].less8, type == DT_Q8 ? 4 : 0);
    if (type == DT_Q8)
        qsums8(sum, w + 32, t, x, panels, nx);
    else
        qsums4(sum, w + 32, t, x, panels, nx);
    UNROLLED
    for (int p = 0; p < panels; p++) d[p] = v_f16(w + p * t->panel);
    UNROLLED
    for (int i = 0; i < panels * nx; i++) {
        f32x16 scale = v_mul(d[i % panels], v_set(x[i / panels * t->blocks].scale));
        acc[i] = v_fma(i_float(sum[i]), scale, acc[i]);
    }
}

INLINE void qtile(const qtile_args *t, const int panels, const int nx, const dtype type) {
    const uint8_t *w = t->w, *ahead = t->ahead;
    const int size = 32 + (type == DT_Q8 ? 512 : 256);
    f32x16 acc[2 * QTILE_X];
    UNROLLED
    for (int i = 0; i < panels * nx; i++) acc[i] = v_set(0.0f);
    for (int64_t b = 0; b < t->blocks; b++, w += size, ahead += t->ahead_step) {
        UNROLLED
        for (int p = 0; p < panels; p++)
            kern_fetch(ahead + p * t->panel, (t->ahead_step + 63) / 64, 64, t->into);
        qtile_block(acc, w, t, t->x + b, panels, nx, type);
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

// One or two panels times all x rows, in tiles of nearly equal width. A single tile prefetches
// QAHEAD bytes ahead in its panel; several share the prefetching of the next panels. Cached weights
// are not prefetched: from the shared cache the hardware is as fast by itself.
static void FN(qdots_panels)(const qdots_args *a, qtile_args t, int panels) {
    int64_t most = panels == 1 ? QTILE_X : QPAIR_X, tiles = (a->n + most - 1) / most;
    int64_t least = a->n / tiles, wider = a->n % tiles;
    t.ahead_step = a->cached ? 0 : t.panel / (size_t)(t.blocks * tiles);
    t.into = tiles == 1 ? a->prefetch.into : FETCH_L1;
    const size_t ahead = a->prefetch.ahead ? (size_t)a->prefetch.ahead : QAHEAD;
    t.ahead = t.w + (tiles == 1 ? ahead : (size_t)panels * t.panel);
    for (int64_t i = 0; i < tiles; i++) {
        int64_t nx = least + (i < wider);
        qtiles[panels - 1][nx - 1][a->type == DT_Q4](&t);
        t.x += nx * t.blocks, t.out += nx * t.ldo, t.ahead += t.panel / (size_t)tiles;
    }
}

// Two panels at once share the loads of x. If one tile takes all x rows, reading weights is the
// limit, and then one panel at a time is faster: one stream of memory instead of two.
static void FN(qdots)(const qdots_args *a) {
    if (a->n < 1) return;
    const size_t block = a->type == DT_Q8 ? 544 : 288;
    qtile_args t = {.w = a->w, .x = a->x, .blocks = a->blocks, .out = a->out, .ldo = a->ldo};
    t.panel = (size_t)a->blocks * block;
    const int step = a->n > QTILE_X ? QTILE_PANELS : 1;
    for (int64_t p = 0; p < a->panels; p += step) {
        int panels = (int)MIN(step, a->panels - p);
        FN(qdots_panels)(a, t, panels);
        t.w += (size_t)panels * t.panel, t.out += panels * QUANT_ROWS;
    }
}

static const kern_packed FN(packed) = {.dots = FN(qdots)};
