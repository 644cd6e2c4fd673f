// lstm.c - all steps of an LSTM's layer in one launch against op_lstm.
//
// Shapes that fill the blocks of a launch once, several times and in part; few and many streams;
// every type of weights.
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gpu_test.h"
#include "model/weights.h"

#define STEPS 4

typedef struct {
    int64_t streams, d;
    float *z, *h, *cell, *y; // as op_lstm has them
} lstm_case;

static float *floats(int64_t n, uint64_t seed) {
    float *p = mem_calloc((size_t)n, sizeof *p);
    if (!p) abort();
    fill(p, n, seed);
    return p;
}

static lstm_case create(int64_t streams, int64_t d) {
    int64_t row = streams * d;
    lstm_case t = {.streams = streams, .d = d};
    t.z = floats(STEPS * 4 * row, 31), t.h = floats(row, 32), t.cell = floats(row, 33);
    t.y = floats(STEPS * row, 34);
    return t;
}

static lstm_steps_args on_device(const lstm_case *t, const gpu_matrix *w) {
    int64_t row = t->streams * t->d;
    const uint32_t none = 0;
    return (lstm_steps_args){.w = w->data,
                             .z = dev_floats(t->z, STEPS * 4 * row),
                             .h = dev_floats(t->h, row),
                             .cell = dev_floats(t->cell, row),
                             .y = dev_floats(NULL, STEPS * row),
                             .meetings = dev_bytes(&none, sizeof none),
                             .n = STEPS,
                             .streams = t->streams,
                             .d = t->d,
                             .type = w->type};
}

static void run(lstm_steps_args *a) {
    bool packed = a->type == GPU_Q8 || a->type == GPU_Q4;
    gpu_kernel kernel = packed ? GPU_qlstm_steps : GPU_lstm_steps;
    int64_t threads = packed ? 128 * ((a->d + GPU_QBLOCK - 1) / GPU_QBLOCK) : 512, most = 0;
    err e;
    status rc = device_blocks_together(gpu, kernel, threads, &most, &e);
    a->blocks = (int32_t)MIN(most, a->d / GPU_LSTM_CELLS);
    const device_run r = {kernel, a->blocks, 1, threads, a};
    if (!rc) rc = device_launch_together(gpu, &r, &e);
    expect(!rc && a->blocks > 0, "an LSTM of %lld in one launch: %s", (long long)a->d, e.text);
}

// Columns of stream s of rows [STEPS, streams, n], side by side; or back.
static void move_stream(float *all, float *one, int64_t streams, int64_t s, int64_t n, bool back) {
    for (int64_t t = 0; t < STEPS; t++) {
        float *a = all + (t * streams + s) * n, *b = one + t * n;
        memcpy(back ? a : b, back ? b : a, (size_t)n * sizeof *a);
    }
}

// op_lstm, a stream at a time: it takes eight at most.
static void on_cpu(const lstm_case *t, const weight *w) {
    float *z = floats(STEPS * 4 * t->d, 1), *y = floats(STEPS * t->d, 1);
    for (int64_t s = 0; s < t->streams; s++) {
        lstm_args a = {.y = y, .z = z, .w = w, .n = STEPS, .rows = 1, .d = t->d};
        a.h = t->h + s * t->d, a.cell = t->cell + s * t->d;
        move_stream(t->z, z, t->streams, s, 4 * t->d, false);
        op_lstm(cpu, &a);
        move_stream(t->y, y, t->streams, s, t->d, true);
    }
    mem_free(z), mem_free(y);
}

static void test_layer(int64_t streams, int64_t d, dtype type) {
    lstm_case t = create(streams, d);
    float *v = floats(4 * d * d, 35), *got = floats(STEPS * streams * d, 36);
    for (int64_t i = 0; i < 4 * d * d; i++) v[i] /= 8;
    const weight stored = {.type = DT_F32, .rows = 4 * d, .cols = d, .data = (void *)v};
    weight w;
    const weight *list[] = {&w};
    arena own;
    arena_init(&own, 0);
    if (!weight_convert(&w, &stored, type, &own, NULL)) abort();
    gpu_matrix m = dev_matrix(list, 1);
    lstm_steps_args a = on_device(&t, &m);
    run(&a);
    on_cpu(&t, &w);
    dev_read(got, a.y, (size_t)(STEPS * streams * d) * sizeof *got);
    same(t.y, got, STEPS * streams * d, "h of %lld streams of %lld, type %d", (long long)streams,
         (long long)d, (int)type);
    dev_reset();
    arena_deinit(&own);
    mem_free(t.z), mem_free(t.h), mem_free(t.cell), mem_free(t.y), mem_free(v), mem_free(got);
}

void test_gpu_lstm(void) {
    static const dtype types[] = {DT_F32, DT_BF16X8, DT_Q8, DT_Q4};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        test_layer(1, 16, types[i]);
        test_layer(9, 80, types[i]);
        test_layer(3, 272, types[i]);
    }
}
