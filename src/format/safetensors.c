// safetensors.c - see safetensors.h.
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/kept.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/pretender.h"

// The header's JSON stays in memory as long as the handle: tensor names and metadata are borrowed
// from it.
typedef struct {
    char *name; // of the file, for messages; NULL when opened from bytes
    kept_file file;
    bytes data; // the bytes behind the header
    json *header;
} part;

typedef struct {
    const char *name;
    size_t begin, end; // within data of its part
    size_t part;
    tensor t;
} entry;

struct st_file {
    part *parts;
    size_t part_count;
    entry *list; // ordered by name after open
    size_t count, cap;
};

// Every dtype of the format that is a whole number of bytes.
static const struct {
    const char *name;
    dtype type;
    size_t size;
} dtypes[] = {
    {"F32", DT_F32, 4},       {"BF16", DT_BF16, 2},     {"F16", DT_F16, 2},
    {"I64", DT_I64, 8},       {"I32", DT_I32, 4},       {"U8", DT_U8, 1},
    {"BOOL", DT_BOOL, 1},     {"I8", DT_OTHER, 1},      {"I16", DT_OTHER, 2},
    {"U16", DT_OTHER, 2},     {"U32", DT_OTHER, 4},     {"U64", DT_OTHER, 8},
    {"F64", DT_OTHER, 8},     {"F8_E4M3", DT_OTHER, 1}, {"F8_E5M2", DT_OTHER, 1},
    {"F8_E8M0", DT_OTHER, 1}, {"C64", DT_OTHER, 8},
};

static status dtype_read(dtype *type, size_t *size, const json *info, err *e) {
    const char *name;
    status rc = json_get_str(info, "dtype", &name, e);
    if (rc) return rc;
    for (size_t i = 0; i < ARRAY_LEN(dtypes); i++) {
        if (strcmp(name, dtypes[i].name) != 0) continue;
        *type = dtypes[i].type;
        *size = dtypes[i].size;
        return OK;
    }
    return err_set(e, ERR_FORMAT, "unknown dtype '%s'", name);
}

// Fills t's shape; *n becomes the number of bytes of its values, each of value_size bytes.
static status shape_read(tensor *t, size_t *n, size_t value_size, const json *info, err *e) {
    const json *shape;
    status rc = json_get_array(info, "shape", &shape, e);
    if (rc) return rc;
    size_t dims = json_len(shape);
    if (dims > TENSOR_DIMS_MAX) {
        return err_set(e, ERR_FORMAT, "%zu dimensions, expected at most %d", dims, TENSOR_DIMS_MAX);
    }
    t->dims = (int)dims;
    bool empty = false;
    *n = value_size;
    for (size_t i = 0; i < dims; i++) {
        const json *d = json_at(shape, i);
        int64_t v = json_int_value(d);
        if (!json_is_int(d) || v < 0) {
            return err_set(e, ERR_FORMAT, "shape[%zu]: expected an integer from 0 up", i);
        }
        t->shape[i] = v;
        empty |= v == 0;
        // The product leaves zeros out, so tensor_count cannot overflow before it meets one.
        if (v && (!size_mul(n, *n, (size_t)v) || *n > INT64_MAX)) {
            return err_set(e, ERR_FORMAT, "its shape is more bytes than memory can address");
        }
    }
    if (empty) *n = 0;
    return OK;
}

static status offsets_read(entry *x, size_t data_size, const json *info, err *e) {
    const json *pair;
    status rc = json_get_array(info, "data_offsets", &pair, e);
    if (rc) return rc;
    const json *a = json_at(pair, 0), *b = json_at(pair, 1);
    int64_t begin = json_int_value(a), end = json_int_value(b);
    if (json_len(pair) != 2 || !json_is_int(a) || !json_is_int(b) || begin < 0 || end < begin) {
        return err_set(e, ERR_FORMAT, "data_offsets: expected [begin, end] with 0 <= begin <= end");
    }
    if ((uint64_t)end > data_size) {
        return err_set(e, ERR_FORMAT, "ends at byte %lld, the file has %zu bytes of data",
                       (long long)end, data_size);
    }
    x->begin = (size_t)begin;
    x->end = (size_t)end;
    return OK;
}

static status info_read(entry *x, const part *p, const json *info, err *e) {
    if (!json_is_object(info)) {
        return err_set(e, ERR_FORMAT, "expected an object, found %s", json_kind(info));
    }
    size_t value_size = 0, n = 0;
    status rc = dtype_read(&x->t.type, &value_size, info, e);
    if (!rc) rc = shape_read(&x->t, &n, value_size, info, e);
    if (!rc) rc = offsets_read(x, p->data.n, info, e);
    if (rc) return rc;
    if (x->end - x->begin != n) {
        char shape[128];
        tensor_shape_text(shape, sizeof shape, x->t.shape, x->t.dims);
        return err_set(e, ERR_FORMAT, "%s of %zu-byte values is %zu bytes, data_offsets hold %zu",
                       shape, value_size, n, x->end - x->begin);
    }
    x->t.data = p->data.p + x->begin;
    return OK;
}

static status metadata_check(const json *meta, err *e) {
    if (!json_is_object(meta)) {
        return err_set(e, ERR_FORMAT, "__metadata__: expected an object, found %s",
                       json_kind(meta));
    }
    return OK;
}

typedef struct {
    st_file *f;
    size_t part;
} member_arg;

static status member_add(void *arg, const char *name, const json *info, err *e) {
    const member_arg *m = arg;
    st_file *f = m->f;
    if (strcmp(name, "__metadata__") == 0) return metadata_check(info, e);
    if (f->count == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 64; // a header's bytes bound the count: no overflow
        entry *list = mem_realloc(f->list, cap * sizeof *list);
        if (!list) return err_set(e, ERR_OOM, "no memory for %zu tensors", cap);
        f->list = list;
        f->cap = cap;
    }
    entry x = {.name = name, .part = m->part};
    status rc = info_read(&x, &f->parts[m->part], info, e);
    if (rc) {
        err_within(e, rc, "tensor %s", name);
        return rc;
    }
    f->list[f->count++] = x;
    return OK;
}

static int by_offset(const void *pa, const void *pb) {
    const entry *a = pa, *b = pb;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    return 0;
}

static int by_name(const void *pa, const void *pb) {
    const entry *a = pa, *b = pb;
    return strcmp(a->name, b->name);
}

// The tensors of one part, from first on, must cover its data exactly once.
static status cover_check(st_file *f, size_t first, size_t data_size, err *e) {
    if (f->count > first) qsort(f->list + first, f->count - first, sizeof *f->list, by_offset);
    size_t at = 0;
    for (size_t i = first; i < f->count; i++) {
        const entry *x = &f->list[i];
        if (x->begin < at) {
            return err_set(e, ERR_FORMAT, "tensors %s and %s overlap at byte %zu of the data",
                           f->list[i - 1].name, x->name, x->begin);
        }
        if (x->begin > at) {
            return err_set(e, ERR_FORMAT, "%zu bytes before tensor %s belong to no tensor",
                           x->begin - at, x->name);
        }
        at = x->end;
    }
    if (at == data_size) return OK;
    return err_set(e, ERR_FORMAT, "%zu bytes at the end belong to no tensor", data_size - at);
}

// Checks image and adds its tensors to f as part number i.
static status part_read(st_file *f, size_t i, bytes image, err *e) {
    part *p = &f->parts[i];
    uint64_t header = 0;
    if (image.n < 8) {
        return err_set(e, ERR_FORMAT, "file has %zu bytes, expected at least 8", image.n);
    }
    for (int k = 7; k >= 0; k--) header = header << 8 | image.p[k];
    if (header > image.n - 8) {
        return err_set(e, ERR_FORMAT, "header claims %llu bytes, file has %zu",
                       (unsigned long long)header, image.n - 8);
    }
    bytes text = {image.p + 8, (size_t)header};
    p->data = (bytes){text.p + text.n, image.n - 8 - text.n};
    status rc = json_parse(&p->header, text, ST_HEADER_MAX, e);
    if (rc) {
        err_within(e, rc, "header");
        return rc == ERR_LIMIT ? ERR_FORMAT : rc;
    }
    if (!json_is_object(p->header)) {
        return err_set(e, ERR_FORMAT, "header: expected an object, found %s", json_kind(p->header));
    }
    size_t first = f->count;
    rc = json_each(p->header, member_add, &(member_arg){f, i}, e);
    return rc ? rc : cover_check(f, first, p->data.n, e);
}

static status part_open(st_file *f, size_t i, const char *path, err *e) {
    part *p = &f->parts[i];
    p->name = mem_strdup(path);
    if (!p->name) return err_set(e, ERR_OOM, "no memory to open %s", path);
    status rc = kept_open(&p->file, path, e);
    if (rc) return rc;
    rc = pretender_check(p->file.map.data, path, e);
    if (rc) return rc;
    rc = part_read(f, i, p->file.map.data, e);
    if (rc) err_within(e, rc, "%s", path);
    return rc;
}

static status file_create(st_file **out, size_t parts, err *e) {
    st_file *f = mem_calloc(1, sizeof *f);
    part *p = mem_calloc(parts, sizeof *p);
    if (!f || !p) {
        mem_free(f);
        mem_free(p);
        return err_set(e, ERR_OOM, "no memory for a safetensors handle");
    }
    f->parts = p;
    f->part_count = parts;
    *out = f;
    return OK;
}

static void order(st_file *f) {
    if (f->count) qsort(f->list, f->count, sizeof *f->list, by_name);
}

static const entry *entry_find(const st_file *f, const char *name) {
    entry key = {.name = name};
    return f->count ? bsearch(&key, f->list, f->count, sizeof *f->list, by_name) : NULL;
}

// The index of a sharded model: names of its distinct shards, in order of first mention.
typedef struct {
    const char *dir;
    const char *names[ST_SHARDS_MAX];
    size_t count, tensors;
    const st_file *f; // for index_agrees
} shard_list;

// A shard lies beside its index: the name must not lead anywhere else.
static bool name_is_plain(const char *s) {
    return *s && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 && !strchr(s, '/');
}

static status shard_note(void *arg, const char *tensor_name, const json *value, err *e) {
    shard_list *l = arg;
    const char *name = json_str_value(value);
    if (!name || !name_is_plain(name)) {
        return err_set(e, ERR_FORMAT, "weight_map.%s: expected a file name, found %s", tensor_name,
                       name ? name : json_kind(value));
    }
    l->tensors++;
    // Neighbours in the map mostly share a shard, so the search from the back is short.
    for (size_t i = l->count; i-- > 0;) {
        if (strcmp(l->names[i], name) == 0) return OK;
    }
    if (l->count == ST_SHARDS_MAX) {
        return err_set(e, ERR_FORMAT, "more than %d shards", ST_SHARDS_MAX);
    }
    l->names[l->count++] = name;
    return OK;
}

static status index_agrees(void *arg, const char *tensor_name, const json *value, err *e) {
    const shard_list *l = arg;
    const char *want = json_str_value(value);
    const entry *x = entry_find(l->f, tensor_name);
    if (!x) {
        return err_set(e, ERR_FORMAT, "index puts tensor %s in %s, which does not hold it",
                       tensor_name, want);
    }
    const char *found = l->names[x->part];
    if (strcmp(found, want) == 0) return OK;
    return err_set(e, ERR_FORMAT, "index puts tensor %s in %s, found in %s", tensor_name, want,
                   found);
}

// f holds every shard, ordered by name.
static status set_check(const st_file *f, const json *map, shard_list *l, err *e) {
    for (size_t i = 1; i < f->count; i++) {
        if (strcmp(f->list[i - 1].name, f->list[i].name) != 0) continue;
        return err_set(e, ERR_FORMAT, "tensor %s is in both %s and %s", f->list[i].name,
                       l->names[f->list[i - 1].part], l->names[f->list[i].part]);
    }
    l->f = f;
    status rc = json_each(map, index_agrees, l, e);
    if (rc || f->count == l->tensors) return rc;
    for (size_t i = 0; i < f->count; i++) { // every name of the index is here, so one is extra
        if (!json_member_of(map, f->list[i].name)) {
            return err_set(e, ERR_FORMAT, "%s holds tensor %s, which the index does not name",
                           l->names[f->list[i].part], f->list[i].name);
        }
    }
    return OK;
}

static status set_open(st_file **out, const json *map, shard_list *l, err *e) {
    status rc = json_each(map, shard_note, l, e);
    if (rc) return rc;
    if (!l->count) return err_set(e, ERR_FORMAT, "weight_map names no tensor");
    st_file *f = NULL;
    rc = file_create(&f, l->count, e);
    for (size_t i = 0; !rc && i < l->count; i++) {
        char path[OS_PATH_MAX];
        rc = os_path_join(path, sizeof path, l->dir, l->names[i], e);
        if (!rc) rc = part_open(f, i, path, e);
    }
    if (!rc) {
        order(f);
        rc = set_check(f, map, l, e);
    }
    if (rc) {
        st_close(f);
        return rc;
    }
    *out = f;
    return OK;
}

static status index_open(st_file **out, const char *dir, const char *path, err *e) {
    json *index;
    status rc = json_parse_file(&index, path, ST_HEADER_MAX, e);
    if (rc) return rc;
    const json *map;
    shard_list *l = mem_calloc(1, sizeof *l);
    if (!l) {
        rc = err_set(e, ERR_OOM, "no memory for the index of %s", dir);
        goto done;
    }
    l->dir = dir;
    rc = json_get_object(index, "weight_map", &map, e);
    if (!rc) rc = set_open(out, map, l, e);
    if (rc) err_within(e, rc, "%s", path);
done:
    mem_free(l);
    json_free(index);
    return rc;
}

status st_open(st_file **out, const char *path, err *e) {
    *out = NULL;
    st_file *f = NULL;
    status rc = file_create(&f, 1, e);
    if (!rc) rc = part_open(f, 0, path, e);
    if (rc) {
        st_close(f);
        return rc;
    }
    order(f);
    *out = f;
    return OK;
}

status st_open_bytes(st_file **out, bytes image, err *e) {
    *out = NULL;
    st_file *f = NULL;
    status rc = file_create(&f, 1, e);
    if (!rc) rc = part_read(f, 0, image, e);
    if (rc) {
        st_close(f);
        return rc;
    }
    order(f);
    *out = f;
    return OK;
}

// The error for a folder without safetensors: it names the weights that the folder has instead.
static status say_none(const char *dir, const char *name, err *e) {
    static const char *const others[][2] = {
        {"diffusion_pytorch_model.bin", "load it with diffusers and save it anew"},
        {"pytorch_model.bin", "load it with transformers and save it with safe_serialization"},
        {"pytorch_model.bin.index.json", "load it with transformers and save it anew"},
        {"state_dict.bin", "convert it with transformers' convert_musicgen_transformers.py"},
        {"tf_model.h5", "load it with transformers (from_tf) and save it anew"},
        {"flax_model.msgpack", "load it with transformers (from_flax) and save it anew"},
        {"model_index.json", "this is a diffusers pipeline that this program does not know"},
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        char path[OS_PATH_MAX];
        if (os_path_join(path, sizeof path, dir, others[i][0], NULL) || !os_exists(path)) continue;
        return err_set(e, ERR_NOT_FOUND, "%s: expected %s.safetensors, found %s: %s", dir, name,
                       others[i][0], others[i][1]);
    }
    return err_set(e, ERR_NOT_FOUND,
                   "%s has neither %s.safetensors nor %s.safetensors.index.json: expected a whole "
                   "checkpoint; stemforge pull ORG/NAME fetches one",
                   dir, name, name);
}

// Whether dir has the file; *path gets its path.
static bool has_file(char path[OS_PATH_MAX], const char *dir, const char *name, const char *end) {
    char file[128];
    snprintf(file, sizeof file, "%s%s", name, end);
    if (os_path_join(path, OS_PATH_MAX, dir, file, NULL)) return false;
    return os_exists(path) || os_is_link(path);
}

status st_open_folder(st_file **out, const char *dir, const char *name, err *e) {
    *out = NULL;
    char path[OS_PATH_MAX];
    if (has_file(path, dir, name, ".safetensors")) return st_open(out, path, e);
    if (has_file(path, dir, name, ".safetensors.index.json")) return index_open(out, dir, path, e);
    if (has_file(path, dir, name, ".fp16.safetensors")) return st_open(out, path, e);
    return say_none(dir, name, e);
}

status st_open_model(st_file **out, const char *dir, err *e) {
    return st_open_folder(out, dir, "model", e);
}

void st_close(st_file *f) {
    if (!f) return;
    for (size_t i = 0; i < f->part_count; i++) {
        json_free(f->parts[i].header);
        kept_close(&f->parts[i].file);
        mem_free(f->parts[i].name);
    }
    mem_free(f->parts);
    mem_free(f->list);
    mem_free(f);
}

const tensor *st_find(const st_file *f, const char *name) {
    const entry *x = entry_find(f, name);
    return x ? &x->t : NULL;
}

size_t st_count(const st_file *f) {
    return f->count;
}
const char *st_name_at(const st_file *f, size_t i) {
    return f->list[i].name;
}
const tensor *st_at(const st_file *f, size_t i) {
    return &f->list[i].t;
}

const char *st_metadata(const st_file *f, const char *key) {
    for (size_t i = 0; i < f->part_count; i++) {
        const char *v =
            json_str_value(json_member_of(json_member_of(f->parts[i].header, "__metadata__"), key));
        if (v) return v;
    }
    return NULL;
}

void st_forget(const st_file *f, const tensor *t) {
    const bytes data = {t->data, (size_t)tensor_count(t) * dtype_size(t->type)};
    for (size_t i = 0; i < f->part_count; i++) {
        bytes file = f->parts[i].file.map.data;
        uintptr_t at = (uintptr_t)data.p - (uintptr_t)file.p;
        if (at < file.n) os_map_forget(&f->parts[i].file.map, data);
    }
}

status st_check(const st_file *f, err *e) {
    status rc = OK;
    for (size_t i = 0; i < f->part_count && !rc; i++)
        rc = kept_check(&f->parts[i].file, f->parts[i].name ? f->parts[i].name : "", e);
    return rc;
}

static status info_write(json *header, const st_entry *x, size_t *at, err *e) {
    size_t n = (size_t)tensor_count(&x->t) * dtype_size(x->t.type);
    json *info = json_new_object(), *shape = json_new_array(), *offsets = json_new_array();
    bool ok = info && shape && offsets;
    for (int i = 0; ok && i < x->t.dims; i++) ok = json_add(shape, json_new_int(x->t.shape[i]));
    ok = ok && json_add(offsets, json_new_int((int64_t)*at));
    ok = ok && json_add(offsets, json_new_int((int64_t)(*at + n)));
    ok = ok && json_set_str(info, "dtype", dtype_name(x->t.type));
    if (!ok) {
        json_free(shape);
        json_free(offsets);
        json_free(info);
        return err_set(e, ERR_OOM, "no memory for the header");
    }
    // json_set takes its child whether it succeeds or not.
    ok = json_set(info, "shape", shape);
    ok = json_set(info, "data_offsets", offsets) && ok;
    ok = json_set(header, x->name, info) && ok;
    *at += n;
    return ok ? OK : err_set(e, ERR_OOM, "no memory for the header, or a name is not UTF-8");
}

static status header_write(buf *to, const st_entry *list, size_t n, const json *metadata, err *e) {
    json *header = json_new_object();
    status rc = header ? OK : err_set(e, ERR_OOM, "no memory for the header");
    if (!rc && metadata && !json_set(header, "__metadata__", json_copy_of(metadata))) {
        rc = err_set(e, ERR_OOM, "no memory for the metadata");
    }
    size_t at = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        if (list[i].t.type == DT_OTHER || json_member_of(header, list[i].name)) {
            rc =
                err_set(e, ERR_ARG, "tensor %s cannot be written, or is given twice", list[i].name);
        }
        if (!rc) rc = info_write(header, &list[i], &at, e);
    }
    if (!rc) rc = json_write(to, header, JSON_TIGHT, e);
    json_free(header);
    while (!rc && to->n % 8) {
        buf_add_char(to, ' ');
        rc = buf_status(to, e);
    }
    return rc;
}

status st_write(const char *path, const st_entry *list, size_t n, const json *metadata, err *e) {
    buf header;
    buf_init(&header, ST_HEADER_MAX);
    os_atomic_file *f = NULL;
    status rc = header_write(&header, list, n, metadata, e);
    if (!rc) rc = os_atomic_open(&f, path, e);
    uint8_t size[8];
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)header.n >> 8 * i);
    if (!rc) rc = os_atomic_write(f, (bytes){size, sizeof size}, e);
    if (!rc) rc = os_atomic_write(f, buf_bytes(&header), e);
    for (size_t i = 0; !rc && i < n; i++) {
        const tensor *t = &list[i].t;
        rc = os_atomic_write(f, (bytes){t->data, (size_t)tensor_count(t) * dtype_size(t->type)}, e);
    }
    if (rc)
        os_atomic_abandon(f);
    else
        rc = os_atomic_commit(f, e);
    buf_deinit(&header);
    return rc;
}
