// base.h - the words every file uses: bytes, checked size arithmetic, attributes.
//
// Nothing here allocates, locks or talks to the OS.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#if defined(__GNUC__)
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define PRINTF_LIKE(fmt, args)
#endif

// A read-only slice. It owns nothing; p may be NULL only when n is 0.
typedef struct {
    const uint8_t *p;
    size_t n;
} bytes;

// The bytes of a C string, without its NUL.
static inline bytes bytes_of(const char *s) {
    size_t n = 0;
    while (s && s[n]) n++;
    return (bytes){(const uint8_t *)s, n};
}

// False on overflow; *out is then untouched.
static inline bool size_mul(size_t *out, size_t a, size_t b) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool size_add(size_t *out, size_t a, size_t b) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

// Rounds n up to a multiple of to, a power of two.
static inline size_t size_align(size_t n, size_t to) {
    return (n + to - 1) & ~(to - 1);
}
