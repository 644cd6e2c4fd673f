// tune.c - `stemforge tune`: how this processor reads weights fastest: prefetches and pages.
#include <stdio.h>

#include "app/args.h"
#include "app/commands.h"
#include "compute/ops.h"
#include "compute/tune.h"

static status tune(const char *isa, err *e) {
    compute *c;
    tune_rates rates;
    status rc = compute_open(&c, 1, isa, e);
    if (rc) return rc;
    rc = tune_measure(c, &rates, e);
    if (!rc) rc = tune_keep(c, e);
    printf("%s, one thread, packed weights from memory\n", compute_isa(c));
    for (int i = 0; i < TUNE_WAYS && !rc; i++) {
        printf("  %-18s %6.1f GB/s%s\n", tune_way_name(i), rates.way[i] * 1e-9,
               i == tune_used(c) ? "  kept" : "");
    }
    if (!rc)
        printf("  %-18s %6.1f GB/s\n  %-18s %6.1f GB/s%s\n", "pages of 4 KB", rates.small * 1e-9,
               "huge pages", rates.huge * 1e-9,
               tune_huge(c) ? "  kept: weights of files are copied into them" : "");
    compute_close(c);
    return rc;
}

int tune_main(int argc, char **argv) {
    const char *isa = NULL;
    const arg_option table[] = {
        {"isa", ARG_STR, &isa, 0, 0, ARG_VALUE_ISA, "(the best)", NULL},
    };
    const arg_command c = {"tune",
                           "[--isa NAME]",
                           "measures how this processor reads weights fastest, and keeps it",
                           table,
                           ARRAY_LEN(table),
                           "  stemforge tune\n",
                           0,
                           0};
    const char *none;
    int n, code;
    if (args_parse(&c, argc, argv, &none, &n, &code)) return code;
    err e = {0};
    status rc = tune(isa, &e);
    if (rc) fprintf(stderr, "stemforge tune: %s\n", e.text);
    return rc ? 1 : 0;
}
