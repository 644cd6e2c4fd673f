// trace.c - see trace.h.
#include "engine/trace.h"

status trace_run(trace_result *out, family *f, const trace_input *in, err *e) {
    *out = (trace_result){0};
    if (f->ops->trace) return f->ops->trace(out, f, in, e);
    return err_set(e, ERR_ARG, "%s: expected a model with stages to trace, found one of %s",
                   f->files.name, f->ops->title);
}

void trace_free(trace_result *r) {
    arena_deinit(&r->own);
}

void *trace_add(trace_result *r, const char *name, dtype type, int dims, const int64_t *shape) {
    int64_t n = 1;
    for (int i = 0; i < dims; i++) n *= shape[i];
    char *kept = arena_strdup(&r->own, name);
    void *data = arena_alloc(&r->own, (size_t)MAX(n, 1) * dtype_size(type));
    if (!kept || !data || r->n == TRACE_TENSORS_MAX) return NULL;
    st_entry *en = &r->list[r->n++];
    *en = (st_entry){.name = kept, .t = {.type = type, .dims = dims, .data = data}};
    for (int i = 0; i < dims; i++) en->t.shape[i] = shape[i];
    return data;
}

status trace_no_memory(err *e) {
    return err_set(e, ERR_OOM, "no memory for a trace");
}

status trace_find_file(const trace_input *in, const char *member, char path[OS_PATH_MAX], err *e) {
    const char *name = NULL;
    path[0] = 0;
    status rc = json_opt_str(in->run, member, &name, e);
    if (rc || !name) return rc;
    return name[0] == '/' ? os_path_join(path, OS_PATH_MAX, "", name + 1, e)
                          : os_path_join(path, OS_PATH_MAX, in->dir, name, e);
}
