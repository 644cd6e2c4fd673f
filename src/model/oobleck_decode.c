// oobleck_decode.c - latents to samples, piece by piece; see oobleck.h.
//
//     x = conv7(latents)
//     each stage:  x = up(snake(x));  three times: x += conv1(snake(conv7(snake(x))))
//     samples = conv7(snake(x))
//
// A piece is a range of samples. Going back through the layers says which rows of each layer it
// needs; rows outside the sequence are zero for every layer, as the reference pads each of them.
// Pieces begin at fixed samples, so the bits of a sample depend on the latents and their number
// alone. The number counts at the end: a convolution takes the last odd row by itself, and rounds
// it otherwise than the same row inside a longer sequence.
#include <assert.h>
#include <string.h>

#include "compute/math.h"
#include "model/finite.h"
#include "model/oobleck_inside.h"

#define PIECE_FRAMES 16

// Rows of the result of a layer: of a stage its range is `need`, of all there are `total`.
typedef struct {
    span need;
    int64_t total;
} extent;

// What each layer must give for a piece.
typedef struct {
    extent latents, first;                            // into conv1, out of it
    extent up[OOBLECK_STAGES_MAX];                    // out of the transposed convolution
    extent unit[OOBLECK_STAGES_MAX][OOBLECK_UNITS];   // out of a residual unit
    extent middle[OOBLECK_STAGES_MAX][OOBLECK_UNITS]; // between its convolutions
    extent samples;
} piece;

static extent widen(extent x, int64_t by) {
    return (extent){{MAX(0, x.need.from - by), MIN(x.total, x.need.to + by)}, x.total};
}

// The input rows that give the output rows x of a transposed convolution: x[t-1] and x[t] give the
// rows from t * stride - trim on.
static extent before_up(extent x, int64_t stride, int64_t total) {
    int64_t trim = oobleck_trim(stride);
    span need = {(x.need.from + trim) / stride - 1, (x.need.to - 1 + trim) / stride + 1};
    return (extent){{MAX(0, need.from), MIN(total, need.to)}, total};
}

// The widths of padding on one side.
static int64_t reach(const sea_conv *l) {
    return (l->k - 1) / 2 * l->dilation;
}

static void plan_piece(piece *p, const oobleck *m, int64_t frames, span samples) {
    int64_t totals[OOBLECK_STAGES_MAX + 1] = {frames};
    int64_t n = m->cfg.stages;
    for (int64_t i = 0; i < n; i++) {
        int64_t s = m->cfg.strides[i];
        totals[i + 1] = (totals[i] + 1) * s - 2 * oobleck_trim(s);
    }
    p->samples = (extent){samples, totals[n]};
    extent x = widen(p->samples, reach(&m->last));
    for (int64_t i = n; i-- > 0;) {
        const oobleck_stage *s = &m->stage[i];
        for (int k = OOBLECK_UNITS; k-- > 0;) {
            p->unit[i][k] = x;
            p->middle[i][k] = x; // one tap
            x = widen(x, reach(&s->unit[k].conv1));
        }
        p->up[i] = x;
        x = before_up(x, m->cfg.strides[i], totals[i]);
    }
    p->first = x;
    p->latents = widen(x, reach(&m->first));
}

// --- memory

typedef struct {
    float *x;   // the rows of the layer under way
    float *act; // their snake
    float *y;   // the next rows
    void *work; // of chain_conv
    const float **rows;
    float *zero;
    arena own;
} room;

typedef struct {
    size_t values, work, rows, zero;
} room_size;

static void room_for_conv(room_size *z, const sea_conv *l, int64_t n) {
    int64_t step = l->dilation > 1 ? 1 : l->stride;
    z->work = MAX(z->work, chain_conv_work(&l->w, l->in, n, step));
    z->rows = MAX(z->rows, (size_t)chain_conv_rows(&l->w, l->in, n, step));
    z->zero = MAX(z->zero, (size_t)l->in);
}

static int64_t length(extent x) {
    return x.need.to - x.need.from;
}

static void room_for_values(room_size *z, int64_t rows, int64_t width) {
    z->values = MAX(z->values, (size_t)(rows * width));
}

// Rows of input that the transposed convolution walks through for its output.
static span up_steps(extent out, int64_t stride) {
    int64_t trim = oobleck_trim(stride);
    return (span){(out.need.from + trim) / stride, (out.need.to - 1 + trim) / stride + 1};
}

static room_size size_of(const oobleck *m, const piece *p) {
    room_size z = {0};
    const oobleck_config *cfg = &m->cfg;
    room_for_values(&z, length(p->latents), cfg->latent);
    room_for_values(&z, length(p->first), cfg->widths[0]);
    room_for_conv(&z, &m->first, length(p->first));
    for (int64_t i = 0; i < cfg->stages; i++) {
        const oobleck_stage *s = &m->stage[i];
        span steps = up_steps(p->up[i], cfg->strides[i]);
        room_for_conv(&z, &s->up.conv, steps.to - steps.from);
        room_for_values(&z, (steps.to - steps.from) * cfg->strides[i], cfg->widths[i + 1]);
        for (int k = 0; k < OOBLECK_UNITS; k++) {
            room_for_conv(&z, &s->unit[k].conv1, length(p->middle[i][k]));
            room_for_conv(&z, &s->unit[k].conv2, length(p->unit[i][k]));
        }
    }
    room_for_conv(&z, &m->last, length(p->samples));
    return z;
}

static bool room_init(room *r, const room_size *z) {
    r->x = arena_f32(&r->own, 1, z->values);
    r->act = arena_f32(&r->own, 1, z->values);
    r->y = arena_f32(&r->own, 1, z->values);
    r->work = arena_alloc(&r->own, z->work);
    r->rows = arena_alloc(&r->own, z->rows * sizeof *r->rows);
    r->zero = arena_f32(&r->own, 1, z->zero);
    return !r->own.failed;
}

// --- layers

// A convolution of the rows of x, of which extent `in` is in memory, to the rows `out` of y.
typedef struct {
    const sea_conv *l;
    const float *x;
    extent in, out;
    float *y;
    bool add;
} conv_args;

static const float *row_at(const conv_args *a, const room *r, int64_t t) {
    bool inside = t >= 0 && t < a->in.total;
    assert(!inside || (t >= a->in.need.from && t < a->in.need.to));
    return inside ? a->x + (t - a->in.need.from) * a->l->in : r->zero;
}

// Rows t, t + dilation, t + 2 * dilation ... of the result are a convolution without dilation.
static void conv_phase(compute *c, const conv_args *a, room *r, int64_t phase) {
    const sea_conv *l = a->l;
    int64_t d = l->dilation, n = (length(a->out) - phase + d - 1) / d;
    if (n < 1) return;
    int64_t count = chain_conv_rows(&l->w, l->in, n, 1), first = a->out.need.from + phase;
    for (int64_t j = 0; j < count; j++) r->rows[j] = row_at(a, r, first - reach(l) + j * d);
    chain_conv(c, &(chain_conv_args){.to = {.y = a->y + phase * l->out,
                                            .y_type = DT_F32,
                                            .ldy = d * l->out,
                                            .n = n,
                                            .w = &l->w,
                                            .bias = l->bias,
                                            .add = a->add},
                                     .rows = r->rows,
                                     .in = l->in,
                                     .step = 1,
                                     .work = r->work});
}

static void conv(compute *c, const conv_args *a, room *r) {
    for (int64_t p = 0; p < a->l->dilation; p++) conv_phase(c, a, r, p);
}

static void snake(compute *c, const oobleck_snake *s, float *y, const float *x, int64_t n,
                  int64_t d) {
    op_snake(c, &(snake_args){.y = y, .x = x, .a = s->a, .by = s->by, .n = n, .d = d});
}

static void turn(room *r) {
    float *x = r->x;
    r->x = r->y;
    r->y = x;
}

// x [in] becomes the rows `out` of the transposed convolution. The result is moved to the front.
static void up(compute *c, const sea_up *u, room *r, extent in, extent out) {
    span steps = up_steps(out, u->stride);
    const conv_args a = {.l = &u->conv, .x = r->act, .in = in};
    int64_t n = steps.to - steps.from, count = chain_conv_rows(&u->conv.w, u->in, n, 1);
    for (int64_t j = 0; j < count; j++) {
        int64_t t = steps.from - 1 + j; // behind the last step: rows that only fill a tile
        r->rows[j] = t < steps.to && t < in.total ? row_at(&a, r, t) : r->zero;
    }
    chain_conv(c, &(chain_conv_args){.to = {.y = r->y,
                                            .y_type = DT_F32,
                                            .ldy = u->conv.out,
                                            .n = n,
                                            .w = &u->conv.w,
                                            .bias = u->conv.bias},
                                     .rows = r->rows,
                                     .in = u->in,
                                     .step = 1,
                                     .work = r->work});
    int64_t skip = out.need.from + oobleck_trim(u->stride) - steps.from * u->stride;
    memmove(r->y, r->y + skip * u->out, (size_t)(length(out) * u->out) * sizeof *r->y);
    turn(r);
}

// x [in] becomes x + conv1(snake(conv7(snake(x)))) of the rows `out`.
static void unit(compute *c, const oobleck_unit *u, room *r, extent in, extent out) {
    int64_t d = u->conv1.in, n = length(out);
    snake(c, &u->snake1, r->act, r->x, length(in), d);
    conv(c, &(conv_args){.l = &u->conv1, .x = r->act, .in = in, .out = out, .y = r->y}, r);
    snake(c, &u->snake2, r->act, r->y, n, d);
    memmove(r->x, r->x + (out.need.from - in.need.from) * d, (size_t)(n * d) * sizeof *r->x);
    conv(c,
         &(conv_args){.l = &u->conv2, .x = r->act, .in = out, .out = out, .y = r->x, .add = true},
         r);
}

static void stage(const oobleck *m, compute *c, room *r, const piece *p, int64_t i) {
    const oobleck_stage *s = &m->stage[i];
    extent in = i ? p->unit[i - 1][OOBLECK_UNITS - 1] : p->first;
    snake(c, &s->snake, r->act, r->x, length(in), m->cfg.widths[i]);
    up(c, &s->up, r, in, p->up[i]);
    for (int k = 0; k < OOBLECK_UNITS; k++)
        unit(c, &s->unit[k], r, k ? p->unit[i][k - 1] : p->up[i], p->unit[i][k]);
}

// --- the whole

static void put_samples(const oobleck *m, const oobleck_args *a, const float *y, extent x) {
    int64_t channels = m->cfg.channels;
    for (int64_t t = 0; t < length(x); t++) {
        for (int64_t ch = 0; ch < channels; ch++) {
            float v = y[t * channels + ch];
            a->planes[ch * a->samples + x.need.from + t] = m->cfg.tanh ? math_tanh(v) : v;
        }
    }
}

// The latents of a piece, scaled if they are.
static const float *scaled(const oobleck *m, const oobleck_args *a, room *r, extent x) {
    const float *from = a->latents + x.need.from * m->cfg.latent;
    float by = (float)m->cfg.scale;
    if (by >= 1 && by <= 1) return from;
    for (int64_t i = 0; i < length(x) * m->cfg.latent; i++) r->act[i] = from[i] * by;
    return r->act;
}

static void decode_piece(const oobleck *m, compute *c, const oobleck_args *a, room *r,
                         const piece *p) {
    const oobleck_config *cfg = &m->cfg;
    const float *latents = scaled(m, a, r, p->latents);
    conv(c,
         &(conv_args){.l = &m->first, .x = latents, .in = p->latents, .out = p->first, .y = r->x},
         r);
    for (int64_t i = 0; i < cfg->stages; i++) stage(m, c, r, p, i);
    extent in = p->unit[cfg->stages - 1][OOBLECK_UNITS - 1];
    snake(c, &m->snake, r->act, r->x, length(in), cfg->width);
    conv(c, &(conv_args){.l = &m->last, .x = r->act, .in = in, .out = p->samples, .y = r->y}, r);
    put_samples(m, a, r->y, p->samples);
}

// The size of a piece's memory where it is largest: with neighbours on both sides.
static room_size largest(const oobleck *m) {
    piece p;
    int64_t step = PIECE_FRAMES * m->cfg.hop;
    plan_piece(&p, m, 5 * PIECE_FRAMES, (span){2 * step, 3 * step});
    return size_of(m, &p);
}

size_t oobleck_room_bytes(const oobleck *m) {
    room_size z = largest(m);
    return (3 * z.values + z.zero) * sizeof(float) + z.work + z.rows * sizeof(float *);
}

status oobleck_decode(const oobleck *m, compute *c, const oobleck_args *a, err *e) {
    int64_t step = PIECE_FRAMES * m->cfg.hop;
    assert(a->samples <= oobleck_samples(m, a->frames));
    room r = {0};
    room_size z = largest(m);
    bool ok = room_init(&r, &z);
    for (int64_t from = 0; ok && from < a->samples; from += step) {
        piece p;
        plan_piece(&p, m, a->frames, (span){from, MIN(a->samples, from + step)});
        decode_piece(m, c, a, &r, &p);
    }
    arena_deinit(&r.own);
    if (!ok) return err_set(e, ERR_OOM, "no memory for the codec");
    if (finite_f32(a->planes, m->cfg.channels * a->samples)) return OK;
    return err_set(e, ERR_FORMAT,
                   "codec: the samples are not finite numbers: its weights are too large or "
                   "damaged");
}
