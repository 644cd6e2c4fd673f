// dots_tmpl.h - template: products of f32, bf16 and f16 weights, dot16 for each pair of rows.
//
// A tile is some weight rows times some activation rows (x rows), whose sums all stay in registers.
// The level lists the tiles it has as F(weight rows, x rows), from one x row up:
//   TILES_WIDE    the usual ones
//   TILES_NARROW  more weight rows for few x rows: more reads in flight
//   TILES_SINGLE  one weight row, for what is left
#if !defined(TILES_WIDE) || !defined(TILES_NARROW) || !defined(TILES_SINGLE)
#error "define TILES_WIDE, TILES_NARROW and TILES_SINGLE before dots_tmpl.h, as kern_avx2.c does"
#endif

#define TILE_COUNT(rows, nx) +1
#define TILE_ROW_COUNT(rows, nx) | (rows) // the same in all tiles of a list
enum {
    TILE_ROWS = 0 TILES_WIDE(TILE_ROW_COUNT),
    TILE_X = 0 TILES_WIDE(TILE_COUNT),
    NARROW_ROWS = 0 TILES_NARROW(TILE_ROW_COUNT),
    NARROW_X = 0 TILES_NARROW(TILE_COUNT),
};
_Static_assert(TILE_X == 0 TILES_SINGLE(TILE_COUNT),
               "single tiles for as many x rows as wide ones");

#define TILE_SUMS ((TILE_ROWS * TILE_X + 15) / 16 * 16)

// One step of a tile: adds sixteen columns to its rows * nx sums.
INLINE void tile_step(f32x16 *acc, const uint8_t *w, size_t step, const float *x, int64_t ldx,
                      const int rows, const int nx, const dtype type) {
    f32x16 wv[8];
    UNROLLED
    for (int r = 0; r < rows; r++) wv[r] = v_read(w + r * step, type);
    UNROLLED
    for (int j = 0; j < nx; j++) {
        f32x16 xv = v_load(x + j * ldx);
        UNROLLED
        for (int r = 0; r < rows; r++) acc[j * rows + r] = v_fma(wv[r], xv, acc[j * rows + r]);
    }
}

// The operands of a tile.
typedef struct {
    const uint8_t *w;  // the first weight row
    size_t step, next; // bytes from one weight row to the next, from 16 columns to the next 16
    // What to prefetch: one cache line a weight row, ahead_apart bytes apart. `ahead` moves on by
    // ahead_step bytes every 16 columns.
    const uint8_t *ahead;
    size_t ahead_apart, ahead_step;
    kern_fetch_into into; // where it is prefetched to
    const float *x;       // x rows, ldx apart
    int64_t ldx;
    float *out; // result of x row j and weight row r at out[j*ldo + r*ostep]
    int64_t ldo, ostep, cols;
} tile_args;
typedef void (*tile_fn)(const tile_args *t);

// Adds the last columns, which begin at w and are column `from` on, filled up with zeros.
INLINE void tile_rest(f32x16 *acc, const tile_args *t, const uint8_t *w, int64_t from,
                      const int rows, const int nx, const dtype type) {
    const size_t rest = (size_t)(t->cols - from), size = type_size(type);
    uint8_t wt[8][64] = {0};
    float xt[TILE_X][16] = {0};
    for (int r = 0; r < rows; r++) memcpy(wt[r], w + r * t->step, rest * size);
    for (int j = 0; j < nx; j++) memcpy(xt[j], t->x + j * t->ldx + from, rest * sizeof(float));
    tile_step(acc, wt[0], 64, xt[0], 16, rows, nx, type);
}

// The whole tile. Every sum stays in a register from the first column to the last, because each
// call has constant rows, nx and type.
INLINE void tile(const tile_args *t, const int rows, const int nx, const dtype type) {
    const int64_t whole = t->cols / 16 * 16;
    const uint8_t *w = t->w, *ahead = t->ahead;
    f32x16 acc[TILE_SUMS];
    UNROLLED
    for (int i = 0; i < TILE_SUMS; i++) acc[i] = v_set(0.0f);
    for (int64_t c = 0; c < whole; c += 16, w += t->next, ahead += t->ahead_step) {
        kern_fetch(ahead, (size_t)rows, t->ahead_apart, t->into);
        tile_step(acc, w, t->step, t->x + c, t->ldx, rows, nx, type);
    }
    if (whole < t->cols) tile_rest(acc, t, w, whole, rows, nx, type);
    float sums[TILE_SUMS];
    UNROLLED
    for (int i = 0; i < rows * nx; i += 16) v_store(sums + i, v_sums(acc + i));
    for (int j = 0; j < nx; j++) {
        float *out = t->out + j * t->ldo;
        if (t->ostep == 1)
            memcpy(out, sums + j * rows, (size_t)rows * sizeof *out);
        else
            for (int r = 0; r < rows; r++) out[r * t->ostep] = sums[j * rows + r];
    }
}

#define TILE_FN(name, rows, nx, type)                                                              \
    static void name(const tile_args *t) {                                                         \
        tile(t, rows, nx, type);                                                                   \
    }
#define TILE_FNS(rows, nx)                                                                         \
    TILE_FN(FN(tile_##rows##_##nx##_f32), rows, nx, DT_F32)                                        \
    TILE_FN(FN(tile_##rows##_##nx##_bf16), rows, nx, DT_BF16)                                      \
    TILE_FN(FN(tile_##rows##_##nx##_f16), rows, nx, DT_F16)

TILES_WIDE(TILE_FNS)
TILES_NARROW(TILE_FNS)
TILES_SINGLE(TILE_FNS)

#define TILE_ENTRY(rows, nx)                                                                       \
    {FN(tile_##rows##_##nx##_f32), FN(tile_##rows##_##nx##_bf16), FN(tile_##rows##_##nx##_f16)},

// [x rows - 1][DT_F32, DT_BF16, DT_F16]
static const tile_fn tiles_wide[TILE_X][3] = {TILES_WIDE(TILE_ENTRY)};
static const tile_fn tiles_narrow[NARROW_X][3] = {TILES_NARROW(TILE_ENTRY)};
static const tile_fn tiles_single[TILE_X][3] = {TILES_SINGLE(TILE_ENTRY)};

// Distance in bytes at which a single tile prefetches rows that lie apart. 1024: the best of 512 to
// 4096 on Zen 5. From 2048 on it is slower than no prefetch, because the eight rows evict each
// other.
#define AHEAD 1024

// Least distance in bytes at which rows side by side, and interleaved rows, are prefetched.
#define AHEAD_GROUP 8192

// Rows of f32 are long, so a single row is one good stream of memory. They go one by one as long as
// one tile takes all x rows.
static bool FN(one_by_one)(const dots_args *a) {
    return a->type == DT_F32 && a->n <= TILE_X && !a->cached;
}

// For few x rows and long weight rows, the rows of a group are taken far apart: each walks its own
// stretch of memory, and the hardware's prefetcher follows all of them. Cached weights do the same:
// what a row prefetches is then the next group.
static bool FN(rows_apart)(const dots_args *a) {
    bool far = TILE_ROWS * (size_t)a->ldw * type_size(a->type) > AHEAD_GROUP;
    return a->cached || (a->n <= NARROW_X && far && !FN(one_by_one)(a));
}

// How the x rows are divided among tiles of nearly equal width.
typedef struct {
    const tile_fn (*fns)[3];
    int64_t tiles;  // the number of tiles
    int64_t narrow; // x rows of a tile,
    int64_t wide;   // and one more in the first `wide` tiles
    size_t ahead;   // bytes from a weight row to what the first tile prefetches
    size_t share;   // bytes of a weight row that each tile prefetches
} tile_plan;

static tile_plan FN(tiles_of)(const dots_args *a, const tile_fn (*fns)[3], int64_t width) {
    tile_plan p = {.fns = fns, .tiles = (a->n + width - 1) / width};
    p.narrow = a->n / p.tiles, p.wide = a->n % p.tiles;
    return p;
}

static tile_plan FN(plan_of)(const dots_args *a, const tile_fn (*fns)[3], int64_t width,
                             size_t next) {
    tile_plan p = FN(tiles_of)(a, fns, width);
    p.ahead = next;
    p.share = (size_t)a->ldw * type_size(a->type) / (size_t)p.tiles;
    if (FN(one_by_one)(a))
        p.ahead = AHEAD_GROUP;
    else if (!FN(rows_apart)(a))
        p.ahead = next * ((AHEAD_GROUP + next - 1) / MAX(next, 1));
    else if (p.tiles == 1)
        p.ahead = MIN(next, AHEAD);
    return p;
}

// One group of weight rows times all x rows. The tiles share the prefetching of the next group.
static void FN(dots_group)(const dots_args *a, const tile_plan *p, tile_args t) {
    t.x = a->x, t.into = p->tiles == 1 && !a->cached ? a->prefetch.into : FETCH_L1;
    for (int64_t i = 0; i < p->tiles; i++) {
        int64_t nx = p->narrow + (i < p->wide);
        p->fns[nx - 1][a->type](&t);
        t.x += nx * t.ldx, t.out += nx * t.ldo, t.ahead += p->share;
    }
}

// Interleaved rows from..to-1, `group` at a time. A strip (eight interleaved rows) is one stream of
// memory: each tile prefetches its share of a strip ahead. If a strip is one tile, that tile
// prefetches AHEAD_GROUP bytes ahead instead.
static void FN(strip_groups)(const dots_args *a, const tile_plan *p, tile_args t, int64_t from,
                             int64_t to, int64_t group) {
    const size_t size = type_size(a->type), strip = (size_t)bf16x8_values(a->cols) * size;
    size_t calls = (size_t)(BF16X8_ROWS / group * p->tiles), ahead = AHEAD_GROUP;
    if (calls > 1) ahead = strip * ((AHEAD_GROUP + strip - 1) / MAX(strip, 1));
    t.step = BF16X8_COLS * size, t.next = BF16X8_ROWS * t.step;
    t.ahead_step = t.next / calls, t.ahead_apart = t.ahead_step / (size_t)group;
    for (int64_t r = from; r < to; r += group) {
        const uint8_t *first = (const uint8_t *)a->w + (size_t)(r / BF16X8_ROWS) * strip;
        size_t before = (size_t)(r % BF16X8_ROWS / group * p->tiles);
        t.w = first + (size_t)(r % BF16X8_ROWS) * t.step, t.out = a->out + r;
        t.ahead = first + ahead + before * (strip / calls);
        FN(dots_group)(a, p, t);
    }
}

static void FN(dots_strips)(const dots_args *a) {
    tile_args t = {.ldx = a->ldx, .ldo = a->ldo, .ostep = 1, .cols = a->cols};
    bool narrow = a->n <= NARROW_X;
    int64_t group = narrow ? NARROW_ROWS : TILE_ROWS, whole = a->rows / group * group;
    tile_plan plan =
        narrow ? FN(tiles_of)(a, tiles_narrow, NARROW_X) : FN(tiles_of)(a, tiles_wide, TILE_X);
    plan.share = (size_t)bf16x8_values(a->cols) * type_size(a->type) /
                 (size_t)(BF16X8_ROWS / group * plan.tiles);
    FN(strip_groups)(a, &plan, t, 0, whole, group);
    plan = FN(tiles_of)(a, tiles_single, TILE_X);
    FN(strip_groups)(a, &plan, t, whole, a->rows, 1);
}

static void FN(row_group)(const dots_args *a, const tile_plan *p, tile_args t) {
    t.ahead_step = t.next / (size_t)p->tiles;
    t.ahead = t.w + p->ahead;
    FN(dots_group)(a, p, t);
}

static void FN(dots_rows)(const dots_args *a) {
    bool apart = FN(rows_apart)(a), narrow = apart && a->n <= NARROW_X;
    int64_t group = narrow ? NARROW_ROWS : TILE_ROWS,
            groups = FN(one_by_one)(a) ? 0 : a->rows / group;
    size_t row = (size_t)a->ldw * type_size(a->type), next = apart ? row : (size_t)group * row;
    tile_plan plan = narrow ? FN(plan_of)(a, tiles_narrow, NARROW_X, next)
                            : FN(plan_of)(a, tiles_wide, TILE_X, next);
    tile_args t = {.w = a->w, .out = a->out, .ldx = a->ldx, .ldo = a->ldo, .cols = a->cols};
    t.step = apart ? (size_t)groups * row : row, t.ostep = apart ? groups : 1;
    t.next = 16 * type_size(a->type), t.ahead_apart = t.step;
    for (int64_t g = 0; g < groups; g++) {
        FN(row_group)(a, &plan, t);
        t.w += next, t.out += apart ? 1 : group;
    }
    plan = FN(plan_of)(a, tiles_single, TILE_X, row);
    for (int64_t r = groups * group; r < a->rows; r++) {
        t.w = (const uint8_t *)a->w + (size_t)r * row, t.out = a->out + r;
        FN(row_group)(a, &plan, t);
    }
}

static void FN(dots)(const dots_args *a) {
    if (a->n < 1) return;
    if (a->interleaved)
        FN(dots_strips)(a);
    else
        FN(dots_rows)(a);
}

static const kern_products FN(products) = {
    .dots = FN(dots),
    .finish = FN(finish),
};
