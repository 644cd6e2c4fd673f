// cuda.h - NVIDIA's driver: its functions, found at run time in libcuda.so.1.
//
// The program is built without NVIDIA's headers and starts on machines without the driver. The
// declarations are the driver's ABI, as far as device.c needs it. Every function returns 0, or the
// number of an error that get_error_string names.
#pragma once
#include "base/err.h"

typedef void *cuda_handle; // a context, module, function, stream, event or graph
typedef uint64_t cuda_ptr; // an address in the device's memory

// X(field, name in the library, arguments)
#define CUDA_FUNCTIONS(X)                                                                          \
    X(init, "cuInit", (unsigned flags))                                                            \
    X(driver_version, "cuDriverGetVersion", (int *out))                                            \
    X(device_count, "cuDeviceGetCount", (int *out))                                                \
    X(device_get, "cuDeviceGet", (int *out, int index))                                            \
    X(device_name, "cuDeviceGetName", (char *out, int cap, int dev))                               \
    X(device_attribute, "cuDeviceGetAttribute", (int *out, int what, int dev))                     \
    X(device_memory, "cuDeviceTotalMem_v2", (size_t * out, int dev))                               \
    X(context_retain, "cuDevicePrimaryCtxRetain", (cuda_handle * out, int dev))                    \
    X(context_release, "cuDevicePrimaryCtxRelease_v2", (int dev))                                  \
    X(context_use, "cuCtxSetCurrent", (cuda_handle context))                                       \
    X(memory_info, "cuMemGetInfo_v2", (size_t * unused, size_t * all))                             \
    X(memory_alloc, "cuMemAlloc_v2", (cuda_ptr * out, size_t n))                                   \
    X(memory_free, "cuMemFree_v2", (cuda_ptr p))                                                   \
    X(upload, "cuMemcpyHtoDAsync_v2", (cuda_ptr to, const void *from, size_t n, cuda_handle s))    \
    X(download, "cuMemcpyDtoHAsync_v2", (void *to, cuda_ptr from, size_t n, cuda_handle s))        \
    X(set, "cuMemsetD8Async", (cuda_ptr to, unsigned char value, size_t n, cuda_handle s))         \
    X(stream_create, "cuStreamCreate", (cuda_handle * out, unsigned flags))                        \
    X(stream_destroy, "cuStreamDestroy_v2", (cuda_handle s))                                       \
    X(stream_wait, "cuStreamSynchronize", (cuda_handle s))                                         \
    X(event_create, "cuEventCreate", (cuda_handle * out, unsigned flags))                          \
    X(event_destroy, "cuEventDestroy_v2", (cuda_handle event))                                     \
    X(event_record, "cuEventRecord", (cuda_handle event, cuda_handle s))                           \
    X(event_wait, "cuEventSynchronize", (cuda_handle event))                                       \
    X(module_load, "cuModuleLoadData", (cuda_handle * out, const void *image))                     \
    X(module_unload, "cuModuleUnload", (cuda_handle module))                                       \
    X(module_function, "cuModuleGetFunction",                                                      \
      (cuda_handle * out, cuda_handle module, const char *name))                                   \
    X(launch, "cuLaunchKernel",                                                                    \
      (cuda_handle f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,         \
       unsigned block_y, unsigned block_z, unsigned shared, cuda_handle s, void **args,            \
       void **extra))                                                                              \
    X(launch_together, "cuLaunchCooperativeKernel",                                                \
      (cuda_handle f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,         \
       unsigned block_y, unsigned block_z, unsigned shared, cuda_handle s, void **args))           \
    X(blocks_at_once, "cuOccupancyMaxActiveBlocksPerMultiprocessor",                               \
      (int *out, cuda_handle f, int threads, size_t shared))                                       \
    X(capture_begin, "cuStreamBeginCapture_v2", (cuda_handle s, int mode))                         \
    X(capture_end, "cuStreamEndCapture", (cuda_handle s, cuda_handle * graph))                     \
    X(graph_ready, "cuGraphInstantiateWithFlags",                                                  \
      (cuda_handle * out, cuda_handle graph, unsigned long long flags))                            \
    X(graph_destroy, "cuGraphDestroy", (cuda_handle graph))                                        \
    X(ready_launch, "cuGraphLaunch", (cuda_handle ready, cuda_handle s))                           \
    X(ready_destroy, "cuGraphExecDestroy", (cuda_handle ready))                                    \
    X(get_error_string, "cuGetErrorString", (int error, const char **out))

// cuLaunchKernelEx's description of a launch, and an attribute of it.
typedef struct {
    int id;
    int unused;
    union {
        int flag;
        char all[64];
    } value;
} cuda_attribute;
typedef struct {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared;
    cuda_handle stream;
    cuda_attribute *attributes;
    unsigned count;
} cuda_launch;
#define CUDA_MAY_START_EARLY 6 // attribute: while the kernel before it still runs

#define CUDA_FIELD(field, name, args) int(*field) args;
typedef struct {
    CUDA_FUNCTIONS(CUDA_FIELD)
    void *library;
    // Not in drivers before 520; NULL there.
    int (*launch_with)(const cuda_launch *l, cuda_handle f, void **args, void **extra);
} cuda;

// Numbers of the driver's that device.c uses.
#define CUDA_MAJOR 75        // device_attribute: the compute capability
#define CUDA_MINOR 76        //
#define CUDA_PROCESSORS 16   // of the GPU, each with blocks of its own
#define CUDA_TOGETHER 95     // whether blocks of a launch may wait for each other
#define CUDA_OUT_OF_MEMORY 2 // an error
#define CUDA_NO_DEVICE 100   // an error: a driver without a GPU
#define CUDA_CAPTURE_RELAXED 2
#define CUDA_STREAM_ALONE 1   // stream_create: does not wait for the default stream
#define CUDA_EVENT_UNTIMED 2  // event_create
#define CUDA_GRAPH_DEFAULT 0u // graph_ready

// ERR_NOT_FOUND: there is no driver, or it is too old; the text says which.
status cuda_load(cuda *out, err *e);
void cuda_unload(cuda *c);
