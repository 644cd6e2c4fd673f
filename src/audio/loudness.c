// loudness.c - see loudness.h.
#include "audio/loudness.h"

#include "base/lanes.h"
#include "base/mem.h"
#include "base/num.h"

#define BLOCK_SECONDS 0.4
#define STEPS 4 // of a block: blocks overlap by three quarters
#define OFFSET (-0.691)
#define RELATIVE (-10.0)
#define LN_10 2.302585092994045684
#define DB_PER_OCTAVE 3.010299956639812 // of power

typedef struct {
    double b0, b1, b2, a1, a2; // y = b0 x + b1 x' + b2 x'' - a1 y' - a2 y''
} biquad;

typedef struct {
    lanes_d2 x1, x2, y1, y2; // of two channels; of one in both
} biquad_state;

static lanes_d2 biquad_run(const biquad *f, biquad_state *s, lanes_d2 x) {
    lanes_d2 y = f->b0 * x + f->b1 * s->x1 + f->b2 * s->x2 - f->a1 * s->y1 - f->a2 * s->y2;
    s->x2 = s->x1, s->x1 = x;
    s->y2 = s->y1, s->y1 = y;
    return y;
}

static double tan_of(double hz, int rate) { // of pi hz / rate
    double turns = hz / rate / 2;
    return num_sin_turns(turns) / num_cos_turns(turns);
}

// The head's effect: a shelf of 4 dB from 1.7 kHz on. The standard has the numbers for 48 kHz;
// these are the analogue filter behind them.
static biquad shelf(int rate) {
    const double q = 0.7071752369554196, gain = 3.999843853973347;
    double k = tan_of(1681.974450955533, rate), high = num_exp(gain / 20 * LN_10);
    double band = num_exp(gain / 20 * LN_10 * 0.4996667741545416), a0 = 1 + k / q + k * k;
    return (biquad){.b0 = (high + band * k / q + k * k) / a0,
                    .b1 = 2 * (k * k - high) / a0,
                    .b2 = (high - band * k / q + k * k) / a0,
                    .a1 = 2 * (k * k - 1) / a0,
                    .a2 = (1 - k / q + k * k) / a0};
}

// What is under 38 Hz counts less.
static biquad high_pass(int rate) {
    const double q = 0.5003270373238773;
    double k = tan_of(38.13547087602444, rate), a0 = 1 + k / q + k * k;
    return (biquad){
        .b0 = 1, .b1 = -2, .b2 = 1, .a1 = 2 * (k * k - 1) / a0, .a2 = (1 - k / q + k * k) / a0};
}

typedef struct {
    const float *x;
    int64_t frames, step; // frames of a step
    int channels;
    biquad first, second;
    biquad_state state[2]; // of the two filters
    double *block;         // [blocks] the mean power of each
    int64_t blocks;
} meter;

static double lufs(double power) {
    return power > 0 ? OFFSET + DB_PER_OCTAVE * num_log2(power) : -1000;
}

// The sum of squares of the frames from `at` to `end`, filtered.
static double step_power(meter *m, int64_t at, int64_t end) {
    biquad_state first = m->state[0], second = m->state[1];
    double power = 0;
    for (int64_t i = at; i < end; i++) {
        const float *x = m->x + i * m->channels;
        lanes_d2 v = {(double)x[0], (double)x[m->channels - 1]};
        v = biquad_run(&m->second, &second, biquad_run(&m->first, &first, v));
        v *= v;
        power += v[0];
        if (m->channels == 2) power += v[1];
    }
    m->state[0] = first, m->state[1] = second;
    return power;
}

// The powers of all blocks.
static void fill_blocks(meter *m) {
    double step[STEPS] = {0};
    int64_t steps = 0;
    for (int64_t at = 0; at < m->frames; at += m->step) {
        int64_t end = at + m->step;
        if (end > m->frames) {
            if (steps >= STEPS) break; // a rest is part of no block
            end = m->frames;
        }
        step[steps++ % STEPS] = step_power(m, at, end);
        if (steps < STEPS && end < m->frames) continue;
        double block = 0;
        for (int k = 0; k < STEPS; k++) block += step[k];
        int64_t length = MIN(m->frames, STEPS * m->step);
        m->block[m->blocks++] = block / (double)length;
    }
}

// Mean of the blocks' powers over `floor` LUFS; 0 when there are none.
static double gated_mean(const meter *m, double floor) {
    double sum = 0;
    int64_t counted = 0;
    for (int64_t i = 0; i < m->blocks; i++) {
        if (lufs(m->block[i]) <= floor) continue;
        sum += m->block[i];
        counted++;
    }
    return counted ? sum / (double)counted : 0;
}

static double integrated(const meter *m) {
    double loud = lufs(gated_mean(m, LOUDNESS_SILENCE));
    if (loud <= LOUDNESS_SILENCE) return LOUDNESS_SILENCE;
    double gated = lufs(gated_mean(m, MAX(loud + RELATIVE, LOUDNESS_SILENCE)));
    return MAX(gated, LOUDNESS_SILENCE);
}

status loudness_of(double *out, const float *x, int64_t frames, int channels, int rate, err *e) {
    meter m = {.x = x,
               .frames = frames,
               .step = (int64_t)(BLOCK_SECONDS / STEPS * rate + 0.5),
               .channels = channels,
               .first = shelf(rate),
               .second = high_pass(rate)};
    m.block = mem_alloc((size_t)(frames / m.step + 1) * sizeof *m.block);
    if (!m.block) return err_set(e, ERR_OOM, "no memory to measure loudness");
    fill_blocks(&m);
    *out = integrated(&m);
    mem_free(m.block);
    return OK;
}
