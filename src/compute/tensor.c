// tensor.c - see tensor.h.
#include "compute/tensor.h"

#include <assert.h>
#include <stdio.h>

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [DT_F32] = {"F32", 4},
    [DT_BF16] = {"BF16", 2},
    [DT_F16] = {"F16", 2},
    [DT_I64] = {"I64", 8},
    [DT_I32] = {"I32", 4},
    [DT_U8] = {"U8", 1},
    [DT_BOOL] = {"BOOL", 1},
    [DT_OTHER] = {"other", 0},
    [DT_Q8] = {"Q8", 0},
    [DT_Q4] = {"Q4", 0},
    [DT_I8] = {"I8", 1},
    [DT_BF16X8] = {"BF16X8", 0},
    [DT_CHAIN_F32] = {"F32 in panels", 0},
    [DT_CHAIN_BF16] = {"BF16 in panels", 0},
};

size_t dtype_size(dtype t) {
    return types[t].size;
}
const char *dtype_name(dtype t) {
    return types[t].name;
}

bool dtype_is_float(dtype t) {
    return t == DT_F32 || t == DT_BF16 || t == DT_F16;
}

int64_t tensor_count(const tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->dims; i++) n *= t->shape[i];
    return n;
}

void tensor_shape_text(char *out, size_t cap, const int64_t *shape, int dims) {
    int n = snprintf(out, cap, "[");
    for (int i = 0; i < dims && n > 0 && (size_t)n < cap; i++) {
        n += snprintf(out + n, cap - (size_t)n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    }
    if (n > 0 && (size_t)n < cap) snprintf(out + n, cap - (size_t)n, "]");
}

static uint32_t f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float f32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff;
    if (exp == 31) return f32_from_bits(sign | 0x7f800000 | man << 13);
    if (exp) return f32_from_bits(sign | (exp + 112) << 23 | man << 13);
    float f = (float)man * 0x1p-24f; // subnormal or zero: exact
    return sign ? -f : f;
}

uint16_t f32_to_f16(float f) {
    uint32_t u = f32_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // 65520 and above round to infinity
    if (a < 0x38800000) {                                  // below the smallest normal half
        // In the sum with 0.5, the last bits of the fraction are the subnormal half, rounded.
        float s = f32_from_bits(a) + 0.5f;
        return (uint16_t)(sign | (f32_bits(s) - 0x3f000000));
    }
    uint32_t r = a + 0xfff + (a >> 13 & 1);
    return (uint16_t)(sign | ((r - 0x38000000) >> 13));
}

void tensor_read_f32(float *out, const tensor *t, int64_t from, int64_t n) {
    const uint8_t *p = (const uint8_t *)t->data + (size_t)from * types[t->type].size;
    assert(dtype_is_float(t->type));
    if (t->type == DT_F32) {
        memcpy(out, p, (size_t)n * 4);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        out[i] = t->type == DT_BF16 ? bf16_to_f32(h) : f16_to_f32(h);
    }
}
