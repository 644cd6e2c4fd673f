// judge_kind.c - see judge_kind.h.
#include "engine/judge_kind.h"

#include <math.h> // floor: exact

#include "audio/spectrum.h"
#include "base/lanes.h"
#include "base/mem.h"
#include "base/num.h"
#include "engine/judge_kind_tab.h"

#define WINDOW_SECONDS 0.046
#define HOPS 2 // a window
#define MEL_LOW 40.0
#define MEL_HIGH 7600.0
#define FLOOR 1e-4 // of the strongest band
#define SPREAD 1.5
#define LOG10_2 0.30102999566398120
#define LN_2 0.69314718055994531

typedef struct {
    int64_t in, out;
    const int8_t *weight; // [out, in, 3, 3]
    const float *scale, *bias;
} layer;

static const layer layers[] = {{1, 12, conv0_weight, conv0_scale, conv0_bias},
                               {12, 24, conv1_weight, conv1_scale, conv1_bias},
                               {24, 40, conv2_weight, conv2_scale, conv2_bias}};
#define LAYERS ((int)ARRAY_LEN(layers))
#define LAST 40
#define LAST_BANDS (KIND_BANDS / 8)
#define INPUTS_MAX 24 // of a layer
#define TILE 16       // frames of a row that are made at once

// --- the network

// A picture of so many channels: x [channels, bands, row], of which `frames` values count.
typedef struct {
    float *x;
    int64_t bands, frames, row;
} picture;

// Which tile: from a frame on, of the rows of inputs band + first to band + end of so many bands.
typedef struct {
    float bias;
    int64_t bands, band, first, end, frame;
} tile_at;

// The rows of a picture with their odd frames and their even ones apart, so that every other frame
// lies side by side. A row is [odd, even]: 0 and the odd frames, then the even ones; 0 behind both.
typedef struct {
    float *x;
    int64_t part; // values of each part of a row
} split;

static int64_t in_tiles(int64_t frames) {
    return (frames + TILE - 1) / TILE * TILE;
}

static status split_rows(split *out, const picture *in, int64_t channels, err *e) {
    int64_t half = (in->frames + 1) / 2;
    out->part = in_tiles(half) + 1;
    out->x = mem_calloc((size_t)(channels * in->bands * 2 * out->part), sizeof *out->x);
    if (!out->x) return err_set(e, ERR_OOM, "no memory to hear what stem a sound is");
    for (int64_t r = 0; r < channels * in->bands; r++) {
        const float *x = in->x + r * in->row;
        float *odd = out->x + r * 2 * out->part, *even = odd + out->part;
        for (int64_t t = 0; t < half; t++) even[t] = x[2 * t];
        for (int64_t t = 0; t < in->frames / 2; t++) odd[t + 1] = x[2 * t + 1];
    }
    return OK;
}

// What one row of the input gives to four frames: its frames 2t - 1, 2t and 2t + 1 times w [3].
static lanes_f4 add_row(lanes_f4 sum, const float *odd, const float *even, const float *w) {
    sum += w[0] * lanes_f4_load(odd);
    sum += w[1] * lanes_f4_load(even);
    return sum + w[2] * lanes_f4_load(odd + 1);
}

// A tile of one row of the output, nothing of it below 0; w [channels, 3, 3].
static void make_tile(float out[TILE], const layer *l, const split *in, const float *w,
                      const tile_at *at) {
    lanes_f4 a = (lanes_f4){0} + at->bias, b = a, c = a, d = a;
    for (int64_t i = 0; i < l->in; i++) {
        for (int64_t r = at->first; r < at->end; r++) {
            const float *odd = in->x + (i * at->bands + at->band + r) * 2 * in->part + at->frame;
            const float *even = odd + in->part, *by = w + (i * 3 + r) * 3;
            a = add_row(a, odd, even, by);
            b = add_row(b, odd + 4, even + 4, by);
            c = add_row(c, odd + 8, even + 8, by);
            d = add_row(d, odd + 12, even + 12, by);
        }
    }
    lanes_f4_store(out, lanes_f4_positive(a));
    lanes_f4_store(out + 4, lanes_f4_positive(b));
    lanes_f4_store(out + 8, lanes_f4_positive(c));
    lanes_f4_store(out + 12, lanes_f4_positive(d));
}

// Three by three values, every other band and frame, a border of 0, and nothing below 0.
static void convolve(picture *out, const split *in, int64_t bands, const layer *l) {
    float w[INPUTS_MAX * 9];
    for (int64_t o = 0; o < l->out; o++) {
        for (int64_t i = 0; i < l->in * 9; i++)
            w[i] = (float)l->weight[o * l->in * 9 + i] * l->scale[o];
        for (int64_t b = 0; b < out->bands; b++) {
            float *row = out->x + (o * out->bands + b) * out->row;
            tile_at at = {.bias = l->bias[o], .bands = bands, .band = 2 * b - 1};
            at.first = at.band < 0 ? 1 : 0;
            at.end = MIN(3, bands - at.band);
            for (; at.frame < out->frames; at.frame += TILE)
                make_tile(row + at.frame, l, in, w, &at);
        }
    }
}

// The mean and the greatest of each row of the last picture, then one layer.
static void judge_rows(double *score, const picture *p) {
    for (int k = 0; k < KIND_COUNT; k++) score[k] = (double)head_bias[k];
    for (int64_t i = 0; i < LAST * LAST_BANDS; i++) {
        const float *row = p->x + i * p->row;
        double sum = 0, top = 0;
        for (int64_t t = 0; t < p->frames; t++) {
            sum += (double)row[t];
            top = MAX(top, (double)row[t]);
        }
        double mean = sum / (double)p->frames;
        for (int64_t k = 0; k < KIND_COUNT; k++) {
            const int8_t *w = head_weight + k * 2 * LAST * LAST_BANDS;
            double scale = (double)head_scale[k];
            score[k] += scale * (mean * w[i] + top * w[LAST * LAST_BANDS + i]);
        }
    }
}

static void to_shares(double *share) {
    double top = share[0], sum = 0;
    for (int k = 1; k < KIND_COUNT; k++) top = MAX(top, share[k]);
    for (int k = 0; k < KIND_COUNT; k++) {
        share[k] = num_exp(MAX(share[k] - top, -600.0));
        sum += share[k];
    }
    for (int k = 0; k < KIND_COUNT; k++) share[k] /= sum;
}

// The logarithm of power, its mean 0.
static void to_levels(float *out, const float *power, int64_t n) {
    double top = 0, mean = 0;
    for (int64_t i = 0; i < n; i++) top = MAX(top, (double)power[i]);
    double floor_power = FLOOR * MAX(top, 1e-20);
    for (int64_t i = 0; i < n; i++) {
        out[i] = (float)(num_log2((double)power[i] + floor_power) * LOG10_2);
        mean += (double)out[i];
    }
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) out[i] = (float)(((double)out[i] - mean) / SPREAD);
}

static status run_layers(double *share, picture *in, err *e) {
    for (int i = 0; i < LAYERS; i++) {
        const layer *l = &layers[i];
        picture out = {.bands = (in->bands + 1) / 2, .frames = (in->frames + 1) / 2};
        out.row = in_tiles(out.frames);
        split rows;
        status rc = split_rows(&rows, in, l->in, e);
        if (rc) return rc;
        mem_free(in->x);
        in->x = out.x = mem_alloc((size_t)(l->out * out.bands * out.row) * sizeof *out.x);
        if (out.x) convolve(&out, &rows, in->bands, l);
        mem_free(rows.x);
        if (!out.x) return err_set(e, ERR_OOM, "no memory to hear what stem a sound is");
        *in = out;
    }
    judge_rows(share, in);
    to_shares(share);
    return OK;
}

status kind_run(double *share, const float *power, int64_t frames, err *e) {
    picture p = {.bands = KIND_BANDS, .frames = frames, .row = frames};
    p.x = mem_alloc((size_t)(KIND_BANDS * frames) * sizeof *p.x);
    if (!p.x) return err_set(e, ERR_OOM, "no memory to hear what stem a sound is");
    to_levels(p.x, power, KIND_BANDS * frames);
    status rc = run_layers(share, &p, e);
    mem_free(p.x);
    return rc;
}

// --- mel bands

static double mel_of(double hz) {
    return num_log2(1 + hz / 700);
}

// The edges of the bands' triangles in Hz, evenly apart in mel.
static void fill_edges(double edge[KIND_BANDS + 2]) {
    double low = mel_of(MEL_LOW), step = (mel_of(MEL_HIGH) - low) / (KIND_BANDS + 1);
    for (int i = 0; i < KIND_BANDS + 2; i++) edge[i] = 700 * (num_exp((low + i * step) * LN_2) - 1);
}

// The bins of each band and their weights.
typedef struct {
    size_t first[KIND_BANDS], count[KIND_BANDS];
    double *weight; // of all bands' bins, one band behind the other
} filters;

// No bin lies in more than two bands.
static status filters_open(filters *f, const spectrum *s, double per_bin, err *e) {
    double edge[KIND_BANDS + 2], *w = mem_alloc((s->size + 2) * sizeof *w);
    f->weight = w;
    if (!w) return err_set(e, ERR_OOM, "no memory to hear what stem a sound is");
    fill_edges(edge);
    for (int b = 0; b < KIND_BANDS; b++) {
        size_t k = f->first[b] = (size_t)(edge[b] / per_bin) + 1;
        for (; k <= s->size / 2 && (double)k * per_bin < edge[b + 2]; k++) {
            double hz = (double)k * per_bin;
            double up = (hz - edge[b]) / (edge[b + 1] - edge[b]);
            double down = (edge[b + 2] - hz) / (edge[b + 2] - edge[b + 1]);
            *w++ = MIN(up, down);
        }
        f->count[b] = k - f->first[b];
    }
    return OK;
}

// Column t of power [KIND_BANDS, frames].
static void fill_column(float *power, int64_t frames, int64_t t, const spectrum *s,
                        const filters *f) {
    const double *w = f->weight;
    for (int b = 0; b < KIND_BANDS; b++) {
        double sum = 0;
        for (size_t k = 0; k < f->count[b]; k++) sum += w[k] * (double)s->power[f->first[b] + k];
        w += f->count[b];
        power[b * frames + t] = (float)sum;
    }
}

status kind_hear(double *share, const listened *l, err *e) {
    spectrum s;
    filters f = {0};
    status rc = spectrum_open(&s, 256, WINDOW_SECONDS, l->rate, e);
    if (!rc) rc = filters_open(&f, &s, (double)l->rate / (double)s.size, e);
    int64_t size = (int64_t)s.size, hop = size / HOPS;
    int64_t frames = l->n > size ? (l->n - size) / hop + 1 : 1;
    float *power = rc ? NULL : mem_alloc((size_t)(KIND_BANDS * frames) * sizeof *power);
    if (!rc && !power) rc = err_set(e, ERR_OOM, "no memory to hear what stem a sound is");
    for (int64_t t = 0; !rc && t < frames; t++) {
        spectrum_at(&s, l->x, l->n, t * hop);
        fill_column(power, frames, t, &s, &f);
    }
    mem_free(f.weight);
    spectrum_close(&s);
    if (!rc) rc = kind_run(share, power, frames, e);
    mem_free(power);
    return rc;
}
