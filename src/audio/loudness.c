// loudness.c - see loudness.h.
#include "audio/loudness.h"

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
    double x1, x2, y1, y2;
} biquad_state;

static double biquad_run(const biquad *f, biquad_state *s, double x) {
    double y = f->b0 * x + f->b1 * s->x1 + f->b2 * s->x2 - f->a1 * s->y1 - f->a2 * s->y2;
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
    bool alike; // two channels that are equal are filtered once
    biquad first, second;
} meter;

static bool are_alike(const float *x, int64_t frames, int channels) {
    int64_t i = 0;
    while (channels == 2 && i < frames && x[2 * i] == x[2 * i + 1]) i++;
    return channels == 2 && i == frames;
}

static double lufs(double power) {
    return power > 0 ? OFFSET + DB_PER_OCTAVE * num_log2(power) : -1000;
}

// Mean of the blocks' powers over `floor` LUFS; 0 when there are none.
static double gated_mean(const meter *m, double floor) {
    biquad_state s[2][2] = {0}; // of each channel's two filters
    double step[STEPS] = {0}, sum = 0;
    int64_t steps = 0, counted = 0;
    for (int64_t at = 0; at < m->frames; at += m->step) {
        int64_t end = at + m->step;
        if (end > m->frames) {
            if (steps >= STEPS) break; // a rest is part of no block
            end = m->frames;
        }
        double power = 0;
        for (int64_t i = at; i < end; i++) {
            for (int c = 0; c < (m->alike ? 1 : m->channels); c++) {
                double v = biquad_run(&m->first, &s[c][0], (double)m->x[i * m->channels + c]);
                v = biquad_run(&m->second, &s[c][1], v);
                power += v * v;
                if (m->alike) power += v * v;
            }
        }
        step[steps++ % STEPS] = power;
        bool last = end == m->frames;
        if (steps < STEPS && !last) continue;
        double block = 0;
        for (int k = 0; k < STEPS; k++) block += step[k];
        int64_t length = steps < STEPS ? m->frames : STEPS * m->step;
        block /= (double)length;
        if (lufs(block) <= floor) continue;
        sum += block;
        counted++;
    }
    return counted ? sum / (double)counted : 0;
}

double loudness_of(const float *x, int64_t frames, int channels, int rate) {
    meter m = {.x = x,
               .frames = frames,
               .step = (int64_t)(BLOCK_SECONDS / STEPS * rate + 0.5),
               .channels = channels,
               .alike = are_alike(x, frames, channels),
               .first = shelf(rate),
               .second = high_pass(rate)};
    double loud = lufs(gated_mean(&m, LOUDNESS_SILENCE));
    if (loud <= LOUDNESS_SILENCE) return LOUDNESS_SILENCE;
    double floor = loud + RELATIVE;
    double gated = lufs(gated_mean(&m, floor > LOUDNESS_SILENCE ? floor : LOUDNESS_SILENCE));
    return gated > LOUDNESS_SILENCE ? gated : LOUDNESS_SILENCE;
}
