// test_weights.c - binding tensors by name: spellings, types, and all problems in one error.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "compute/bf16x8.h"
#include "model/weights.h"

typedef struct {
    const char *name;
    tensor t;
} entry;

static const float FOUR[] = {1, -2, 0.5f, 4};
static const uint16_t FOUR_BF16[] = {0x3f80, 0xc000, 0x3f00, 0x4080};
static const uint16_t FOUR_F16[] = {0x3c00, 0xc000, 0x3800, 0x4400};

static const entry FILE_A[] = {
    {"net.a.weight", {DT_F32, 2, {2, 2}, FOUR}},
    {"net.b.weight", {DT_BF16, 2, {2, 2}, FOUR_BF16}},
    {"net.c.weight", {DT_F16, 2, {2, 2}, FOUR_F16}},
    {"net.a.bias", {DT_F16, 1, {4}, FOUR_F16}},
    {"net.ids", {DT_I32, 1, {4}, FOUR}},
    {NULL, {0}},
};

static const tensor *find(const void *file, const char *name) {
    for (const entry *p = file; p->name; p++) {
        if (!strcmp(p->name, name)) return &p->t;
    }
    return NULL;
}

static weights start(arena *a, weights_type type) {
    weights w;
    cr_assert_not_null(freopen("/dev/null", "w", stderr)); // each problem is logged, by design
    arena_init(a, 0);
    weights_init(&w, (weights_source){.find = find, .file = FILE_A}, a, type);
    return w;
}

Test(weights, matrices_stay_in_the_file_and_vectors_become_f32) {
    arena a;
    weights w = start(&a, WEIGHTS_AS_STORED);
    weight m = {0}, half = {0};
    const float *bias = NULL;
    const weight_spec spec[] = {
        {"a.weight", BIND_MATRIX, &m, {2, DIM_ANY}},
        {"c.weight", BIND_MATRIX, &half, {2, 2}},
        {"a.bias", BIND_VECTOR, &bias, {4}},
    };
    weights_bind(&w, spec, ARRAY_LEN(spec), "%s.", "net");
    cr_assert_eq(weights_finish(&w, NULL), OK);
    cr_assert(m.data == FOUR && m.rows == 2 && m.cols == 2 && m.type == DT_F32);
    cr_assert(half.data == FOUR_F16 && half.type == DT_F16);
    cr_assert_arr_eq(bias, FOUR, sizeof FOUR);
    cr_assert_eq(w.values, 12);
    cr_assert_eq(w.bytes, 16 + 8 + 16);
    arena_deinit(&a);
}

// A file of one large and one small matrix, and how often it was told to forget one.
#define LARGE_ROWS 520
#define LARGE_COLS 512
static float large[LARGE_ROWS * LARGE_COLS];
static const entry FILE_LARGE[] = {
    {"large", {DT_F32, 2, {LARGE_ROWS, LARGE_COLS}, large}},
    {"small", {DT_F32, 2, {2, 2}, FOUR}},
    {NULL, {0}},
};
static const tensor *forgotten;

static void forget(const void *file, const tensor *t) {
    (void)file;
    cr_assert_null(forgotten);
    forgotten = t;
}

Test(weights, large_matrices_are_copied_when_that_is_asked_for) {
    const weights_source from = {.find = find, .file = FILE_LARGE, .forget = forget};
    compute *c;
    cr_assert_eq(compute_open(&c, 3, NULL, NULL), OK);
    for (int i = 0; i < LARGE_ROWS * LARGE_COLS; i++) large[i] = (float)(i * 7919 % 2003);
    for (int copy = 0; copy < 2; copy++) {
        arena a;
        weights w;
        weight big = {0}, little = {0}, table = {0};
        const weight_spec spec[] = {{"large", BIND_MATRIX, &big, {LARGE_ROWS, LARGE_COLS}},
                                    {"small", BIND_MATRIX, &little, {2, 2}},
                                    {"large", BIND_TABLE, &table, {LARGE_ROWS, LARGE_COLS}}};
        arena_init(&a, 0);
        weights_init(&w, from, &a, WEIGHTS_AS_STORED);
        w.c = c;
        w.copy = copy == 1;
        weights_bind(&w, spec, ARRAY_LEN(spec), "%s", "");
        cr_assert_eq(weights_finish(&w, NULL), OK);
        cr_assert(little.data == FOUR && table.data == large);
        cr_assert_eq(big.data != large, copy == 1);
        cr_assert_eq(forgotten, copy ? &FILE_LARGE[0].t : NULL);
        cr_assert_eq(memcmp(big.data, large, sizeof large), 0);
        cr_assert_eq(weights_check_values(w.kept, c, NULL), OK);
        arena_deinit(&a);
    }
    compute_close(c);
}

Test(weights, matrices_convert_to_the_type_asked_for_and_tables_do_not) {
    static const char *const names[] = {"a.weight", "b.weight", "c.weight"};
    for (int i = 0; i < 3; i++) {
        arena a;
        weights w = start(&a, WEIGHTS_F32);
        weight wide = {0}, narrow = {0}, table = {0};
        const weight_spec spec = {names[i], BIND_MATRIX, &wide, {2, 2}};
        weights_bind(&w, &spec, 1, "net.");
        w.type = WEIGHTS_BF16;
        const weight_spec two[] = {{names[i], BIND_MATRIX, &narrow, {2, 2}},
                                   {names[i], BIND_TABLE, &table, {2, 2}}};
        weights_bind(&w, two, 2, "net.");
        cr_assert_eq(weights_finish(&w, NULL), OK);
        cr_assert_eq(wide.type, DT_F32);
        cr_assert_arr_eq(wide.data, FOUR, sizeof FOUR);
        cr_assert_eq(narrow.type, DT_BF16X8); // row 1 follows the sixteen columns of row 0
        cr_assert_eq(weight_size(&narrow), BF16X8_ROWS * BF16X8_COLS * 2);
        cr_assert_arr_eq(narrow.data, FOUR_BF16, 4);
        cr_assert_arr_eq((const uint16_t *)narrow.data + BF16X8_COLS,
                         (const uint8_t *)FOUR_BF16 + 4, 4);
        cr_assert_eq(table.data, FILE_A[i].t.data);
        arena_deinit(&a);
    }
}

Test(weights, threads_convert_to_the_same_bytes) {
    static float v[133 * 50]; // rows and columns that fill no panel and no strip
    static const dtype types[] = {DT_F32, DT_BF16X8, DT_Q8, DT_Q4};
    for (size_t i = 0; i < ARRAY_LEN(v); i++) v[i] = (float)((int)(i * 7919 % 2001) - 1000) / 64;
    arena a;
    arena_init(&a, 0);
    compute *c;
    cr_assert_eq(compute_open(&c, 3, NULL, NULL), OK);
    for (int64_t rows = 1; rows <= 133; rows += 12) {
        const weight m = {DT_F32, rows, 50, v};
        for (size_t t = 0; t < ARRAY_LEN(types); t++) {
            weight alone, together;
            cr_assert(weight_convert(&alone, &m, types[t], &a, NULL));
            cr_assert(weight_convert(&together, &m, types[t], &a, c));
            cr_assert_arr_eq(together.data, alone.data, weight_size(&alone), "%s, %lld rows",
                             dtype_name(types[t]), (long long)rows);
        }
    }
    compute_close(c);
    arena_deinit(&a);
}

Test(weights, takes_the_first_spelling_that_is_there) {
    arena a;
    weights w = start(&a, WEIGHTS_AS_STORED);
    weight m = {0}, none = {.rows = 7};
    const weight_spec spec[] = {
        {"tied.weight|b.weight|a.weight", BIND_MATRIX, &m, {2, 2}},
        {"nowhere.weight", BIND_MATRIX | BIND_OPTIONAL, &none, {2, 2}},
    };
    weights_bind(&w, spec, 2, "net.");
    cr_assert_eq(weights_finish(&w, NULL), OK);
    cr_assert_eq(m.data, FOUR_BF16);
    cr_assert_eq(none.rows, 7);
    arena_deinit(&a);
}

Test(weights, reports_every_problem_at_once_by_name) {
    arena a;
    weights w = start(&a, WEIGHTS_AS_STORED);
    weight m = {0};
    const float *v = NULL;
    const weight_spec spec[] = {
        {"a.weight", BIND_MATRIX, &m, {3, 2}},
        {"x.bias", BIND_VECTOR, &v, {9}},
        {"y.weight|z.weight", BIND_MATRIX, &m, {2, 2}},
        {"ids", BIND_VECTOR, &v, {4}},
        {"b.weight", BIND_MATRIX | BIND_OPTIONAL, &m, {DIM_ANY, 3}},
    };
    weights_bind(&w, spec, ARRAY_LEN(spec), "net.");
    err e;
    cr_assert_eq(weights_finish(&w, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text,
                     "5 tensors are missing or wrong: net.a.weight is F32 [2, 2], expected [3, 2]; "
                     "net.x.bias [9] is missing; "
                     "net.y.weight [2, 2] is missing, and so is z.weight; "
                     "net.ids is I32 [4], expected F32, F16 or BF16 [4]; "
                     "net.b.weight is BF16 [2, 2], expected [any, 3]");
    cr_assert(m.data == NULL && v == NULL);
    arena_deinit(&a);
}

Test(weights, counts_problems_that_do_not_fit_the_text) {
    arena a;
    weights w = start(&a, WEIGHTS_AS_STORED);
    weight m = {0};
    for (int i = 0; i < 100; i++) {
        const weight_spec spec = {"no.weight", BIND_MATRIX, &m, {2, 2}};
        weights_bind(&w, &spec, 1, "layer.%d.", i);
    }
    err e;
    cr_assert_eq(weights_finish(&w, &e), ERR_FORMAT);
    cr_assert(strstr(e.text, "100 tensors are missing or wrong: layer.0.no.weight") == e.text);
    cr_assert(strstr(e.text, "; ... (the log names all)"));
    arena_deinit(&a);
}

Test(weights, no_memory_is_an_error_of_its_own) {
    arena a;
    weights w = start(&a, WEIGHTS_AS_STORED);
    const float *v = NULL;
    const weight_spec spec = {"a.bias", BIND_VECTOR, &v, {4}};
    mem_fail_after(0);
    weights_bind(&w, &spec, 1, "net.");
    mem_fail_after(-1);
    cr_assert_eq(weights_finish(&w, NULL), ERR_OOM);
    cr_assert_null(v);
    arena_deinit(&a);
}

// A value that is not finite, at each place of each type, is found by the name of its tensor: at
// once where the tensor is read, and by weights_check_values where it stays in the file.
Test(weights, values_that_are_not_finite_are_named) {
    static const uint32_t wrong[] = {0x7fc00000, 0x7f800000, 0xff800000};
    static const weights_type types[] = {WEIGHTS_AS_STORED, WEIGHTS_F32, WEIGHTS_BF16, WEIGHTS_Q8,
                                         WEIGHTS_Q4};
    for (size_t i = 0; i < ARRAY_LEN(types) * ARRAY_LEN(wrong) * 3 * 35; i++) {
        float x[35];
        uint16_t half[35];
        size_t at = i % 35, kind = i / 35 % 3, type = i / 105 % ARRAY_LEN(types);
        const dtype dt[] = {DT_F32, DT_BF16, DT_F16};
        for (size_t k = 0; k < 35; k++) x[k] = (float)k - 17;
        memcpy(&x[at], &wrong[i / 105 / ARRAY_LEN(types)], sizeof *x);
        for (size_t k = 0; k < 35; k++) half[k] = kind == 1 ? f32_to_bf16(x[k]) : f32_to_f16(x[k]);
        const entry file[] = {{"a", {dt[kind], 2, {5, 7}, kind ? (void *)half : (void *)x}},
                              {"b", {dt[kind], 1, {35}, kind ? (void *)half : (void *)x}},
                              {NULL, {0}}};
        for (int vector = 0; vector < 2; vector++) {
            arena a;
            err e = {0};
            weights w = start(&a, types[type]);
            w.from.file = file;
            weight m = {0};
            const float *v = NULL;
            const weight_spec spec[] = {{"a", BIND_MATRIX, &m, {5, 7}},
                                        {"b", BIND_VECTOR, &v, {35}}};
            weights_bind(&w, spec + vector, 1, "%s", "");
            cr_assert_eq(weights_finish(&w, NULL), OK);
            cr_assert_eq(weights_check_values(w.kept, NULL, &e), ERR_FORMAT, "%zu", i);
            cr_assert(strstr(e.text, vector ? ", b holds" : ", a holds"), "%s", e.text);
            arena_deinit(&a);
        }
    }
}

Test(weights, finite_values_pass_the_check) {
    static const float ends[] = {3.4e38f, -3.4e38f, 0, -0.0f, 1e-45f, 65504, -65504};
    arena a;
    weights w = start(&a, WEIGHTS_AS_STORED);
    const entry file[] = {{"a", {DT_F32, 2, {1, 7}, ends}}, {NULL, {0}}};
    w.from.file = file;
    weight m = {0};
    const weight_spec spec = {"a", BIND_MATRIX, &m, {1, 7}};
    weights_bind(&w, &spec, 1, "%s", "");
    cr_assert_eq(weights_check_values(w.kept, NULL, NULL), OK);
    arena_deinit(&a);
}
