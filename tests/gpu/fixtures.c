// fixtures.c - the recorded cases of tests/parity on the device and on the CPU, in each type of
// weights: every tensor of a trace to the last bit. Greedy runs of tens of frames, columns fed as
// they are, texts, both directions of the codec; what they must be near to, tests/unit/test_parity
// knows.
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "engine/trace.h"
#include "gpu_test.h"

// A run of a case.
typedef struct {
    const char *name, *run;
    bool all; // types of weights; else as stored
} chosen;

static void must(status rc, const err *e, const char *what) {
    if (rc) printf("FAIL %s: %s\n", what, e->text), exit(1);
}

static void compare_tensors(const trace_result *want, const trace_result *got, const char *what) {
    expect(want->n == got->n && want->n > 0, "%s: %zu tensors, expected %zu", what, got->n,
           want->n);
    for (size_t i = 0; i < want->n && i < got->n; i++) {
        const tensor *a = &want->list[i].t, *b = &got->list[i].t;
        int64_t n = tensor_count(a);
        expect(!strcmp(want->list[i].name, got->list[i].name) && n == tensor_count(b),
               "%s: tensor %s, expected %s", what, got->list[i].name, want->list[i].name);
        if (a->type == DT_F32)
            same(a->data, b->data, n, "%s: %s", what, want->list[i].name);
        else
            expect(!memcmp(a->data, b->data, (size_t)n * dtype_size(a->type)), "%s: %s", what,
                   want->list[i].name);
    }
}

static void run_one(family *f, const json *run, const char *dir, const char *what) {
    trace_result want, got;
    trace_input in = {.run = run, .dir = dir};
    err e;
    must(trace_run(&want, f, &in, &e), &e, what);
    in.gpu = gpu;
    must(trace_run(&got, f, &in, &e), &e, what);
    compare_tensors(&want, &got, what);
    trace_free(&want);
    trace_free(&got);
}

static const json *find_run(const json *cases, const char *name) {
    const json *runs = json_find(cases, "runs");
    for (size_t i = 0; i < json_len(runs); i++)
        if (!strcmp(json_str_value(json_find(json_at(runs, i), "name")), name))
            return json_at(runs, i);
    printf("FAIL no run %s\n", name);
    exit(1);
}

static void run_case(const chosen *c, weights_type type) {
    char dir[64], path[128], what[128];
    family *f;
    json *cases;
    err e;
    snprintf(dir, sizeof dir, "tests/parity/%s", c->name);
    snprintf(path, sizeof path, "%s/model", dir);
    must(family_open(&f, &(family_options){.model = path, .weights = type, .c = cpu}, &e), &e,
         path);
    snprintf(path, sizeof path, "%s/case.json", dir);
    must(json_parse_file(&cases, path, (size_t)1 << 24, &e), &e, path);
    snprintf(what, sizeof what, "%s %s, %s", c->name, weights_type_name(type), c->run);
    run_one(f, find_run(cases, c->run), dir, what);
    json_free(cases);
    family_close(f);
}

void test_gpu_fixtures(void) {
    static const weights_type types[] = {WEIGHTS_AS_STORED, WEIGHTS_F32, WEIGHTS_BF16, WEIGHTS_Q8,
                                         WEIGHTS_Q4};
    static const chosen list[] = {
        {"mono", "short", true},          {"melody", "chords", true},
        {"stereo", "short", true},        {"stereo-melody", "melody", true},
        {"sharded", "plain", true},       {"f16", "short", true},
        {"bf16", "short", true},          {"parametrized", "short", true},
        {"equal", "short", true},         {"equal-melody", "melody", true},
        {"mono", "unconditional", false}, {"mono", "continue", false},
        {"mono", "decode", false},        {"melody", "encode1300", false},
        {"stereo", "encode1300", false},  {"equal", "decode", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        for (size_t j = 0; j < (list[i].all ? ARRAY_LEN(types) : 1); j++)
            run_case(&list[i], types[j]);
}
