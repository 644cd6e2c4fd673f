// test_sa_trace.c - the stages of Stable Audio as `stemforge trace` writes them: by a case in JSON,
// from the text to the sound, each of them what diffusers or the original recorded.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/trace.h"

typedef struct {
    compute *c;
    family *f;
    st_file *expect;
    char dir[60];
    trace_result r;
    err e;
} fixture;

static void open_case(fixture *x, const char *name) {
    char path[100];
    *x = (fixture){0};
    snprintf(x->dir, sizeof x->dir, "tests/parity/%s", name);
    cr_assert_eq(compute_open(&x->c, 2, NULL, NULL), OK);
    snprintf(path, sizeof path, "%s/model", x->dir);
    status rc = family_open(&x->f, &(family_options){.model = path, .c = x->c}, &x->e);
    cr_assert_eq(rc, OK, "%s", x->e.text);
    snprintf(path, sizeof path, "%s/expect.safetensors", x->dir);
    cr_assert_eq(st_open(&x->expect, path, &x->e), OK, "%s", x->e.text);
}

static void close_case(fixture *x) {
    st_close(x->expect);
    family_close(x->f);
    compute_close(x->c);
}

static status run(fixture *x, const char *text) {
    json *one;
    cr_assert_eq(json_parse(&one, bytes_of(text), 1 << 16, &x->e), OK, "%s", x->e.text);
    status rc = trace_run(&x->r, x->f, &(trace_input){.run = one, .dir = x->dir}, &x->e);
    json_free(one);
    return rc;
}

static void agrees(const char *name, const float *got, const tensor *want, double most) {
    int64_t n = tensor_count(want);
    float *w = malloc((size_t)n * sizeof *w);
    tensor_read_f32(w, want, 0, n);
    double peak = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double off = fabs((double)got[i] - (double)w[i]);
        peak = fmax(peak, fabs((double)w[i]));
        if (!(off <= worst)) worst = off;
    }
    cr_assert(worst <= most * peak, "%s: off by %g of the peak, at most %g", name, worst / peak,
              most);
    free(w);
}

// The steps' limit. The random network of sa-half makes a hundred times as much of a difference in
// the text's rows (1e-6) within ten guided steps; from the recorded rows its steps agree to 1e-4
// (test_stableaudio.c).
static double steps_limit(const fixture *x) {
    return strstr(x->dir, "sa-half") ? 5e-4 : 1e-4;
}

// Each step of x under the name of the recorded run. How many were compared.
static int compare_steps(const fixture *x, const char *run, const st_entry *en) {
    int n = 0;
    const int64_t *shape = en->t.shape;
    for (int64_t i = 0; i < shape[0]; i++) {
        char name[40];
        snprintf(name, sizeof name, "%s.x%d", run, (int)i);
        const tensor *want = st_find(x->expect, name);
        if (!want) continue;
        cr_assert_eq(tensor_count(want), shape[1] * shape[2]);
        agrees(name, (const float *)en->t.data + i * shape[1] * shape[2], want, steps_limit(x));
        n++;
    }
    return n;
}

static int compare(const fixture *x, const char *run) {
    int n = 0;
    for (size_t i = 0; i < x->r.n; i++) {
        const st_entry *en = &x->r.list[i];
        if (strcmp(en->name, "x") == 0) {
            n += compare_steps(x, run, en);
            continue;
        }
        const tensor *want = st_find(x->expect, en->name);
        cr_assert(want, "%s is not recorded", en->name);
        cr_assert(want->type == en->t.type && tensor_count(want) == tensor_count(&en->t), "%s",
                  en->name);
        if (want->type == DT_I32)
            cr_assert_eq(memcmp(want->data, en->t.data, (size_t)tensor_count(want) * 4), 0, "%s",
                         en->name);
        else
            agrees(en->name, en->t.data, want, 1e-5);
        n++;
    }
    return n;
}

#define TEXTS                                                                                      \
    "\"prompt\": \"drums rock style 120 bpm warm\", \"negative_prompt\": \"low dark metal\","

// The seconds are those that were recorded with.
static void check(const char *model, double seconds, const char *run_name, const char *members,
                  int least) {
    fixture x;
    char text[600];
    open_case(&x, model);
    snprintf(text, sizeof text, "{\"tensors\": \"expect.safetensors\", \"seconds\": %.9f, %s}",
             seconds, members);
    cr_assert_eq(run(&x, text), OK, "%s: %s", model, x.e.text);
    int n = compare(&x, run_name);
    cr_assert_geq(n, least, "%s, %s: %d tensors", model, run_name, n);
    trace_free(&x.r);
    close_case(&x);
}

static double recorded_seconds(const char *model) {
    fixture x;
    open_case(&x, model);
    double frames = strcmp(model, "sa-f32") && strcmp(model, "sa-half") ? 69 : 130.5;
    double seconds = frames / x.f->info.frame_rate;
    close_case(&x);
    return seconds;
}

Test(sa_trace, every_stage_agrees_with_what_was_recorded) {
    static const char *const folders[] = {"sa-f32", "sa-half"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        double s = recorded_seconds(folders[i]);
        check(folders[i], s, "negative", TEXTS "\"guidance\": 4.5, \"steps\": 10", 10);
        check(folders[i], s, "guided",
              "\"prompt\": \"drums rock style 120 bpm warm\", \"guidance\": 7, \"steps\": 10", 16);
        check(folders[i], s, "2m",
              "\"prompt\": \"drums rock style 120 bpm warm\", \"guidance\": 4, \"steps\": 10,"
              " \"sampler\": \"dpmpp-2m\"",
              16);
    }
    double s = recorded_seconds("sa-original");
    check("sa-original", s, "3m",
          "\"prompt\": \"drums rock style 120 bpm warm\", \"guidance\": 4, \"steps\": 8,"
          " \"sampler\": \"dpmpp-3m-sde\"",
          15);
    check("sa-original", s, "varied",
          "\"prompt\": \"drums rock style 120 bpm warm\", \"guidance\": 4, \"steps\": 8,"
          " \"sampler\": \"dpmpp-2m\", \"strength\": 0.4",
          8);
    s = recorded_seconds("sa-small");
    check("sa-small", s, "pingpong", TEXTS "\"steps\": 8", 18);
}

Test(sa_trace, a_run_that_makes_no_sense_is_refused_with_its_member) {
    static const char *const cases[][2] = {
        {"{\"steps\": 4}", "steps: expected a prompt"},
        {"{\"prompt\": \"a\", \"steps\": 1}", "steps: expected"},
        {"{\"prompt\": \"a\", \"steps\": 4, \"sampler\": \"pingpong\"}", "sampler"},
        {"{\"prompt\": \"a\", \"steps\": 4, \"strength\": 0.5}", "sound.latents"},
        {"{\"prompt\": \"a\", \"steps\": 40, \"tensors\": \"expect.safetensors\"}",
         "noise: expected 41 draws"},
        {"{\"tensors\": \"expect.safetensors\"}", "forward.t and a prompt"},
        {"{\"tensors\": \"none.safetensors\"}", "none.safetensors"},
        {"{\"tensors\": 5}", "tensors: expected"},
        {"{\"seconds\": -1}", "seconds: expected"},
    };
    fixture x;
    open_case(&x, "sa-f32");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_assert_neq(run(&x, cases[i][0]), OK, "%s", cases[i][0]);
        cr_assert(strstr(x.e.text, cases[i][1]), "%s: %s", cases[i][0], x.e.text);
        trace_free(&x.r);
    }
    close_case(&x);
}

Test(sa_trace, every_failed_allocation_is_an_error) {
    static const char one[] =
        "{\"tensors\": \"expect.safetensors\", \"steps\": 2, " TEXTS "\"guidance\": 2}";
    fixture x;
    open_case(&x, "sa-small");
    for (int n = 0;; n++) {
        json *j;
        cr_assert_eq(json_parse(&j, bytes_of(one), 1 << 16, &x.e), OK, "%s", x.e.text);
        mem_fail_after(n);
        status rc = trace_run(&x.r, x.f, &(trace_input){.run = j, .dir = x.dir}, &x.e);
        mem_fail_after(-1);
        trace_free(&x.r);
        json_free(j);
        if (rc == OK) break;
        cr_assert_eq(rc, ERR_OOM, "allocation %d: %s", n, x.e.text);
        cr_assert_lt(n, 3000);
    }
    close_case(&x);
}
