// main.c - run_gpu: the GPU's kernels and programs against the CPU's, to the bit.
//
//   LD_LIBRARY_PATH=build/tests/gpu build/tests/run_gpu [kernels] ...   on the emulator
//   build/tests/run_gpu [--image nvcc|clang] [kernels] ...              on NVIDIA's driver
//
// Which of the two it is, the libcuda.so.1 that is found decides. A real GPU has no order of
// threads to choose and no call that fails when told to, so what needs that is left out there.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/images.h"
#include "gpu_test.h"

device *gpu;
compute *cpu;

static const char *image_name; // which of the program's images to load; NULL: as it does

// A function that only the emulator's driver has, or NULL.
static void *emulator_symbol(const char *name) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    return library ? dlsym(library, name) : NULL;
}

static bool emulated(void) {
    return emulator_symbol("fake_cuda_set") != NULL;
}

// The linker puts this in the place of gpu_image_get (--wrap). The emulator has the kernels inside:
// a byte stands for the image that a driver would load.
bool __real_gpu_image_get(size_t i, gpu_image *out);
bool __wrap_gpu_image_get(size_t i, gpu_image *out);
bool __wrap_gpu_image_get(size_t i, gpu_image *out) {
    static const unsigned char byte = 0;
    *out = (gpu_image){"emulated", &byte, &byte};
    if (emulated()) return i == 0;
    if (!image_name) return __real_gpu_image_get(i, out);
    size_t at = 0;
    while (__real_gpu_image_get(at, out) && strcmp(out->name, image_name)) at++;
    return i == 0 && __real_gpu_image_get(at, out);
}

#define PIECES_MAX 256
static void *piece[PIECES_MAX];
static int pieces;

static void must(status rc, const err *e) {
    if (!rc) return;
    printf("FAIL %s\n", e->text);
    exit(1);
}

void *dev_bytes(const void *from, size_t n) {
    err e;
    if (pieces == PIECES_MAX) abort();
    must(device_alloc(gpu, &piece[pieces], n, &e), &e);
    if (from) must(device_upload(gpu, piece[pieces], from, n, &e), &e);
    return piece[pieces++];
}

float *dev_floats(const float *from, int64_t n) {
    return dev_bytes(from, (size_t)n * sizeof *from);
}

void dev_reset(void) {
    while (pieces) device_free(gpu, piece[--pieces]);
}

int32_t *dev_count(int32_t n) {
    return dev_bytes(&n, sizeof n);
}

void dev_read(void *to, const void *from, size_t n) {
    err e;
    must(device_download(gpu, to, from, n, &e), &e);
}

void dev_run(gpu_kernel k, int64_t x, int64_t y, int64_t threads, const void *args) {
    err e;
    must(device_launch(gpu, &(device_run){k, x, y, threads, args}, &e), &e);
}

gpu_matrix dev_matrix(const weight *const *w, int count) {
    err e;
    gpu_matrix m;
    must(upload_matrices(gpu, &m, w, count, &e), &e);
    piece[pieces++] = m.data;
    return m;
}

void fake_set(int order, long fail) {
    int (*set)(int, long);
    void *f = emulator_symbol("fake_cuda_set");
    if (!f) return;
    memcpy(&set, &f, sizeof f);
    set(order, fail);
}

long fake_calls(void) {
    int (*calls)(void);
    void *f = emulator_symbol("fake_cuda_calls");
    memcpy(&calls, &f, sizeof f);
    return calls();
}

static const struct {
    const char *name;
    void (*run)(void);
    bool orders;   // once in each order of threads
    bool emulator; // only there
} tests[] = {
    {"kernels", test_gpu_kernels, true, false},  {"draw", test_gpu_draw, true, false},
    {"lstm", test_gpu_lstm, true, false},        {"decoder", test_gpu_decoder, false, false},
    {"faults", test_gpu_faults, false, true},    {"codec", test_gpu_codec, true, false},
    {"shipped", test_gpu_shipped, false, false}, {"fixtures", test_gpu_fixtures, false, false},
};

// Whether a test is among those that were named; all are when none was.
static bool named(int argc, char **argv, const char *name) {
    bool found = argc == 0;
    for (int i = 0; i < argc; i++) found = found || !strcmp(argv[i], name);
    return found;
}

static void run_test(size_t i, bool emulator) {
    static const char *const orders[] = {"rising", "falling", "shuffled"};
    for (int order = 0; order < (tests[i].orders && emulator ? 3 : 1); order++) {
        long before = check_failed;
        fake_set(order, -1);
        tests[i].run();
        if (check_failed > before) printf("FAIL %s, threads %s\n", tests[i].name, orders[order]);
    }
}

int main(int argc, char **argv) {
    bool image = argc > 2 && !strcmp(argv[1], "--image");
    err e;
    image_name = image ? argv[2] : NULL;
    argc -= image ? 3 : 1, argv += image ? 3 : 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    must(compute_open(&cpu, 1, NULL, &e), &e);
    must(device_open(&gpu, 0, &e), &e);
    const device_info *info = device_get_info(gpu);
    bool emulator = emulated();
    printf("%s, kernels %s\n", info->name, info->image);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
        if (!named(argc, argv, tests[i].name)) continue;
        if (emulator || !tests[i].emulator)
            run_test(i, emulator);
        else
            printf("%s: left out, only the emulator can do it\n", tests[i].name);
    }
    device_close(gpu);
    compute_close(cpu);
    printf("%ld checks, %ld failed\n", check_count, check_failed);
    return check_failed != 0;
}
