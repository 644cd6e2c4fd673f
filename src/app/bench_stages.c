// bench_stages.c - see bench_stages.h.
#include "app/bench_stages.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/roof.h"
#include "base/os.h"

#define TEXT "Isolated drum kit track, rock style, 120 bpm"
#define SECONDS 10 // of a stem, where a stage is not about a length of its own
#define TIMES 3    // a stage is run so often where it is short; the best counts

void bench_add(const bench *b, const char *stage, int64_t stems, double seconds, double value,
               const char *unit, double share) {
    bench_row r = {.stems = stems, .seconds = seconds, .value = value, .share = share};
    snprintf(r.stage, sizeof r.stage, "%s", stage);
    snprintf(r.unit, sizeof r.unit, "%s", unit);
    bench_table_add(&b->table, &r);
}

static void add_memory(const bench *b, int64_t stems, double seconds) {
    bench_add(b, "memory", stems, seconds, (double)os_memory_resident() / 1e6, "MB", 0);
}

// --- load

status bench_engine(bench *b, err *e) {
    stemforge_options o = stemforge_options_default();
    o.model = b->model;
    o.threads = b->threads;
    o.isa = b->isa;
    o.weights = b->weights;
    o.device = b->device;
    stemforge_engine *g;
    double from = os_seconds();
    status rc = stemforge_open(&g, &o, e);
    if (rc) return rc;
    bench_add(b, "load", 0, 0, 1e3 * (os_seconds() - from), "ms", 0);
    stemforge_close(g);
    return OK;
}

status bench_load(bench *b, int64_t stems, err *e) {
    const family_options files = {
        .model = b->model, .weights = (weights_type)b->weights, .c = b->c};
    status rc = bench_engine(b, e);
    if (!rc) rc = family_open(&b->f, &files, e);
    if (!rc) rc = stages_open(&b->s, b->f, b->on.gpu, stems, b->position + b->steps, e);
    if (rc) return rc;
    b->info = stages_get_info(b->s);
    if (b->on.gpu) return OK;
    b->text_gflops = roof_multiply(b->c, b->info.text);
    b->lm_gflops = roof_multiply(b->c, b->info.decoder);
    bench_add(b, "multiply-add decoder", 0, 0, b->lm_gflops, "GFLOP/s", 1);
    bench_add(b, "huge pages", 0, 0, (double)os_memory_huge() / 1e6, "MB", 0);
    return OK;
}

void bench_unload(bench *b) {
    stages_close(b->s);
    sa_steps_close(b->canvas);
    family_close(b->f);
}

// Seconds that a stage takes at least: for what it reads, or for what it multiplies. 0: unknown.
static double least(const bench *b, stages_cost k, double gflops) {
    if (b->on.gpu) return 0;
    return fmax(k.bytes / b->read_gb, 2 * k.products / gflops) / 1e9;
}

// --- text and the first token

status bench_text(bench *b, err *e) {
    double best = INFINITY;
    status rc = OK;
    for (int i = 0; i < TIMES && !rc; i++) {
        double from = os_seconds();
        rc = stages_text(b->s, TEXT, e);
        best = fmin(best, os_seconds() - from);
    }
    if (rc) return rc;
    double floor = least(b, stages_text_cost(b->s), b->text_gflops);
    bench_add(b, "text encoder", 0, 0, 1e3 * best, "ms", floor / best);
    return OK;
}

static status first_token(bench *b, double *spent, err *e) {
    const stages_stems k = {.stems = 1, .frames = (int64_t)(SECONDS * b->info.frame_rate)};
    double from = os_seconds();
    status rc = stages_text(b->s, TEXT, e);
    if (!rc) rc = stages_start(b->s, &k, e);
    if (!rc) rc = stages_prefill(b->s, e);
    if (!rc) rc = stages_step(b->s, e);
    if (!rc) rc = stages_wait(b->s, e);
    *spent = os_seconds() - from;
    stages_stop(b->s);
    return rc;
}

status bench_first(bench *b, err *e) {
    double spent = 0, best = INFINITY;
    status rc = first_token(b, &spent, e);
    if (!rc) bench_add(b, "first token", 1, SECONDS, 1e3 * spent, "ms", 0);
    for (int i = 0; i < TIMES && !rc; i++) {
        rc = first_token(b, &spent, e);
        best = fmin(best, spent);
    }
    if (!rc) bench_add(b, "first token again", 1, SECONDS, 1e3 * best, "ms", 0);
    return rc;
}

// --- steps

// Steps between two looks at the roofs: others use the machine's memory, and within a second it may
// be twice as fast.
#define TOGETHER 10

typedef struct {
    double *spent;            // [steps] seconds
    double *share, *of_reads; // [groups] of the roof, and of what reading allows
    int64_t groups;
    stages_cost cost; // of one step
} timings;

static timings timings_of(const bench *b, int64_t stems, double *room) {
    return (timings){.spent = room,
                     .share = room + b->steps,
                     .of_reads = room + 2 * b->steps,
                     .cost = stages_step_cost(b->s, stems, b->position + b->steps / 2)};
}

static double sum(const double *v, int64_t n) {
    double all = 0;
    for (int64_t i = 0; i < n; i++) all += v[i];
    return all;
}

// Shares of the roof, and of what reading allows; 0: unknown.
static void report_steps(const bench *b, int64_t stems, double step, double rate, double share,
                         double of_reads) {
    double at = (double)b->position / b->info.frame_rate;
    double moved = stages_step_cost(b->s, stems, b->position + b->steps / 2).bytes;
    bench_add(b, "step", stems, at, 1e3 * step, "ms", share);
    bench_add(b, "steps", stems, at, rate, "steps/s", share);
    bench_add(b, "audio", stems, at, (double)stems * rate / b->info.frame_rate, "x realtime", 0);
    bench_add(b, "read", stems, at, moved / 1e9 / step, "GB/s", of_reads);
}

// A step is the median; steps a second are all of them over the time they took.
static void report_timings(const bench *b, int64_t stems, timings *k) {
    report_steps(b, stems, bench_median(k->spent, b->steps),
                 (double)b->steps / sum(k->spent, b->steps), bench_median(k->share, k->groups),
                 bench_median(k->of_reads, k->groups));
}

#define WARM 4 // steps before those of a GPU are timed: the first of a kind are recorded

// A GPU runs behind the host, so the steps are timed in one piece.
static status time_ahead(const bench *b, int64_t stems, err *e) {
    status rc = OK;
    for (int64_t i = 0; i < WARM && !rc; i++) rc = stages_step(b->s, e);
    if (!rc) rc = stages_wait(b->s, e);
    double from = os_seconds();
    for (int64_t i = 0; i < b->steps && !rc; i++) rc = stages_step(b->s, e);
    if (!rc) rc = stages_wait(b->s, e);
    double step = (os_seconds() - from) / (double)b->steps;
    if (!rc) report_steps(b, stems, step, 1 / step, 0, 0);
    return rc;
}

// Some steps, with a look at the roofs after them; of the one before and this one, the higher
// counts.
static status time_group(bench *b, timings *k, double *spent, int64_t n, err *e) {
    double sorted[TOGETHER], read = b->read_gb, multiply = b->lm_gflops;
    for (int64_t i = 0; i < n; i++) {
        double from = os_seconds();
        status rc = stages_step(b->s, e);
        if (rc) return rc;
        sorted[i] = spent[i] = os_seconds() - from;
    }
    double took = bench_median(sorted, n), now = roof_read(b->c);
    double now_multiply = roof_multiply(b->c, b->info.decoder);
    b->read_gb = fmax(read, now);
    k->share[k->groups] = least(b, k->cost, fmax(multiply, now_multiply)) / took;
    k->of_reads[k->groups++] = k->cost.bytes / 1e9 / took / b->read_gb;
    b->read_gb = now, b->lm_gflops = now_multiply;
    return OK;
}

static void report_prefill(const bench *b, const stages_stems *k, double spent) {
    stages_cost cost = stages_prefill_cost(b->s, k);
    if (k->stems != 1 || cost.products <= 0) return;
    bench_add(b, "prefill", 1, (double)b->position / b->info.frame_rate, 1e3 * spent, "ms",
              least(b, cost, b->lm_gflops) / spent);
}

static status time_steps(bench *b, const stages_stems *k, double *room, err *e) {
    double from = os_seconds();
    status rc = stages_prefill(b->s, e);
    if (!rc) rc = stages_wait(b->s, e);
    if (rc) return rc;
    report_prefill(b, k, os_seconds() - from);
    if (b->on.gpu) return time_ahead(b, k->stems, e);
    timings t = timings_of(b, k->stems, room);
    b->read_gb = roof_read(b->c);
    b->lm_gflops = roof_multiply(b->c, b->info.decoder);
    for (int64_t i = 0; i < b->steps && !rc; i += TOGETHER)
        rc = time_group(b, &t, t.spent + i, MIN(TOGETHER, b->steps - i), e);
    if (rc) return rc;
    add_memory(b, k->stems, (double)b->position / b->info.frame_rate);
    report_timings(b, k->stems, &t);
    return OK;
}

// The stems have `position` frames behind them already, so that the cache is read as in the middle
// of a stem.
status bench_steps(bench *b, int64_t stems, err *e) {
    int64_t frames = b->position + b->steps + 8 + WARM;
    const stages_stems k = {
        .stems = stems, .frames = frames, .made = b->position, .window = frames};
    double *room = mem_calloc((size_t)b->steps, 3 * sizeof *room);
    status rc = room ? OK : err_set(e, ERR_OOM, "no memory for a bench");
    if (!rc) rc = stages_start(b->s, &k, e);
    if (!rc) rc = time_steps(b, &k, room, e);
    stages_stop(b->s);
    mem_free(room);
    return rc;
}

// --- the codec

status bench_codec(bench *b, err *e) {
    dtype type = b->info.codec_type;
    double best = INFINITY, spent, multiply = b->on.gpu ? 0 : roof_chain(b->c, type);
    int64_t frames = (int64_t)(SECONDS * b->info.frame_rate);
    status rc = OK;
    for (int i = 0; i < TIMES && !rc; i++) {
        rc = stages_sound(b->s, frames, &spent, e);
        best = fmin(best, spent);
    }
    if (rc) return rc;
    const stages_cost cost = {.products = stages_sound_products(b->s, frames)};
    double floor = b->on.gpu ? 0 : least(b, cost, fmax(multiply, roof_chain(b->c, type)));
    bench_add(b, "codec", 1, SECONDS, best, "s", floor / best);
    bench_add(b, "codec", 1, SECONDS, SECONDS / best, "x realtime", floor / best);
    return OK;
}

// --- whole pieces

// One stem to its end; past the model's window it goes on by windows.
static status run_piece(bench *b, int64_t frames, int64_t *steps, double *spent, err *e) {
    double from = os_seconds();
    status rc = stages_start(b->s, &(stages_stems){.stems = 1, .frames = frames}, e);
    while (!rc && !stages_done(b->s)) {
        rc = stages_prefill(b->s, e);
        if (!rc) rc = stages_step(b->s, e);
    }
    if (!rc) rc = stages_wait(b->s, e);
    *spent = os_seconds() - from;
    *steps = rc ? 0 : stages_steps_total(b->s);
    if (!rc) add_memory(b, 1, (double)frames / b->info.frame_rate);
    stages_stop(b->s);
    return rc;
}

status bench_piece(bench *b, double seconds, err *e) {
    int64_t frames = (int64_t)(seconds * b->info.frame_rate + 0.5), steps;
    double spent, sound = 0;
    status rc = run_piece(b, frames, &steps, &spent, e);
    if (!rc) rc = stages_sound(b->s, frames, &sound, e);
    if (rc) return rc;
    bench_add(b, "piece", 1, seconds, spent + sound, "s", 0);
    bench_add(b, "piece", 1, seconds, seconds / (spent + sound), "x realtime", 0);
    bench_add(b, "piece step", 1, seconds, 1e3 * spent / (double)steps, "ms", 0);
    return OK;
}
