// bench.c - `stemforge bench MODEL`: each stage against what this machine can do, measured in the
// same run.
//
// The roofs come first: how fast all threads together read memory, and how fast they multiply and
// add. Then load, first token, text encoder, decoder steps for one and more stems (guided, codes
// drawn as usual; both roofs are measured again around each, since other users of the machine come
// and go), whole pieces, codec.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/args.h"
#include "app/bench_stages.h"
#include "app/commands.h"
#include "app/roof.h"
#include "app/shipped.h"
#include "compute/tune.h"
#include "engine/stableaudio/family.h"

typedef struct {
    const char *weights, *compare;
    arg_list stems, lengths;
    int64_t threads;
    bool csv;
} options;

#define LENGTH_MAX 600 // seconds

// Numbers of a list, or the default one.
static status numbers(double *out, size_t *n, const arg_list *l, const char *flag, double lo,
                      double hi, err *e) {
    for (*n = 0; *n < l->n; ++*n) {
        char *end;
        out[*n] = strtod(l->item[*n], &end);
        if (*end || !(out[*n] >= lo && out[*n] <= hi))
            return err_set(e, ERR_ARG, "--%s: expected numbers from %g to %g", flag, lo, hi);
    }
    return OK;
}

static void measure_roofs(bench *b) {
    b->read_gb = roof_read(b->c);
    bench_add(b, "memory read", 0, 0, b->read_gb, "GB/s", 1);
    bench_add(b, "multiply-add", 0, 0, roof_multiply(b->c, NULL), "GFLOP/s", 1);
}

// Stable Audio: lengths are those of the canvas.
static status measure_canvases(bench *b, const options *o, err *e) {
    double lengths[ARG_LIST_MAX] = {10, 0};
    size_t n = 0;
    status rc = numbers(lengths, &n, &o->lengths, "lengths", 0, LENGTH_MAX, e);
    if (rc) return rc;
    if (!o->lengths.n) n = 2;
    measure_roofs(b);
    rc = bench_canvas_open(b, e);
    for (size_t i = 0; i < n && !rc; i++) rc = bench_canvas_steps(b, lengths[i], e);
    return rc ? rc : bench_canvas_codec(b, lengths[0], e);
}

static status measure(bench *b, const options *o, err *e) {
    double stems[ARG_LIST_MAX] = {1, 4}, lengths[ARG_LIST_MAX], most = 1;
    size_t stem_count = 0, length_count = 0;
    status rc = numbers(stems, &stem_count, &o->stems, "stems", 1, BENCH_STEMS_MAX, e);
    if (!rc) rc = numbers(lengths, &length_count, &o->lengths, "lengths", 1, LENGTH_MAX, e);
    if (rc) return rc;
    if (!o->stems.n) stem_count = 2;
    for (size_t i = 0; i < stem_count; i++) most = fmax(most, stems[i]);
    if (!b->on.gpu) measure_roofs(b);
    rc = bench_load(b, (int64_t)most, e);
    if (!rc) rc = bench_first(b, e);
    if (!rc) rc = bench_text(b, e);
    for (size_t i = 0; i < stem_count && !rc; i++) rc = bench_steps(b, (int64_t)stems[i], e);
    for (size_t i = 0; i < length_count && !rc; i++) rc = bench_piece(b, lengths[i], e);
    return rc ? rc : bench_codec(b, e);
}

static status run_bench(bench *b, const options *o, err *e) {
    if (!stemforge_weights_parse(o->weights, &b->weights))
        return err_set(e, ERR_ARG, "--weights: expected stored, f32, bf16, q8 or q4");
    device_choice choice;
    status rc = choice_parse(&choice, b->device, e);
    if (!rc) rc = bench_table_open(&b->table, o->csv, o->compare, e);
    if (!rc) rc = choice_open(&choice, &b->on, e);
    if (!rc) rc = compute_open(&b->c, b->threads, b->isa, e);
    if (rc) return rc;
    tune_apply(b->c);
    char what[512];
    const char *gpu = b->on.gpu ? device_get_info(b->on.gpu)->name : NULL;
    snprintf(what, sizeof what, "%.100s, weights %s, %s, %d threads, prefetch %s, %s pages%s%.90s",
             b->model, o->weights, compute_isa(b->c), compute_threads(b->c),
             tune_way_name(tune_used(b->c)), tune_huge(b->c) ? "huge" : "small", gpu ? ", " : "",
             gpu ? gpu : "");
    bench_table_title(&b->table, what);
    bool canvases = family_find(b->model) == &stableaudio_family_ops;
    if (!b->steps) b->steps = canvases ? 3 : 30;
    return canvases ? measure_canvases(b, o, e) : measure(b, o, e);
}

int bench_main(int argc, char **argv) {
    options o = {.weights = "stored"};
    bench b = {.position = 250, .device = "cpu"};
    const arg_option table[] = {
        {"weights", ARG_STR, &o.weights, 0, 0, ARG_VALUE_WEIGHTS, "(stored)", NULL},
        {"stems", ARG_LIST, &o.stems, 0, 0, "LIST", "batch sizes, 1 to 256 each (1,4)", NULL},
        {"steps", ARG_INT, &b.steps, 1, 10000, "N", "steps to time (30; Stable Audio: 3)", NULL},
        {"position", ARG_INT, &b.position, 0, 30000, "N",
         "frames already made (250: the middle of 10 s)", NULL},
        {"lengths", ARG_LIST, &o.lengths, 0, 0, "LIST",
         "make one stem of so many seconds each, whole (none); Stable Audio: canvases (10 and its "
         "own)",
         NULL},
        {"threads", ARG_INT, &o.threads, 0, 256, "N", "threads (all processors)", NULL},
        {"isa", ARG_STR, &b.isa, 0, 0, ARG_VALUE_ISA, "(the best)", NULL},
        {"device", ARG_STR, &b.device, 0, 0, ARG_VALUE_DEVICE,
         "what computes; a GPU has no roofs here (cpu)", NULL},
        {"csv", ARG_FLAG, &o.csv, 0, 0, NULL, "as CSV, to save", NULL},
        {"compare", ARG_STR, &o.compare, 0, 0, "FILE",
         "hold each figure against a run that --csv saved", NULL},
    };
    const arg_command cmd = {
        "bench",
        "[MODEL] [options]",
        "times every stage against what this machine can do; the shipped model when none is named",
        table,
        ARRAY_LEN(table),
        "  stemforge bench small-q8.gguf --csv >before.csv\n"
        "  stemforge bench small-q8.gguf --compare before.csv\n"
        "  stemforge bench small-q8.gguf --stems 1,2,4,8,16,32,64 "
        "--lengths 10,30,60,120\n",
        0,
        1};
    b.model = SHIPPED_MODEL;
    int n, code;
    if (args_parse(&cmd, argc, argv, &b.model, &n, &code)) return code;
    b.model = shipped_model(b.model);
    b.threads = (int)o.threads;
    err e = {0};
    status rc = run_bench(&b, &o, &e);
    bench_unload(&b);
    bench_table_close(&b.table);
    compute_close(b.c);
    device_close(b.on.gpu);
    args_list_deinit(&o.stems);
    args_list_deinit(&o.lengths);
    if (rc) fprintf(stderr, "stemforge bench: %s\n", e.text);
    return rc == ERR_ARG ? EXIT_USAGE : rc ? 1 : 0;
}
