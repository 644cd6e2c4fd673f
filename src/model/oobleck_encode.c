// oobleck_encode.c - samples to latents, piece by piece; see oobleck.h.
//
//     x = conv7(samples)
//     each stage:  three times: x += conv1(snake(conv7(snake(x))));  x = down(snake(x))
//     mean, scale = conv3(snake(x))
//
// A piece is a range of frames. As in the decoder, going back through the layers says which rows of
// each it needs, and pieces begin at fixed frames.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "model/finite.h"
#include "model/oobleck_inside.h"

#define PIECE_FRAMES 16
#define FIRST_TAPS 7
#define LAST_TAPS 3

typedef struct {
    oobleck_unit unit[OOBLECK_UNITS];
    oobleck_snake snake;
    sea_conv down;
} encoder_stage;

struct oobleck_encoder {
    oobleck_config cfg;
    int64_t stages;
    sea_conv first, last;
    oobleck_snake snake;
    encoder_stage stage[OOBLECK_STAGES_MAX]; // the shallowest first
};

// --- weights

static void bind_stage(weights *w, encoder_stage *s, int64_t in, int64_t out, int64_t stride,
                       int64_t i) {
    char full[120];
    const sea_conv down = {.in = in, .out = out, .k = 2 * stride, .stride = stride, .dilation = 1};
    snprintf(full, sizeof full, "encoder.block.%d", (int)i);
    for (int k = 0; k < OOBLECK_UNITS; k++) oobleck_bind_unit(w, &s->unit[k], in, k, full);
    snprintf(full, sizeof full, "encoder.block.%d.snake1", (int)i);
    oobleck_bind_snake(w, &s->snake, in, full);
    snprintf(full, sizeof full, "encoder.block.%d.conv1", (int)i);
    oobleck_bind_conv(w, &s->down, &down, full);
}

status oobleck_encoder_open(oobleck_encoder **out, weights *w, const oobleck_config *cfg,
                            arena *own, err *e) {
    *out = NULL;
    oobleck_encoder *m = arena_alloc(own, sizeof *m);
    if (!m) return err_set(e, ERR_OOM, "no memory for the codec's encoder");
    m->cfg = *cfg;
    m->stages = cfg->stages;
    int64_t in = cfg->encoder_width;
    const sea_conv first = {
        .in = cfg->channels, .out = in, .k = FIRST_TAPS, .stride = 1, .dilation = 1};
    oobleck_bind_conv(w, &m->first, &first, "encoder.conv1");
    for (int64_t i = 0; i < m->stages; i++) {
        int64_t next = cfg->encoder_width * cfg->times[i];
        bind_stage(w, &m->stage[i], in, next, cfg->strides[m->stages - 1 - i], i);
        in = next;
    }
    const sea_conv last = {
        .in = in, .out = 2 * cfg->latent, .k = LAST_TAPS, .stride = 1, .dilation = 1};
    oobleck_bind_snake(w, &m->snake, in, "encoder.snake1");
    oobleck_bind_conv(w, &m->last, &last, "encoder.conv2");
    *out = m;
    return OK;
}

// --- pieces

// What each layer must give for a piece.
typedef struct {
    oobleck_extent samples, first;
    oobleck_extent unit[OOBLECK_STAGES_MAX][OOBLECK_UNITS];
    oobleck_extent down[OOBLECK_STAGES_MAX];
    oobleck_extent frames;
} piece;

// The input rows that give the output rows x of a convolution with a stride.
static oobleck_extent before_down(oobleck_extent x, int64_t stride, int64_t total) {
    int64_t trim = oobleck_trim(stride);
    span need = {x.need.from * stride - trim, (x.need.to + 1) * stride - trim};
    return (oobleck_extent){{MAX(0, need.from), MIN(total, need.to)}, total};
}

static void count_rows(const oobleck_encoder *m, int64_t samples,
                       int64_t totals[OOBLECK_STAGES_MAX + 1]) {
    totals[0] = samples;
    for (int64_t i = 0; i < m->stages; i++) {
        int64_t s = m->stage[i].down.stride;
        totals[i + 1] = MAX(0, totals[i] + 2 * oobleck_trim(s) - s) / s;
    }
}

static void plan_piece(piece *p, const oobleck_encoder *m, int64_t samples, span frames) {
    int64_t totals[OOBLECK_STAGES_MAX + 1];
    count_rows(m, samples, totals);
    p->frames = (oobleck_extent){frames, totals[m->stages]};
    oobleck_extent x = oobleck_widen(p->frames, oobleck_reach(&m->last));
    for (int64_t i = m->stages; i-- > 0;) {
        const encoder_stage *s = &m->stage[i];
        p->down[i] = x;
        x = before_down(x, s->down.stride, totals[i]);
        for (int k = OOBLECK_UNITS; k-- > 0;) {
            p->unit[i][k] = x;
            x = oobleck_widen(x, oobleck_reach(&s->unit[k].conv1));
        }
    }
    p->first = x;
    p->samples = oobleck_widen(x, oobleck_reach(&m->first));
}

static oobleck_size size_of(const oobleck_encoder *m, const piece *p) {
    oobleck_size z = {0};
    oobleck_size_values(&z, oobleck_length(p->samples), m->cfg.channels);
    oobleck_size_values(&z, oobleck_length(p->first), m->first.out);
    oobleck_size_conv(&z, &m->first, oobleck_length(p->first));
    for (int64_t i = 0; i < m->stages; i++) {
        const encoder_stage *s = &m->stage[i];
        for (int k = 0; k < OOBLECK_UNITS; k++) {
            oobleck_size_conv(&z, &s->unit[k].conv1, oobleck_length(p->unit[i][k]));
            oobleck_size_conv(&z, &s->unit[k].conv2, oobleck_length(p->unit[i][k]));
        }
        oobleck_size_values(&z, oobleck_length(p->down[i]), s->down.out);
        oobleck_size_conv(&z, &s->down, oobleck_length(p->down[i]));
    }
    oobleck_size_values(&z, oobleck_length(p->frames), m->last.out);
    oobleck_size_conv(&z, &m->last, oobleck_length(p->frames));
    return z;
}

// --- the whole

static void take_samples(const oobleck_encode_args *a, float *x, oobleck_extent s,
                         int64_t channels) {
    for (int64_t t = 0; t < oobleck_length(s); t++)
        for (int64_t ch = 0; ch < channels; ch++)
            x[t * channels + ch] = a->planes[ch * a->samples + s.need.from + t];
}

static void run_stage(const oobleck_encoder *m, compute *c, oobleck_room *r, const piece *p,
                      int64_t i) {
    const encoder_stage *s = &m->stage[i];
    oobleck_extent in = i ? p->down[i - 1] : p->first;
    for (int k = 0; k < OOBLECK_UNITS; k++) {
        oobleck_unit_run(c, &s->unit[k], r, in, p->unit[i][k]);
        in = p->unit[i][k];
    }
    oobleck_snake_rows(c, &s->snake, r->act, r->x, oobleck_length(in), s->down.in);
    oobleck_conv(
        c, &(oobleck_conv_args){.l = &s->down, .x = r->act, .in = in, .out = p->down[i], .y = r->y},
        r);
    oobleck_turn(r);
}

static void encode_piece(const oobleck_encoder *m, compute *c, const oobleck_encode_args *a,
                         oobleck_room *r, const piece *p) {
    int64_t latent = m->cfg.latent;
    take_samples(a, r->act, p->samples, m->cfg.channels);
    oobleck_conv(c,
                 &(oobleck_conv_args){
                     .l = &m->first, .x = r->act, .in = p->samples, .out = p->first, .y = r->x},
                 r);
    for (int64_t i = 0; i < m->stages; i++) run_stage(m, c, r, p, i);
    oobleck_extent in = p->down[m->stages - 1];
    oobleck_snake_rows(c, &m->snake, r->act, r->x, oobleck_length(in), m->last.in);
    oobleck_conv(
        c, &(oobleck_conv_args){.l = &m->last, .x = r->act, .in = in, .out = p->frames, .y = r->y},
        r);
    float by = (float)(1 / m->cfg.scale);
    for (int64_t t = 0; t < oobleck_length(p->frames); t++)
        for (int64_t k = 0; k < latent; k++)
            a->latents[(p->frames.need.from + t) * latent + k] = r->y[t * 2 * latent + k] * by;
}

status oobleck_encode(const oobleck_encoder *m, compute *c, const oobleck_encode_args *a, err *e) {
    int64_t totals[OOBLECK_STAGES_MAX + 1];
    count_rows(m, a->samples, totals);
    assert(a->frames >= 1 && a->frames <= totals[m->stages]);
    piece p;
    plan_piece(&p, m, 5 * PIECE_FRAMES * m->cfg.hop, (span){2 * PIECE_FRAMES, 3 * PIECE_FRAMES});
    oobleck_room r = {0};
    oobleck_size z = size_of(m, &p); // where it is largest: with neighbours on both sides
    bool ok = oobleck_room_init(&r, &z);
    for (int64_t from = 0; ok && from < a->frames; from += PIECE_FRAMES) {
        plan_piece(&p, m, a->samples, (span){from, MIN(a->frames, from + PIECE_FRAMES)});
        encode_piece(m, c, a, &r, &p);
    }
    arena_deinit(&r.own);
    if (!ok) return err_set(e, ERR_OOM, "no memory for the codec's encoder");
    if (finite_f32(a->latents, a->frames * m->cfg.latent)) return OK;
    return err_set(e, ERR_FORMAT,
                   "codec: the encoder's latents are not finite numbers: its weights are too large "
                   "or damaged");
}
