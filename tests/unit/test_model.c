// test_model.c - the parts of the decoder that need no weights: positions, buckets, delay,
// sampling.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "compute/rng.h"
#include "engine/musicgen/delay.h"
#include "engine/musicgen/sampler.h"
#include "format/safetensors.h"
#include "model/musicgen.h"
#include "model/t5.h"

static const float *f32_at(const st_file *f, const char *name, const tensor **t) {
    *t = st_find(f, name);
    cr_assert_not_null(*t, "%s", name);
    return (*t)->data;
}

static int32_t i32_at(const tensor *t, int64_t i) {
    int32_t v;
    memcpy(&v, (const uint8_t *)t->data + 4 * i, sizeof v);
    return v;
}

Test(musicgen, position_rows_are_the_reference_s) {
    st_file *f;
    err e;
    cr_assert_eq(st_open(&f, "tests/parity/positions.safetensors", &e), OK, "%s", e.text);
    const tensor *rows = st_find(f, "rows"), *t;
    static const int64_t widths[] = {64, 1024, 1536};
    static float row[2048];
    for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
        char name[16];
        snprintf(name, sizeof name, "d%lld", (long long)widths[i]);
        const float *want = f32_at(f, name, &t);
        for (int64_t r = 0; r < rows->shape[0]; r++) {
            mg_position_row(row, widths[i], i32_at(rows, r));
            for (int64_t k = 0; k < widths[i]; k++) {
                float w;
                memcpy(&w, want + r * widths[i] + k, sizeof w);
                // An exponential may differ in its last bit, which the position multiplies.
                cr_assert_float_eq(row[k], w, 2e-4, "d%lld position %d [%lld]: %g, want %g",
                                   (long long)widths[i], i32_at(rows, r), (long long)k,
                                   (double)row[k], (double)w);
            }
        }
    }
    st_close(f);
}

Test(t5, buckets_are_the_reference_s) {
    st_file *f;
    cr_assert_eq(st_open(&f, "tests/parity/positions.safetensors", NULL), OK);
    const tensor *d = st_find(f, "distance"), *b = st_find(f, "bucket"),
                 *c = st_find(f, "bucket16_64");
    cr_assert(d && b && c);
    for (int64_t i = 0; i < d->shape[0]; i++) {
        cr_assert_eq(t5_bucket(i32_at(d, i), 32, 128), i32_at(b, i), "distance %d", i32_at(d, i));
        cr_assert_eq(t5_bucket(i32_at(d, i), 16, 64), i32_at(c, i), "distance %d", i32_at(d, i));
    }
    st_close(f);
}

// The tables of the paper's pattern: P is forced, digits are frames.
Test(delay, mono_and_stereo_tables) {
    static const char *const mono[] = {"P0123PPP", "PP0123PP", "PPP0123P", "PPPP0123"};
    const delay_pattern m = {.codebooks = 4, .channels = 1, .frames = 4, .special = 2048};
    cr_assert_eq(delay_columns(&m), 8);
    for (int64_t k = 0; k < 4; k++) {
        for (int64_t p = 0; p < 8; p++) {
            char c = mono[k][p];
            cr_assert_eq(delay_frame(&m, k, p), c == 'P' ? -1 : c - '0', "book %lld column %lld",
                         (long long)k, (long long)p);
        }
    }
    const delay_pattern s = {.codebooks = 8, .channels = 2, .frames = 4, .special = 2048};
    cr_assert_eq(delay_columns(&s), 8);
    for (int64_t k = 0; k < 8; k++) {
        for (int64_t p = 0; p < 8; p++)
            cr_assert_eq(delay_frame(&s, k, p), delay_frame(&m, k / 2, p));
    }
}

Test(delay, a_prompt_fills_the_columns_it_reaches) {
    const int32_t frames[4][2] = {{10, 11}, {20, 21}, {30, 31}, {40, 41}};
    const delay_pattern d = {.codebooks = 4, .channels = 1, .frames = 5, .special = 9};
    int32_t col[4];
    delay_column(&d, col, frames[0], 2, 2, 3);
    cr_assert(col[0] == 9 && col[1] == 21 && col[2] == 30 && col[3] == 9);
}

Test(sampler, probabilities_are_those_of_the_reference_s_warpers) {
    st_file *f;
    json *j;
    err e;
    cr_assert_eq(st_open(&f, "tests/parity/sampling/expect.safetensors", &e), OK, "%s", e.text);
    cr_assert_eq(json_parse_file(&j, "tests/parity/sampling/case.json", 1 << 20, &e), OK, "%s",
                 e.text);
    const tensor *lt, *pt;
    const float *logits = f32_at(f, "logits", &lt), *probs = f32_at(f, "probs", &pt);
    int64_t rows = lt->shape[0], n = lt->shape[1];
    float *x = mem_alloc((size_t)n * sizeof *x), *scratch = mem_alloc((size_t)n * sizeof *x);
    const json *params = json_find(j, "params");
    cr_assert_eq((int64_t)json_len(params), pt->shape[0]);
    for (int64_t i = 0; i < pt->shape[0]; i++) {
        const json *p = json_at(params, (size_t)i);
        const sampler_params sp = {.temperature =
                                       (float)json_num_value(json_find(p, "temperature")),
                                   .top_k = (int)json_int_value(json_find(p, "top_k")),
                                   .top_p = (float)json_num_value(json_find(p, "top_p"))};
        const json *listed = json_find(p, "rows"); // those clear of a threshold
        cr_assert_gt(json_len(listed), 0);
        for (size_t at = 0; at < json_len(listed); at++) {
            int64_t r = json_int_value(json_at(listed, at));
            memcpy(x, logits + r * n, (size_t)n * sizeof *x);
            sampler_probs(x, n, &sp, scratch);
            for (int64_t k = 0; k < n; k++) {
                float want;
                memcpy(&want, probs + (i * rows + r) * n + k, sizeof want);
                cr_assert_float_eq(x[k], want, 2e-6, "params %lld row %lld code %lld: %g, want %g",
                                   (long long)i, (long long)r, (long long)k, (double)x[k],
                                   (double)want);
                cr_assert_eq(x[k] == 0, want == 0,
                             "params %lld: code %lld is kept by one side only", (long long)i,
                             (long long)k);
            }
        }
    }
    mem_free(x);
    mem_free(scratch);
    json_free(j);
    st_close(f);
}

Test(sampler, draws_follow_the_probabilities) {
    const float scores[4] = {0, 1, 2, -1e30f};
    const sampler_params p = {.temperature = 1};
    int count[4] = {0};
    enum { DRAWS = 20000 };
    for (uint64_t i = 0; i < DRAWS; i++) {
        float x[4], scratch[4];
        memcpy(x, scores, sizeof x);
        rng_u32x4 u = rng_draw(7, 0, i);
        count[sampler_draw(x, 4, &p, rng_f64(u.v[0], u.v[1]), scratch)]++;
    }
    double sum = 1 + exp(1) + exp(2);
    for (int k = 0; k < 3; k++) { // five standard deviations
        double q = exp(k) / sum, dev = sqrt(q * (1 - q) / DRAWS);
        cr_assert_float_eq((double)count[k] / DRAWS, q, 5 * dev, "code %d: %d draws", k, count[k]);
    }
    cr_assert_eq(count[3], 0);
}

Test(sampler, temperature_0_takes_the_first_of_the_best) {
    float x[5] = {1, 3, 2, 3, -1}, scratch[5];
    const sampler_params p = {.temperature = 0, .top_k = 2};
    cr_assert_eq(sampler_draw(x, 5, &p, 0.99, scratch), 1);
}
