// kern_dots.h - products of weight rows, or strips of them, with x rows: dot16 of each pair;
// included by kern_body.h.
//
// The file that includes kern_body.h says the tile shapes: TILE_ROWS weight rows by up to TILE_X x
// rows, and NARROW_ROWS by up to NARROW_X for few x rows, where more weight rows at once keep more
// reads in flight; TILE_SHAPES, TILE_WIDE, TILE_NARROW and TILE_SINGLE, their functions.
#pragma once

#define TILE_SUMS ((TILE_ROWS * TILE_X + 15) / 16 * 16)

// One step of a tile: sixteen columns of rows x nx sums.
INLINE void tile_step(v16 *acc, const uint8_t *w, size_t step, const float *x, int64_t ldx,
                      const int rows, const int nx, const dtype type) {
    v16 wv[8];
    UNROLLED
    for (int r = 0; r < rows; r++) wv[r] = v_read(w + r * step, type);
    UNROLLED
    for (int j = 0; j < nx; j++) {
        v16 xv = v_load(x + j * ldx);
        UNROLLED
        for (int r = 0; r < rows; r++) acc[j * rows + r] = v_fma(wv[r], xv, acc[j * rows + r]);
    }
}

// A tile: some weight rows against some x rows, over all cols.
typedef struct {
    const uint8_t *w; // weight rows, step bytes apart; the next 16 columns lie next bytes on
    size_t step, next;
    // What to fetch meanwhile: a line for each row, ahead_apart bytes apart, ahead_step bytes on
    // for each 16 columns.
    const uint8_t *ahead;
    size_t ahead_apart, ahead_step;
    bool once;      // no other tile reads these rows
    const float *x; // x rows, ldx apart
    int64_t ldx;
    float *out; // result of x row j and weight row r at out[j*ldo + r*ostep]
    int64_t ldo, ostep, cols;
} tile_args;
typedef void (*tile_fn)(const tile_args *t);

// The last columns of a tile, filled up with zeros; w: where they lie.
INLINE void tile_rest(v16 *acc, const tile_args *t, const uint8_t *w, int64_t from, const int rows,
                      const int nx, const dtype type) {
    const size_t rest = (size_t)(t->cols - from), size = type_size(type);
    uint8_t wt[8][64] = {0};
    float xt[TILE_X][16] = {0};
    for (int r = 0; r < rows; r++) memcpy(wt[r], w + r * t->step, rest * size);
    for (int j = 0; j < nx; j++) memcpy(xt[j], t->x + j * t->ldx + from, rest * sizeof(float));
    tile_step(acc, wt[0], 64, xt[0], 16, rows, nx, type);
}

// Every sum stays in a register from the first column to the last. Always inlined with constant
// rows, nx and type.
INLINE void tile(const tile_args *t, const int rows, const int nx, const dtype type) {
    const int64_t whole = t->cols / 16 * 16;
    const uint8_t *w = t->w, *ahead = t->ahead;
    v16 acc[TILE_SUMS];
    UNROLLED
    for (int i = 0; i < TILE_SUMS; i++) acc[i] = v_set(0.0f);
    for (int64_t c = 0; c < whole; c += 16, w += t->next, ahead += t->ahead_step) {
        kern_fetch(ahead, (size_t)rows, t->ahead_apart, t->once);
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
    TILE_FN(tile_##rows##_##nx##_f32, rows, nx, DT_F32)                                            \
    TILE_FN(tile_##rows##_##nx##_bf16, rows, nx, DT_BF16)                                          \
    TILE_FN(tile_##rows##_##nx##_f16, rows, nx, DT_F16)
#define TILE_NAMES(rows, nx)                                                                       \
    { tile_##rows##_##nx##_f32, tile_##rows##_##nx##_bf16, tile_##rows##_##nx##_f16 }

TILE_SHAPES // TILE_FNS(rows, nx) for each shape of the tables

    static const tile_fn tiles_wide[TILE_X][3] = {TILE_WIDE};
static const tile_fn tiles_narrow[NARROW_X][3] = {TILE_NARROW};
static const tile_fn tiles_single[TILE_X][3] = {TILE_SINGLE};

// How far ahead of the sums weights are fetched in one tile of rows that lie apart. 1024: the best
// of 512 to 4096 on Zen 5; 2048 and more is slower than none, the eight rows crowd each other out.
#define AHEAD 1024

// Rows side by side are fetched whole groups ahead, at least as far as this, in bytes; so are
// strips.
#define AHEAD_GROUP 8192

// Rows of f32 are long enough to be taken one by one for as many x rows as a tile takes: then they
// are one stream too, which memory gives faster than several.
static bool one_by_one(const dots_args *a) {
    return a->type == DT_F32 && a->n <= TILE_X && !a->cached;
}

// For few x rows and long weight rows, the rows of a group lie far apart instead, so that each
// walks its own stretch of memory and the hardware's prefetcher follows all of them; in cache they
// do too, where what each row fetches ahead is then the next group anyway.
static bool rows_apart(const dots_args *a) {
    bool far = TILE_ROWS * (size_t)a->ldw * type_size(a->type) > AHEAD_GROUP;
    return a->cached || (a->n <= NARROW_X && far && !one_by_one(a));
}

// How a block is walked: the x rows fall into tiles of nearly equal width.
typedef struct {
    const tile_fn (*fns)[3];
    int64_t tiles, narrow; // tiles in all; the x rows of the narrower ones
    int64_t wide;          // how many have one row more: the first ones
    size_t ahead, share; // what the first tile fetches lies ahead; what of a row each tile fetches
} tile_plan;

static tile_plan tiles_of(const dots_args *a, const tile_fn (*fns)[3], int64_t width) {
    tile_plan p = {.fns = fns, .tiles = (a->n + width - 1) / width};
    p.narrow = a->n / p.tiles, p.wide = a->n % p.tiles;
    return p;
}

static tile_plan plan_of(const dots_args *a, const tile_fn (*fns)[3], int64_t width, size_t next) {
    tile_plan p = tiles_of(a, fns, width);
    p.ahead = next;
    p.share = (size_t)a->ldw * type_size(a->type) / (size_t)p.tiles;
    if (one_by_one(a))
        p.ahead = AHEAD_GROUP;
    else if (!rows_apart(a))
        p.ahead = next * ((AHEAD_GROUP + next - 1) / MAX(next, 1));
    else if (p.tiles == 1)
        p.ahead = MIN(next, AHEAD);
    return p;
}

// One group of weight rows against all x rows. The tiles share the fetching of what comes next.
static void dots_group(const dots_args *a, const tile_plan *p, tile_args t) {
    t.x = a->x, t.once = p->tiles == 1 && !a->cached;
    for (int64_t i = 0; i < p->tiles; i++) {
        int64_t nx = p->narrow + (i < p->wide);
        p->fns[nx - 1][a->type](&t);
        t.x += nx * t.ldx, t.out += nx * t.ldo, t.ahead += p->share;
    }
}

// Strips are one stream, of which each tile fetches its share of the strip ahead. A strip that is
// one tile fetches from a little further on in the stream instead.
static void strip_groups(const dots_args *a, const tile_plan *p, tile_args t, int64_t from,
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
        dots_group(a, p, t);
    }
}

static void dots_strips(const dots_args *a) {
    tile_args t = {.ldx = a->ldx, .ldo = a->ldo, .ostep = 1, .cols = a->cols};
    bool narrow = a->n <= NARROW_X;
    int64_t group = narrow ? NARROW_ROWS : TILE_ROWS, whole = a->rows / group * group;
    tile_plan plan = narrow ? tiles_of(a, tiles_narrow, NARROW_X) : tiles_of(a, tiles_wide, TILE_X);
    plan.share = (size_t)bf16x8_values(a->cols) * type_size(a->type) /
                 (size_t)(BF16X8_ROWS / group * plan.tiles);
    strip_groups(a, &plan, t, 0, whole, group);
    plan = tiles_of(a, tiles_single, TILE_X);
    strip_groups(a, &plan, t, whole, a->rows, 1);
}

static void row_group(const dots_args *a, const tile_plan *p, tile_args t) {
    t.ahead_step = t.next / (size_t)p->tiles;
    t.ahead = t.w + p->ahead;
    dots_group(a, p, t);
}

static void dots_rows(const dots_args *a) {
    bool apart = rows_apart(a), narrow = apart && a->n <= NARROW_X;
    int64_t group = narrow ? NARROW_ROWS : TILE_ROWS, groups = one_by_one(a) ? 0 : a->rows / group;
    size_t row = (size_t)a->ldw * type_size(a->type), next = apart ? row : (size_t)group * row;
    tile_plan plan =
        narrow ? plan_of(a, tiles_narrow, NARROW_X, next) : plan_of(a, tiles_wide, TILE_X, next);
    tile_args t = {.w = a->w, .out = a->out, .ldx = a->ldx, .ldo = a->ldo, .cols = a->cols};
    t.step = apart ? (size_t)groups * row : row, t.ostep = apart ? groups : 1;
    t.next = 16 * type_size(a->type), t.ahead_apart = t.step;
    for (int64_t g = 0; g < groups; g++) {
        row_group(a, &plan, t);
        t.w += next, t.out += apart ? 1 : group;
    }
    plan = plan_of(a, tiles_single, TILE_X, row);
    for (int64_t r = groups * group; r < a->rows; r++) {
        t.w = (const uint8_t *)a->w + (size_t)r * row, t.out = a->out + r;
        row_group(a, &plan, t);
    }
}

static void dots(const dots_args *a) {
    if (a->n < 1) return;
    if (a->strips)
        dots_strips(a);
    else
        dots_rows(a);
}
