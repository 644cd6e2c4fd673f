// main.c - run_kern: the kernels' tests; `run_kern math` the long sweeps, `run_kern bench` the
// times.
//
// The last line but one is a digest of what the reference computed: the same on every architecture.
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "bench")) {
        bench(argc > 2 ? atoi(argv[2]) : 0);
        return 0;
    }
    if (!strcmp(what, "math")) {
        test_math_whole();
        return check_failed != 0;
    }
    printf("levels: scalar");
    for (const char *const *l = levels(); *l; l++) printf(" %s", *l);
    printf("\n");
    test_rng();
    test_math();
    test_kernels();
    test_agreement();
    test_ops();
    test_attend_rows();
    test_gated();
    test_pool();
    test_sound();
    printf("digest %016llx\n", (unsigned long long)digest_value());
    printf("%ld checks, %ld failed\n", check_count, check_failed);
    return check_failed != 0;
}
