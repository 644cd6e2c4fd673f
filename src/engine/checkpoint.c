// checkpoint.c - see checkpoint.h.
#include "engine/checkpoint.h"

#include <stdio.h>

#include "base/hubdir.h"
#include "base/pretender.h"

#define DOCUMENT_MAX ((size_t)4 << 20)
#define PART_NAME_MAX 300

// A packed file says its name; else the way the model was asked for does.
static void set_name(checkpoint *m, const char *model) {
    bytes own = m->packed ? pack_model_name(m->packed) : (bytes){0};
    if (own.n)
        snprintf(m->name, sizeof m->name, "%.*s", (int)MIN(own.n, (size_t)120),
                 (const char *)own.p);
    else
        hubdir_short_name(m->name, sizeof m->name, model);
}

static status lacks(const char *folder, const char *name, err *e) {
    return err_set(e, ERR_NOT_FOUND,
                   "%.200s has no %s: expected a whole checkpoint in the Hugging Face layout; "
                   "stemforge pull ORG/NAME fetches one, cp -L copies one",
                   folder, name);
}

// A packed file has the same documents, without the suffix.
status checkpoint_document(json **out, const checkpoint *m, const char *name, bool required,
                           err *e) {
    char path[OS_PATH_MAX];
    *out = NULL;
    if (m->packed) {
        snprintf(path, sizeof path, "%.*s", (int)strcspn(name, "."), name);
        bytes text = pack_document(m->packed, path);
        status rc = text.n || required ? json_parse(out, text, DOCUMENT_MAX, e) : OK;
        if (rc) err_within(e, rc, "%.200s: %s", m->path, path);
        return rc;
    }
    status rc = os_path_join(path, sizeof path, m->path, name, e);
    if (rc) return rc;
    bool there = os_exists(path) || os_is_link(path);
    if (there) return json_parse_file(out, path, DOCUMENT_MAX, e);
    return required ? lacks(m->path, name, e) : OK;
}

status checkpoint_tokenizer(tokenizer **out, const checkpoint *m, err *e) {
    char path[OS_PATH_MAX];
    status rc = os_path_join(path, sizeof path, m->path, "tokenizer.json", e);
    if (rc) return rc;
    if (!m->packed && !os_exists(path) && !os_is_link(path))
        return lacks(m->path, "tokenizer.json", e);
    if (!m->packed) return tok_open(out, path, e);
    rc = tok_open_packed(out, pack_document(m->packed, "tokenizer"), pack_vocabulary(m->packed), e);
    return rc ? err_within(e, rc, "%.200s: tokenizer", m->path) : OK;
}

// --- open and close

static status refuse_file(const char *path, err *e) {
    status rc = pretender_check_file(path, e);
    if (rc) return rc;
    return err_set(
        e, ERR_FORMAT,
        "%s: expected a folder with config.json and model.safetensors, or a GGUF file that "
        "stemforge convert made",
        path);
}

static status open_files(checkpoint *m, const char *model, err *e) {
    status rc = hubdir_find_model(m->path, model, e);
    if (!rc && pack_is(m->path))
        rc = pack_open(&m->packed, m->path, e);
    else if (!rc && !os_is_dir(m->path))
        rc = refuse_file(m->path, e);
    if (rc) return rc;
    set_name(m, model);
    return checkpoint_document(&m->config, m, "config.json", false, e);
}

status checkpoint_open(checkpoint *out, const char *model, checkpoint_record *record, err *e) {
    *out = (checkpoint){.record = record};
    status rc = open_files(out, model, e);
    if (rc) checkpoint_close(out);
    return rc;
}

void checkpoint_close(checkpoint *m) {
    st_close(m->files);
    pack_close(m->packed);
    json_free(m->config);
    *m = (checkpoint){0};
}

// --- tensors

static pack_entry *record_find(checkpoint_record *r, const char *name) {
    for (size_t i = r->count; i-- > 0;) {
        if (strcmp(r->list[i].name, name) == 0) return &r->list[i];
    }
    return NULL;
}

static void record_add(checkpoint_record *r, const char *name, const tensor *t) {
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 256;
        pack_entry *list = mem_realloc(r->list, cap * sizeof *list);
        if (list)
            r->list = list;
        else
            r->failed = true;
        if (!list) return;
        r->cap = cap;
    }
    char *kept = arena_strdup(&r->own, name);
    if (!kept)
        r->failed = true;
    else
        r->list[r->count++] = (pack_entry){.name = kept, .t = *t};
}

static void record_drop(checkpoint_record *r, const char *name) {
    pack_entry *en = record_find(r, name);
    if (en) *en = r->list[--r->count];
}

// A converted matrix m takes the place of the file's tensor.
static void record_bound(void *arg, const char *name, const weight *m) {
    record_drop(arg, name);
    if (!m) return;
    record_add(arg, name,
               &(tensor){.type = m->type, .dims = 2, .shape = {m->rows, m->cols}, .data = m->data});
}

void checkpoint_record_deinit(checkpoint_record *r) {
    mem_free(r->list);
    arena_deinit(&r->own);
    *r = (checkpoint_record){0};
}

static const tensor *find_tensor(const void *file, const char *name) {
    const checkpoint *m = file;
    const tensor *t = m->packed ? pack_find(m->packed, name) : st_find(m->files, name);
    if (t && m->record && !record_find(m->record, name)) record_add(m->record, name, t);
    return t;
}

static void forget_tensor(const void *file, const tensor *t) {
    const checkpoint *m = file;
    if (m->files)
        st_forget(m->files, t);
    else if (m->packed)
        pack_forget_tensor(m->packed, t);
}

status checkpoint_open_tensors(checkpoint *m, err *e) {
    return m->packed || m->files ? OK : st_open_model(&m->files, m->path, e);
}

status checkpoint_check(const checkpoint *m, err *e) {
    if (m->packed) return pack_check(m->packed, m->path, e);
    return m->files ? st_check(m->files, e) : OK;
}

weights checkpoint_weights(checkpoint *m, arena *own, compute *c) {
    weights w;
    weights_init(&w, (weights_source){find_tensor, m, forget_tensor}, own, WEIGHTS_AS_STORED);
    w.c = c;
    w.blank = m->blank;
    w.bound = m->record ? record_bound : NULL;
    w.bound_arg = m->record;
    return w;
}

// --- parts

static void part_name(char out[PART_NAME_MAX], const checkpoint_part *p, const char *name) {
    snprintf(out, PART_NAME_MAX, "%s.%s", p->name, name);
}

static const tensor *find_part_tensor(const void *file, const char *name) {
    const checkpoint_part *p = file;
    checkpoint_record *r = p->m->record;
    char full[PART_NAME_MAX];
    part_name(full, p, name);
    const tensor *t =
        p->m->packed ? pack_find(p->m->packed, full) : p->folder.find(p->folder.file, name);
    if (t && r && !record_find(r, full)) record_add(r, full, t);
    return t;
}

static void forget_part_tensor(const void *file, const tensor *t) {
    const checkpoint_part *p = file;
    if (p->m->packed)
        pack_forget_tensor(p->m->packed, t);
    else if (p->folder.forget)
        p->folder.forget(p->folder.file, t);
}

static void record_part_bound(void *arg, const char *name, const weight *m) {
    const checkpoint_part *p = arg;
    char full[PART_NAME_MAX];
    part_name(full, p, name);
    record_bound(p->m->record, full, m);
}

weights checkpoint_part_weights(checkpoint_part *p, arena *own, compute *c) {
    weights w;
    weights_init(&w, (weights_source){find_part_tensor, p, forget_part_tensor}, own,
                 WEIGHTS_AS_STORED);
    w.c = c;
    w.blank = p->m->blank;
    w.bound = p->m->record ? record_part_bound : NULL;
    w.bound_arg = p;
    return w;
}

weights_type checkpoint_packed_type(const checkpoint *m) {
    return m->packed ? pack_weights(m->packed) : WEIGHTS_AS_STORED;
}

void checkpoint_rest(const checkpoint *m, const char *prefix) {
    if (m->packed) pack_forget(m->packed, prefix);
}

status checkpoint_check_packed(const checkpoint *m, weights_type asked, err *e) {
    weights_type has = checkpoint_packed_type(m);
    if (has < WEIGHTS_BF16 || asked == WEIGHTS_AS_STORED || asked == has) return OK;
    return err_field(e, "weights",
                     "%.200s was packed with %s weights: expected stored or %s, found %s; convert "
                     "the folder again with --type %s",
                     m->path, weights_type_name(has), weights_type_name(has),
                     weights_type_name(asked), weights_type_name(asked));
}

void checkpoint_describe_packed(const checkpoint *m, buf *out) {
    weights_type has = checkpoint_packed_type(m);
    if (!m->packed) return;
    if (has < WEIGHTS_BF16)
        buf_printf(out, "packed     exact weights: the same bytes as the folder\n");
    else
        buf_printf(out,
                   "packed     %s weights: the same bytes as the folder with --weights %s, others "
                   "than with stored\n",
                   weights_type_name(has), weights_type_name(has));
}
