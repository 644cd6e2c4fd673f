// trace.c - `stemforge trace`: every stage of a model as tensors, for make parity and for
// debugging.
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "engine/trace.h"

static status trace(const char *model, const char *run_path, const char *out, int64_t threads,
                    err *e) {
    checkpoint m = {0};
    compute *c = NULL;
    json *run = NULL;
    trace_result r = {0};
    char dir[OS_PATH_MAX];
    const char *slash = strrchr(run_path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - run_path) : 1, slash ? run_path : ".");
    status rc = json_parse_file(&run, run_path, (size_t)16 << 20, e);
    if (!rc) rc = compute_open(&c, (int)threads, NULL, e);
    if (!rc)
        rc = checkpoint_open(&m, &(checkpoint_options){.model = model, .need_encoder = true}, e);
    if (!rc) rc = trace_run(&r, &m, c, run, dir, e);
    if (!rc) rc = st_write(out, r.list, r.n, NULL, e);
    if (!rc) printf("%s  %zu tensors\n", out, r.n);
    trace_free(&r);
    checkpoint_close(&m);
    compute_close(c);
    json_free(run);
    return rc;
}

int trace_main(int argc, char **argv) {
    const char *run = NULL, *out = "trace.safetensors", *model;
    int64_t threads = 0;
    const arg_option table[] = {
        {"case", ARG_STR, &run, 0, 0, "FILE", "what to run, in JSON: tests/parity/README.md", NULL},
        {"out", ARG_STR, &out, 0, 0, "FILE", "the tensors (trace.safetensors)", NULL},
        {"threads", ARG_INT, &threads, 0, 256, "N", "threads (all processors)", NULL},
    };
    const arg_command c = {"trace",
                           "MODEL --case FILE [--out FILE]",
                           "writes every stage of a model as tensors",
                           table,
                           ARRAY_LEN(table),
                           NULL,
                           1,
                           1};
    int n, code;
    if (args_parse(&c, argc, argv, &model, &n, &code)) return code;
    if (!run) {
        fprintf(stderr, "stemforge trace: --case is missing; see stemforge trace --help\n");
        return EXIT_USAGE;
    }
    err e = {0};
    status rc = trace(model, run, out, threads, &e);
    if (rc) fprintf(stderr, "stemforge trace: %s\n", e.text);
    return rc ? 1 : 0;
}
