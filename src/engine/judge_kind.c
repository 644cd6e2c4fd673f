// judge_kind.c - see judge_kind.h.
#include "engine/judge_kind.h"

#include <math.h> // floor: exact
#include <string.h>

#include "audio/spectrum.h"
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

// --- the network

// A picture of so many channels: x [channels, bands, frames].
typedef struct {
    float *x;
    int64_t bands, frames;
} picture;

// Adds w times every other value of a row, from `from` on, to out [n]; in [frames], 0 outside.
static void add_row(float *out, int64_t n, const float *in, int64_t frames, int64_t from, float w) {
    int64_t t = from < 0 ? 1 : 0;
    for (; t < n && 2 * t + from < frames; t++) out[t] += w * in[2 * t + from];
}

// Three by three values, every other band and frame, a border of 0, and nothing below 0.
static void convolve(picture *out, const picture *in, const layer *l) {
    for (int64_t o = 0; o < l->out; o++) {
        for (int64_t b = 0; b < out->bands; b++) {
            float *row = out->x + (o * out->bands + b) * out->frames;
            for (int64_t t = 0; t < out->frames; t++) row[t] = l->bias[o];
            for (int64_t i = 0; i < l->in * 9; i++) {
                int64_t from = 2 * b + i / 3 % 3 - 1;
                if (from < 0 || from >= in->bands) continue;
                const float *x = in->x + (i / 9 * in->bands + from) * in->frames;
                float w = (float)l->weight[o * l->in * 9 + i] * l->scale[o];
                add_row(row, out->frames, x, in->frames, i % 3 - 1, w);
            }
            for (int64_t t = 0; t < out->frames; t++) row[t] = MAX(row[t], 0);
        }
    }
}

// The mean and the greatest of each row of the last picture, then one layer.
static void judge_rows(double *score, const picture *p) {
    for (int k = 0; k < KIND_COUNT; k++) score[k] = (double)head_bias[k];
    for (int64_t i = 0; i < LAST * LAST_BANDS; i++) {
        const float *row = p->x + i * p->frames;
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
        out.x = mem_alloc((size_t)(l->out * out.bands * out.frames) * sizeof *out.x);
        if (!out.x) return err_set(e, ERR_OOM, "no memory to hear what stem a sound is");
        convolve(&out, in, l);
        mem_free(in->x);
        *in = out;
    }
    judge_rows(share, in);
    to_shares(share);
    return OK;
}

status kind_run(double *share, const float *power, int64_t frames, err *e) {
    picture p = {.bands = KIND_BANDS, .frames = frames};
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

// Column t of power [KIND_BANDS, frames].
static void fill_column(float *power, int64_t frames, int64_t t, const spectrum *s,
                        const double *edge, double per_bin) {
    for (int b = 0; b < KIND_BANDS; b++) {
        double sum = 0;
        size_t first = (size_t)(edge[b] / per_bin) + 1;
        for (size_t k = first; k <= s->size / 2 && (double)k * per_bin < edge[b + 2]; k++) {
            double hz = (double)k * per_bin;
            double up = (hz - edge[b]) / (edge[b + 1] - edge[b]);
            double down = (edge[b + 2] - hz) / (edge[b + 2] - edge[b + 1]);
            sum += MIN(up, down) * (double)s->power[k];
        }
        power[b * frames + t] = (float)sum;
    }
}

status kind_hear(double *share, const listened *l, err *e) {
    spectrum s;
    status rc = spectrum_open(&s, 256, WINDOW_SECONDS, l->rate, e);
    int64_t size = (int64_t)s.size, hop = size / HOPS;
    int64_t frames = l->n > size ? (l->n - size) / hop + 1 : 1;
    float *power = rc ? NULL : mem_alloc((size_t)(KIND_BANDS * frames) * sizeof *power);
    if (!rc && !power) rc = err_set(e, ERR_OOM, "no memory to hear what stem a sound is");
    double edge[KIND_BANDS + 2];
    fill_edges(edge);
    for (int64_t t = 0; !rc && t < frames; t++) {
        spectrum_at(&s, l->x, l->n, t * hop);
        fill_column(power, frames, t, &s, edge, (double)l->rate / (double)s.size);
    }
    spectrum_close(&s);
    if (!rc) rc = kind_run(share, power, frames, e);
    mem_free(power);
    return rc;
}
