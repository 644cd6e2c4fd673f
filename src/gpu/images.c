// images.c - see images.h. The Makefile writes gen/kernels.h: a macro for each image that was made.
#include "gpu/images.h"

#include "gen/kernels.h"

// The bytes of a file between name and name_end, in read-only memory.
#define INCLUDE_FILE(name, path)                                                                   \
    __asm__(".pushsection .rodata\n.balign 64\n" #name ":\n.incbin \"" path "\"\n" #name           \
            "_end:\n.byte 0\n.popsection\n");                                                      \
    extern const unsigned char name[] __attribute__((visibility("hidden")));                       \
    extern const unsigned char name##_end[] __attribute__((visibility("hidden")))

#ifdef KERNELS_NVCC
INCLUDE_FILE(kernels_nvcc, KERNELS_NVCC);
#endif
#ifdef KERNELS_CLANG
INCLUDE_FILE(kernels_clang, KERNELS_CLANG);
#endif

static const gpu_image images[] = {
#ifdef KERNELS_NVCC
    {"nvcc", kernels_nvcc, kernels_nvcc_end},
#endif
#ifdef KERNELS_CLANG
    {"clang", kernels_clang, kernels_clang_end},
#endif
    {0},
};

bool gpu_image_get(size_t i, gpu_image *out) {
    for (const gpu_image *at = images; at->name; at++, i--) {
        if (i) continue;
        *out = *at;
        return true;
    }
    return false;
}
