// test_parity.c - every stage of every recorded checkpoint against transformers
// (tests/parity/README.md).
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/trace.h"

#define TOLERANCE 1e-4 // of the tensor's peak

static const char *const cases[] = {"mono",    "stereo",      "melody", "stereo-melody",
                                    "sharded", "f16",         "bf16",   "parametrized",
                                    "equal",   "equal-melody"};

static double real_at(const tensor *t, int64_t i) {
    if (t->type == DT_I32) {
        int32_t v;
        memcpy(&v, (const uint8_t *)t->data + 4 * i, 4);
        return v;
    }
    float f;
    memcpy(&f, (const uint8_t *)t->data + 4 * i, 4);
    return (double)f;
}

// The worst error over the peak, or -1 when the shapes differ.
static double worst(const tensor *got, const tensor *want) {
    if (got->dims != want->dims || memcmp(got->shape, want->shape, sizeof got->shape) != 0)
        return -1;
    double peak = 1e-30, most = 0;
    for (int64_t i = 0; i < tensor_count(want); i++) {
        double d = fabs(real_at(got, i) - real_at(want, i));
        if (!(d <= most)) most = d;
        peak = fmax(peak, fabs(real_at(want, i)));
    }
    return want->type == DT_I32 ? most : most / peak;
}

static bool agrees(const char *what, const st_entry *got, const tensor *want) {
    double w = worst(&got->t, want);
    bool ok = w >= 0 && w <= (want->type == DT_I32 ? 0 : TOLERANCE);
    if (!ok) {
        char a[64], b[64];
        tensor_shape_text(a, sizeof a, got->t.shape, got->t.dims);
        tensor_shape_text(b, sizeof b, want->shape, want->dims);
        fprintf(stderr, "%s: worst error %g of the peak, %s for %s\n", what, w, a, b);
    }
    return ok;
}

// Compares what the run gave with what is expected under its name; counts tensors compared.
static int compare(const char *of, const char *name, const trace_result *r, const st_file *expect,
                   int *bad) {
    int n = 0;
    for (size_t i = 0; i < r->n; i++) {
        char full[200], what[300];
        snprintf(full, sizeof full, "%s.%s", name, r->list[i].name);
        const tensor *want = st_find(expect, full);
        if (!want) continue;
        snprintf(what, sizeof what, "%s/%s", of, full);
        n++;
        if (!agrees(what, &r->list[i], want)) ++*bad;
    }
    return n;
}

// Expected tensors of the run that the trace did not give are as wrong as wrong ones.
static int missing(const char *name, const trace_result *r, const st_file *expect) {
    int n = 0;
    size_t len = strlen(name);
    for (size_t i = 0; i < st_count(expect); i++) {
        const char *full = st_name_at(expect, i);
        if (strncmp(full, name, len) != 0 || full[len] != '.') continue;
        bool found = false;
        for (size_t j = 0; j < r->n; j++) found |= strcmp(r->list[j].name, full + len + 1) == 0;
        if (found) continue;
        fprintf(stderr, "not given: %s\n", full);
        n++;
    }
    return n;
}

static void check_case(const char *name, compute *c) {
    char dir[200], path[300];
    err e = {0};
    family *f;
    json *doc;
    st_file *expect;
    snprintf(dir, sizeof dir, "tests/parity/%s", name);
    snprintf(path, sizeof path, "%s/model", dir);
    cr_assert_eq(family_open(&f, &(family_options){.model = path, .c = c}, &e), OK, "%s", e.text);
    snprintf(path, sizeof path, "%s/case.json", dir);
    cr_assert_eq(json_parse_file(&doc, path, 1 << 24, &e), OK, "%s", e.text);
    snprintf(path, sizeof path, "%s/expect.safetensors", dir);
    cr_assert_eq(st_open(&expect, path, &e), OK, "%s", e.text);
    const json *runs = json_find(doc, "runs");
    int bad = 0, compared = 0;
    for (size_t i = 0; i < json_len(runs); i++) {
        const json *one = json_at(runs, i);
        const char *of = json_str_value(json_find(one, "name"));
        if (json_find(one, "batch")) continue; // test_parity_batch
        trace_result r;
        status rc = trace_run(&r, f, &(trace_input){.run = one, .dir = dir}, &e);
        cr_assert_eq(rc, OK, "%s/%s: %s", name, of, e.text);
        compared += compare(name, of, &r, expect, &bad);
        bad += missing(of, &r, expect);
        trace_free(&r);
    }
    st_close(expect);
    json_free(doc);
    family_close(f);
    cr_assert_eq(bad, 0, "%s: %d tensors are off", name, bad);
    cr_assert_gt(compared, 0);
    printf("%s: %d tensors compared\n", name, compared);
}

Test(parity, every_stage_of_every_case_agrees_with_transformers) {
    compute *c;
    cr_assert_eq(compute_open(&c, 2, NULL, NULL), OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) check_case(cases[i], c);
    compute_close(c);
}
