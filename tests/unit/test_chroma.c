// test_chroma.c - chroma features against transformers' (tests/parity/chroma.safetensors) and
// against the reference's printed check values.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/musicgen/chroma.h"
#include "format/safetensors.h"

static chroma *open_default(void) {
    chroma_config cfg;
    chroma *k;
    err e = {0};
    json *j = json_new_object();
    cr_assert_eq(chroma_config_read(&cfg, j, 12, &e), OK, "%s", e.text);
    json_free(j);
    cr_assert_eq(chroma_open(&k, &cfg, &e), OK, "%s", e.text);
    return k;
}

Test(chroma, filter_bank_has_the_published_values) {
    // Rows C, C#, ... of the FFT bins nearest middle C, A4 and G3 at 32 kHz.
    const struct {
        int64_t bin;
        int row;
        double value;
    } known[] = {
        {134, 0, 0.669920}, {134, 1, 0.092927}, {134, 11, 0.088455},
        {225, 9, 0.866148}, {225, 8, 0.127763}, {225, 10, 0.107547},
        {100, 7, 0.543542}, {100, 6, 0.093750}, {100, 8, 0.057719},
    };
    chroma *k = open_default();
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        double got = chroma_filter(k, known[i].bin)[known[i].row];
        cr_assert_float_eq(got, known[i].value, 1e-6, "bin %d row %d: %f", (int)known[i].bin,
                           known[i].row, got);
    }
    double sum = 0;
    for (int64_t b = 0; b <= 8192; b++) {
        for (int i = 0; i < 12; i++) sum += chroma_filter(k, b)[i];
    }
    cr_assert_float_eq(sum, 4159.9428, 1e-3, "%f", sum);
    chroma_close(k);
}

Test(chroma, counts_frames_as_the_reference) {
    chroma *k = open_default();
    cr_assert_eq(chroma_frames(k, 1), 5);
    cr_assert_eq(chroma_frames(k, 16384), 5);
    cr_assert_eq(chroma_frames(k, 32000), 8);
    cr_assert_eq(chroma_frames(k, 960000), 235);
    cr_assert_eq(chroma_frames(k, 9600000), 235);
    chroma_close(k);
}

static void make_bip(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        bool on = fmod((double)i / 32000, 0.25) / 0.25 >= 0.5;
        x[i] = on ? (float)cos(2 * M_PI * 440 * (double)i / 32000) : 0;
    }
}

static void make_mix(float *x, int64_t n) {
    uint32_t s = 1;
    for (int64_t i = 0; i < n; i++) {
        int k = (int)(7 * (i / 12000) % 12);
        double f = 220 * pow(2, k / 12.0), t = 2 * M_PI * (double)i / 32000;
        s = s * 1664525u + 1013904223u;
        double u = (double)(s >> 8) / 8388608 - 1;
        x[i] = (float)(0.3 * sin(f * t) + 0.15 * sin(2.5 * f * t) + 0.05 * u);
    }
}

static double worst(const float *a, const float *b, int64_t n, double *peak) {
    double most = 0;
    *peak = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        *peak = fmax(*peak, fabs((double)b[i]));
    }
    return most;
}

static void check_signal(const chroma *k, const st_file *want, const char *name, const float *x,
                         int64_t n) {
    char key[64];
    err e = {0};
    int64_t frames = chroma_frames(k, n);
    float *onehot = malloc((size_t)frames * 12 * sizeof *onehot);
    float *raw = malloc((size_t)frames * 12 * sizeof *raw);
    cr_assert_eq(chroma_extract(k, x, n, &(chroma_rows){onehot, raw, frames}, &e), OK, "%s",
                 e.text);
    snprintf(key, sizeof key, "%s.raw", name);
    const tensor *t = st_find(want, key);
    cr_assert(t && t->shape[0] == frames && t->shape[1] == 12, "%s", name);
    double peak, off = worst(raw, t->data, frames * 12, &peak);
    cr_assert(off <= 1e-4 * peak, "%s: raw is %g off, peak %g", name, off, peak);
    snprintf(key, sizeof key, "%s.onehot", name);
    t = st_find(want, key);
    cr_assert_arr_eq(onehot, t->data, (size_t)frames * 12 * sizeof *onehot, "%s", name);
    free(onehot);
    free(raw);
}

Test(chroma, agrees_with_transformers_on_every_signal) {
    const struct {
        const char *name;
        int64_t n, bip, mix; // samples; of them a bip or a mix from the start
    } signal[] = {
        {"bip05", 16000, 16000, 0},    {"bip1", 32000, 32000, 0}, {"bip05pad", 32000, 16000, 0},
        {"bip15999", 15999, 15999, 0}, {"bip100", 100, 100, 0},   {"mix3", 96000, 0, 96000},
        {"mix31", 992000, 0, 992000},  {"silence", 20000, 0, 0},
    };
    chroma *k = open_default();
    st_file *want;
    err e = {0};
    cr_assert_eq(st_open(&want, "tests/parity/chroma.safetensors", &e), OK, "%s", e.text);
    for (size_t i = 0; i < ARRAY_LEN(signal); i++) {
        float *x = calloc((size_t)signal[i].n, sizeof *x);
        make_bip(x, signal[i].bip);
        if (signal[i].mix) make_mix(x, signal[i].mix);
        check_signal(k, want, signal[i].name, x, signal[i].n);
        free(x);
    }
    st_close(want);
    chroma_close(k);
}

Test(chroma, refuses_a_config_out_of_range) {
    static const char *const bad[] = {
        "{\"n_fft\": 1000}",  "{\"n_fft\": 0}",       "{\"hop_length\": 0}",
        "{\"n_fft\": \"a\"}", "{\"num_chroma\": 13}", "{\"chunk_length\": -1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json *j;
        chroma_config cfg;
        cr_assert_eq(json_parse(&j, bytes_of(bad[i]), 1000, NULL), OK);
        cr_assert_eq(chroma_config_read(&cfg, j, 12, NULL), ERR_FORMAT, "%s", bad[i]);
        json_free(j);
    }
}

Test(chroma, survives_each_failed_allocation) {
    chroma_config cfg = {32000, 256, 64, 12, 32000};
    float x[100] = {1}, out[12 * 5];
    for (int n = 0;; n++) {
        chroma *k = NULL;
        mem_fail_after(n);
        status rc = chroma_open(&k, &cfg, NULL);
        if (!rc) rc = chroma_extract(k, x, 100, &(chroma_rows){.onehot = out, .n = 5}, NULL);
        mem_fail_after(-1);
        chroma_close(k);
        if (rc == OK) break;
        cr_assert_eq(rc, ERR_OOM);
    }
}
