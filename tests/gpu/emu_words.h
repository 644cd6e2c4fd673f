// emu_words.h - the words of src/gpu/dev.h for the CPU: threads of a block are fibers of emu.cpp.
#pragma once
#include <math.h>
#include <string.h>

#define DEVICE static inline
#define KERNEL_AHEAD(name, ahead)                                                                  \
    DEVICE void name##_body(const name##_args &a);                                                 \
    extern "C" void name(const name##_args &a) {                                                   \
        ahead(&a);                                                                                 \
        name##_body(a);                                                                            \
    }                                                                                              \
    DEVICE void name##_body(const name##_args &a)
#define NOTHING_AHEAD(args)
#define KERNEL(name) KERNEL_AHEAD(name, NOTHING_AHEAD)
#define LINE_HERE , int line = __builtin_LINE()
#define LINE_PASS , line

// Where the fiber that runs stands.
struct emu_place {
    int thread, threads, block_x, block_y;
    int first;       // fiber of the block
    uint8_t fetched; // so that the load stays
};
extern emu_place emu;

void emu_block_sync(int line);
void emu_grid_sync(uint32_t *meetings, uint32_t goal, int line);
uint32_t emu_exchange(uint32_t v, int from, int line); // v of lane `from` of the warp
void *emu_shared(const void *key, size_t size);        // of the block; junk at first
[[noreturn]] void emu_fault(const char *what, ...);

// The emulated block's own memory of that name. One a place in the source, as __shared__ is.
#define SHARED(type, name, count)                                                                  \
    static char name##_key;                                                                        \
    type *name = (type *)emu_shared(&name##_key, sizeof(type) * (count))

DEVICE int thread_id() {
    return emu.thread;
}
DEVICE int thread_count() {
    return emu.threads;
}
DEVICE int block_x() {
    return emu.block_x;
}
DEVICE int block_y() {
    return emu.block_y;
}
DEVICE void fetch(const void *p) { // the memory must be there
    emu.fetched = *(const volatile uint8_t *)p;
}
DEVICE void block_sync(int line = __builtin_LINE()) {
    emu_block_sync(line);
}
DEVICE void warp_sync(int line = __builtin_LINE()) {
    emu_exchange(0, emu.thread % 32, line);
}
DEVICE void grid_sync(uint32_t *meetings, uint32_t goal, int line = __builtin_LINE()) {
    emu_block_sync(line);
    emu_grid_sync(meetings, goal, line);
}
DEVICE uint32_t lane_xor_bits(uint32_t v, int mask, int line) {
    return emu_exchange(v, (emu.thread % 32) ^ mask, line);
}
DEVICE uint32_t lane_of_bits(uint32_t v, int lane, int line) {
    return emu_exchange(v, lane, line);
}
DEVICE float fma32(float a, float b, float c) {
    return fmaf(a, b, c);
}
DEVICE float div32(float a, float b) {
    return a / b;
}
DEVICE float sqrt32(float a) {
    return sqrtf(a);
}
DEVICE int32_t dot4(uint32_t a, uint32_t b, int32_t acc) {
    for (int i = 0; i < 32; i += 8) acc += (int8_t)(a >> i) * (int8_t)(b >> i);
    return acc;
}
void emu_mma(int32_t c[4], const uint32_t a[4], const uint32_t b[2], int line);
DEVICE void mma_s8(int32_t c[4], const uint32_t a[4], const uint32_t b[2],
                   int line = __builtin_LINE()) {
    emu_mma(c, a, b, line);
}
template <class T> DEVICE T load_once(const T *p) {
    if ((uintptr_t)p % sizeof(T))
        emu_fault("a load of %zu bytes at %p", sizeof(T), (const void *)p);
    return *p;
}
DEVICE int32_t count_up(int32_t *p, int32_t by) {
    int32_t was = *p;
    *p = was + by;
    return was;
}
DEVICE void sum_up(uint64_t *p, uint64_t by) {
    *p += by;
}
DEVICE uint64_t high_product(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)a * b >> 64);
}
DEVICE uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
DEVICE float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
