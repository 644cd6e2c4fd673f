// fake_cuda.cpp - a libcuda.so.1 whose GPU is emu.cpp: the functions that src/gpu/cuda.h finds.
//
// The program that ships runs its whole GPU path through it. Device memory is the heap's, so the
// address sanitizer sees its ends. Uploads happen as late as a driver may do them: when the stream
// is waited for, or goes on. FAKE_CUDA_FAIL=n: the n-th call from 0 on and all after it fail.
// FAKE_CUDA_ORDER: rising, falling, shuffled. FAKE_CUDA_MEMORY: bytes that the GPU has.
// FAKE_CUDA_NONE: a driver without a GPU. FAKE_CUDA_ALONE: one whose blocks cannot wait for others.
// FAKE_CUDA_IDLE: kernels do nothing.
#include <map>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <vector>

#include "emu.h"
#include "gpu/kern.h"

#define FAKE extern "C" __attribute__((visibility("default"))) int
#define ERROR_VALUE 1
#define ERROR_MEMORY 2
#define ERROR_BROKEN 700 // the number of a sticky error

// ---- the kernels

#define DECLARE(name) extern "C" void name(const name##_args &a);
GPU_KERNEL_LIST(DECLARE)
#define TABLE(name)                                                                                \
    {#name, sizeof(name##_args), [](const void *a) { name(*(const name##_args *)a); }},
static const emu_kernel kernels[] = {GPU_KERNEL_LIST(TABLE)};

// ---- the state of the driver

struct recorded {
    emu_launch launch;
    std::vector<uint8_t> args;
};

static std::mutex lock;
static std::map<uint64_t, size_t> memory; // pieces by address
static size_t memory_used;
static std::vector<recorded> *capture; // what is being recorded
struct upload {
    void *to;
    const void *from;
    size_t n;
};
static std::vector<upload> uploads; // that the stream has not done yet
static long calls, fail_at = -1;
static emu_order order;
static bool idle; // kernels are counted and not run; FAKE_CUDA_IDLE too

static size_t memory_all() {
    const char *all = getenv("FAKE_CUDA_MEMORY");
    return all ? strtoull(all, nullptr, 10) : (size_t)4 << 30;
}

static void settings_read() {
    const char *fail = getenv("FAKE_CUDA_FAIL"), *how = getenv("FAKE_CUDA_ORDER");
    fail_at = fail ? atol(fail) : fail_at;
    idle = getenv("FAKE_CUDA_IDLE") != nullptr;
    if (how) order = *how == 'f' ? EMU_FALLING : *how == 's' ? EMU_SHUFFLED : EMU_RISING;
}

static void run_kernel(const emu_launch *l) {
    if (!idle) emu_run(l, order);
}

// Counts a call; not 0 when it has to fail.
static int called() {
    static bool read;
    if (!read) settings_read(), read = true;
    return fail_at >= 0 && calls++ >= fail_at ? ERROR_BROKEN : 0;
}

// For tests in the same process. how: an emu_order, or 3 for kernels that do nothing.
FAKE fake_cuda_set(int how, long fail) {
    delete capture; // what a failed call has left half recorded ends with its stream
    capture = nullptr;
    uploads.clear(); // likewise
    idle = how == 3;
    order = idle ? EMU_RISING : (emu_order)how, fail_at = fail, calls = 0;
    return (int)memory.size();
}
FAKE fake_cuda_calls() {
    return (int)calls;
}

#define BEGIN                                                                                      \
    std::lock_guard<std::mutex> guard(lock);                                                       \
    if (int error = called()) return error

// Whether n bytes at p lie in one piece of device memory.
static bool valid(uint64_t p, size_t n) {
    auto piece = memory.upper_bound(p);
    if (piece == memory.begin()) return false;
    --piece;
    return p + n <= piece->first + piece->second;
}

// The stream gets there.
static void go_on() {
    for (const upload &u : uploads) memcpy(u.to, u.from, u.n);
    uploads.clear();
}

// ---- the device

FAKE cuInit(unsigned) {
    BEGIN;
    return getenv("FAKE_CUDA_NONE") ? 100 : 0;
}
FAKE cuDriverGetVersion(int *out) {
    BEGIN;
    *out = 13000;
    return 0;
}
FAKE cuDeviceGetCount(int *out) {
    BEGIN;
    *out = 1;
    return 0;
}
FAKE cuDeviceGet(int *out, int index) {
    BEGIN;
    *out = index;
    return index ? ERROR_VALUE : 0;
}
FAKE cuDeviceGetName(char *out, int cap, int) {
    BEGIN;
    snprintf(out, (size_t)cap, "emulated GPU");
    return 0;
}
FAKE cuDeviceGetAttribute(int *out, int what, int) {
    BEGIN;
    *out = what == 75   ? 9
           : what == 16 ? EMU_PROCESSORS
           : what == 95 ? !getenv("FAKE_CUDA_ALONE")
                        : 0;
    return 0;
}
FAKE cuDeviceTotalMem_v2(size_t *out, int) {
    BEGIN;
    *out = memory_all();
    return 0;
}
FAKE cuDevicePrimaryCtxRetain(void **out, int) {
    BEGIN;
    *out = &memory;
    return 0;
}
FAKE cuDevicePrimaryCtxRelease_v2(int) {
    BEGIN;
    return 0;
}
FAKE cuCtxSetCurrent(void *) {
    BEGIN;
    return 0;
}
FAKE cuGetErrorString(int error, const char **out) {
    *out = error == ERROR_BROKEN   ? "an illegal memory access was encountered"
           : error == ERROR_MEMORY ? "out of memory"
           : error == 100          ? "no CUDA-capable device is detected"
                                   : "invalid argument";
    return 0;
}

// ---- memory

FAKE cuMemGetInfo_v2(size_t *unused, size_t *all) {
    BEGIN;
    *all = memory_all();
    *unused = *all > memory_used ? *all - memory_used : 0;
    return 0;
}
FAKE cuMemAlloc_v2(uint64_t *out, size_t n) {
    BEGIN;
    if (memory_used + n > memory_all()) return ERROR_MEMORY;
    void *p = nullptr;
    if (posix_memalign(&p, 256, n)) return ERROR_MEMORY;
    memset(p, 0xa7, n);
    *out = (uint64_t)(uintptr_t)p;
    memory[*out] = n;
    memory_used += n;
    return 0;
}
FAKE cuMemFree_v2(uint64_t p) {
    BEGIN;
    auto piece = memory.find(p);
    if (piece == memory.end()) return ERROR_VALUE;
    memory_used -= piece->second;
    free((void *)(uintptr_t)p);
    memory.erase(piece);
    return 0;
}
FAKE cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *) {
    BEGIN;
    if (capture || !valid(to, n)) return ERROR_VALUE;
    uploads.push_back({(void *)(uintptr_t)to, from, n});
    return 0;
}
FAKE cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *) {
    BEGIN;
    if (capture || !valid(from, n)) return ERROR_VALUE;
    go_on();
    memcpy(to, (void *)(uintptr_t)from, n);
    return 0;
}
FAKE cuMemsetD8Async(uint64_t to, unsigned char value, size_t n, void *) {
    BEGIN;
    if (capture || !valid(to, n)) return ERROR_VALUE;
    go_on();
    memset((void *)(uintptr_t)to, value, n);
    return 0;
}

// ---- streams, events

FAKE cuStreamCreate(void **out, unsigned) {
    BEGIN;
    *out = &calls;
    return 0;
}
FAKE cuStreamDestroy_v2(void *) {
    BEGIN;
    return 0;
}
FAKE cuStreamSynchronize(void *) {
    BEGIN;
    if (capture) return ERROR_VALUE;
    go_on();
    return 0;
}
FAKE cuEventCreate(void **out, unsigned) {
    BEGIN;
    *out = &calls;
    return 0;
}
FAKE cuEventDestroy_v2(void *) {
    BEGIN;
    return 0;
}
FAKE cuEventRecord(void *, void *) {
    BEGIN;
    return 0;
}
FAKE cuEventSynchronize(void *) {
    BEGIN;
    return 0;
}

// ---- kernels, graphs

FAKE cuModuleLoadData(void **out, const void *image) {
    BEGIN;
    *out = &order;
    return image ? 0 : ERROR_VALUE;
}
FAKE cuModuleUnload(void *) {
    BEGIN;
    return 0;
}
FAKE cuModuleGetFunction(void **out, void *, const char *name) {
    BEGIN;
    for (const emu_kernel &k : kernels) {
        if (strcmp(k.name, name)) continue;
        *out = (void *)&k;
        return 0;
    }
    return 500; // not found
}
static int launch(const emu_kernel *k, unsigned x, unsigned y, unsigned threads, void **args,
                  bool together = false) {
    if (!x || !y || y > 65535 || k->size > 4096) return ERROR_VALUE;
    emu_launch l = {k, args[0], (int)x, (int)y, (int)threads, together};
    if (!capture) {
        go_on();
        run_kernel(&l);
        return 0;
    }
    const uint8_t *from = (const uint8_t *)args[0];
    capture->push_back({l, std::vector<uint8_t>(from, from + k->size)});
    return 0;
}
FAKE cuLaunchKernel(void *f, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty,
                    unsigned tz, unsigned shared, void *, void **args, void **) {
    BEGIN;
    if (z != 1 || ty != 1 || tz != 1 || shared) return ERROR_VALUE;
    return launch((const emu_kernel *)f, x, y, threads, args);
}
FAKE cuOccupancyMaxActiveBlocksPerMultiprocessor(int *out, void *, int, size_t) {
    BEGIN;
    *out = 1;
    return 0;
}
FAKE cuLaunchCooperativeKernel(void *f, unsigned x, unsigned y, unsigned z, unsigned threads,
                               unsigned ty, unsigned tz, unsigned shared, void *, void **args) {
    BEGIN;
    if (z != 1 || ty != 1 || tz != 1 || shared) return ERROR_VALUE;
    if (x * y > EMU_PROCESSORS) return 720; // too large
    return launch((const emu_kernel *)f, x, y, threads, args, true);
}
struct config { // the driver's CUlaunchConfig
    unsigned grid[3], block[3], shared;
    void *stream;
    const int *attributes;
    unsigned count;
};
FAKE cuLaunchKernelEx(const config *c, void *f, void **args, void **) {
    BEGIN;
    if (c->grid[2] != 1 || c->block[1] != 1 || c->block[2] != 1 || c->shared || c->count != 1 ||
        c->attributes[0] != 6 || c->attributes[2] != 1)
        return ERROR_VALUE;
    return launch((const emu_kernel *)f, c->grid[0], c->grid[1], c->block[0], args);
}
FAKE cuStreamBeginCapture_v2(void *, int) {
    BEGIN;
    if (capture) return ERROR_VALUE;
    capture = new std::vector<recorded>;
    return 0;
}
FAKE cuStreamEndCapture(void *, void **graph) {
    BEGIN;
    if (!capture) return ERROR_VALUE;
    *graph = capture;
    capture = nullptr;
    return 0;
}
FAKE cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long long) {
    BEGIN;
    *out = new std::vector<recorded>(*(std::vector<recorded> *)graph);
    return 0;
}
FAKE cuGraphDestroy(void *graph) {
    BEGIN;
    delete (std::vector<recorded> *)graph;
    return 0;
}
FAKE cuGraphLaunch(void *ready, void *) {
    BEGIN;
    go_on();
    for (const recorded &r : *(std::vector<recorded> *)ready) {
        emu_launch l = r.launch;
        l.args = r.args.data();
        run_kernel(&l);
    }
    return 0;
}
FAKE cuGraphExecDestroy(void *ready) {
    BEGIN;
    delete (std::vector<recorded> *)ready;
    return 0;
}
