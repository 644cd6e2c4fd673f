// bench.c - `stemforge bench MODEL`: each stage against what this machine can do, measured in the
// same run.
//
// The roofs come first: how fast all threads together read memory, and how fast they multiply and
// add. Then load, text encoder, decoder steps for one and more stems (guided, codes drawn as usual;
// reading is measured again around each, since other users of the memory come and go), codec. Rows
// go out as a table or as CSV: stage, stems, value, unit, share of the roof.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/roof.h"
#include "base/os.h"
#include "engine/checkpoint.h"
#include "engine/run.h"
#include "stemforge.h"

typedef struct {
    const char *model, *weights, *stems, *isa;
    int64_t threads, steps, position;
    bool csv;
} options;

typedef struct {
    const options *o;
    checkpoint m;
    compute *c;
    double read_gb, gflops; // roofs
    dtype cache_type;
} bench;

static void row(const bench *b, const char *stage, int64_t stems, double value, const char *unit,
                double share) {
    if (b->o->csv) {
        printf("%s,%lld,%.4g,%s,%.3f\n", stage, (long long)stems, value, unit, share);
    } else if (share > 0) {
        printf("%-22s %5lld  %10.4g %-10s %5.1f%% of the roof\n", stage, (long long)stems, value,
               unit, 100 * share);
    } else {
        printf("%-22s %5lld  %10.4g %s\n", stage, (long long)stems, value, unit);
    }
    fflush(stdout);
}

// --- stages

#define BENCH_TEXT "Isolated drum kit track, rock style, 120 bpm"

static status bench_text(bench *b, float **text, int64_t *n, err *e) {
    tok_ids ids = {0};
    arena work = {0};
    status rc = tok_encode(b->m.words, bytes_of(BENCH_TEXT), &ids, e);
    *n = (int64_t)ids.count;
    *text = mem_calloc(ids.count, (size_t)mg_get_config(b->m.lm)->text_dim * sizeof **text);
    if (!rc && !*text) rc = err_set(e, ERR_OOM, "no memory for the text");
    double from = os_seconds();
    if (!rc) rc = t5_encode(b->m.text, b->c, *text, ids.ids + ids.first, *n, &work, e);
    if (!rc) row(b, "text encoder", 1, 1e3 * (os_seconds() - from), "ms", 0);
    arena_deinit(&work);
    tok_ids_deinit(&ids);
    return rc;
}

typedef struct {
    run *r[64];
    mg_row rows[128];
    float *logits;
    mg_scratch *s;
} stepper;

static void step(const bench *b, stepper *t, int64_t stems) {
    const mg_config *cfg = mg_get_config(b->m.lm);
    int64_t size = cfg->codebooks * cfg->vocab;
    for (int64_t i = 0; i < stems; i++) run_rows(t->r[i], &t->rows[i], &t->rows[stems + i]);
    mg_forward(b->m.lm, b->c, t->s, t->rows, 2 * stems, t->logits, 2 * stems);
    for (int64_t i = 0; i < stems; i++)
        run_accept(t->r[i], t->logits + i * size, t->logits + (stems + i) * size);
}

// Begins stems runs that have `position` frames behind them already (of code 0), so that the cache
// is read as in the middle of a stem.
static status begin(bench *b, stepper *t, int64_t stems, const float *text, int64_t text_n,
                    err *e) {
    const mg_config *cfg = mg_get_config(b->m.lm);
    int64_t given_n = b->o->position, frames = given_n + b->o->steps + 8;
    int32_t *given = mem_calloc((size_t)(cfg->codebooks * MAX(given_n, 1)), sizeof *given);
    if (!given) return err_set(e, ERR_OOM, "no memory for a prompt");
    arena work = {0};
    status rc = OK;
    for (int64_t i = 0; i < stems && !rc; i++) {
        const run_params p = {.text = text,
                              .text_n = text_n,
                              .text_rows = text_n,
                              .sampling = {.temperature = 1, .top_k = 250, .guidance = 3},
                              .seed = (uint64_t)i,
                              .frames = frames,
                              .given = given,
                              .given_n = given_n,
                              .window = frames,
                              .stride = frames,
                              .cache_type = b->cache_type};
        rc = run_create(&t->r[i], b->m.lm, &p, e);
        double from = os_seconds();
        if (!rc) rc = run_begin_window(t->r[i], b->c, t->s, &work, e);
        if (!rc && i == 0) row(b, "prefill", 1, 1e3 * (os_seconds() - from), "ms", 0);
        arena_reset(&work);
    }
    mem_free(given);
    return rc;
}

static int ascending(const void *a, const void *c) {
    double x = *(const double *)a, y = *(const double *)c;
    return (x > y) - (x < y);
}

static void report_steps(bench *b, int64_t stems, double *spent) {
    const mg_config *cfg = mg_get_config(b->m.lm);
    qsort(spent, (size_t)b->o->steps, sizeof *spent, ascending);
    double median = spent[b->o->steps / 2];
    int64_t mean = b->o->position + b->o->steps / 2 + (cfg->melody ? cfg->chroma_length : 0);
    double moved = (double)mg_step_bytes(b->m.lm, true) +
                   (double)(2 * stems) * (double)mg_row_bytes(cfg, mean, b->cache_type);
    double flops = 2.0 * (double)(2 * stems) * (double)mg_step_values(b->m.lm);
    // 8-bit products have a roof of their own: there only reading counts.
    double multiply = mg_step_bytes(b->m.lm, true) < 2 * (size_t)mg_step_values(b->m.lm)
                          ? 0
                          : flops / 1e9 / b->gflops;
    double floor = fmax(moved / 1e9 / b->read_gb, multiply);
    row(b, "steps", stems, 1 / median, "steps/s", floor / median);
    row(b, "audio", stems, (double)stems / median / b->m.frame_rate, "x realtime", 0);
    row(b, "read", stems, moved / 1e9 / median, "GB/s", moved / 1e9 / median / b->read_gb);
}

static status bench_steps(bench *b, int64_t stems, const float *text, int64_t text_n, err *e) {
    const mg_config *cfg = mg_get_config(b->m.lm);
    stepper *t = mem_calloc(1, sizeof *t);
    double *spent = mem_calloc((size_t)b->o->steps, sizeof *spent);
    int64_t positions =
        b->o->position + b->o->steps + 64 + (cfg->melody ? cfg->chroma_length + text_n : 0);
    status rc = t && spent ? OK : err_set(e, ERR_OOM, "no memory for a bench");
    if (!rc)
        t->logits =
            mem_aligned((size_t)(2 * stems * cfg->codebooks * cfg->vocab) * sizeof *t->logits);
    if (!rc && !t->logits) rc = err_set(e, ERR_OOM, "no memory for scores");
    if (!rc) rc = mg_scratch_create(&t->s, b->m.lm, b->c, 256, positions, e);
    if (!rc) rc = begin(b, t, stems, text, text_n, e);
    double roof = rc ? 0 : roof_read(b->c);
    for (int64_t i = 0; i < b->o->steps && !rc; i++) {
        double from = os_seconds();
        step(b, t, stems);
        spent[i] = os_seconds() - from;
    }
    if (!rc) b->read_gb = fmax(roof, roof_read(b->c)); // neighbours come and go
    if (!rc) report_steps(b, stems, spent);
    for (int64_t i = 0; t && i < stems; i++) run_free(t->r[i]);
    if (t) mg_scratch_free(t->s);
    if (t) mem_free(t->logits);
    mem_free(t);
    mem_free(spent);
    return rc;
}

#define CODEC_SECONDS 10

static status bench_codec(bench *b, err *e) {
    const mg_config *cfg = mg_get_config(b->m.lm);
    const encodec_config *a = encodec_get_config(b->m.codec);
    int64_t frames = (int64_t)(CODEC_SECONDS * b->m.frame_rate), n = frames * a->hop;
    int32_t *codes = mem_calloc((size_t)(cfg->codebooks * frames), sizeof *codes);
    float *wave = mem_alloc((size_t)(cfg->channels * n) * sizeof *wave);
    if (!codes || !wave) {
        mem_free(codes);
        mem_free(wave);
        return err_set(e, ERR_OOM, "no memory for the codec");
    }
    for (int64_t i = 0; i < cfg->codebooks * frames; i++)
        codes[i] = (int32_t)(i * 2654435761u % (uint64_t)cfg->vocab);
    float *const planes[2] = {wave, wave + (cfg->channels - 1) * n};
    const encodec_codes in = {
        .codes = codes, .ld = frames, .frames = frames, .channels = (int)cfg->channels};
    double best = 1e9;
    status rc = OK;
    for (int i = 0; i < 3 && !rc; i++) {
        double from = os_seconds();
        rc = encodec_decode(b->m.codec, b->c, &in, planes, e);
        best = fmin(best, os_seconds() - from);
    }
    if (!rc) row(b, "codec 10 s", 1, best, "s", 0);
    if (!rc) row(b, "codec", 1, CODEC_SECONDS / best, "x realtime", 0);
    mem_free(codes);
    mem_free(wave);
    return rc;
}

static status run_all(bench *b, err *e) {
    float *text = NULL;
    int64_t n = 0;
    b->read_gb = roof_read(b->c);
    b->gflops = roof_multiply(b->c);
    row(b, "memory read", 0, b->read_gb, "GB/s", 1);
    row(b, "multiply-add", 0, b->gflops, "GFLOP/s", 1);
    double from = os_seconds();
    stemforge_weights kept;
    if (!stemforge_weights_parse(b->o->weights, &kept)) {
        return err_set(e, ERR_ARG, "--weights: expected stored, f32, bf16, q8 or q4");
    }
    const checkpoint_options files = {.model = b->o->model, .lm_type = (weights_type)kept};

    status rc = checkpoint_open(&b->m, &files, e);
    b->cache_type = b->m.narrow ? DT_BF16 : DT_F32;
    if (!rc) row(b, "load", 0, os_seconds() - from, "s", 0);
    if (!rc) rc = bench_text(b, &text, &n, e);
    for (const char *p = b->o->stems; *p && !rc;) {
        char *end;
        long stems = strtol(p, &end, 10);
        if (end == p || stems < 1 || stems > 64)
            rc = err_set(e, ERR_ARG, "--stems: expected numbers from 1 to 64");
        else
            rc = bench_steps(b, stems, text, n, e);
        p = *end == ',' ? end + 1 : end;
    }
    if (!rc) rc = bench_codec(b, e);
    if (!rc) row(b, "memory peak", 0, (double)os_memory_peak() / 1e6, "MB", 0);
    mem_free(text);
    return rc;
}

int bench_main(int argc, char **argv) {
    options o = {.weights = "stored", .stems = "1,4", .steps = 30, .position = 250};
    const arg_option table[] = {
        {"weights", ARG_STR, &o.weights, 0, 0, "TYPE", "stored, f32, bf16, q8 or q4 (stored)",
         NULL},
        {"stems", ARG_STR, &o.stems, 0, 0, "LIST", "batch sizes (1,4)", NULL},
        {"steps", ARG_INT, &o.steps, 1, 10000, "N", "steps to time (30)", NULL},
        {"position", ARG_INT, &o.position, 0, 100000, "N",
         "frames already made (250: the middle of 10 s)", NULL},
        {"threads", ARG_INT, &o.threads, 0, 256, "N", "threads (all processors)", NULL},
        {"isa", ARG_STR, &o.isa, 0, 0, "NAME", "scalar avx2 avx512 neon (the best)", NULL},
        {"csv", ARG_FLAG, &o.csv, 0, 0, NULL, "stage,stems,value,unit,share", NULL},
    };
    const arg_command cmd = {"bench",
                             "MODEL [options]",
                             "times every stage against what this machine can do",
                             table,
                             ARRAY_LEN(table),
                             NULL,
                             1,
                             1};
    int n, code;
    if (args_parse(&cmd, argc, argv, &o.model, &n, &code)) return code;
    bench b = {.o = &o};
    err e = {0};
    status rc = compute_open(&b.c, (int)o.threads, o.isa, &e);
    if (!rc && !o.csv) printf("%s, %d threads\n", compute_isa(b.c), compute_threads(b.c));
    if (!rc) rc = run_all(&b, &e);
    checkpoint_close(&b.m);
    compute_close(b.c);
    if (rc) fprintf(stderr, "stemforge bench: %s\n", e.text);
    return rc ? 1 : 0;
}
