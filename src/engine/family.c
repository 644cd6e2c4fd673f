// family.c - see family.h.
#include "engine/family.h"

#include <stdio.h>

static const family_ops *find_ops(const checkpoint *files) {
    for (size_t i = 0; i < family_count; i++)
        if (families[i]->recognise(files)) return families[i];
    return NULL;
}

// No family recognises the model: the error says which models there are.
static status unknown(const checkpoint *files, err *e) {
    json *config = NULL;
    status rc = files->config ? OK : checkpoint_document(&config, files, "config.json", true, e);
    json_free(config);
    if (rc) return rc;
    const char *type = json_str_value(json_find(files->config, "model_type"));
    buf list;
    buf_init(&list, 1000);
    for (size_t i = 0; i < family_count; i++)
        buf_printf(&list, "%s%s", i ? ", or " : "", families[i]->expects);
    rc = err_set(e, ERR_FORMAT, "%.200s: model_type: expected %s, found \"%.40s\"", files->path,
                 buf_status(&list, NULL) ? "a known one" : buf_str(&list), type ? type : "nothing");
    buf_deinit(&list);
    return rc;
}

// The GPU is offered to families that have programs for one.
static status offer_gpu(family *f, family_options *o, err *e) {
    if (!o->gpu || f->ops->leave_gpu) return OK;
    if (o->gpu_only)
        return err_field(e, "device",
                         "%s: %s has no programs for a GPU yet: expected auto or cpu, found cuda",
                         f->files.name, f->ops->title);
    snprintf(f->cpu_why, sizeof f->cpu_why, "%s has no programs for a GPU yet", f->ops->title);
    o->gpu = NULL;
    return OK;
}

status family_open(family **out, const family_options *o, err *e) {
    *out = NULL;
    checkpoint files;
    status rc = checkpoint_open(&files, o->model, o->record, e);
    if (rc) return rc;
    const family_ops *ops = find_ops(&files);
    rc = ops ? OK : unknown(&files, e);
    family *f = rc ? NULL : mem_calloc(1, ops->size);
    if (!rc && !f) rc = err_set(e, ERR_OOM, "no memory for a model");
    if (rc) {
        checkpoint_close(&files);
        return rc;
    }
    f->ops = ops;
    f->files = files;
    f->files.blank = o->blank;
    f->c = o->c;
    family_options offered = *o;
    rc = offer_gpu(f, &offered, e);
    if (!rc) rc = ops->open(f, &offered, e);
    // A file that was cut meanwhile read as zeros: that is what failed, whatever came of it.
    if (checkpoint_check(&f->files, NULL)) rc = checkpoint_check(&f->files, e);
    if (rc)
        family_close(f);
    else
        *out = f;
    return rc;
}

void family_close(family *f) {
    if (!f) return;
    f->ops->close(f);
    checkpoint_close(&f->files);
    mem_free(f);
}

status family_digest(char out[DIGEST_TEXT], const family *f, err *e) {
    const st_file *sets[FAMILY_SETS_MAX];
    if (f->files.packed) {
        bytes kept = pack_document(f->files.packed, "digest");
        snprintf(out, DIGEST_TEXT, "%.*s", (int)MIN(kept.n, DIGEST_TEXT - 1), (const char *)kept.p);
        return OK;
    }
    out[0] = 0;
    return f->ops->tensors ? digest_tensors(out, sets, f->ops->tensors(f, sets), e) : OK;
}

const family_ops *family_find(const char *model) {
    checkpoint files;
    if (checkpoint_open(&files, model, NULL, NULL)) return NULL;
    const family_ops *ops = find_ops(&files);
    checkpoint_close(&files);
    return ops;
}
