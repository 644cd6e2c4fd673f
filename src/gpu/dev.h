// dev.h - the words that kernels are written in: threads, exchange, loads, integer dot products.
//
// They exist three times: for nvcc, for clang without NVIDIA's headers, and for the emulator of
// tests/gpu, which runs the same kernels on the CPU. What the silicon may do differently (fences,
// loads past the coherent cache, instructions) is here and nowhere else.
//
// Every f32 operation is one rounded IEEE operation: the compilers may not contract (-fmad=false,
// -ffp-contract=off), and fma is written out. A block's threads are a multiple of 32, all lanes of
// a warp meet at lane_xor, lane_of and warp_sync, all threads of a block at block_sync, and all
// blocks at grid_sync.
#pragma once
#include <stdint.h>

#if defined(__clang__) || defined(__CUDACC__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

struct alignas(16) u32x4 {
    uint32_t v[4];
};
struct alignas(8) u32x2 {
    uint32_t v[2];
};

#if defined(__CUDACC__) || defined(__CUDA__)
#if defined(__clang__)
#define GLOBAL __attribute__((global))
#define DEVICE __attribute__((device)) static inline __attribute__((always_inline))
#define SHARED_MEMORY __attribute__((shared))
#define CONSTANT
#else
#define GLOBAL __global__
#define DEVICE static __device__ __forceinline__
#define SHARED_MEMORY __shared__
#define CONSTANT const __grid_constant__
#endif
#define LINE_HERE // the emulator names the line of a meeting
#define LINE_PASS
// A kernel begins when the one before it in the stream is done: `ahead` may only ask for memory
// that no kernel writes, and runs while the other one still does.
#define KERNEL_AHEAD(name, ahead)                                                                  \
    DEVICE void name##_body(const name##_args &a);                                                 \
    extern "C" GLOBAL void name(CONSTANT name##_args a) {                                          \
        next_may_start();                                                                          \
        ahead(&a);                                                                                 \
        wait_for_kernel_before();                                                                  \
        name##_body(a);                                                                            \
    }                                                                                              \
    DEVICE void name##_body(const name##_args &a)
#define NOTHING_AHEAD(args)
#define KERNEL(name) KERNEL_AHEAD(name, NOTHING_AHEAD)
#define SHARED(type, name, count) alignas(16) static SHARED_MEMORY type name[count]

#define DEV_REGISTER(word, reg)                                                                    \
    DEVICE int word() {                                                                            \
        int v;                                                                                     \
        asm("mov.u32 %0, %%" reg ";" : "=r"(v));                                                   \
        return v;                                                                                  \
    }
DEV_REGISTER(thread_id, "tid.x")
DEV_REGISTER(thread_count, "ntid.x")
DEV_REGISTER(block_x, "ctaid.x")
DEV_REGISTER(block_y, "ctaid.y")

// Cards of compute capability 9.0 and later can start a kernel before its predecessor is done, if
// device.c asks for it. Every kernel waits, so what all kernels before it wrote is there.
DEVICE void next_may_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
DEVICE void wait_for_kernel_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Asks for the 128 bytes at p, so that they are near when they are loaded.
DEVICE void fetch(const void *p) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}
DEVICE void block_sync() {
    asm volatile("bar.sync 0;" ::: "memory");
}
// The lanes of a warp meet, and see what the others wrote before: an exchange promises less.
DEVICE void warp_sync() {
    asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}
// All blocks of a launch meet, and see what the others wrote before; the launch is one whose blocks
// run at once. meetings: 0 before the launch; goal: the number of blocks times that of meetings so
// far, this one included. The whole block calls it.
DEVICE void grid_sync(uint32_t *meetings, uint32_t goal) {
    block_sync();
    if (thread_id() == 0) {
        uint32_t seen;
        asm volatile("fence.acq_rel.gpu;" ::: "memory");
        asm volatile("red.relaxed.gpu.add.u32 [%0], 1;" ::"l"(meetings) : "memory");
        do {
            asm volatile("ld.relaxed.gpu.u32 %0, [%1];" : "=r"(seen) : "l"(meetings) : "memory");
        } while ((int32_t)(seen - goal) < 0);
        asm volatile("fence.acq_rel.gpu;" ::: "memory");
    }
    block_sync();
}
DEVICE uint32_t lane_xor_bits(uint32_t v, int mask) {
    uint32_t r;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(r) : "r"(v), "r"(mask));
    return r;
}
DEVICE uint32_t lane_of_bits(uint32_t v, int lane) {
    uint32_t r;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(r) : "r"(v), "r"(lane));
    return r;
}
DEVICE float fma32(float a, float b, float c) {
    float r;
    asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}
DEVICE float div32(float a, float b) {
    float r;
    asm("div.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
DEVICE float sqrt32(float a) {
    float r;
    asm("sqrt.rn.f32 %0, %1;" : "=f"(r) : "f"(a));
    return r;
}
// acc + the sum of four products of signed bytes.
DEVICE int32_t dot4(uint32_t a, uint32_t b, int32_t acc) {
    asm("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}
// c += A B with 16 rows and 32 columns of signed bytes in A, 32 rows and 8 columns in B. Lane l has
// four columns of A from 4 (l%4) on: of row l/4, of row l/4 + 8, and 16 columns on of both; in b
// four rows of column l/4 from 4 (l%4) on, and 16 rows on. c: columns 2 (l%4) and + 1 of row l/4,
// and of row l/4 + 8. All lanes of the warp.
DEVICE void mma_s8(int32_t c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Loads of memory that no kernel writes while this one runs: weights.
DEVICE u32x4 load_once(const u32x4 *p) {
    u32x4 r;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.v[0]), "=r"(r.v[1]), "=r"(r.v[2]), "=r"(r.v[3])
                 : "l"(p));
    return r;
}
DEVICE u32x2 load_once(const u32x2 *p) {
    u32x2 r;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(r.v[0]), "=r"(r.v[1])
                 : "l"(p));
    return r;
}
DEVICE uint32_t load_once(const uint32_t *p) {
    uint32_t r;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(r) : "l"(p));
    return r;
}
// Adds to a counter in shared memory, in any order.
DEVICE int32_t count_up(int32_t *p, int32_t by) {
#if defined(__clang__)
    return __atomic_fetch_add(p, by, __ATOMIC_RELAXED);
#else
    return atomicAdd(p, by);
#endif
}
DEVICE void sum_up(uint64_t *p, uint64_t by) {
#if defined(__clang__)
    __atomic_fetch_add(p, by, __ATOMIC_RELAXED);
#else
    atomicAdd((unsigned long long *)p, (unsigned long long)by);
#endif
}
// floor(a b / 2^64)
DEVICE uint64_t high_product(uint64_t a, uint64_t b) {
    uint64_t r;
    asm("mul.hi.u64 %0, %1, %2;" : "=l"(r) : "l"(a), "l"(b));
    return r;
}
DEVICE uint32_t bits_of(float f) {
    uint32_t u;
    asm("mov.b32 %0, %1;" : "=r"(u) : "f"(f));
    return u;
}
DEVICE float float_of(uint32_t u) {
    float f;
    asm("mov.b32 %0, %1;" : "=f"(f) : "r"(u));
    return f;
}
#else
#include "emu_words.h"
#endif

DEVICE float lane_xor(float v, int mask LINE_HERE) {
    return float_of(lane_xor_bits(bits_of(v), mask LINE_PASS));
}
DEVICE float lane_of(float v, int lane LINE_HERE) {
    return float_of(lane_of_bits(bits_of(v), lane LINE_PASS));
}
DEVICE int32_t lane_xor(int32_t v, int mask LINE_HERE) {
    return (int32_t)lane_xor_bits((uint32_t)v, mask LINE_PASS);
}
DEVICE int32_t lane_of(int32_t v, int lane LINE_HERE) {
    return (int32_t)lane_of_bits((uint32_t)v, lane LINE_PASS);
}
#define INFINITE float_of(0x7f800000u)

DEVICE float abs32(float v) {
    return float_of(bits_of(v) & 0x7fffffffu);
}
DEVICE float bf16_of(uint32_t h) {
    return float_of(h << 16);
}
DEVICE int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
