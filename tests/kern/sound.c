// sound.c - what comes after and before the network has the same bits on every architecture too:
// resampling, fades, the transform, the control track and what the judge hears go into the digest.
#include "audio/post.h"
#include "base/fft.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "engine/judge.h"
#include "engine/musicgen/control.h"

static void digest_resampled(int from, int to) {
    enum { N = 5000 };
    resampler *r = NULL;
    float *x = mem_alloc(N * sizeof *x);
    expect(x && resample_open(&r, from, to, NULL) == OK, "resampler %d to %d opens", from, to);
    int64_t frames = resample_frames(r, N);
    float *out = mem_alloc((size_t)frames * POST_CHANNELS * sizeof *out);
    const post_shape shape = post_plain(frames);
    fill(x, N, 7);
    expect(post_finish(out, &shape, x, 1, N, r, NULL) == OK, "%d to %d is finished", from, to);
    digest_add(out, frames * POST_CHANNELS);
    resample_close(r);
    mem_free(out);
    mem_free(x);
}

static void digest_spectrum(void) {
    enum { N = 4096 };
    fft *f = NULL;
    float *x = mem_alloc(N * sizeof *x), *p = mem_alloc((N / 2 + 1) * sizeof *p);
    double *scratch = mem_alloc((N + 2) * sizeof *scratch);
    expect(x && p && scratch && fft_open(&f, N, NULL) == OK, "a transform opens");
    fill(x, N, 11);
    fft_power(f, p, x, scratch);
    digest_add(p, N / 2 + 1);
    fft_hann(x, N);
    digest_add(x, N);
    fft_close(f);
    mem_free(scratch);
    mem_free(p);
    mem_free(x);
}

static void digest_control(void) {
    static float out[500 * CONTROL_WIDTH];
    const control_grid g = {50, 500};
    progression p;
    expect(chords_parse_text(&p, "Am7 F#dim7 Bbmaj7 N Esus4", 97.3, NULL) == OK, "chords parse");
    control_fill(out, &g, &p, &p.time, 35);
    digest_add(out, 500 * CONTROL_WIDTH);
}

// What the judge hears in a bar of chords with a click on each beat: every figure of it.
static void digest_judge(void) {
    enum { RATE = 32000, N = 6 * RATE };
    static const double notes[][3] = {{220, 261.6, 329.6}, {174.6, 220, 261.6}};
    judged j;
    float *x = mem_calloc(N, sizeof *x), figures[KIND_COUNT + 3];
    expect(x != NULL, "memory for a sound");
    for (int i = 0; i < N; i++) {
        const double *f = notes[i / (2 * RATE) % 2];
        double t = (double)(i % (RATE / 2)) / RATE, swell = num_exp(-4 * t);
        for (int k = 0; k < 3; k++) x[i] += (float)(0.1 * swell * num_sin_turns(f[k] * i / RATE));
        if (t < 0.01) x[i] += (float)((double)(i * 7919 % 1000) / 1000 - 0.5);
    }
    const judge_hint hint = {.bpm = 120, .from_one = true};
    expect(judge_open(&j, x, N, 1, RATE, &hint, NULL) == OK && j.chords == 3, "the judge hears");
    figures[0] = (float)j.beats.bpm;
    figures[1] = (float)j.held;
    figures[2] = (float)j.beats.sure;
    for (int k = 0; k < KIND_COUNT; k++) figures[3 + k] = (float)j.share[k];
    digest_add(figures, KIND_COUNT + 3);
    for (size_t i = 0; i < j.chords; i++) {
        const float c[] = {(float)j.chord[i].root, (float)j.chord[i].third, (float)j.chord[i].sure};
        digest_add(c, 3);
    }
    judge_close(&j);
    mem_free(x);
}

void test_sound(void) {
    digest_resampled(32000, 44100);
    digest_resampled(44100, 32000);
    digest_spectrum();
    digest_control();
    digest_judge();
}
