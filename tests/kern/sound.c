// sound.c - what comes after and before the network has the same bits on every architecture too:
// resampling, fades, the transform, the control track go into the digest.
#include "audio/post.h"
#include "base/fft.h"
#include "base/mem.h"
#include "check.h"
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

void test_sound(void) {
    digest_resampled(32000, 44100);
    digest_resampled(44100, 32000);
    digest_spectrum();
    digest_control();
}
