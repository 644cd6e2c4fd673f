// gguf_write.c - writing; see gguf.h.
#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "format/gguf.h"

#define HEADER_MAX ((size_t)256 << 20)

// Types of metadata values in the file; gguf.c has them all.
enum { KV_U8 = 0, KV_U32 = 4, KV_F32 = 6, KV_BOOL = 7, KV_STR = 8, KV_ARRAY = 9, KV_I64 = 11 };

typedef struct {
    gguf_tensor t;
    char name[GGUF_NAME_MAX + 1];
} entry;

struct gguf_writer {
    buf keys;       // the pairs as they stand in the file; remembers a failure
    size_t *key_at; // where in keys each begins
    size_t key_count, key_cap;
    entry *list;
    size_t count, cap;
};

static void add_le(buf *b, uint64_t v, size_t n) {
    uint8_t p[8];
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
    buf_add(b, p, n);
}

static void add_str(buf *b, bytes s) {
    add_le(b, s.n, 8);
    buf_add(b, s.p, s.n);
}

static bool key_ok(const char *key) {
    size_t n = strlen(key);
    return n && n <= GGUF_KEY_MAX && strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

static bool key_is_taken(const gguf_writer *w, const char *key) {
    size_t n = strlen(key);
    for (size_t i = 0; i < w->key_count; i++) {
        const uint8_t *p = (const uint8_t *)w->keys.p + w->key_at[i];
        size_t len = p[0] | (size_t)p[1] << 8; // of at most GGUF_KEY_MAX
        if (len == n && memcmp(p + 8, key, n) == 0) return true;
    }
    return false;
}

// Starts a pair.
static status put_key(gguf_writer *w, const char *key, uint32_t type, err *e) {
    status rc = buf_status(&w->keys, e);
    if (rc) return rc;
    if (!key_ok(key) || key_is_taken(w, key)) {
        return err_set(e, ERR_ARG, "'%.64s' is no key, or is given twice: expected a.b_c", key);
    }
    if (w->key_count == w->key_cap) {
        size_t cap = w->key_cap ? 2 * w->key_cap : 64;
        size_t *at = mem_realloc(w->key_at, cap * sizeof *at);
        if (!at) return err_set(e, ERR_OOM, "no memory for %zu keys", cap);
        w->key_at = at;
        w->key_cap = cap;
    }
    size_t at = w->keys.n;
    add_str(&w->keys, bytes_of(key));
    add_le(&w->keys, type, 4);
    rc = buf_status(&w->keys, e);
    if (!rc) w->key_at[w->key_count++] = at;
    return rc;
}

static status put_le(gguf_writer *w, const char *key, uint32_t type, uint64_t v, size_t n, err *e) {
    status rc = put_key(w, key, type, e);
    if (rc) return rc;
    add_le(&w->keys, v, n);
    return buf_status(&w->keys, e);
}

status gguf_writer_open(gguf_writer **out, err *e) {
    *out = NULL;
    gguf_writer *w = mem_calloc(1, sizeof *w);
    if (!w) return err_set(e, ERR_OOM, "no memory to write GGUF");
    buf_init(&w->keys, HEADER_MAX);
    status rc = gguf_put_u32(w, "general.alignment", GGUF_ALIGN_OUT, e);
    if (rc)
        gguf_writer_close(w);
    else
        *out = w;
    return rc;
}

void gguf_writer_close(gguf_writer *w) {
    if (!w) return;
    buf_deinit(&w->keys);
    mem_free(w->key_at);
    mem_free(w->list);
    mem_free(w);
}

status gguf_put_str(gguf_writer *w, const char *key, bytes value, err *e) {
    status rc = put_key(w, key, KV_STR, e);
    if (rc) return rc;
    add_str(&w->keys, value);
    return buf_status(&w->keys, e);
}

status gguf_put_u32(gguf_writer *w, const char *key, uint32_t value, err *e) {
    return put_le(w, key, KV_U32, value, 4, e);
}

status gguf_put_i64(gguf_writer *w, const char *key, int64_t value, err *e) {
    return put_le(w, key, KV_I64, (uint64_t)value, 8, e);
}

status gguf_put_f32(gguf_writer *w, const char *key, float value, err *e) {
    uint32_t u;
    memcpy(&u, &value, sizeof u);
    return put_le(w, key, KV_F32, u, 4, e);
}

status gguf_put_bool(gguf_writer *w, const char *key, bool value, err *e) {
    return put_le(w, key, KV_BOOL, value, 1, e);
}

static status put_array(gguf_writer *w, const char *key, uint32_t item, size_t n, err *e) {
    status rc = put_le(w, key, KV_ARRAY, item, 4, e);
    if (rc) return rc;
    add_le(&w->keys, n, 8);
    return buf_status(&w->keys, e);
}

status gguf_put_blob(gguf_writer *w, const char *key, bytes value, err *e) {
    status rc = put_array(w, key, KV_U8, value.n, e);
    if (rc) return rc;
    buf_add(&w->keys, value.p, value.n);
    return buf_status(&w->keys, e);
}

status gguf_put_strs(gguf_writer *w, const char *key, const bytes *list, size_t n, err *e) {
    status rc = put_array(w, key, KV_STR, n, e);
    if (rc) return rc;
    for (size_t i = 0; i < n; i++) add_str(&w->keys, list[i]);
    return buf_status(&w->keys, e);
}

static bool name_is_taken(const gguf_writer *w, const char *name) {
    for (size_t i = 0; i < w->count; i++) {
        if (strcmp(w->list[i].name, name) == 0) return true;
    }
    return false;
}

status gguf_add(gguf_writer *w, const gguf_tensor *t, err *e) {
    size_t n = strlen(t->name);
    if (!n || n > GGUF_NAME_MAX || name_is_taken(w, t->name)) {
        return err_set(e, ERR_ARG, "tensor '%s': expected a new name of 1 to %d bytes", t->name,
                       GGUF_NAME_MAX);
    }
    entry x = {.t = *t};
    if (!gguf_size(&x.t.size, t->type, t->shape, t->dims)) {
        char shape[128];
        tensor_shape_text(shape, sizeof shape, t->shape, MIN(MAX(t->dims, 0), GGUF_DIMS_MAX));
        return err_set(e, ERR_ARG, "tensor %s: %s of %d dimensions cannot be stored as this type",
                       t->name, shape, t->dims);
    }
    if (w->count == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 64;
        entry *list = mem_realloc(w->list, cap * sizeof *list);
        if (!list) return err_set(e, ERR_OOM, "no memory for %zu tensors", cap);
        w->list = list;
        w->cap = cap;
    }
    memcpy(x.name, t->name, n + 1);
    w->list[w->count++] = x;
    return OK;
}

static const uint8_t zeros[GGUF_ALIGN_OUT];

static void add_info(buf *b, const entry *x, size_t offset) {
    add_str(b, bytes_of(x->name));
    add_le(b, (uint64_t)x->t.dims, 4);
    for (int i = x->t.dims; i-- > 0;) add_le(b, (uint64_t)x->t.shape[i], 8); // innermost first
    add_le(b, (uint64_t)x->t.type, 4);
    add_le(b, offset, 8);
}

static status header_make(const gguf_writer *w, buf *b, err *e) {
    buf_add_str(b, "GGUF");
    add_le(b, 3, 4);
    add_le(b, w->count, 8);
    add_le(b, w->key_count, 8);
    buf_add(b, w->keys.p, w->keys.n);
    size_t offset = 0;
    for (size_t i = 0; i < w->count; i++) {
        size_t n = w->list[i].t.size;
        add_info(b, &w->list[i], offset);
        if (n > INT64_MAX - offset - GGUF_ALIGN_OUT) return err_set(e, ERR_ARG, "too much data");
        offset = size_align(offset + n, GGUF_ALIGN_OUT);
    }
    buf_add(b, zeros, size_align(b->n, GGUF_ALIGN_OUT) - b->n);
    return buf_status(b, e);
}

static status data_write(const gguf_writer *w, os_atomic_file *f, gguf_source source, void *arg,
                         err *e) {
    for (size_t i = 0; i < w->count; i++) {
        gguf_tensor t = w->list[i].t;
        t.name = w->list[i].name;
        const void *data = t.data;
        assert(data || source || !t.size);
        status rc = data || !t.size ? OK : source(arg, i, &t, &data, e);
        if (!rc) rc = os_atomic_write(f, (bytes){data, t.size}, e);
        if (!rc)
            rc = os_atomic_write(f, (bytes){zeros, size_align(t.size, GGUF_ALIGN_OUT) - t.size}, e);
        if (rc) return rc;
    }
    return OK;
}

status gguf_write(gguf_writer *w, const char *path, gguf_source source, void *arg, err *e) {
    status rc = buf_status(&w->keys, e);
    if (rc) return rc;
    buf header;
    buf_init(&header, 2 * HEADER_MAX);
    os_atomic_file *f = NULL;
    rc = header_make(w, &header, e);
    if (!rc) rc = os_atomic_open(&f, path, e);
    if (!rc) rc = os_atomic_write(f, buf_bytes(&header), e);
    if (!rc) rc = data_write(w, f, source, arg, e);
    if (rc)
        os_atomic_abandon(f);
    else
        rc = os_atomic_commit(f, e);
    buf_deinit(&header);
    return rc;
}
