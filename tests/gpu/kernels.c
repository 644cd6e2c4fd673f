// kernels.c - norms, products, caches and attention on the device against the ops of the CPU.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "gpu_test.h"
#include "model/weights.h"

static float *floats(int64_t n, uint64_t seed, bool odd) {
    float *p = mem_calloc((size_t)n, sizeof *p);
    if (!p) abort();
    if (odd)
        fill_odd(p, n, seed);
    else
        fill(p, n, seed);
    return p;
}

static float *read_floats(const float *p, int64_t n) {
    float *to = mem_calloc((size_t)n, sizeof *to);
    if (!to) abort();
    dev_read(to, p, (size_t)n * sizeof *to);
    return to;
}

// ---- norms and rounding

static void same_qblocks(const qblock *want, const gpu_qblock *got, int64_t n, int64_t d) {
    for (int64_t i = 0; i < n; i++) {
        same(&want[i].scale, &got[i].scale, 1, "scale of block %lld, d %lld", (long long)i,
             (long long)d);
        expect(!memcmp(want[i].q, got[i].q, sizeof want[i].q), "bytes of block %lld, d %lld",
               (long long)i, (long long)d);
    }
}

static void test_norm(int64_t n, int64_t d, int kind, bool odd) {
    int64_t blocks = quant_blocks(d);
    float *x = floats(n * d, (uint64_t)d, odd), *w = floats(d, 2, false), *b = floats(d, 3, false);
    float *y = floats(n * d, 4, false);
    qblock *q = mem_calloc((size_t)(n * blocks), sizeof *q);
    gpu_qblock *got = mem_calloc((size_t)(n * blocks), sizeof *got);
    norm_args a = {.y = y, .yq = q, .x = x, .w = w, .b = b, .n = n, .d = d, .eps = 1e-5f};
    if (kind == 2)
        op_layer_norm(cpu, &a);
    else
        op_rms_norm(cpu, &a);
    norm_rows_args g = {.in = {.x = dev_floats(x, n * d), .ldx = d, .eps = 1e-5f},
                        .y = dev_floats(NULL, n * d),
                        .yq = dev_bytes(NULL, (size_t)(n * blocks) * sizeof *got),
                        .n = dev_count((int32_t)n),
                        .d = d};
    g.in.w = dev_floats(w, d);
    if (kind == 2) g.in.b = dev_floats(b, d);
    dev_run(GPU_norm_rows, n + 1, 1, 128, &g);
    float *z = read_floats(g.y, n * d);
    dev_read(got, g.yq, (size_t)(n * blocks) * sizeof *got);
    same(y, z, n * d, "norm %d of %lld", kind, (long long)d);
    same_qblocks(q, got, n * blocks, d);
    mem_free(x), mem_free(w), mem_free(b), mem_free(y), mem_free(z), mem_free(q), mem_free(got);
    dev_reset();
}

// ---- products

typedef struct {
    int64_t rows, cols, n;
    int count; // of matrices side by side
    bool norm, bias, add;
    activation act;
} product_case;

// What the CPU makes of the case: y [n, count * rows].
static void product_on_cpu(const product_case *t, float *y, const float *x, const weight *w,
                           const float *norm, const float *bias) {
    float *in = floats(t->n * t->cols, 1, false);
    memcpy(in, x, (size_t)(t->n * t->cols) * sizeof *x);
    if (t->norm)
        op_layer_norm(cpu, &(norm_args){.y = in,
                                        .x = x,
                                        .w = norm,
                                        .b = norm + t->cols,
                                        .n = t->n,
                                        .d = t->cols,
                                        .eps = 1e-5f});
    for (int i = 0; i < t->count; i++) {
        op_linear(cpu, &(linear_args){.y = y + i * t->rows,
                                      .ldy = t->count * t->rows,
                                      .x = in,
                                      .ldx = t->cols,
                                      .n = t->n,
                                      .w = &w[i],
                                      .bias = bias,
                                      .act = t->act,
                                      .add = t->add});
    }
    mem_free(in);
}

static void test_product(const product_case *t, dtype type, bool odd) {
    int64_t size = t->n * t->count * t->rows;
    float *x = floats(t->n * t->cols, 5, odd), *y = floats(size, 6, false);
    float *norm = floats(2 * t->cols, 7, false), *bias = floats(t->rows, 8, false);
    weight w[3], stored = {.type = DT_F32, .rows = t->rows, .cols = t->cols};
    const weight *list[3] = {&w[0], &w[1], &w[2]};
    arena own;
    arena_init(&own, 0);
    for (int i = 0; i < t->count; i++) {
        float *v = floats(t->rows * t->cols, 9 + (uint64_t)i, false);
        stored.data = v;
        if (!weight_convert(&w[i], &stored, type, &own, NULL)) abort();
        mem_free(v);
    }
    gpu_matrix m = dev_matrix(list, t->count);
    gpu_input in = {.x = dev_floats(x, t->n * t->cols), .ldx = t->cols, .eps = 1e-5f};
    if (t->norm) in.w = dev_floats(norm, t->cols), in.b = dev_floats(norm + t->cols, t->cols);
    product_args g = product_of(&m, in, dev_floats(y, size), dev_count((int32_t)t->n));
    g.act = (int32_t)t->act, g.add = t->add;
    if (t->bias) g.bias = dev_floats(bias, t->rows);
    product_args many = g;
    many.y = dev_floats(y, size);
    device_run r = product_few(&g, t->n + 8);
    dev_run(r.kernel, r.grid_x, r.grid_y, r.threads, &g);
    product_scratch scratch = {dev_floats(NULL, t->n * t->cols),
                               dev_bytes(NULL, (size_t)(t->n * quant_blocks(t->cols)) * 272)};
    if (product_run(gpu, &many, t->n + 20, &scratch, NULL)) abort();
    product_on_cpu(t, y, x, w, norm, t->bias ? bias : NULL);
    float *got = read_floats(g.y, size), *wide = read_floats(many.y, size);
    same(y, wide, size, "product of many, type %d, %lld x %lld, %lld rows", (int)type,
         (long long)t->rows, (long long)t->cols, (long long)t->n);
    same(y, got, size, "product, type %d, %lld x %lld, %lld rows", (int)type, (long long)t->rows,
         (long long)t->cols, (long long)t->n);
    mem_free(x), mem_free(y), mem_free(norm), mem_free(bias), mem_free(got), mem_free(wide);
    arena_deinit(&own);
    dev_reset();
}

static void test_products(void) {
    static const product_case cases[] = {
        {16, 256, 1, 1, false, false, false, ACT_NONE},
        {64, 64, 2, 3, true, false, false, ACT_NONE},
        {24, 320, 3, 1, true, true, false, ACT_GELU},
        {33, 1000, 9, 1, false, true, true, ACT_RELU},
        {48, 2304, 8, 2, true, false, true, ACT_NONE},
        {7, 70, 17, 1, false, false, false, ACT_ELU},
        {1, 18, 4, 1, false, false, false, ACT_NONE},
        {40, 300, 70, 2, true, false, false, ACT_NONE},
    };
    static const dtype types[] = {DT_F32, DT_BF16X8, DT_Q8, DT_Q4};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t j = 0; j < ARRAY_LEN(types); j++)
            for (int odd = 0; odd < 2; odd++) test_product(&cases[i], types[j], odd);
}

// ---- caches and attention

typedef struct {
    int64_t heads, dh, len;
    dtype type;
    bool bias, odd;
} attend_case;

// Keys and values of the whole cache [len, heads * dh], put row by row.
static void cache_on_cpu(const attend_case *t, const attend_shape *s, kv_cache to, const float *k,
                         const float *v) {
    for (int64_t i = 0; i < t->len; i++) {
        const kv_row row = {to, k + i * t->heads * t->dh, v + i * t->heads * t->dh, i};
        op_cache_put(cpu, s, &row, 1);
    }
}

static void attend_on_cpu(const attend_case *t, float *out, const float *q, const float *k,
                          const float *v, const float *bias) {
    attend_shape s = {t->heads, t->dh, t->type, 0.125f, 2 * t->len};
    size_t size = (size_t)(t->heads * attend_stride(&s, t->len)) * dtype_size(t->type);
    kv_cache c = {mem_aligned(size), mem_aligned(size), t->len};
    if (compute_reserve(cpu, t->len, NULL)) abort();
    cache_on_cpu(t, &s, c, k, v);
    attend_item it = {.q = q, .out = out, .k = c.k, .v = c.v, .len = t->len, .bias = bias};
    it.kv_stride = attend_stride(&s, t->len);
    op_attend(cpu, &s, &it, 1);
    mem_free(c.k), mem_free(c.v);
}

static void test_attend(const attend_case *t) {
    int64_t d = t->heads * t->dh, n = t->len;
    float *q = floats(d, 11, t->odd), *k = floats(n * d, 12, t->odd),
          *v = floats(n * d, 13, t->odd);
    float *bias = floats(t->heads * 2 * n, 14, false), *out = floats(d, 15, false);
    float *qkv = floats(n * 3 * d, 16, false);
    for (int64_t i = 0; i < n; i++) {
        memcpy(qkv + i * 3 * d, q, (size_t)d * sizeof *q);
        memcpy(qkv + i * 3 * d + d, k + i * d, (size_t)d * sizeof *q);
        memcpy(qkv + i * 3 * d + 2 * d, v + i * d, (size_t)d * sizeof *q);
    }
    attend_shape shape = {t->heads, t->dh, t->type, 1, 0};
    size_t size = (size_t)(t->heads * attend_stride(&shape, n + 3)) * dtype_size(t->type);
    gpu_row *rows = mem_calloc((size_t)n, sizeof *rows);
    uint8_t *cache = dev_bytes(NULL, 2 * size);
    for (int64_t i = 0; i < n; i++)
        rows[i] = (gpu_row){.self = cache, .cap = (int32_t)n + 3, .pos = (int32_t)i};
    float *in = dev_floats(qkv, n * 3 * d);
    attend_args g = {.rows = dev_bytes(rows, (size_t)n * sizeof *rows),
                     .n = dev_count((int32_t)n),
                     .q = in,
                     .k = in + d,
                     .v = in + 2 * d,
                     .ld = 3 * d};
    g.heads = (int32_t)t->heads, g.dh = (int32_t)t->dh, g.scale = 0.125f;
    g.type = t->type == DT_I8 ? GPU_I8 : t->type == DT_BF16 ? GPU_BF16 : GPU_F32;
    // All rows but the last are put; the last one puts itself.
    g.n = dev_count((int32_t)n - 1);
    dev_run(GPU_put_rows, t->heads, n, 128, &g);
    g.rows += n - 1, g.n = dev_count(1), g.put = 1;
    g.q = in + (n - 1) * 3 * d, g.k = g.q + d, g.v = g.k + d;
    g.out = dev_floats(NULL, d), g.lds = (n + 15) / 16 * 16;
    g.scores = dev_floats(NULL, t->heads * g.lds);
    if (t->bias) g.bias = dev_floats(bias, t->heads * 2 * n) + n - 1, g.bias_step = 2 * n;
    dev_run(t->type == DT_I8 ? GPU_attend8 : GPU_attend, t->heads, 2, 256, &g);
    attend_on_cpu(t, out, q, k, v, t->bias ? bias : NULL);
    float *got = read_floats(g.out, d);
    same(out, got, d, "attention, type %d, %lld keys of %lld", (int)t->type, (long long)n,
         (long long)t->dh);
    mem_free(q), mem_free(k), mem_free(v), mem_free(bias), mem_free(out), mem_free(qkv);
    mem_free(rows), mem_free(got);
    dev_reset();
}

static void test_attention(void) {
    static const attend_case cases[] = {
        {1, 64, 1, DT_F32, false, false},    {2, 64, 17, DT_F32, true, false},
        {3, 40, 300, DT_BF16, false, false}, {2, 18, 33, DT_BF16, true, true},
        {2, 64, 1, DT_I8, false, false},     {4, 64, 530, DT_I8, false, false},
        {1, 32, 256, DT_I8, false, true},    {2, 128, 257, DT_I8, false, false},
        {2, 10, 40, DT_I8, false, true},     {1, 300, 20, DT_I8, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) test_attend(&cases[i]);
}

void test_gpu_kernels(void) {
    static const int64_t widths[] = {16, 64, 70, 256, 1000, 1536};
    for (size_t i = 0; i < ARRAY_LEN(widths); i++)
        for (int kind = 1; kind <= 2; kind++)
            for (int odd = 0; odd < 2; odd++) test_norm(3, widths[i], kind, odd);
    test_products();
    test_attention();
}
