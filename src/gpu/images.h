// images.h - the kernels as the driver loads them: compiled when the program is built, kept in it.
//
// kern.cu is compiled twice. nvcc makes machine code for each kind of GPU, and PTX for newer ones;
// clang makes PTX that drivers from 470 on compile themselves, which takes seconds at the first
// load. Both give the same bits. A program that was built without these compilers has fewer images
// or none.
#pragma once
#include "base/base.h"

typedef struct {
    const char *name; // "nvcc" or "clang"
    // A fatbin, or PTX; a zero byte stands at end.
    const unsigned char *data, *end;
} gpu_image;

// Image i, in the order in which a loader tries them; false: there is none.
bool gpu_image_get(size_t i, gpu_image *out);
