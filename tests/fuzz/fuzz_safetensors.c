// fuzz_safetensors.c - any bytes as a weight file; what opens must be readable to its last byte.
#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    st_file *f;
    if (st_open_bytes(&f, (bytes){p, n}, NULL) != OK) return 0;
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < st_count(f); i++) {
        const tensor *t = st_at(f, i);
        const uint8_t *data = t->data;
        size_t size = (size_t)tensor_count(t) * dtype_size(t->type);
        for (size_t k = 0; k < size; k++) sum = (uint8_t)(sum + data[k]);
        if (st_find(f, st_name_at(f, i)) != t) __builtin_trap();
    }
    st_metadata(f, "format");
    st_close(f);
    return 0;
}
