// leaks.c - what the leak sanitizer overlooks: now and then Criterion's own process, which runs no
// test (each has a process of its own), loses 48 bytes of the library's.
#include <stdlib.h>

const char *__lsan_default_suppressions(void); // asked for by the sanitizer's runtime, both of them
const char *__lsan_default_options(void);

const char *__lsan_default_suppressions(void) {
    return getenv("BXFI_MAP") ? "" : "leak:libcriterion"; // a test's process has it
}

// What is overlooked is no report: make takes any report for a fault.
const char *__lsan_default_options(void) {
    return "print_suppressions=0";
}
