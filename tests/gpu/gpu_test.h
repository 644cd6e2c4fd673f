// gpu_test.h - what the tests of the GPU share: a device, arrays on it.
#pragma once
#include "../kern/check.h"
#include "gpu/device.h"
#include "gpu/product.h"

extern device *gpu;  // open while the tests run
extern compute *cpu; // what the results are compared with

// Arrays on the device, freed by dev_reset. from NULL: filled with junk by the emulator.
void *dev_bytes(const void *from, size_t n);
float *dev_floats(const float *from, int64_t n);
void dev_reset(void);
int32_t *dev_count(int32_t n);
void dev_read(void *to, const void *from, size_t n);
void dev_run(gpu_kernel k, int64_t x, int64_t y, int64_t threads, const void *args);
gpu_matrix dev_matrix(const weight *const *w, int count);

// The order of the emulated threads: 0 rising, 1 falling, 2 shuffled; 3: kernels do nothing. fail:
// the call from now on that fails, -1 none. Nothing on a real GPU.
void fake_set(int order, long fail);
long fake_calls(void);

void test_gpu_kernels(void);
void test_gpu_draw(void);
void test_gpu_lstm(void);
void test_gpu_decoder(void);
void test_gpu_codec(void);
void test_gpu_faults(void);
void test_gpu_shipped(void);
void test_gpu_fixtures(void);
