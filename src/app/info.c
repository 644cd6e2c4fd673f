// info.c - `stemforge info MODEL`: what a checkpoint is, how large, and the memory it will need.
#include <stdio.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/shipped.h"
#include "base/cgroup.h"
#include "base/json.h"
#include "base/os.h"
#include "compute/ops.h"
#include "compute/tune.h"
#include "engine/family.h"
#include "gpu/device.h"
#include "gpu/images.h"

// How weights are prefetched on this processor.
static const char *kept_way(void) {
    int way = tune_kept(NULL);
    return way < 0 ? "not measured yet" : tune_way_name(way);
}

// In what pages the weights of a file lie.
static const char *kept_pages(void) {
    bool huge = false;
    if (tune_kept(&huge) < 0) return "4 KB (not measured yet)";
    return huge ? "huge: large weights of files are copied" : "4 KB: files are used where they lie";
}

// The compilers that made kernels for GPUs.
static const char *kernel_names(char out[64]) {
    gpu_image image;
    size_t n = 0;
    snprintf(out, 64, "none: built without nvcc and clang-19");
    for (size_t i = 0; gpu_image_get(i, &image) && n < 48; i++)
        n += (size_t)snprintf(out + n, 64 - n, "%s%s", i ? ", " : "", image.name);
    return out;
}

// The first GPU of this machine, or why it has none that can be used.
static void gpu_text(char *out, size_t cap) {
    device *gpu = NULL;
    err e;
    if (device_open(&gpu, 0, &e)) {
        snprintf(out, cap, "none: %s", e.text);
        return;
    }
    const device_info *i = device_get_info(gpu);
    snprintf(out, cap, "%s, %.1f GB, compute capability %d.%d, driver for CUDA %d.%d", i->name,
             (double)i->memory / 1e9, i->capability / 10, i->capability % 10, i->driver / 1000,
             i->driver % 1000 / 10);
    device_close(gpu);
}

static status describe(const char *model, bool as_json, err *e) {
    family *f = NULL;
    buf text;
    char kernels[64], gpu[640], threads[80];
    cgroup_text(threads, sizeof threads, cgroup_cpus(""), os_cpu_count());
    gpu_text(gpu, sizeof gpu);
    buf_init(&text, 1 << 16);
    json *members = json_new_object();
    status rc = family_open(&f, &(family_options){.model = model}, e);
    char digest[DIGEST_TEXT] = "";
    if (!rc) rc = family_digest(digest, f, e);
    bool ok = !rc && members && (!f->ops->describe || f->ops->describe(f, &text, members)) &&
              json_set_str(members, "digest", digest) &&
              json_set_int(members, "arithmetic", ARITHMETIC) &&
              json_set_str(members, "threads", threads) &&
              json_set_str(members, "prefetch", kept_way()) &&
              json_set_str(members, "pages", kept_pages()) && json_set_str(members, "gpu", gpu) &&
              json_set_str(members, "gpu_kernels", kernel_names(kernels));
    if (!rc) rc = ok ? buf_status(&text, e) : err_set(e, ERR_OOM, "no memory to describe a model");
    if (!rc && as_json) rc = json_print(members, JSON_PRETTY, e);
    if (!rc && !as_json)
        printf("%sdigest     %s\narithmetic %d\nthreads    %s\nprefetch   %s\npages      %s\nGPU   "
               "     %s\nGPU "
               "code   %s\n",
               buf_str(&text), *digest ? digest : "not known", ARITHMETIC, threads, kept_way(),
               kept_pages(), gpu, kernel_names(kernels));
    json_free(members);
    buf_deinit(&text);
    family_close(f);
    return rc;
}

int info_main(int argc, char **argv) {
    bool as_json = false;
    const arg_option table[] = {
        {"json", ARG_FLAG, &as_json, 0, 0, NULL, "in JSON", NULL},
    };
    const arg_command c = {
        "info",
        "[MODEL] [--json]",
        "says what a checkpoint is and what it needs; the shipped model when none is named",
        table,
        ARRAY_LEN(table),
        "  stemforge info models/stemforge-mini\n",
        0,
        1};
    const char *model = SHIPPED_MODEL;
    int n, code;
    if (args_parse(&c, argc, argv, &model, &n, &code)) return code;
    err e = {0};
    status rc = describe(shipped_model(model), as_json, &e);
    if (rc) fprintf(stderr, "stemforge info: %s\n", e.text);
    return rc ? 1 : 0;
}
