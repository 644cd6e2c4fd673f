// gemm.c - see gemm.h.
//
// A product never splits its sum over cols, so any blocking gives the same bits. There are two
// ways:
//   few rows of x: they stay in the cache, and the weights are read once, block by block;
//   many rows of x: a panel of weights stays in L2, and x passes over it, chunk by chunk.
#include "compute/cpu/gemm.h"

#include "compute/tensor.h"

#define FEW_VALUES ((int64_t)64 << 10)    // the most values of x that count as few: 256 KiB
#define TILE_N 6                          // rows of x at once: every level's tile divides it
#define PANEL_ROWS 512                    // the most weight rows of a panel
#define CHUNK_VALUES ((int64_t)512 << 10) // values of x that pass over all panels: 2 MiB
#define WIDEN_ROWS 48                     // rows of x from which widening a panel first pays
#define PART_COST ((int64_t)64 << 10)     // weights of a part: a few microseconds of reading
#define PART_ROWS 32                      // weight rows of a part at least
#define PART_X 60                         // rows of x of a part: each part reads the weights again

static bool interleaved(const weight *w) {
    return w->type == DT_BF16X8;
}

// The type of the values of w, without its layout.
static dtype value_type(const weight *w) {
    return interleaved(w) ? DT_BF16 : w->type;
}

// Values that n rows take: whole strips of eight if the rows are interleaved.
static int64_t row_values(const weight *w, int64_t n) {
    return interleaved(w) ? (n + BF16X8_ROWS - 1) / BF16X8_ROWS * bf16x8_values(w->cols)
                          : n * w->cols;
}

// row is a multiple of BF16X8_ROWS if the rows are interleaved.
static const uint8_t *weight_row(const weight *w, int64_t row) {
    return (const uint8_t *)w->data + (size_t)row_values(w, row) * dtype_size(value_type(w));
}

// Finishes the products out [rows x of a, ldo] of weight rows w and writes them to y.
static void finish_block(const compute *c, const linear_args *a, const float *out, int64_t ldo,
                         span w, span x) {
    for (int64_t i = x.from; i < x.to; i++) {
        c->k.products.finish(a->y + i * a->ldy + w.from, out + (i - x.from) * ldo,
                             a->bias ? a->bias + w.from : NULL, w.to - w.from, a->act, a->add);
    }
}

static dots_args block_args(const linear_args *a, float *out, int64_t ldo, span w, span x) {
    return (dots_args){
        .out = out,
        .ldo = ldo,
        .w = weight_row(a->w, w.from),
        .type = value_type(a->w),
        .interleaved = interleaved(a->w),
        .ldw = a->w->cols,
        .rows = w.to - w.from,
        .x = a->x + x.from * a->ldx,
        .ldx = a->ldx,
        .n = x.to - x.from,
        .cols = a->w->cols,
    };
}

static void plain_block(const compute *c, const linear_args *a, span w, span x, bool cached) {
    float out[GEMM_BLOCK_X * GEMM_BLOCK_ROWS];
    dots_args d = block_args(a, out, GEMM_BLOCK_ROWS, w, x);
    d.cached = cached, d.prefetch = c->prefetch;
    c->k.products.dots(&d);
    finish_block(c, a, out, GEMM_BLOCK_ROWS, w, x);
}

static void few_rows(const compute *c, const linear_args *a, span w, span x) {
    for (int64_t r = w.from; r < w.to; r += GEMM_BLOCK_ROWS) {
        plain_block(c, a, (span){r, MIN(r + GEMM_BLOCK_ROWS, w.to)}, x, false);
    }
}

// Multiplies one panel with rows x. widened: the panel as f32, or NULL: the weights as they are.
static void panel_pass(const compute *c, const linear_args *a, span w, span x,
                       const float *widened) {
    float out[TILE_N * PANEL_ROWS];
    for (int64_t i = x.from; i < x.to; i += TILE_N) {
        span tile = {i, MIN(i + TILE_N, x.to)};
        dots_args d = block_args(a, out, PANEL_ROWS, w, tile);
        d.cached = true;
        if (widened) d.w = widened, d.type = DT_F32;
        c->k.products.dots(&d);
        finish_block(c, a, out, PANEL_ROWS, w, tile);
    }
}

static int64_t panel_rows(int64_t cols) {
    int64_t rows = COMPUTE_PANEL / MAX(cols, 1);
    return MIN(PANEL_ROWS, MAX(8, rows / 8 * 8));
}

static void many_rows(const compute *c, const linear_args *a, span w, span x, float *scratch) {
    int64_t cols = a->w->cols, rows = panel_rows(cols);
    int64_t step = MAX(1, MIN(cols, MAX(a->ldx, 1)));
    int64_t chunk = MAX(TILE_N, CHUNK_VALUES / step / TILE_N * TILE_N);
    bool widen = a->w->type != DT_F32 && x.to - x.from >= WIDEN_ROWS &&
                 row_values(a->w, rows) <= COMPUTE_PANEL;
    for (int64_t i = x.from; i < x.to; i += chunk) {
        span part = {i, MIN(i + chunk, x.to)};
        for (int64_t r = w.from; r < w.to; r += rows) {
            span panel = {r, MIN(r + rows, w.to)};
            if (widen) {
                c->k.rows.widen(scratch, weight_row(a->w, r), value_type(a->w),
                                row_values(a->w, panel.to - r));
            }
            panel_pass(c, a, panel, part, widen ? scratch : NULL);
        }
    }
}

// Whether parts are ranges of x rows, not of weight rows: the longer side is cut.
static bool cuts_x(const linear_args *a) {
    return a->n > a->w->rows;
}

int gemm_parts(const linear_args *a, int threads) {
    int64_t most = (int64_t)threads * COMPUTE_PARTS_PER_THREAD;
    int64_t cost = a->w->rows * a->w->cols * (1 + a->n / 4) / PART_COST;
    int64_t pieces = cuts_x(a) ? a->n / PART_X : a->w->rows / PART_ROWS;
    return (int)MAX(1, MIN(most, MIN(cost, pieces)));
}

void gemm_part(const compute *c, const linear_args *a, int part, int parts, int thread) {
    span w = {0, a->w->rows}, x = {0, a->n};
    if (cuts_x(a))
        x = span_of(a->n, TILE_N, part, parts);
    else
        w = span_of(a->w->rows, PART_ROWS, part, parts);
    if (w.from == w.to || x.from == x.to) return;
    int64_t n = x.to - x.from;
    if (n <= GEMM_BLOCK_X && n * a->w->cols <= FEW_VALUES)
        few_rows(c, a, w, x);
    else
        many_rows(c, a, w, x, c->scratch[thread].panel);
}

// ---- packed weights ----

#define BLOCK_PANELS (GEMM_BLOCK_ROWS / QUANT_ROWS)

// Rounds a block of results, from column `from` on, to 8 bits.
static void quantise_block(const compute *c, const linear_args *a, int64_t from, span x) {
    for (int64_t i = x.from; i < x.to; i++) {
        qblock *yq = a->yq + (i * a->w->rows + from) / QUANT_BLOCK;
        c->k.rows.quantise(yq, a->y + i * a->ldy + from, QUANT_BLOCK);
    }
}

// Writes the products of panels p and n rows q to out [n, GEMM_BLOCK_ROWS]. y: where they will go,
// or NULL.
static void packed_sums(const compute *c, const linear_args *a, float *out, span p, int64_t n,
                        const qblock *q, bool cached, const float *y) {
    qdots_args d = {.out = out,
                    .y = y,
                    .ldy = a->ldy,
                    .ldo = GEMM_BLOCK_ROWS,
                    .type = a->w->type,
                    .x = q,
                    .cached = cached,
                    .prefetch = c->prefetch};
    d.cols = a->w->cols, d.n = n, d.panels = p.to - p.from;
    d.w = (const uint8_t *)a->w->data + (size_t)p.from * quant_panel_size(d.type, a->w->cols);
    c->k.packed.dots(&d);
}

// Multiplies panels p with rows x of a. q: these rows in 8 bits. Results become 8 bits when the
// last panels of their block are done.
static void packed_block(const compute *c, const linear_args *a, span p, span x, const qblock *q,
                         bool cached) {
    float out[GEMM_BLOCK_X * GEMM_BLOCK_ROWS];
    // Fewer rows of y are in the cache, or on their way there before it matters.
    bool many = x.to - x.from == GEMM_BLOCK_X;
    packed_sums(c, a, out, p, x.to - x.from, q, cached,
                many ? a->y + x.from * a->ldy + p.from * QUANT_ROWS : NULL);
    span rows = {p.from * QUANT_ROWS, MIN(p.to * QUANT_ROWS, a->w->rows)};
    finish_block(c, a, out, GEMM_BLOCK_ROWS, rows, x);
    if (a->yq && rows.to % QUANT_BLOCK == 0) quantise_block(c, a, rows.to - QUANT_BLOCK, x);
}

// The bias from weight row `row` on.
static const float *bias_at(const linear_args *a, int64_t row) {
    return a->bias ? a->bias + row : NULL;
}

// Writes gated results of n rows to y [n, QUANT_BLOCK], from column `at` on: those of weight rows
// `row` to row + GEMM_BLOCK_ROWS - 1 and of the same rows of the second half.
static void gate_columns(const compute *c, const linear_args *a, float *y, int64_t row, int64_t n,
                         const qblock *q) {
    float u[GEMM_BLOCK_X * GEMM_BLOCK_ROWS], g[GEMM_BLOCK_X * GEMM_BLOCK_ROWS];
    int64_t other = a->w->rows / 2 + row, p = row / QUANT_ROWS, o = other / QUANT_ROWS;
    packed_sums(c, a, u, (span){p, p + BLOCK_PANELS}, n, q, false, NULL);
    packed_sums(c, a, g, (span){o, o + BLOCK_PANELS}, n, q, false, NULL);
    for (int64_t i = 0; i < n; i++) {
        float *ui = u + i * GEMM_BLOCK_ROWS, *gi = g + i * GEMM_BLOCK_ROWS;
        c->k.products.finish(ui, ui, bias_at(a, row), GEMM_BLOCK_ROWS, ACT_NONE, false);
        c->k.products.finish(gi, gi, bias_at(a, other), GEMM_BLOCK_ROWS, ACT_NONE, false);
        c->k.rows.gate(y + i * QUANT_BLOCK, ui, gi, GEMM_BLOCK_ROWS);
    }
}

// A block of gated results, from weight row `row` on, of rows x of a. They stay in the cache until
// they are 8 bits.
static void gated_block(const compute *c, const linear_args *a, int64_t row, span x,
                        const qblock *q, float *y) {
    int64_t n = x.to - x.from, blocks = a->w->rows / 2 / QUANT_BLOCK;
    for (int64_t at = 0; at < QUANT_BLOCK; at += GEMM_BLOCK_ROWS)
        gate_columns(c, a, y + at, row + at, n, q);
    for (int64_t i = 0; i < n; i++) {
        qblock *yq = a->yq + (x.from + i) * blocks + row / QUANT_BLOCK;
        c->k.rows.quantise(yq, y + i * QUANT_BLOCK, QUANT_BLOCK);
    }
}
_Static_assert(GEMM_BLOCK_X *QUANT_BLOCK <= COMPUTE_PANEL, "a thread has room for gated results");

// Weight rows that are cut into parts.
static int64_t own_panels(const linear_args *a) {
    return quant_panels(a->w->rows) / (a->gate ? 2 : 1);
}

// A part makes whole blocks of results in 8 bits.
static int64_t part_panels(const linear_args *a) {
    return (a->yq ? QUANT_BLOCK : PART_ROWS) / QUANT_ROWS;
}

// Whether parts are ranges of x rows: if there are too few panels to cut these.
static bool packed_cuts_x(const linear_args *a, int64_t n) {
    int64_t panels = own_panels(a);
    return panels < 8 && n > panels;
}

int gemm_packed_parts(const linear_args *a, int64_t n, int threads) {
    int64_t most = (int64_t)threads * COMPUTE_PARTS_PER_THREAD;
    int64_t cost = a->w->rows * a->w->cols * (1 + n / 8) / PART_COST;
    int64_t pieces = packed_cuts_x(a, n) ? n : own_panels(a) / part_panels(a);
    return (int)MAX(1, MIN(most, MIN(cost, pieces)));
}

void gemm_packed_part(const compute *c, const linear_args *a, span x, const qblock *q, int part,
                      int parts, int thread) {
    int64_t n = x.to - x.from, blocks = quant_blocks(a->w->cols);
    int64_t step = a->gate ? QUANT_BLOCK / QUANT_ROWS : BLOCK_PANELS;
    span p = {0, own_panels(a)}, in = {0, n};
    if (packed_cuts_x(a, n))
        in = span_of(n, 1, part, parts);
    else
        p = span_of(p.to, part_panels(a), part, parts);
    for (int64_t r = p.from; r < p.to; r += step) {
        for (int64_t i = in.from; i < in.to; i += GEMM_BLOCK_X) {
            span panels = {r, MIN(r + step, p.to)};
            span rows = {x.from + i, x.from + MIN(i + GEMM_BLOCK_X, in.to)};
            if (a->gate)
                gated_block(c, a, r * QUANT_ROWS, rows, q + i * blocks, c->scratch[thread].panel);
            else
                packed_block(c, a, panels, rows, q + i * blocks, false);
        }
    }
}

// ---- one block ----

void gemm_block(const compute *c, const linear_args *a, span w, const qblock *q) {
    span x = {0, a->n}, panels = {w.from / QUANT_ROWS, quant_panels(w.to)};
    if (quant_is(a->w->type))
        packed_block(c, a, panels, x, q, true);
    else
        plain_block(c, a, w, x, true);
}

const void *gemm_first(const weight *w, int share, int shares) {
    int64_t row = span_of(w->rows, PART_ROWS, share, shares).from;
    if (!quant_is(w->type)) return weight_row(w, row);
    return (const uint8_t *)w->data +
           (size_t)(row / QUANT_ROWS) * quant_panel_size(w->type, w->cols);
}
