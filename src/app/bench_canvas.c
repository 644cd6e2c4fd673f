// bench_canvas.c - what `stemforge bench` times of a Stable Audio model; see bench_stages.h.
//
// A step is both passes of the transformer, with the text and with none. Its share is that of what
// this machine multiplies in the weights' type, looked at before and after each step, since other
// users of the machine come and go; the higher of two neighbouring looks counts.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/bench_stages.h"
#include "app/roof.h"
#include "base/os.h"

#define TEXT "Isolated drum kit track, rock style, 120 bpm"

status bench_canvas_open(bench *b, err *e) {
    const family_options files = {
        .model = b->model, .weights = (weights_type)b->weights, .c = b->c};
    status rc = bench_engine(b, e);
    if (!rc) rc = family_open(&b->f, &files, e);
    if (!rc) rc = sa_steps_open(&b->canvas, b->f, e);
    if (rc) return rc;
    b->lm_gflops = roof_multiply(b->c, sa_steps_widest(b->canvas));
    bench_add(b, "multiply-add transformer", 0, 0, b->lm_gflops, "GFLOP/s", 1);
    return OK;
}

static int64_t frames_of(const bench *b, double seconds) {
    int64_t most = sa_steps_frames(b->canvas);
    double frames = ceil(seconds * sa_steps_frame_rate(b->canvas) - 1e-9);
    return seconds > 0 && frames < (double)most ? (int64_t)frames : most;
}

static double seconds_of(const bench *b, int64_t frames) {
    return (double)frames / sa_steps_frame_rate(b->canvas);
}

// --- steps

// One step; returns its share of the roof.
static double time_step(bench *b, double *spent) {
    double before = b->lm_gflops, from = os_seconds();
    sa_steps_step(b->canvas);
    *spent = os_seconds() - from;
    b->lm_gflops = roof_multiply(b->c, sa_steps_widest(b->canvas));
    return 2e-9 * sa_steps_products(b->canvas) / fmax(before, b->lm_gflops) / *spent;
}

static void report(bench *b, int64_t frames, double *spent, double *share) {
    double at = seconds_of(b, frames), step = bench_median(spent, b->steps);
    double of_roof = bench_median(share, b->steps);
    bench_add(b, "step", 1, at, 1e3 * step, "ms", of_roof);
    bench_add(b, "step multiply-add", 1, at, 2e-9 * sa_steps_products(b->canvas) / step, "GFLOP/s",
              of_roof);
    bench_add(b, "memory", 1, at, (double)os_memory_resident() / 1e6, "MB", 0);
}

status bench_canvas_steps(bench *b, double seconds, err *e) {
    int64_t frames = frames_of(b, seconds);
    double from = os_seconds(), *spent = mem_calloc((size_t)b->steps, 2 * sizeof *spent);
    status rc = spent ? OK : err_set(e, ERR_OOM, "no memory for a bench");
    if (!rc) rc = sa_steps_begin(b->canvas, TEXT, frames, e);
    if (!rc) bench_add(b, "begin", 1, seconds_of(b, frames), 1e3 * (os_seconds() - from), "ms", 0);
    for (int64_t i = 0; i < b->steps && !rc; i++) {
        double *share = spent + b->steps;
        share[i] = time_step(b, &spent[i]);
    }
    if (!rc) report(b, frames, spent, spent + b->steps);
    sa_steps_end(b->canvas);
    mem_free(spent);
    return rc;
}

// --- the codec

status bench_canvas_codec(bench *b, double seconds, err *e) {
    int64_t frames = frames_of(b, seconds);
    dtype type = sa_steps_codec_type(b->canvas);
    double spent, before = roof_chain(b->c, type);
    status rc = sa_steps_sound(b->canvas, frames, &spent, e);
    if (rc) return rc;
    double roof = fmax(before, roof_chain(b->c, type)), at = seconds_of(b, frames);
    double share = 2e-9 * sa_steps_sound_products(b->canvas, frames) / roof / spent;
    bench_add(b, "codec", 1, at, spent, "s", share);
    bench_add(b, "codec", 1, at, at / spent, "x realtime", share);
    return OK;
}
