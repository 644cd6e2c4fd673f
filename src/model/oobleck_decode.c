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

// What each layer must give for a piece.
typedef struct {
    oobleck_extent latents, first;                            // into conv1, out of it
    oobleck_extent up[OOBLECK_STAGES_MAX];                    // out of the transposed convolution
    oobleck_extent unit[OOBLECK_STAGES_MAX][OOBLECK_UNITS];   // out of a residual unit
    oobleck_extent middle[OOBLECK_STAGES_MAX][OOBLECK_UNITS]; // between its convolutions
    oobleck_extent samples;
} piece;

// The input rows that give the output rows x of a transposed convolution: x[t-1] and x[t] give the
// rows from t * stride - trim on.
static oobleck_extent before_up(oobleck_extent x, int64_t stride, int64_t total) {
    int64_t trim = oobleck_trim(stride);
    span need = {(x.need.from + trim) / stride - 1, (x.need.to - 1 + trim) / stride + 1};
    return (oobleck_extent){{MAX(0, need.from), MIN(total, need.to)}, total};
}

static void plan_piece(piece *p, const oobleck *m, int64_t frames, span samples) {
    int64_t totals[OOBLECK_STAGES_MAX + 1] = {frames};
    int64_t n = m->cfg.stages;
    for (int64_t i = 0; i < n; i++) {
        int64_t s = m->cfg.strides[i];
        totals[i + 1] = (totals[i] + 1) * s - 2 * oobleck_trim(s);
    }
    p->samples = (oobleck_extent){samples, totals[n]};
    oobleck_extent x = oobleck_widen(p->samples, oobleck_reach(&m->last));
    for (int64_t i = n; i-- > 0;) {
        const oobleck_stage *s = &m->stage[i];
        for (int k = OOBLECK_UNITS; k-- > 0;) {
            p->unit[i][k] = x;
            p->middle[i][k] = x; // one tap
            x = oobleck_widen(x, oobleck_reach(&s->unit[k].conv1));
        }
        p->up[i] = x;
        x = before_up(x, m->cfg.strides[i], totals[i]);
    }
    p->first = x;
    p->latents = oobleck_widen(x, oobleck_reach(&m->first));
}

// --- memory

// Rows of input that the transposed convolution walks through for its output.
static span up_steps(oobleck_extent out, int64_t stride) {
    int64_t trim = oobleck_trim(stride);
    return (span){(out.need.from + trim) / stride, (out.need.to - 1 + trim) / stride + 1};
}

static oobleck_size size_of(const oobleck *m, const piece *p) {
    oobleck_size z = {0};
    const oobleck_config *cfg = &m->cfg;
    oobleck_size_values(&z, oobleck_length(p->latents), cfg->latent);
    oobleck_size_values(&z, oobleck_length(p->first), cfg->widths[0]);
    oobleck_size_conv(&z, &m->first, oobleck_length(p->first));
    for (int64_t i = 0; i < cfg->stages; i++) {
        const oobleck_stage *s = &m->stage[i];
        span steps = up_steps(p->up[i], cfg->strides[i]);
        oobleck_size_conv(&z, &s->up.conv, steps.to - steps.from);
        oobleck_size_values(&z, (steps.to - steps.from) * cfg->strides[i], cfg->widths[i + 1]);
        for (int k = 0; k < OOBLECK_UNITS; k++) {
            oobleck_size_conv(&z, &s->unit[k].conv1, oobleck_length(p->middle[i][k]));
            oobleck_size_conv(&z, &s->unit[k].conv2, oobleck_length(p->unit[i][k]));
        }
    }
    oobleck_size_conv(&z, &m->last, oobleck_length(p->samples));
    return z;
}

// --- layers

// x [in] becomes the rows `out` of the transposed convolution. The result is moved to the front.
static void up(compute *c, const sea_up *u, oobleck_room *r, oobleck_extent in,
               oobleck_extent out) {
    span steps = up_steps(out, u->stride);
    const oobleck_conv_args a = {.l = &u->conv, .x = r->act, .in = in};
    int64_t n = steps.to - steps.from, count = chain_conv_rows(&u->conv.w, u->in, n, 1);
    for (int64_t j = 0; j < count; j++) {
        int64_t t = steps.from - 1 + j; // behind the last step: rows that only fill a tile
        r->rows[j] = t < steps.to && t < in.total ? oobleck_row_at(&a, r, t) : r->zero;
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
    memmove(r->y, r->y + skip * u->out, (size_t)(oobleck_length(out) * u->out) * sizeof *r->y);
    oobleck_turn(r);
}

static void stage(const oobleck *m, compute *c, oobleck_room *r, const piece *p, int64_t i) {
    const oobleck_stage *s = &m->stage[i];
    oobleck_extent in = i ? p->unit[i - 1][OOBLECK_UNITS - 1] : p->first;
    oobleck_snake_rows(c, &s->snake, r->act, r->x, oobleck_length(in), m->cfg.widths[i]);
    up(c, &s->up, r, in, p->up[i]);
    for (int k = 0; k < OOBLECK_UNITS; k++)
        oobleck_unit_run(c, &s->unit[k], r, k ? p->unit[i][k - 1] : p->up[i], p->unit[i][k]);
}

// --- the whole

static void put_samples(const oobleck *m, const oobleck_args *a, const float *y, oobleck_extent x) {
    int64_t channels = m->cfg.channels;
    for (int64_t t = 0; t < oobleck_length(x); t++) {
        for (int64_t ch = 0; ch < channels; ch++) {
            float v = y[t * channels + ch];
            a->planes[ch * a->samples + x.need.from + t] = m->cfg.tanh ? math_tanh(v) : v;
        }
    }
}

// The latents of a piece, scaled if they are.
static const float *scaled(const oobleck *m, const oobleck_args *a, oobleck_room *r,
                           oobleck_extent x) {
    const float *from = a->latents + x.need.from * m->cfg.latent;
    float by = (float)m->cfg.scale;
    if (by >= 1 && by <= 1) return from;
    for (int64_t i = 0; i < oobleck_length(x) * m->cfg.latent; i++) r->act[i] = from[i] * by;
    return r->act;
}

static void decode_piece(const oobleck *m, compute *c, const oobleck_args *a, oobleck_room *r,
                         const piece *p) {
    const oobleck_config *cfg = &m->cfg;
    const float *latents = scaled(m, a, r, p->latents);
    oobleck_conv(c,
                 &(oobleck_conv_args){
                     .l = &m->first, .x = latents, .in = p->latents, .out = p->first, .y = r->x},
                 r);
    for (int64_t i = 0; i < cfg->stages; i++) stage(m, c, r, p, i);
    oobleck_extent in = p->unit[cfg->stages - 1][OOBLECK_UNITS - 1];
    oobleck_snake_rows(c, &m->snake, r->act, r->x, oobleck_length(in), cfg->width);
    oobleck_conv(
        c, &(oobleck_conv_args){.l = &m->last, .x = r->act, .in = in, .out = p->samples, .y = r->y},
        r);
    put_samples(m, a, r->y, p->samples);
}

// The size of a piece's memory where it is largest: with neighbours on both sides.
static oobleck_size largest(const oobleck *m) {
    piece p;
    int64_t step = PIECE_FRAMES * m->cfg.hop;
    plan_piece(&p, m, 5 * PIECE_FRAMES, (span){2 * step, 3 * step});
    return size_of(m, &p);
}

size_t oobleck_room_bytes(const oobleck *m) {
    oobleck_size z = largest(m);
    return (3 * z.values + z.zero) * sizeof(float) + z.work + z.rows * sizeof(float *);
}

status oobleck_decode(const oobleck *m, compute *c, const oobleck_args *a, err *e) {
    int64_t step = PIECE_FRAMES * m->cfg.hop;
    assert(a->samples <= oobleck_samples(m, a->frames));
    oobleck_room r = {0};
    oobleck_size z = largest(m);
    bool ok = oobleck_room_init(&r, &z);
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
