// fuzz_gguf.c - any bytes as a GGUF file; what opens must be readable to its last byte.
#include <string.h>

#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static volatile uint8_t sum;

static void touch(bytes b) {
    for (size_t i = 0; i < b.n; i++) sum = (uint8_t)(sum + b.p[i]);
}

static status touch_str(void *arg, size_t i, bytes s, err *e) {
    (void)arg, (void)i, (void)e;
    touch(s);
    return OK;
}

static void touch_value(const gguf_file *f, bytes key) {
    char name[256];
    if (key.n >= sizeof name || memchr(key.p, 0, key.n)) return;
    memcpy(name, key.p, key.n);
    name[key.n] = 0;
    bytes s;
    int64_t v;
    double d;
    bool b;
    int found = 0;
    found += gguf_get_str(f, name, &s, NULL) == OK ? (touch(s), 1) : 0;
    found += gguf_get_blob(f, name, &s, NULL) == OK ? (touch(s), 1) : 0;
    found += gguf_get_bool(f, name, &b, NULL) == OK;
    found += gguf_get_num(f, name, &d, NULL) == OK;
    found += gguf_each_str(f, name, touch_str, NULL, NULL) == OK;
    gguf_get_int(f, name, INT64_MIN, INT64_MAX, &v, NULL);
    if (found > 1) __builtin_trap(); // one value, one type
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    gguf_file *f;
    if (gguf_open_bytes(&f, (bytes){p, n}, NULL) != OK) return 0;
    for (size_t i = 0; i < gguf_key_count(f); i++) touch_value(f, gguf_key_at(f, i));
    for (size_t i = 0; i < gguf_count(f); i++) {
        const gguf_tensor *t = gguf_at(f, i);
        touch((bytes){t->data, t->size});
        if (gguf_find(f, t->name) != t) __builtin_trap();
    }
    gguf_close(f);
    return 0;
}
