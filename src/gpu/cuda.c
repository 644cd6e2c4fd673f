// cuda.c - see cuda.h.
#include "gpu/cuda.h"

#include <dlfcn.h>
#include <string.h>

// Where the library lies when the loader's own folders do not have it: containers, WSL.
static void *find_library(void) {
    static const char *const names[] = {"libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1",
                                        "/usr/lib/wsl/lib/libcuda.so.1"};
    void *library = NULL;
    for (size_t i = 0; !library && i < ARRAY_LEN(names); i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

status cuda_load(cuda *out, err *e) {
    *out = (cuda){.library = find_library()};
    if (!out->library) {
        return err_set(e, ERR_NOT_FOUND,
                       "expected NVIDIA's driver, found no libcuda.so.1: install the driver, or "
                       "compute on the CPU");
    }
#define CUDA_LIST(field, name, args) {name, (void *)&out->field},
    const struct {
        const char *name;
        void *to;
    } list[] = {CUDA_FUNCTIONS(CUDA_LIST)};
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        void *f = dlsym(out->library, list[i].name);
        if (!f) {
            cuda_unload(out);
            return err_set(e, ERR_LIMIT,
                           "NVIDIA's driver has no %s: it is too old, expected 470 or later",
                           list[i].name);
        }
        memcpy(list[i].to, &f, sizeof f);
    }
    void *f = dlsym(out->library, "cuLaunchKernelEx");
    memcpy(&out->launch_with, &f, sizeof f);
    return OK;
}

void cuda_unload(cuda *c) {
    if (c->library) dlclose(c->library);
    *c = (cuda){0};
}
