// criterion.h - as much of Criterion as our tests use, for runs under ThreadSanitizer.
//
// Criterion starts each test through a library that rearranges memory in a way TSan does not
// survive. Here a test is a function in a list, and runner.c forks for each.
#pragma once
#pragma GCC system_header // __VA_OPT__ is newer than C17
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct plain_test {
    const char *suite, *name;
    void (*body)(void);
    void (*init)(void);
    void (*fini)(void);
    double timeout; // seconds; 0: the runner's
    int disabled;
    const char *description;
    struct plain_test *next;
} plain_test;

// What the tests of a suite share; a test's own functions go first.
typedef struct plain_suite {
    const char *name;
    void (*init)(void);
    void (*fini)(void);
    double timeout;
    int disabled;
    const char *description;
    struct plain_suite *next;
} plain_suite;

void plain_register(plain_test *t);
void plain_register_suite(plain_suite *s);
void plain_fail(const char *file, int line, const char *what, const char *fmt, ...);

// The leading member takes the place of an empty option list.
#define Test(suite_, name_, ...)                                                                   \
    static void suite_##_##name_##_body(void);                                                     \
    static plain_test suite_##_##name_##_test = {.suite = #suite_,                                 \
                                                 .name = #name_,                                   \
                                                 .body = suite_##_##name_##_body,                  \
                                                 .next = NULL,                                     \
                                                 __VA_ARGS__};                                     \
    __attribute__((constructor)) static void suite_##_##name_##_add(void) {                        \
        plain_register(&suite_##_##name_##_test);                                                  \
    }                                                                                              \
    static void suite_##_##name_##_body(void)

#define TestSuite(name_, ...)                                                                      \
    static plain_suite name_##_suite = {.name = #name_, .next = NULL, __VA_ARGS__};                \
    __attribute__((constructor)) static void name_##_suite_add(void) {                             \
        plain_register_suite(&name_##_suite);                                                      \
    }                                                                                              \
    struct plain_suite // takes the semicolon

// The message is a literal, so that an absent one leaves "".
#define cr_assert(x, ...)                                                                          \
    do {                                                                                           \
        if (!(x)) plain_fail(__FILE__, __LINE__, #x, "" __VA_ARGS__);                              \
    } while (0)
#define cr_assert_not(x, ...) cr_assert(!(x)__VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b)__VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b)__VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b)__VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b)__VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b)__VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b)__VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_null(a, ...) cr_assert((a) == NULL __VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL __VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp(a, b) == 0 __VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) cr_assert(strcmp(a, b) != 0 __VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) cr_assert(memcmp(a, b, n) == 0 __VA_OPT__(, ) __VA_ARGS__)
#define cr_assert_float_eq(a, b, eps, ...)                                                         \
    cr_assert(fabs((double)(a) - (double)(b)) <= (double)(eps)__VA_OPT__(, ) __VA_ARGS__)
#define cr_skip_test(...) _exit(0)
#define cr_skip(...) _exit(0)
#define cr_log_info(...) ((void)0)
