// gguf_type.c - see gguf.h: the types of tensors.
#include "format/gguf.h"

static const struct {
    gguf_type type;
    const char *name;
    size_t block, size; // values and bytes of a block
    int dense;          // dtype, -1: none
} types[] = {
    {GGUF_F32, "F32", 1, 4, DT_F32}, {GGUF_F16, "F16", 1, 2, DT_F16},
    {GGUF_Q4_0, "Q4_0", 32, 18, -1}, {GGUF_Q8_0, "Q8_0", 32, 34, -1},
    {GGUF_I8, "I8", 1, 1, -1},       {GGUF_I16, "I16", 1, 2, -1},
    {GGUF_I32, "I32", 1, 4, DT_I32}, {GGUF_I64, "I64", 1, 8, DT_I64},
    {GGUF_F64, "F64", 1, 8, -1},     {GGUF_BF16, "BF16", 1, 2, DT_BF16},
};

static int type_index(uint32_t t) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if ((uint32_t)types[i].type == t) return (int)i;
    }
    return -1;
}

const char *gguf_type_name(gguf_type t) {
    int i = type_index((uint32_t)t);
    return i < 0 ? NULL : types[i].name;
}

bool gguf_size(size_t *out, gguf_type type, const int64_t *shape, int dims) {
    int k = type_index((uint32_t)type);
    if (k < 0 || dims < 1 || dims > GGUF_DIMS_MAX) return false;
    size_t n = 1;
    bool empty = false;
    for (int i = 0; i < dims; i++) {
        if (shape[i] < 0) return false;
        empty |= shape[i] == 0;
        if (shape[i] && !size_mul(&n, n, (size_t)shape[i])) return false;
    }
    if ((size_t)shape[dims - 1] % types[k].block) return false;
    if (!size_mul(&n, n / types[k].block, types[k].size) || n > INT64_MAX) return false;
    *out = empty ? 0 : n;
    return true;
}

bool gguf_as_tensor(tensor *out, const gguf_tensor *t) {
    int k = type_index((uint32_t)t->type);
    if (k < 0 || types[k].dense < 0) return false;
    *out = (tensor){.type = (dtype)types[k].dense, .dims = t->dims, .data = t->data};
    for (int i = 0; i < t->dims; i++) out->shape[i] = t->shape[i];
    return true;
}

bool gguf_type_of(gguf_type *out, dtype t) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (types[i].dense != (int)t) continue;
        *out = types[i].type;
        return true;
    }
    return false;
}
