// device.c - see device.h.
#include "gpu/device.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "gpu/cuda.h"
#include "gpu/images.h"

#define GPU_KERNEL_NAME(name) #name,
static const char *const gpu_kernel_name[] = {GPU_KERNEL_LIST(GPU_KERNEL_NAME)};

struct device {
    cuda c;
    int dev;
    device_info info;
    cuda_handle context, module, stream;
    cuda_handle mark[DEVICE_MARKS];
    cuda_handle kernel[GPU_KERNELS];
};

struct device_graph {
    cuda_handle graph, ready;
};

// The one place where the driver's errors become ours.
static status check(const device *d, int error, const char *doing, err *e) {
    if (!error) return OK;
    const char *text = NULL;
    d->c.get_error_string(error, &text);
    status code = error == CUDA_OUT_OF_MEMORY ? ERR_OOM
                  : error == CUDA_NO_DEVICE   ? ERR_NOT_FOUND
                                              : ERR_DEVICE;
    return err_set(e, code, "GPU: %s: %s (driver error %d)", doing, text ? text : "unknown", error);
}

// ---- open

static status find_device(device *d, int index, err *e) {
    int count = 0, major = 0, minor = 0;
    status rc = check(d, d->c.init(0), "starting the driver", e);
    if (!rc) rc = check(d, d->c.device_count(&count), "counting the GPUs", e);
    if (rc) return rc;
    if (index < 0 || index >= count) {
        return err_set(e, ERR_NOT_FOUND, "GPU %d: expected 0 to %d, the driver shows %d of them",
                       index, MAX(0, count - 1), count);
    }
    rc = check(d, d->c.device_get(&d->dev, index), "finding the GPU", e);
    char *name = d->info.name;
    if (!rc)
        rc = check(d, d->c.device_name(name, sizeof d->info.name, d->dev), "asking its name", e);
    if (!rc) rc = check(d, d->c.device_attribute(&major, CUDA_MAJOR, d->dev), "asking its kind", e);
    if (!rc) rc = check(d, d->c.device_attribute(&minor, CUDA_MINOR, d->dev), "asking its kind", e);
    if (!rc) rc = check(d, d->c.driver_version(&d->info.driver), "asking the driver's version", e);
    if (rc) return rc;
    d->info.capability = 10 * major + minor;
    if (d->info.capability >= DEVICE_CAPABILITY_MIN) return OK;
    return err_set(e, ERR_LIMIT,
                   "GPU %d, %s: expected compute capability %d.%d or more, found %d.%d", index,
                   name, DEVICE_CAPABILITY_MIN / 10, DEVICE_CAPABILITY_MIN % 10, major, minor);
}

static status load_kernels(device *d, err *e) {
    gpu_image image;
    if (!gpu_image_get(0, &image)) {
        return err_set(e, ERR_LIMIT,
                       "this program was built without GPU kernels: build it with nvcc or clang");
    }
    int error = 0;
    for (size_t i = 0; !d->module && gpu_image_get(i, &image); i++) {
        error = d->c.module_load(&d->module, image.data);
        if (error) d->module = NULL;
        d->info.image = image.name;
    }
    status rc = check(d, error, "loading the kernels", e);
    for (int i = 0; !rc && i < GPU_KERNELS; i++)
        rc = check(d, d->c.module_function(&d->kernel[i], d->module, gpu_kernel_name[i]),
                   gpu_kernel_name[i], e);
    return rc;
}

static status open_device(device *d, int index, err *e) {
    status rc = cuda_load(&d->c, e);
    if (!rc) rc = find_device(d, index, e);
    if (!rc) rc = check(d, d->c.context_retain(&d->context, d->dev), "opening the GPU", e);
    if (!rc) rc = check(d, d->c.context_use(d->context), "opening the GPU", e);
    size_t *sizes[] = {&d->info.unused, &d->info.memory};
    if (!rc) rc = check(d, d->c.memory_info(sizes[0], sizes[1]), "asking for its memory", e);
    if (!rc) rc = check(d, d->c.stream_create(&d->stream, CUDA_STREAM_ALONE), "making a stream", e);
    for (int i = 0; !rc && i < DEVICE_MARKS; i++)
        rc = check(d, d->c.event_create(&d->mark[i], CUDA_EVENT_UNTIMED), "making an event", e);
    return rc ? rc : load_kernels(d, e);
}

status device_open(device **out, int index, err *e) {
    *out = NULL;
    device *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "no memory for a GPU's state");
    status rc = open_device(d, index, e);
    if (rc)
        device_close(d);
    else
        *out = d;
    return rc;
}

void device_close(device *d) {
    if (!d) return;
    if (d->stream) d->c.stream_wait(d->stream);
    for (int i = 0; i < DEVICE_MARKS; i++)
        if (d->mark[i]) d->c.event_destroy(d->mark[i]);
    if (d->module) d->c.module_unload(d->module);
    if (d->stream) d->c.stream_destroy(d->stream);
    if (d->context) d->c.context_release(d->dev);
    cuda_unload(&d->c);
    mem_free(d);
}

const device_info *device_get_info(const device *d) {
    return &d->info;
}

status device_unused(device *d, size_t *out, err *e) {
    size_t all;
    return check(d, d->c.memory_info(out, &all), "asking for its memory", e);
}

// ---- memory

// Whichever thread calls, the driver works on this device.
static int use(const device *d) {
    return d->c.context_use(d->context);
}

static cuda_ptr address(const void *p) {
    return (cuda_ptr)(uintptr_t)p;
}

status device_alloc(device *d, void **out, size_t n, err *e) {
    cuda_ptr p = 0;
    *out = NULL;
    if (!n) return OK;
    char doing[64];
    snprintf(doing, sizeof doing, "%zu bytes of its memory", n);
    int error = use(d);
    if (!error) error = d->c.memory_alloc(&p, n);
    *out = error ? NULL : (void *)(uintptr_t)p;
    return check(d, error, doing, e);
}

void device_free(device *d, void *p) {
    if (p && !use(d)) d->c.memory_free(address(p));
}

status device_upload(device *d, void *to, const void *from, size_t n, err *e) {
    if (!n) return OK;
    int error = use(d);
    if (!error) error = d->c.upload(address(to), from, n, d->stream);
    // Drivers that read the host's pages themselves may do so after the call.
    if (!error) error = d->c.stream_wait(d->stream);
    return check(d, error, "copying to it", e);
}

status device_download(device *d, void *to, const void *from, size_t n, err *e) {
    if (!n) return OK;
    int error = use(d);
    if (!error) error = d->c.download(to, address(from), n, d->stream);
    if (!error) error = d->c.stream_wait(d->stream);
    return check(d, error, "copying from it", e);
}

status device_zero(device *d, void *to, size_t n, err *e) {
    if (!n) return OK;
    int error = use(d);
    if (!error) error = d->c.set(address(to), 0, n, d->stream);
    return check(d, error, "filling its memory", e);
}

// ---- launches

// Whether a kernel may start while the one before it still runs, up to its wait (dev.h). Graphs
// keep that since CUDA 12.3.
static bool starts_early(const device *d) {
    return d->c.launch_with && d->info.capability >= 90 && d->info.driver >= 12030;
}

status device_launch(device *d, const device_run *r, err *e) {
    void *args[] = {(void *)(uintptr_t)r->args};
    if (!r->grid_x || !r->grid_y) return OK;
    assert(r->threads % 32 == 0 && r->grid_x <= INT32_MAX && r->grid_y <= UINT16_MAX);
    cuda_attribute early = {.id = CUDA_MAY_START_EARLY, .value = {.flag = 1}};
    const cuda_launch l = {.grid_x = (unsigned)r->grid_x,
                           .grid_y = (unsigned)r->grid_y,
                           .grid_z = 1,
                           .block_x = (unsigned)r->threads,
                           .block_y = 1,
                           .block_z = 1,
                           .stream = d->stream,
                           .attributes = &early,
                           .count = 1};
    cuda_handle f = d->kernel[r->kernel];
    int error = use(d);
    if (!error && starts_early(d))
        error = d->c.launch_with(&l, f, args, NULL);
    else if (!error)
        error = d->c.launch(f, l.grid_x, l.grid_y, 1, l.block_x, 1, 1, 0, d->stream, args, NULL);
    return check(d, error, gpu_kernel_name[r->kernel], e);
}

status device_blocks_together(device *d, gpu_kernel k, int64_t threads, int64_t *out, err *e) {
    int may = 0, processors = 0, each = 0;
    int error = use(d);
    if (!error) error = d->c.device_attribute(&may, CUDA_TOGETHER, d->dev);
    if (!error) error = d->c.device_attribute(&processors, CUDA_PROCESSORS, d->dev);
    if (!error) error = d->c.blocks_at_once(&each, d->kernel[k], (int)threads, 0);
    *out = may ? (int64_t)processors * each : 0;
    return check(d, error, "asking for its processors", e);
}

status device_launch_together(device *d, const device_run *r, err *e) {
    void *args[] = {(void *)(uintptr_t)r->args};
    cuda_handle f = d->kernel[r->kernel];
    int error = use(d);
    if (!error)
        error = d->c.launch_together(f, (unsigned)r->grid_x, 1, 1, (unsigned)r->threads, 1, 1, 0,
                                     d->stream, args);
    return check(d, error, gpu_kernel_name[r->kernel], e);
}

status device_graph_begin(device *d, err *e) {
    return check(d, d->c.capture_begin(d->stream, CUDA_CAPTURE_RELAXED), "recording a graph", e);
}

status device_graph_end(device *d, device_graph **out, err *e) {
    *out = NULL;
    device_graph *g = mem_calloc(1, sizeof *g);
    cuda_handle graph = NULL;
    status rc = check(d, d->c.capture_end(d->stream, &graph), "recording a graph", e);
    if (!g && !rc) rc = err_set(e, ERR_OOM, "no memory for a graph");
    if (!rc) {
        g->graph = graph;
        rc = check(d, d->c.graph_ready(&g->ready, graph, CUDA_GRAPH_DEFAULT), "making a graph", e);
    } else if (graph) {
        d->c.graph_destroy(graph);
    }
    if (rc)
        device_graph_free(d, g);
    else
        *out = g;
    return rc;
}

status device_graph_launch(device *d, const device_graph *g, err *e) {
    int error = use(d);
    if (!error) error = d->c.ready_launch(g->ready, d->stream);
    return check(d, error, "launching a graph", e);
}

void device_graph_free(device *d, device_graph *g) {
    if (!g) return;
    if (g->ready) d->c.ready_destroy(g->ready);
    if (g->graph) d->c.graph_destroy(g->graph);
    mem_free(g);
}

status device_mark(device *d, int mark, err *e) {
    return check(d, d->c.event_record(d->mark[mark], d->stream), "marking a place", e);
}

status device_wait_for(device *d, int mark, err *e) {
    return check(d, d->c.event_wait(d->mark[mark]), "waiting for it", e);
}
