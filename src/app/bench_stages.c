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

static status time_engine(bench *b, err *e) {
    stemforge_options o = stemforge_options_default();
    o.model = b->model;
    o.threads = b->threads;
    o.isa = b->isa;
    o.weights = b->weights;
    stemforge_engine *g;
    double from = os_seconds();
    status rc = stemforge_open(&g, &o, e);
    if (rc) return rc;
    bench_add(b, "load", 0, 0, 1e3 * (os_seconds() - from), "ms", 0);
    stemforge_close(g);
    return OK;
}

status bench_load(bench *b, int64_t stems, err *e) {
    const checkpoint_options files = {
        .model = b->model, .lm_type = (weights_type)b->weights, .c = b->c};
    status rc = time_engine(b, e);
    if (!rc) rc = checkpoint_open(&b->m, &files, e);
    if (rc) return rc;
    const mg_config *cfg = mg_get_config(b->m.lm);
    int64_t prefix = cfg->melody ? cfg->chroma_length + 64 : 0;
    int64_t positions = MAX(b->position + b->steps, b->m.window) + prefix + 64;
    b->text_gflops = roof_multiply(b->c, t5_widest(b->m.text));
    b->lm_gflops = roof_multiply(b->c, mg_widest(b->m.lm));
    bench_add(b, "multiply-add decoder", 0, 0, b->lm_gflops, "GFLOP/s", 1);
    const decoder_limits limits = {.sequences = stems, .positions = positions};
    return decoder_open(&b->decoder, b->m.lm, b->c, &limits, e);
}

void bench_unload(bench *b) {
    mem_free(b->text);
    decoder_close(b->decoder);
    checkpoint_close(&b->m);
}

// Seconds that reading so many bytes or so many products take at least.
static double least(const bench *b, double bytes_read, double products, double gflops) {
    return fmax(bytes_read / b->read_gb, 2 * products / gflops) / 1e9;
}

// --- stems on their way

typedef struct {
    run *r[BENCH_STEMS_MAX];
    seq *s[BENCH_STEMS_MAX];
    int64_t stems;
} stepper;

static run_params params_of(const bench *b, int64_t frames, uint64_t seed) {
    return (run_params){.seq = {.text = b->text,
                                .text_n = b->text_n,
                                .text_rows = b->text_n,
                                .sampling = {.temperature = 1, .top_k = 250, .guidance = 3},
                                .seed = seed,
                                .frames = frames,
                                .window = MIN(frames, b->m.window),
                                .cache_type = b->m.cache_type},
                        .stride = MIN(frames, b->m.stride)};
}

static status stepper_open(stepper *t, const bench *b, int64_t stems, const run_params *p, err *e) {
    *t = (stepper){.stems = stems};
    status rc = OK;
    for (int64_t i = 0; !rc && i < stems; i++) {
        run_params own = *p;
        own.seq.seed += (uint64_t)i;
        rc = run_create(&t->r[i], b->decoder, b->m.lm, &own, e);
        if (!rc) t->s[i] = run_seq(t->r[i]);
    }
    return rc;
}

static void stepper_close(stepper *t) {
    for (int64_t i = 0; i < t->stems; i++) run_free(t->r[i]);
}

static status begin(stepper *t, err *e) {
    status rc = OK;
    for (int64_t i = 0; !rc && i < t->stems; i++)
        if (run_needs_window(t->r[i])) rc = run_begin_window(t->r[i], NULL, 0, e);
    return rc;
}

static status step(stepper *t, const bench *b, err *e) {
    status rc = decoder_step(b->decoder, t->s, (size_t)t->stems, e);
    for (int64_t i = 0; i < t->stems && !rc; i++) run_stepped(t->r[i]);
    return rc;
}

// --- text and the first token

static status encode_text(bench *b, err *e) {
    tok_ids ids = {0};
    arena work = {0};
    status rc = tok_encode(b->m.words, bytes_of(TEXT), &ids, e);
    b->text_n = (int64_t)ids.count;
    size_t size = ids.count * (size_t)mg_get_config(b->m.lm)->text_dim * sizeof *b->text;
    if (!rc && !b->text) b->text = mem_alloc(size);
    if (!rc && !b->text) rc = err_set(e, ERR_OOM, "no memory for the text");
    if (!rc) rc = t5_encode(b->m.text, b->c, b->text, ids.ids + ids.first, b->text_n, &work, e);
    checkpoint_rest_text(&b->m); // as the engine does
    arena_deinit(&work);
    tok_ids_deinit(&ids);
    return rc;
}

status bench_text(bench *b, err *e) {
    double best = INFINITY;
    status rc = OK;
    for (int i = 0; i < TIMES && !rc; i++) {
        double from = os_seconds();
        rc = encode_text(b, e);
        best = fmin(best, os_seconds() - from);
    }
    if (rc) return rc;
    double products = (double)b->text_n * (double)t5_values(b->m.text);
    double floor = least(b, (double)t5_bytes(b->m.text), products, b->text_gflops);
    bench_add(b, "text encoder", 0, 0, 1e3 * best, "ms", floor / best);
    return OK;
}

static status first_token(bench *b, double *spent, err *e) {
    stepper t = {0};
    double from = os_seconds();
    status rc = encode_text(b, e);
    const run_params p = params_of(b, (int64_t)(SECONDS * b->m.frame_rate), 0);
    if (!rc) rc = stepper_open(&t, b, 1, &p, e);
    if (!rc) rc = begin(&t, e);
    if (!rc) rc = step(&t, b, e);
    *spent = os_seconds() - from;
    stepper_close(&t);
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

static int ascending(const void *a, const void *c) {
    double x = *(const double *)a, y = *(const double *)c;
    return (x > y) - (x < y);
}

static double median(double *v, int64_t n) {
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

// Steps between two looks at the roofs: others use the machine's memory, and within a second it may
// be twice as fast.
#define TOGETHER 10

typedef struct {
    double *spent;            // [steps] seconds
    double *share, *of_reads; // [groups] of the roof, and of what reading allows
    int64_t groups;
    double moved, products; // of one step
} timings;

static timings timings_of(const bench *b, int64_t stems, double *room) {
    const mg_config *cfg = mg_get_config(b->m.lm);
    int64_t mean = b->position + b->steps / 2 + (cfg->melody ? cfg->chroma_length : 0);
    double rows = (double)(2 * stems);
    return (timings){.spent = room,
                     .share = room + b->steps,
                     .of_reads = room + 2 * b->steps,
                     .moved = (double)mg_step_bytes(b->m.lm, true) +
                              rows * (double)mg_row_bytes(cfg, mean, b->m.cache_type),
                     .products = rows * (double)mg_step_values(b->m.lm)};
}

static double sum(const double *v, int64_t n) {
    double all = 0;
    for (int64_t i = 0; i < n; i++) all += v[i];
    return all;
}

// A step is the median; steps a second are all of them over the time they took.
static void report_steps(const bench *b, int64_t stems, timings *k) {
    double rate = (double)b->steps / sum(k->spent, b->steps);
    double step = median(k->spent, b->steps), share = median(k->share, k->groups);
    double at = (double)b->position / b->m.frame_rate;
    bench_add(b, "step", stems, at, 1e3 * step, "ms", share);
    bench_add(b, "steps", stems, at, rate, "steps/s", share);
    bench_add(b, "audio", stems, at, (double)stems * rate / b->m.frame_rate, "x realtime", 0);
    bench_add(b, "read", stems, at, k->moved / 1e9 / step, "GB/s", median(k->of_reads, k->groups));
}

// Some steps, with a look at the roofs after them; of the one before and this one, the higher
// counts.
static status time_group(bench *b, stepper *t, timings *k, double *spent, int64_t n, err *e) {
    double sorted[TOGETHER], read = b->read_gb, multiply = b->lm_gflops;
    for (int64_t i = 0; i < n; i++) {
        double from = os_seconds();
        status rc = step(t, b, e);
        if (rc) return rc;
        sorted[i] = spent[i] = os_seconds() - from;
    }
    double took = median(sorted, n), now = roof_read(b->c);
    double now_multiply = roof_multiply(b->c, mg_widest(b->m.lm));
    b->read_gb = fmax(read, now);
    k->share[k->groups] = least(b, k->moved, k->products, fmax(multiply, now_multiply)) / took;
    k->of_reads[k->groups++] = k->moved / 1e9 / took / b->read_gb;
    b->read_gb = now, b->lm_gflops = now_multiply;
    return OK;
}

static status time_steps(bench *b, stepper *t, double *room, err *e) {
    double from = os_seconds();
    status rc = begin(t, e);
    double prefill = os_seconds() - from, at = (double)b->position / b->m.frame_rate;
    if (rc) return rc;
    const mg_config *cfg = mg_get_config(b->m.lm);
    int64_t rows = 2 * (b->position + (cfg->melody ? cfg->chroma_length + b->text_n : 0));
    double products = (double)rows * (double)mg_step_values(b->m.lm);
    if (t->stems == 1 && rows) {
        bench_add(b, "prefill", 1, at, 1e3 * prefill, "ms",
                  least(b, (double)mg_step_bytes(b->m.lm, true), products, b->lm_gflops) / prefill);
    }
    timings k = timings_of(b, t->stems, room);
    b->read_gb = roof_read(b->c);
    b->lm_gflops = roof_multiply(b->c, mg_widest(b->m.lm));
    for (int64_t i = 0; i < b->steps && !rc; i += TOGETHER)
        rc = time_group(b, t, &k, k.spent + i, MIN(TOGETHER, b->steps - i), e);
    if (rc) return rc;
    add_memory(b, t->stems, at);
    report_steps(b, t->stems, &k);
    return OK;
}

// The runs have `position` frames behind them already (of code 0), so that the cache is read as in
// the middle of a stem.
status bench_steps(bench *b, int64_t stems, err *e) {
    int64_t books = mg_get_config(b->m.lm)->codebooks, frames = b->position + b->steps + 8;
    int32_t *given = mem_calloc((size_t)(books * MAX(b->position, 1)), sizeof *given);
    double *room = mem_calloc((size_t)b->steps, 3 * sizeof *room);
    run_params p = params_of(b, frames, 0);
    p.seq.window = p.stride = frames;
    p.seq.given = given;
    p.seq.given_n = b->position;
    stepper t = {0};
    status rc = given && room ? OK : err_set(e, ERR_OOM, "no memory for a bench");
    if (!rc) rc = stepper_open(&t, b, stems, &p, e);
    if (!rc) rc = time_steps(b, &t, room, e);
    stepper_close(&t);
    mem_free(given);
    mem_free(room);
    return rc;
}

// --- the codec

// Seconds of computing that frames of noise take d; planes and codes are dropped.
static status decode(const bench *b, encodec_decoder *d, int64_t frames, double *spent, err *e) {
    const mg_config *cfg = mg_get_config(b->m.lm);
    int64_t n = frames * encodec_get_config(b->m.codec)->hop;
    int32_t *codes = mem_calloc((size_t)(cfg->codebooks * frames), sizeof *codes);
    float *wave = mem_alloc((size_t)(cfg->channels * n) * sizeof *wave);
    status rc = codes && wave ? OK : err_set(e, ERR_OOM, "no memory for the codec");
    for (int64_t i = 0; !rc && i < cfg->codebooks * frames; i++)
        codes[i] = (int32_t)(i * 2654435761u % (uint64_t)cfg->vocab);
    float *const planes[2] = {wave, wave + (cfg->channels - 1) * n};
    const encodec_codes in = {
        .codes = codes, .ld = frames, .frames = frames, .channels = (int)cfg->channels};
    double from = os_seconds();
    if (!rc) rc = encodec_decoder_run(d, b->c, &in, 1, planes, e);
    *spent = os_seconds() - from;
    mem_free(codes);
    mem_free(wave);
    return rc;
}

status bench_codec(bench *b, err *e) {
    dtype type = b->m.cache_type == DT_F32 ? DT_F32 : DT_BF16;
    double best = INFINITY, spent, multiply = roof_chain(b->c, type);
    encodec_decoder *d; // as an engine keeps one
    status rc = encodec_decoder_create(&d, b->m.codec, (int)mg_get_config(b->m.lm)->channels, e);
    for (int i = 0; i < TIMES && !rc; i++) {
        rc = decode(b, d, (int64_t)(SECONDS * b->m.frame_rate), &spent, e);
        best = fmin(best, spent);
    }
    encodec_decoder_free(d);
    if (rc) return rc;
    double frames = SECONDS * b->m.frame_rate * (double)mg_get_config(b->m.lm)->channels;
    double floor = least(b, 0, frames * (double)encodec_products(b->m.codec),
                         fmax(multiply, roof_chain(b->c, type)));
    bench_add(b, "codec", 1, SECONDS, best, "s", floor / best);
    bench_add(b, "codec", 1, SECONDS, SECONDS / best, "x realtime", floor / best);
    return OK;
}

// --- whole pieces

// Steps of one stem to its end; past the model's window it goes on by windows.
static status run_piece(bench *b, int64_t frames, int64_t *steps, double *spent, err *e) {
    const run_params p = params_of(b, frames, 0);
    stepper t = {0};
    double from = os_seconds();
    status rc = stepper_open(&t, b, 1, &p, e);
    while (!rc && !run_done(t.r[0])) {
        rc = begin(&t, e);
        if (!rc) rc = step(&t, b, e);
    }
    *spent = os_seconds() - from;
    *steps = rc ? 0 : run_steps_total(t.r[0]);
    if (!rc) add_memory(b, 1, (double)frames / b->m.frame_rate);
    stepper_close(&t);
    return rc;
}

status bench_piece(bench *b, double seconds, err *e) {
    int64_t frames = (int64_t)(seconds * b->m.frame_rate + 0.5), steps;
    double spent, sound = 0;
    encodec_decoder *d = NULL;
    status rc = run_piece(b, frames, &steps, &spent, e);
    if (!rc) rc = encodec_decoder_create(&d, b->m.codec, (int)mg_get_config(b->m.lm)->channels, e);
    if (!rc) rc = decode(b, d, frames, &sound, e);
    encodec_decoder_free(d);
    if (rc) return rc;
    bench_add(b, "piece", 1, seconds, spent + sound, "s", 0);
    bench_add(b, "piece", 1, seconds, seconds / (spent + sound), "x realtime", 0);
    bench_add(b, "piece step", 1, seconds, 1e3 * spent / (double)steps, "ms", 0);
    return OK;
}
