// gguf.c - reading; see gguf.h. gguf_write.c has the other half, gguf_type.c the tensors' types.
#include "format/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/kept.h"
#include "base/mem.h"
#include "base/os.h"

#define KEYS_MAX 65536
#define TENSORS_MAX (1 << 20)
#define NEST_MAX 4 // arrays in arrays
#define ALIGN_MAX 65536

// Types of metadata values.
typedef enum {
    KV_U8,
    KV_I8,
    KV_U16,
    KV_I16,
    KV_U32,
    KV_I32,
    KV_F32,
    KV_BOOL,
    KV_STR,
    KV_ARRAY,
    KV_U64,
    KV_I64,
    KV_F64,
    KV_TYPES
} kv_type;

static const struct {
    const char *name;
    size_t size; // bytes of a value; 0: its length stands in front of it
} kv_types[KV_TYPES] = {
    [KV_U8] = {"u8", 1},       [KV_I8] = {"i8", 1},     [KV_U16] = {"u16", 2},
    [KV_I16] = {"i16", 2},     [KV_U32] = {"u32", 4},   [KV_I32] = {"i32", 4},
    [KV_F32] = {"f32", 4},     [KV_BOOL] = {"bool", 1}, [KV_STR] = {"string", 0},
    [KV_ARRAY] = {"array", 0}, [KV_U64] = {"u64", 8},   [KV_I64] = {"i64", 8},
    [KV_F64] = {"f64", 8},
};

typedef struct {
    bytes key;
    uint32_t type, item; // item: of an array's elements
    uint64_t n;          // elements
    bytes raw;           // value; of an array its elements
} kv;

typedef struct {
    gguf_tensor t;
    size_t begin; // within the data
} entry;

struct gguf_file {
    kept_file file;
    bytes image;
    kv *kvs;     // in file order
    kv **by_key; // ordered
    size_t kv_count;
    entry *list; // ordered by name after open
    size_t count;
    char *names; // of the tensors, each with its NUL
};

// ---- a cursor that never leaves the image

typedef struct {
    const uint8_t *p;
    size_t n, at;
    bool bad; // something went past the end; stays
} cursor;

static const uint8_t *take(cursor *c, size_t n) {
    if (c->bad || n > c->n - c->at) {
        c->bad = true;
        return NULL;
    }
    c->at += n;
    return c->p + c->at - n;
}

static uint64_t take_le(cursor *c, size_t n) {
    const uint8_t *p = take(c, n);
    uint64_t v = 0;
    for (size_t i = n; p && i-- > 0;) v = v << 8 | p[i];
    return v;
}

static uint32_t take_u32(cursor *c) {
    return (uint32_t)take_le(c, 4);
}

static bytes take_str(cursor *c) {
    uint64_t n = take_le(c, 8);
    const uint8_t *p = n <= c->n ? take(c, (size_t)n) : NULL;
    if (!p) c->bad = true;
    return (bytes){p, p ? (size_t)n : 0};
}

static status cut_short(const cursor *c, const char *what, err *e) {
    return err_set(e, ERR_FORMAT, "%s goes past the end of the file (%zu bytes)", what, c->n);
}

// ---- metadata

static void skip_elements(cursor *c, uint32_t type, uint64_t n, int depth);

// Skips an array. False when its type or its depth is not known.
static bool skip_array(cursor *c, int depth) {
    uint32_t item = take_u32(c);
    uint64_t n = take_le(c, 8);
    if (item >= KV_TYPES || depth > NEST_MAX) return false;
    skip_elements(c, item, n, depth);
    return true;
}

static void skip_elements(cursor *c, uint32_t type, uint64_t n, int depth) {
    size_t total;
    if (kv_types[type].size) {
        bool fits = n <= c->n && size_mul(&total, (size_t)n, kv_types[type].size);
        if (!fits || !take(c, total)) c->bad = true;
        return;
    }
    // Each element takes bytes of the file, so a huge count ends with the file.
    for (uint64_t i = 0; i < n && !c->bad; i++) {
        if (type == KV_STR)
            take_str(c);
        else if (!skip_array(c, depth + 1))
            c->bad = true;
    }
}

static status kv_read(kv *x, cursor *c, err *e) {
    x->key = take_str(c);
    x->type = take_u32(c);
    if (c->bad || !x->key.n || x->key.n > GGUF_KEY_MAX) {
        return err_set(e, ERR_FORMAT, "expected a key of 1 to %d bytes", GGUF_KEY_MAX);
    }
    if (x->type >= KV_TYPES) return err_set(e, ERR_FORMAT, "value of unknown type %u", x->type);
    x->n = 1;
    x->item = x->type;
    if (x->type == KV_ARRAY) {
        x->item = take_u32(c);
        x->n = take_le(c, 8);
        if (x->item >= KV_TYPES) return err_set(e, ERR_FORMAT, "array of unknown type %u", x->item);
    }
    size_t begin = c->at;
    if (!c->bad) skip_elements(c, x->item, x->n, 0);
    if (c->bad) return cut_short(c, "its value", e);
    x->raw = (bytes){c->p + begin, c->at - begin};
    return OK;
}

static int key_order(bytes a, bytes b) {
    int c = memcmp(a.p, b.p, MIN(a.n, b.n));
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_key(const void *pa, const void *pb) {
    const kv *const *a = pa, *const *b = pb;
    return key_order((*a)->key, (*b)->key);
}

// The number of bytes of a key that can be printed.
static void key_text(char out[64], bytes key) {
    size_t n = 0;
    for (size_t i = 0; i < key.n && n < 63; i++) {
        out[n++] = key.p[i] > ' ' && key.p[i] < 0x7f ? (char)key.p[i] : '?';
    }
    out[n] = 0;
}

static status kvs_read(gguf_file *f, cursor *c, uint64_t n, err *e) {
    // The least pair has a key of one byte, its length, a type and one byte of value.
    if (n > KEYS_MAX || n > (c->n - c->at) / 14) {
        return err_set(e, ERR_FORMAT, "%llu keys in a file of %zu bytes, expected at most %d",
                       (unsigned long long)n, c->n, KEYS_MAX);
    }
    f->kvs = mem_calloc((size_t)n, sizeof *f->kvs);
    f->by_key = mem_calloc((size_t)n, sizeof *f->by_key);
    if (!f->kvs || !f->by_key) return err_set(e, ERR_OOM, "no memory for %zu keys", (size_t)n);
    char name[64];
    for (size_t i = 0; i < n; i++) {
        status rc = kv_read(&f->kvs[i], c, e);
        if (rc) {
            key_text(name, f->kvs[i].key);
            err_within(e, rc, "key %zu '%s'", i, name);
            return rc;
        }
        f->by_key[i] = &f->kvs[i];
    }
    f->kv_count = (size_t)n;
    if (n) qsort(f->by_key, f->kv_count, sizeof *f->by_key, by_key);
    for (size_t i = 1; i < n; i++) {
        if (key_order(f->by_key[i - 1]->key, f->by_key[i]->key) != 0) continue;
        key_text(name, f->by_key[i]->key);
        return err_set(e, ERR_FORMAT, "key '%s' is given twice", name);
    }
    return OK;
}

static const kv *kv_find(const gguf_file *f, const char *key) {
    size_t lo = 0, hi = f->kv_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = key_order(f->by_key[mid]->key, bytes_of(key));
        if (c == 0) return f->by_key[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

// ---- tensors

static status name_read(gguf_tensor *t, cursor *c, char **names, err *e) {
    bytes name = take_str(c);
    if (c->bad) return cut_short(c, "its name", e);
    if (!name.n || memchr(name.p, 0, name.n)) {
        return err_set(e, ERR_FORMAT, "name of %zu bytes is empty or has a NUL in it", name.n);
    }
    memcpy(*names, name.p, name.n);
    (*names)[name.n] = 0;
    t->name = *names;
    *names += name.n + 1;
    return OK;
}

static status shape_read(gguf_tensor *t, cursor *c, err *e) {
    uint32_t dims = take_u32(c);
    if (dims < 1 || dims > GGUF_DIMS_MAX) {
        return err_set(e, ERR_FORMAT, "%u dimensions, expected 1 to %d", dims, GGUF_DIMS_MAX);
    }
    t->dims = (int)dims;
    for (int i = t->dims; i-- > 0;) { // the file has the innermost first
        uint64_t v = take_le(c, 8);
        t->shape[i] = v <= INT64_MAX ? (int64_t)v : -1;
    }
    uint32_t type = take_u32(c);
    if (!gguf_type_name((gguf_type)type))
        return err_set(e, ERR_FORMAT, "type %u is not supported", type);
    t->type = (gguf_type)type;
    if (gguf_size(&t->size, t->type, t->shape, t->dims)) return OK;
    return err_set(e, ERR_FORMAT, "its shape overflows, or a row is not whole blocks of %s",
                   gguf_type_name(t->type));
}

static status infos_read(gguf_file *f, cursor *c, uint64_t n, err *e) {
    size_t left = c->n - c->at;
    if (n > TENSORS_MAX || n > left / 33) { // least: name of one byte, one dimension
        return err_set(e, ERR_FORMAT, "%llu tensors in a file of %zu bytes, expected at most %d",
                       (unsigned long long)n, c->n, TENSORS_MAX);
    }
    f->list = mem_calloc((size_t)n, sizeof *f->list);
    if (!f->list) return err_set(e, ERR_OOM, "no memory for %zu tensors", (size_t)n);
    // The first pass adds up the lengths of the names; all else has a known length.
    cursor ahead = *c;
    size_t names = 0;
    for (size_t i = 0; i < n && !ahead.bad; i++) {
        names += take_str(&ahead).n + 1;
        uint32_t dims = take_u32(&ahead);
        if (dims > GGUF_DIMS_MAX) break; // the second pass reports it
        take(&ahead, 8 * (size_t)dims + 12);
    }
    f->names = mem_alloc(names);
    if (!f->names) return err_set(e, ERR_OOM, "no memory for %zu names", (size_t)n);
    char *at = f->names;
    for (size_t i = 0; i < n; i++) {
        entry *x = &f->list[i];
        status rc = ahead.bad ? cut_short(c, "one of the tensors", e) : name_read(&x->t, c, &at, e);
        if (rc) return rc;
        rc = shape_read(&x->t, c, e);
        uint64_t offset = take_le(c, 8);
        if (!rc && (c->bad || offset > c->n)) rc = cut_short(c, "its data", e);
        if (rc) {
            err_within(e, rc, "tensor %s", x->t.name);
            return rc;
        }
        x->begin = (size_t)offset;
        f->count++;
    }
    return OK;
}

static int by_offset(const void *pa, const void *pb) {
    const entry *a = pa, *b = pb;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return (a->t.size > b->t.size) - (a->t.size < b->t.size);
}

static int by_name(const void *pa, const void *pb) {
    const entry *a = pa, *b = pb;
    return strcmp(a->t.name, b->t.name);
}

// data: the bytes behind the header, from the first aligned one on.
static status data_check(gguf_file *f, bytes data, size_t align, err *e) {
    if (f->count) qsort(f->list, f->count, sizeof *f->list, by_offset);
    size_t at = 0;
    for (size_t i = 0; i < f->count; i++) {
        entry *x = &f->list[i];
        if (x->begin != at) {
            return err_set(e, ERR_FORMAT, "tensor %s begins at byte %zu of the data, expected %zu",
                           x->t.name, x->begin, at);
        }
        if (x->begin > data.n || x->t.size > data.n - x->begin) {
            return err_set(e, ERR_FORMAT, "tensor %s is %zu bytes at %zu, the file has %zu of data",
                           x->t.name, x->t.size, x->begin, data.n);
        }
        x->t.data = data.p + x->begin;
        at = size_align(x->begin + x->t.size, align);
    }
    if (data.n > at) {
        return err_set(e, ERR_FORMAT, "%zu bytes at the end belong to no tensor", data.n - at);
    }
    if (f->count) qsort(f->list, f->count, sizeof *f->list, by_name);
    for (size_t i = 1; i < f->count; i++) {
        if (strcmp(f->list[i - 1].t.name, f->list[i].t.name) == 0) {
            return err_set(e, ERR_FORMAT, "tensor %s is given twice", f->list[i].t.name);
        }
    }
    return OK;
}

static status align_read(const gguf_file *f, size_t *align, err *e) {
    int64_t v = GGUF_ALIGN;
    status rc = OK;
    if (kv_find(f, "general.alignment")) {
        rc = gguf_get_int(f, "general.alignment", 8, ALIGN_MAX, &v, e);
    }
    if (!rc && (v & (v - 1))) {
        rc = err_set(e, ERR_FORMAT, "alignment of %lld, expected a power of two", (long long)v);
    }
    *align = (size_t)v;
    return rc;
}

static status image_read(gguf_file *f, err *e) {
    cursor c = {.p = f->image.p, .n = f->image.n};
    const uint8_t *magic = take(&c, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0) {
        return err_set(e, ERR_FORMAT, "not a GGUF file");
    }
    uint32_t version = take_u32(&c);
    if (version != 2 && version != 3) { // what we read is the same in both
        return err_set(e, ERR_FORMAT, "GGUF version %u, expected 3 (little-endian)", version);
    }
    uint64_t tensors = take_le(&c, 8), keys = take_le(&c, 8);
    if (c.bad) return cut_short(&c, "the header", e);
    size_t align;
    status rc = kvs_read(f, &c, keys, e);
    if (!rc) rc = align_read(f, &align, e);
    if (!rc) rc = infos_read(f, &c, tensors, e);
    if (rc) return rc;
    size_t begin = MIN(size_align(c.at, align), c.n); // a file without tensors may end before
    return data_check(f, (bytes){c.p + begin, c.n - begin}, align, e);
}

static status handle_open(gguf_file **out, const char *path, bytes image, err *e) {
    *out = NULL;
    gguf_file *f = mem_calloc(1, sizeof *f);
    if (!f) return err_set(e, ERR_OOM, "no memory for a GGUF handle");
    status rc = path ? kept_open(&f->file, path, e) : OK;
    if (!rc) {
        f->image = path ? f->file.map.data : image;
        rc = image_read(f, e);
        if (rc && path) err_within(e, rc, "%s", path);
    }
    if (rc) {
        gguf_close(f);
        return rc;
    }
    *out = f;
    return OK;
}

status gguf_open(gguf_file **out, const char *path, err *e) {
    return handle_open(out, path, (bytes){0}, e);
}

status gguf_open_bytes(gguf_file **out, bytes image, err *e) {
    return handle_open(out, NULL, image, e);
}

void gguf_close(gguf_file *f) {
    if (!f) return;
    kept_close(&f->file);
    mem_free(f->kvs);
    mem_free(f->by_key);
    mem_free(f->list);
    mem_free(f->names);
    mem_free(f);
}

bool gguf_is(const char *path) {
    os_file_map map;
    if (os_map_open(&map, path, NULL)) return false;
    bool is = map.data.n >= 4 && memcmp(map.data.p, "GGUF", 4) == 0;
    os_map_close(&map);
    return is;
}

size_t gguf_count(const gguf_file *f) {
    return f->count;
}

const gguf_tensor *gguf_at(const gguf_file *f, size_t i) {
    return &f->list[i].t;
}

const gguf_tensor *gguf_find(const gguf_file *f, const char *name) {
    entry key = {.t.name = name};
    const entry *x = f->count ? bsearch(&key, f->list, f->count, sizeof *f->list, by_name) : NULL;
    return x ? &x->t : NULL;
}

void gguf_forget(const gguf_file *f, const char *prefix) {
    for (size_t i = 0; i < f->count; i++) {
        const gguf_tensor *t = &f->list[i].t;
        if (strncmp(t->name, prefix, strlen(prefix)) == 0)
            os_map_forget(&f->file.map, (bytes){t->data, t->size});
    }
}

void gguf_forget_data(const gguf_file *f, bytes data) {
    os_map_forget(&f->file.map, data);
}

status gguf_check(const gguf_file *f, const char *path, err *e) {
    return kept_check(&f->file, path, e);
}

// ---- values

static status kv_get(const gguf_file *f, const char *key, const kv **out, err *e) {
    *out = kv_find(f, key);
    return *out ? OK : err_set(e, ERR_NOT_FOUND, "the file has no key %s", key);
}

static status wrong(const kv *x, const char *key, const char *want, err *e) {
    return err_set(e, ERR_FORMAT, "%s: expected %s, found %s%s", key, want, kv_types[x->item].name,
                   x->type == KV_ARRAY ? " array" : "");
}

static uint64_t raw_le(const kv *x) {
    cursor c = {.p = x->raw.p, .n = x->raw.n};
    return take_le(&c, x->raw.n);
}

// Reads a value of any integer type. False for other types and for values over an int64_t.
static bool raw_int(const kv *x, int64_t *out) {
    uint64_t v = x->type == KV_ARRAY || x->type == KV_STR ? 0 : raw_le(x);
    switch (x->type) {
    case KV_U8:
    case KV_U16:
    case KV_U32: *out = (int64_t)v; return true;
    case KV_U64: *out = (int64_t)v; return v <= INT64_MAX;
    case KV_I8: *out = (int8_t)v; return true;
    case KV_I16: *out = (int16_t)v; return true;
    case KV_I32: *out = (int32_t)v; return true;
    case KV_I64: *out = (int64_t)v; return true;
    default: return false;
    }
}

status gguf_get_str(const gguf_file *f, const char *key, bytes *out, err *e) {
    const kv *x;
    status rc = kv_get(f, key, &x, e);
    if (rc) return rc;
    if (x->type != KV_STR) return wrong(x, key, "a string", e);
    *out = (bytes){x->raw.p + 8, x->raw.n - 8};
    return OK;
}

status gguf_get_int(const gguf_file *f, const char *key, int64_t lo, int64_t hi, int64_t *out,
                    err *e) {
    const kv *x;
    int64_t v;
    status rc = kv_get(f, key, &x, e);
    if (rc) return rc;
    if (!raw_int(x, &v)) return wrong(x, key, "an integer", e);
    if (v < lo || v > hi) {
        return err_set(e, ERR_FORMAT, "%s: expected %lld to %lld, found %lld", key, (long long)lo,
                       (long long)hi, (long long)v);
    }
    *out = v;
    return OK;
}

status gguf_get_num(const gguf_file *f, const char *key, double *out, err *e) {
    const kv *x;
    int64_t v;
    status rc = kv_get(f, key, &x, e);
    if (rc) return rc;
    if (x->type == KV_F32) {
        uint32_t u = (uint32_t)raw_le(x);
        float one;
        memcpy(&one, &u, sizeof one);
        *out = (double)one;
    } else if (x->type == KV_F64) {
        uint64_t u = raw_le(x);
        memcpy(out, &u, sizeof *out);
    } else if (raw_int(x, &v)) {
        *out = (double)v;
    } else {
        return wrong(x, key, "a number", e);
    }
    return OK;
}

status gguf_get_bool(const gguf_file *f, const char *key, bool *out, err *e) {
    const kv *x;
    status rc = kv_get(f, key, &x, e);
    if (rc) return rc;
    if (x->type != KV_BOOL) return wrong(x, key, "a bool", e);
    *out = x->raw.p[0] != 0;
    return OK;
}

status gguf_get_blob(const gguf_file *f, const char *key, bytes *out, err *e) {
    const kv *x;
    status rc = kv_get(f, key, &x, e);
    if (rc) return rc;
    bool is = x->type == KV_ARRAY && (x->item == KV_U8 || x->item == KV_I8);
    if (!is) return wrong(x, key, "an array of bytes", e);
    *out = x->raw;
    return OK;
}

status gguf_each_str(const gguf_file *f, const char *key, gguf_use_str use, void *arg, err *e) {
    const kv *x;
    status rc = kv_get(f, key, &x, e);
    if (rc) return rc;
    if (x->type != KV_ARRAY || x->item != KV_STR) return wrong(x, key, "an array of strings", e);
    cursor c = {.p = x->raw.p, .n = x->raw.n};
    for (uint64_t i = 0; !rc && i < x->n; i++) rc = use(arg, (size_t)i, take_str(&c), e);
    return rc;
}

size_t gguf_key_count(const gguf_file *f) {
    return f->kv_count;
}

bytes gguf_key_at(const gguf_file *f, size_t i) {
    return f->kvs[i].key;
}
