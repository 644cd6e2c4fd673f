// judge_pulse.c - see judge_pulse.h: the network.
#include "engine/judge_pulse.h"

#include "base/mem.h"
#include "base/num.h"
#include "engine/judge_pulse_tab.h"

// Adds w times a row of in, `by` frames later, to out [n]; 0 outside.
static void add_row(float *out, const float *in, int64_t n, int64_t by, float w) {
    for (int64_t t = MAX(-by, 0); t < MIN(n, n - by); t++) out[t] += w * in[t + by];
}

// One output [n] of a convolution over in [channels, n] with so many taps, `apart` frames apart;
// nothing below 0.
static void convolve(float *out, const float *in, int64_t n, int64_t channels, int64_t taps,
                     int64_t apart, const int8_t *weight, float scale, float bias) {
    for (int64_t t = 0; t < n; t++) out[t] = bias;
    for (int64_t i = 0; i < channels * taps; i++) {
        int64_t by = (i % taps - taps / 2) * apart;
        add_row(out, in + i / taps * n, n, by, (float)weight[i] * scale);
    }
    for (int64_t t = 0; t < n; t++) out[t] = MAX(out[t], 0);
}

// Block b: what it hears of h [PULSE_WIDTH, n] is added to it; more is room for as much.
static void run_block(float *h, float *more, int64_t n, int64_t b) {
    const int64_t in = PULSE_WIDTH * BLOCK_TAPS;
    for (int64_t o = 0; o < PULSE_WIDTH; o++) {
        int64_t row = b * PULSE_WIDTH + o;
        convolve(more + o * n, h, n, PULSE_WIDTH, BLOCK_TAPS, (int64_t)1 << b,
                 block_weight + row * in, block_scale[row], block_bias[row]);
    }
    for (int64_t i = 0; i < PULSE_WIDTH * n; i++) h[i] += more[i];
}

static void run_head(float *out, const float *h, int64_t n, int64_t o) {
    for (int64_t t = 0; t < n; t++) out[t] = head_bias[o];
    for (int64_t i = 0; i < PULSE_WIDTH; i++)
        add_row(out, h + i * n, n, 0, (float)head_weight[o * PULSE_WIDTH + i] * head_scale[o]);
    for (int64_t t = 0; t < n; t++) {
        double x = MAX(MIN((double)out[t], 40.0), -40.0);
        out[t] = (float)(1 / (1 + num_exp(-x)));
    }
}

status pulse_run(float *beat, float *bar, const float *in, int64_t n, err *e) {
    float *h = mem_alloc((size_t)(2 * PULSE_WIDTH * n) * sizeof *h);
    if (!h) return err_set(e, ERR_OOM, "no memory to hear beats");
    for (int64_t o = 0; o < PULSE_WIDTH; o++)
        convolve(h + o * n, in, n, PULSE_INPUTS, FIRST_TAPS, 1,
                 first_weight + o * PULSE_INPUTS * FIRST_TAPS, first_scale[o], first_bias[o]);
    for (int64_t b = 0; b < PULSE_BLOCKS; b++) run_block(h, h + PULSE_WIDTH * n, n, b);
    run_head(beat, h, n, 0);
    run_head(bar, h, n, 1);
    mem_free(h);
    return OK;
}

status pulse_hear(pulse_curve *out, const listened *l, err *e) {
    int64_t n = pulse_count(l);
    *out =
        (pulse_curve){.n = n, .per_second = (double)l->rate / (double)(l->rate / PULSE_PER_SECOND)};
    float *in = mem_alloc((size_t)(PULSE_INPUTS * n) * sizeof *in);
    out->beat = mem_alloc((size_t)(2 * n) * sizeof *out->beat);
    status rc = in && out->beat ? OK : err_set(e, ERR_OOM, "no memory to hear beats");
    if (!rc) rc = pulse_inputs(in, l, e);
    if (!rc) rc = pulse_run(out->beat, out->beat + n, in, n, e);
    if (!rc) out->bar = out->beat + n;
    mem_free(in);
    if (rc) pulse_deinit(out);
    return rc;
}

void pulse_deinit(pulse_curve *p) {
    mem_free(p->beat);
    *p = (pulse_curve){0};
}
