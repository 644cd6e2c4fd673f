// codec_layers.c - see codec_inside.h: convolutions, residual blocks and the LSTM of the codec.
#include <assert.h>

#include "gpu/codec_inside.h"

// Values of a list of rows, or of tiles, that lie in scratch memory at a time.
#define PIECE_VALUES ((int64_t)16 << 20)

static int32_t type_of(dtype t) {
    return t == DT_BF16 ? GPU_BF16 : GPU_F32;
}

static status launch_values(gpu_codec *c, gpu_kernel k, int64_t n, const void *args, err *e) {
    return device_launch(c->dev, &(device_run){k, (n + 255) / 256, 1, 256, args}, e);
}

// ---- convolutions

static int64_t span_of_conv(const codec_conv *l) {
    return (l->k - 1) * l->dilation + 1;
}

// The padded sequence of n rows: see seanet.c's conv_pad_right and pad_right.
static gpu_padded padded(const codec_conv *l, const conv_io *io) {
    int64_t left = l->pad - l->pad / 2;
    int64_t right = l->pad / 2 + (io->n + l->stride - 1) / l->stride * l->stride - io->n;
    return (gpu_padded){.x = io->x,
                        .ldx = io->ldx,
                        .n = io->n,
                        .left = left,
                        .right = right,
                        .zeros = l->reflect ? MAX(0, MAX(right, left) - io->n + 1) : right,
                        .in = (int32_t)l->in,
                        .reflect = l->reflect,
                        .elu = io->elu,
                        .type = type_of(l->w.type)};
}

int64_t codec_conv_rows(const codec_conv *l, int64_t n) {
    const conv_io io = {.n = n};
    const gpu_padded p = padded(l, &io);
    return (p.left + n + p.right - span_of_conv(l)) / l->stride + 1;
}

static chain_dots_args products(const codec_conv *l, const void *x, int64_t n) {
    return (chain_dots_args){.x = x,
                             .n = n,
                             .w = l->w.data,
                             .type = type_of(l->w.type),
                             .rows = (int32_t)l->w.rows,
                             .parts = 1,
                             .cols = l->w.cols};
}

static status launch_products(gpu_codec *c, const chain_dots_args *a, err *e) {
    const device_run r = {.kernel = GPU_chain_dots,
                          .grid_x = (a->rows + 31) / 32 * a->parts,
                          .grid_y = (a->n + 127) / 128,
                          .threads = 256,
                          .args = a};
    return device_launch(c->dev, &r, e);
}

// The address of row j of y.
static void *row_at(const conv_io *io, int64_t ldy, int64_t j) {
    return (uint8_t *)io->y + (size_t)(j * ldy) * dtype_size(io->y_type);
}

// Rows from to from + n - 1 of y by Winograd tiles; from is a multiple of a tile's rows.
static status by_tiles(gpu_codec *c, const codec_conv *l, const conv_io *io, int64_t from,
                       int64_t n, err *e) {
    int64_t step = chain_tile_rows(&l->w), tiles = (n + step - 1) / step;
    size_t laid = (size_t)(tiles * CHAIN_TILE * l->in) * sizeof(float);
    size_t sums = (size_t)(tiles * CHAIN_TILE * l->w.rows) * sizeof(float);
    status rc = OK;
    lay_tiles_args lay = {.from = padded(l, io), .first = from / step, .n = tiles};
    lay.y = codec_room(c, CODEC_LAID, laid, &rc, e), lay.step = (int32_t)step;
    chain_dots_args a = products(l, lay.y, tiles);
    a.parts = CHAIN_TILE, a.cols = l->in, a.ldx = CHAIN_TILE * l->in;
    a.p = codec_room(c, CODEC_SUMS, sums, &rc, e);
    assert(!io->ldy || io->ldy == l->out);
    const chain_join_args join = {.p = a.p,
                                  .y = row_at(io, l->out, from),
                                  .bias = l->bias,
                                  .n = n,
                                  .tiles = tiles,
                                  .rows = a.rows,
                                  .step = (int32_t)step,
                                  .act = (int32_t)io->act,
                                  .y_type = type_of(io->y_type)};
    if (!rc) rc = launch_values(c, GPU_lay_tiles, tiles * l->in, &lay, e);
    if (!rc) rc = launch_products(c, &a, e);
    return rc ? rc : launch_values(c, GPU_chain_join, n * a.rows, &join, e);
}

// Rows of the list from one window to the next, and of a window.
static int64_t list_step(const codec_conv *l) {
    return l->dilation > 1 ? l->k : l->stride;
}

static status lay_list(gpu_codec *c, const codec_conv *l, const conv_io *io, int64_t from,
                       int64_t n, void **out, err *e) {
    int64_t rows = (n - 1) * list_step(l) + l->k;
    status rc = OK;
    lay_rows_args lay = {.from = padded(l, io), .first = from * list_step(l), .n = rows};
    lay.taps = (int32_t)l->k, lay.stride = (int32_t)l->stride, lay.dilation = (int32_t)l->dilation;
    if (l->single.data) lay.from.type = GPU_F32;
    *out = lay.y = codec_room(c, CODEC_LAID, (size_t)(rows * l->in) * sizeof(float), &rc, e);
    return rc ? rc : launch_values(c, GPU_lay_rows, rows * l->in, &lay, e);
}

static status by_rows(gpu_codec *c, const codec_conv *l, const conv_io *io, int64_t from, int64_t n,
                      err *e) {
    void *x;
    status rc = lay_list(c, l, io, from, n, &x, e);
    if (rc) return rc;
    int64_t ldy = io->ldy ? io->ldy : l->out;
    if (l->single.data) {
        const gpu_input in = {.x = x, .ldx = list_step(l) * l->in};
        product_args a = product_of(&l->single, in, row_at(io, ldy, from), NULL);
        a.bias = l->bias, a.act = (int32_t)io->act, a.fixed = (int32_t)n, a.ldy = ldy;
        const device_run r = product_few(&a, n);
        return device_launch(c->dev, &r, e);
    }
    chain_dots_args a = products(l, x, n);
    a.ldx = list_step(l) * l->in, a.ldy = ldy;
    a.y = row_at(io, ldy, from), a.y_type = type_of(io->y_type);
    a.bias = l->bias, a.act = (int32_t)io->act;
    return launch_products(c, &a, e);
}

status codec_conv_run(gpu_codec *c, const codec_conv *l, const conv_io *io, err *e) {
    int64_t rows = codec_conv_rows(l, io->n), unit = 2 * 3 * 64; // tiles have 2 or 3 rows
    int64_t each = MAX(unit, PIECE_VALUES / (l->in * MAX(l->k, CHAIN_TILE)) / unit * unit);
    status rc = OK;
    for (int64_t from = 0; from < rows && !rc; from += each) {
        int64_t n = MIN(each, rows - from);
        rc = l->w.taps ? by_tiles(c, l, io, from, n, e) : by_rows(c, l, io, from, n, e);
    }
    return rc;
}

// ---- residual blocks

#define RES_ROWS ((int64_t)1 << 22) // rows of one launch: its grid has room for twice as many

status codec_res_run(gpu_codec *c, const codec_res *l, const float *x, int64_t n, float *y,
                     err *e) {
    status rc = OK;
    int64_t width = l->narrow.out;
    void *hidden = codec_room(c, CODEC_HIDDEN, (size_t)(n * width) * sizeof(float), &rc, e);
    const conv_io io = {.x = x,
                        .ldx = l->narrow.in,
                        .n = n,
                        .elu = true,
                        .y = hidden,
                        .y_type = l->widen.w.type,
                        .act = ACT_ELU};
    assert(rc || codec_conv_rows(&l->narrow, n) == n);
    if (!rc) rc = codec_conv_run(c, &l->narrow, &io, e);
    for (int64_t from = 0; from < n && !rc; from += RES_ROWS) {
        int64_t at = from * l->widen.out;
        const uint8_t *piece = (uint8_t *)hidden + (size_t)(from * width) * dtype_size(io.y_type);
        chain_dots_args a = products(&l->widen, piece, MIN(RES_ROWS, n - from));
        a.ldx = width, a.y = y + at, a.ldy = l->widen.out, a.bias = l->widen.bias, a.add = x + at;
        rc = launch_products(c, &a, e);
    }
    return rc;
}

// ---- LSTM

// Steps 0 to n-1 of one layer for `streams` rows: z [n, streams, 4 d] has the input half of the
// gates, y [n, streams, d] gets h.
typedef struct {
    const codec_lstm *l;
    float *z, *state, *y;
    int64_t n, streams;
    product_scratch *wide;
} recurrence;

// All steps in one launch. *done: whether the device and the shape allow it.
static status recur_at_once(gpu_codec *c, const recurrence *r, bool *done, err *e) {
    const gpu_matrix *w = &r->l->w_hh;
    int64_t d = w->cols, row = r->streams * d, most = 0;
    bool packed = w->type == GPU_Q8 || w->type == GPU_Q4;
    gpu_kernel kernel = packed ? GPU_qlstm_steps : GPU_lstm_steps;
    int64_t threads = packed ? 128 * ((d + GPU_QBLOCK - 1) / GPU_QBLOCK) : 512;
    *done = false;
    if (d % GPU_LSTM_CELLS || d > GPU_LSTM_MAX) return OK;
    status rc = device_blocks_together(c->dev, kernel, threads, &most, e);
    int64_t blocks = MIN(most, d / GPU_LSTM_CELLS);
    if (rc || !blocks) return rc;
    const lstm_steps_args a = {.w = w->data,
                               .z = r->z,
                               .h = r->state,
                               .cell = r->state + row,
                               .y = r->y,
                               .meetings = (uint32_t *)(void *)(r->state + 2 * row),
                               .n = r->n,
                               .streams = r->streams,
                               .d = d,
                               .type = w->type,
                               .blocks = (int32_t)blocks};
    *done = true;
    return device_launch_together(c->dev, &(device_run){kernel, blocks, 1, threads, &a}, e);
}

// Two launches a step.
static status recur_by_steps(gpu_codec *c, const recurrence *r, err *e) {
    int64_t d = r->l->w_hh.cols, row = r->streams * d;
    status rc = OK;
    for (int64_t t = 0; t < r->n && !rc; t++) {
        const gpu_input h = {.x = t ? r->y + (t - 1) * row : r->state, .ldx = d};
        product_args a = product_of(&r->l->w_hh, h, r->z + t * 4 * row, NULL);
        a.add = 1, a.fixed = (int32_t)r->streams;
        rc = product_run(c->dev, &a, r->streams, r->wide, e);
        const lstm_cells_args cells = {r->y + t * row, r->state + row, r->z + t * 4 * row,
                                       r->streams, d};
        if (!rc) rc = launch_values(c, GPU_lstm_cells, row, &cells, e);
    }
    return rc;
}

static size_t state_size(int64_t d, int64_t streams) {
    return (size_t)(2 * streams * d + 1) * sizeof(float); // h, the cells, a counter
}

static status recur(gpu_codec *c, const recurrence *r, err *e) {
    bool done = false;
    status rc = device_zero(c->dev, r->state, state_size(r->l->w_hh.cols, r->streams), e);
    if (!rc) rc = recur_at_once(c, r, &done, e);
    return rc || done ? rc : recur_by_steps(c, r, e);
}

status codec_lstm_run(gpu_codec *c, const codec_lstm *l, float *x, int64_t n, int64_t streams,
                      float *y, err *e) {
    const encodec_config *cfg = &c->k->cfg;
    int64_t d = encodec_width(cfg), rows = n * streams, blocks = (d + GPU_QBLOCK - 1) / GPU_QBLOCK;
    status rc = OK;
    if (!cfg->lstm_layers) return OK;
    float *z = codec_room(c, CODEC_Z, (size_t)(rows * 4 * d) * sizeof *z, &rc, e);
    float *state = codec_room(c, CODEC_STATE, state_size(d, streams), &rc, e);
    product_scratch wide = {.norm = NULL};
    wide.q = codec_room(c, CODEC_Q, (size_t)(rows * blocks) * sizeof *wide.q, &rc, e);
    for (int64_t i = 0; i < cfg->lstm_layers && !rc; i++) {
        product_args a = product_of(&l[i].w_ih, (gpu_input){.x = i ? y : x, .ldx = d}, z, NULL);
        a.bias = l[i].bias, a.fixed = (int32_t)rows;
        rc = product_run(c->dev, &a, rows, &wide, e);
        if (!rc) rc = recur(c, &(recurrence){&l[i], z, state, y, n, streams, &wide}, e);
    }
    const add_values_args sum = {x, y, rows * d};
    return rc ? rc : launch_values(c, GPU_add_values, rows * d, &sum, e);
}
