// bench_stages.h - what `stemforge bench` times, one function a stage. Each prints its rows.
#pragma once
#include "app/bench_table.h"
#include "engine/device_choice.h"
#include "engine/musicgen/stages.h"
#include "engine/stableaudio/steps.h"
#include "stemforge.h"

#define BENCH_STEMS_MAX STAGES_STEMS_MAX

typedef struct {
    const char *model, *isa, *device;
    stemforge_weights weights;
    int threads;
    int64_t steps, position; // to time; frames that are there already
    bench_table table;
    // The roofs, once they are measured: reading, and multiplying in each part's type of weights.
    // They are measured anew around steps and codec, since other users of the machine come and go.
    double read_gb, text_gflops, lm_gflops;
    compute *c;
    device_chosen on; // a GPU has no roofs here
    family *f;
    stages *s;
    sa_steps *canvas; // Stable Audio's
    stages_info info;
} bench;

void bench_add(const bench *b, const char *stage, int64_t stems, double seconds, double value,
               const char *unit, double share);

// Opens the model: the whole engine first, as everybody opens it, then the parts that the other
// stages work with. stems: the most that one of them will ask for.
status bench_engine(bench *b, err *e); // the first of these two
status bench_load(bench *b, int64_t stems, err *e);
void bench_unload(bench *b);
// From a description to the first column of codes: once as the first request finds it, then again.
status bench_first(bench *b, err *e);
status bench_text(bench *b, err *e);
status bench_steps(bench *b, int64_t stems, err *e);
status bench_piece(bench *b, double seconds, err *e); // one stem from start to end
status bench_codec(bench *b, err *e);

// Stable Audio, in bench_canvas.c: load, steps over canvases of so many seconds, 0: the model's
// own, and the codec.
status bench_canvas_open(bench *b, err *e);
status bench_canvas_steps(bench *b, double seconds, err *e);
status bench_canvas_codec(bench *b, double seconds, err *e);
