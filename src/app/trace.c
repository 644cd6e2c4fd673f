// trace.c - `stemforge trace`: every stage of a model as tensors, for make parity and for
// debugging.
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/target.h"
#include "engine/device_choice.h"
#include "engine/trace.h"
#include "stemforge.h"

typedef struct {
    const char *model, *run, *out, *weights, *device;
    int64_t threads;
} options;

static status trace(const options *o, weights_type type, const device_choice *choice, err *e) {
    family *f = NULL;
    compute *c = NULL;
    device_chosen on = {0};
    json *run = NULL;
    trace_result r = {0};
    char dir[OS_PATH_MAX];
    const char *slash = strrchr(o->run, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - o->run) : 1, slash ? o->run : ".");
    status rc = target_check(o->out, &o->run, 1, e);
    FILE *report = target_report(o->out);
    if (rc) return err_within(e, rc, "--out");
    rc = json_parse_file(&run, o->run, (size_t)16 << 20, e);
    if (!rc) rc = choice_open(choice, &on, e);
    if (!rc) rc = compute_open(&c, (int)o->threads, NULL, e);
    const family_options files = {.model = o->model, .weights = type, .c = c};
    if (!rc) rc = family_open(&f, &files, e);
    const trace_input in = {.run = run, .dir = dir, .gpu = on.gpu};
    if (!rc) rc = trace_run(&r, f, &in, e);
    if (!rc) rc = checkpoint_check(&f->files, e);
    if (!rc) rc = st_write(o->out, r.list, r.n, NULL, e);
    if (!rc) fprintf(report, "%s  %zu tensors\n", o->out, r.n);
    trace_free(&r);
    family_close(f);
    compute_close(c);
    device_close(on.gpu);
    json_free(run);
    return rc;
}

int trace_main(int argc, char **argv) {
    options o = {.out = "trace.safetensors", .weights = "stored", .device = "cpu"};
    const arg_option table[] = {
        {"case", ARG_STR, &o.run, 0, 0, "FILE", "what to run, in JSON: tests/parity/README.md",
         NULL},
        {"out", ARG_STR, &o.out, 0, 0, "FILE", "the tensors (trace.safetensors)", NULL},
        {"weights", ARG_STR, &o.weights, 0, 0, ARG_VALUE_WEIGHTS, "(stored)", NULL},
        {"threads", ARG_INT, &o.threads, 0, 256, "N", "threads (all processors)", NULL},
        {"device", ARG_STR, &o.device, 0, 0, ARG_VALUE_DEVICE,
         "what computes; the tensors are the same (cpu)", NULL},
    };
    const arg_command c = {"trace",
                           "MODEL --case FILE [--out FILE]",
                           "writes every stage of a model as tensors",
                           table,
                           ARRAY_LEN(table),
                           "  stemforge trace models/stemforge-mini --case case.json\n"
                           "where case.json holds, for one:\n"
                           "  {\"name\": \"t\", \"prompt\": \"drums\", \"greedy_frames\": 20}\n",
                           1,
                           1};
    int n, code;
    stemforge_weights type;
    if (args_parse(&c, argc, argv, &o.model, &n, &code)) return code;
    bool known = stemforge_weights_parse(o.weights, &type);
    if (!o.run || !known) {
        fprintf(stderr, "stemforge trace: %s; see stemforge trace --help\n",
                known ? "--case is missing" : "--weights: expected stored, f32, bf16, q8 or q4");
        return EXIT_USAGE;
    }
    err e = {0};
    device_choice choice;
    if (choice_parse(&choice, o.device, &e)) {
        fprintf(stderr, "stemforge trace: --%s; see stemforge trace --help\n", e.text);
        return EXIT_USAGE;
    }
    if (target_suffix(o.out, ".safetensors", &e)) {
        fprintf(stderr, "stemforge trace: --out: %s; see stemforge trace --help\n", e.text);
        return EXIT_USAGE;
    }
    status rc = trace(&o, (weights_type)type, &choice, &e);
    if (rc) fprintf(stderr, "stemforge trace: %s\n", e.text);
    return rc ? 1 : 0;
}
