// device.h - one NVIDIA GPU: its memory, the launching of kernels, graphs of launches.
//
// All work goes into one stream and happens in the order of the calls; device_upload,
// device_download and device_wait_for wait for it. Addresses of device memory are ordinary pointers
// that the host never follows. After ERR_DEVICE the device can do nothing more: the driver keeps
// the error. One thread at a time uses a device.
#pragma once
#include "base/err.h"
#include "gpu/kern.h"

typedef struct device device;

typedef struct {
    char name[96];
    size_t memory, unused; // bytes, when it was opened
    int driver;            // 13000 is 13.0: the newest CUDA that the driver knows
    int capability;        // 90 is 9.0
    const char *image;     // the name of the image that runs: images.h
} device_info;

#define DEVICE_CAPABILITY_MIN 80

// ERR_NOT_FOUND: no driver, or no such GPU. ERR_LIMIT: an older driver or GPU, or a build without
// kernels; the text says which. ERR_DEVICE: the driver failed.
status device_open(device **out, int index, err *e);
void device_close(device *d); // NULL is fine
const device_info *device_get_info(const device *d);
status device_unused(device *d, size_t *out, err *e); // of its memory, now

// Bytes from an even 256 on; n 0 gives NULL. ERR_OOM: the device has no room for them.
status device_alloc(device *d, void **out, size_t n, err *e);
void device_free(device *d, void *p); // waits for the work that may use it; NULL is fine
status device_upload(device *d, void *to, const void *from, size_t n, err *e);
status device_download(device *d, void *to, const void *from, size_t n, err *e);
status device_zero(device *d, void *to, size_t n, err *e);

// A launch of a kernel: grid_x * grid_y blocks of `threads`, a multiple of 32. args: its struct in
// kern.h.
typedef struct {
    gpu_kernel kernel;
    int64_t grid_x, grid_y, threads;
    const void *args;
} device_run;
status device_launch(device *d, const device_run *r, err *e);
// The same for a kernel whose blocks wait for each other. *out: how many run at once; 0: none do.
status device_blocks_together(device *d, gpu_kernel k, int64_t threads, int64_t *out, err *e);
status device_launch_together(device *d, const device_run *r, err *e);

// Launches between begin and end are recorded, not run. They use the same arguments each time.
typedef struct device_graph device_graph;
status device_graph_begin(device *d, err *e);
status device_graph_end(device *d, device_graph **out, err *e);
status device_graph_launch(device *d, const device_graph *g, err *e);
void device_graph_free(device *d, device_graph *g); // NULL is fine

// Marks the place that the stream's work has reached, and waits until it got there.
#define DEVICE_MARKS 4
status device_mark(device *d, int mark, err *e);
status device_wait_for(device *d, int mark, err *e);
