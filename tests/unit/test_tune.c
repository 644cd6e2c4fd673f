// test_tune.c - tune.h: no way to prefetch changes a bit; what was found is kept and found again.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "compute/ops.h"
#include "compute/quant.h"
#include "compute/tune.h"

#define ROWS 160
#define COLS 1024
#define N 2
static float x[N * COLS], w[ROWS * COLS], first[N * ROWS], y[N * ROWS];

static void fill_with_numbers(void) {
    for (int i = 0; i < ROWS * COLS; i++) w[i] = (float)(i * 7919 % 2003 - 1001) / 1001;
    for (int i = 0; i < N * COLS; i++) x[i] = (float)(i * 104729 % 997 - 498) / 498;
}

static void multiply(compute *c, float *out, const weight *m) {
    op_linear(c, &(linear_args){.y = out, .ldy = ROWS, .x = x, .ldx = COLS, .n = N, .w = m});
}

Test(tune, no_way_changes_a_bit) {
    static const dtype types[] = {DT_F32, DT_Q8, DT_Q4};
    const weight plain = {.type = DT_F32, .rows = ROWS, .cols = COLS, .data = w};
    void *packed = mem_aligned(quant_size(DT_Q8, ROWS, COLS));
    compute *c;
    fill_with_numbers();
    cr_assert_eq(compute_open(&c, 2, NULL, NULL), OK);
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        weight m = plain;
        if (types[t] != DT_F32) quant_pack(packed, types[t], &plain);
        if (types[t] != DT_F32) m.type = types[t], m.data = packed;
        for (int way = 0; way < TUNE_WAYS; way++) {
            tune_use(c, way);
            cr_assert_eq(tune_used(c), way);
            multiply(c, way ? y : first, &m);
            if (way)
                cr_assert_arr_eq(y, first, sizeof y, "type %d: %s", (int)t, tune_way_name(way));
        }
    }
    compute_close(c);
    mem_free(packed);
}

// A folder of its own for what is kept.
static void use_folder(char *dir) {
    cr_assert(mkdtemp(dir));
    setenv("XDG_CACHE_HOME", dir, 1);
}

Test(tune, what_is_kept_is_found_again) {
    char dir[] = "/tmp/tune-XXXXXX";
    compute *c, *later;
    err e;
    use_folder(dir);
    cr_assert_eq(tune_kept(NULL), -1);
    cr_assert_eq(compute_open(&c, 1, NULL, NULL), OK);
    for (int i = 0; i < 2 * TUNE_WAYS; i++) {
        int way = i / 2;
        bool huge = i % 2 == 0;
        tune_use(c, way);
        tune_use_huge(c, !huge);
        cr_assert_eq(tune_keep(c, &e), OK, "%s", e.text);
        cr_assert_eq(tune_kept(&huge), way);
        cr_assert_eq(huge, tune_huge(c));
        cr_assert_eq(compute_open(&later, 1, NULL, NULL), OK);
        tune_apply(later);
        cr_assert(tune_used(later) == way && tune_huge(later) == huge);
        compute_close(later);
    }
    compute_close(c);
}

Test(tune, a_file_that_says_anything_else_is_no_file) {
    char dir[] = "/tmp/tune-XXXXXX", command[200];
    compute *c;
    use_folder(dir);
    cr_assert_eq(compute_open(&c, 1, NULL, NULL), OK);
    cr_assert_eq(tune_keep(c, NULL), OK);
    snprintf(command, sizeof command, "for f in %s/stemforge/*; do echo l2 >$f; done", dir);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(tune_kept(NULL), -1);
    snprintf(command, sizeof command, "for f in %s/stemforge/*; do : >$f; done", dir);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(tune_kept(NULL), -1);
    compute_close(c);
}

Test(tune, measures_every_way_and_says_when_it_has_no_memory) {
    tune_rates rates = {0};
    compute *c;
    err e;
    cr_assert_eq(compute_open(&c, 1, NULL, NULL), OK);
    cr_assert_eq(tune_measure(c, &rates, &e), OK);
    for (int i = 0; i < TUNE_WAYS; i++) cr_assert(rates.way[i] > 0, "%s", tune_way_name(i));
    cr_assert(rates.small > 0 && rates.huge > 0);
    tune_use(c, 3);
    mem_fail_after(0);
    status rc = tune_measure(c, &rates, &e);
    tune_apply(c); // does without
    mem_fail_after(-1);
    cr_assert_eq(rc, ERR_OOM);
    compute_close(c);
}
