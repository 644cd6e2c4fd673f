// kernels.c - every kernel at every level this machine has, to the bit, against kern_ref.
//
// Sizes lie on both sides of every vector width; pointers are off by one; what lies behind a result
// must stay as it was.
#include <float.h>
#include <math.h>

#include "check.h"
#include "compute/cpu/isa.h"

static const int64_t sizes[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 192, 1000};
static const dtype types[] = {DT_F32, DT_BF16, DT_F16};

#define CAP 21000
static float x[CAP], y[CAP], z[CAP], wide[CAP], want[CAP], got[CAP];
static uint8_t narrow_bytes[CAP * 4 + 1];

static void mark(float *p) {
    for (int i = 0; i < CAP; i++) p[i] = 12345.0f;
}

typedef void (*run_fn)(const kern_table *k, float *out, const void *arg);

// Runs f with the reference and then at every level; out starts out as first (or marked).
static void at_every_level(const char *what, run_fn f, const void *arg, const float *first,
                           int64_t a, int64_t b, int64_t c) {
    kern_table ref;
    kern_init_ref(&ref);
    mark(want);
    if (first) memcpy(want, first, sizeof want);
    f(&ref, want, arg);
    digest_add(want, CAP);
    for (const char *const *l = levels(); *l; l++) {
        kern_table k = table_of(*l);
        mark(got);
        if (first) memcpy(got, first, sizeof got);
        f(&k, got, arg);
        same(want, got, CAP, "%s %s %lld %lld %lld", *l, what, (long long)a, (long long)b,
             (long long)c);
    }
}

// ---- products ----

static void run_dots(const kern_table *k, float *out, const void *arg) {
    dots_args a = *(const dots_args *)arg;
    a.out = out + 1;
    k->products.dots(&a);
}

static void dots_case(dtype type, int64_t cols, int64_t rows, int64_t n, int64_t ldx) {
    narrow(narrow_bytes + 1, y, type, rows * (cols + 3));
    dots_args a = {.ldo = rows + 2, .w = narrow_bytes + 1, .type = type, .ldw = cols + 3};
    a.rows = rows, a.x = x + 1, a.ldx = ldx, a.n = n, a.cols = cols;
    at_every_level("dots", run_dots, &a, NULL, cols, rows, n);
}

static void test_dots(void) {
    static const int64_t rows[] = {1, 2, 3, 4, 5, 8, 9, 17}, ns[] = {1, 2, 3, 4, 5, 6, 7, 8, 13};
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t c = 0; c < ARRAY_LEN(sizes); c++)
            for (size_t r = 0; r < ARRAY_LEN(rows); r++)
                for (size_t n = 0; n < ARRAY_LEN(ns); n++) {
                    int64_t cols = sizes[c];
                    if (cols > 65 && (r + n) % 3) continue; // the long ones: a third is enough
                    dots_case(types[t], cols, rows[r], ns[n], n % 2 ? cols / 2 + 1 : cols + 5);
                }
    dots_case(DT_F32, 0, 3, 3, 1);
    dots_case(DT_F32, 16, 3, 0, 16);
}

// Strips give the bits of the same values row by row, as bf16 and widened to f32.
static void strips_case(int64_t cols, int64_t rows, int64_t n) {
    static uint8_t interleaved[CAP * 2 + 1];
    weight src = {.type = DT_F32, .rows = rows, .cols = cols, .data = y};
    bf16x8_pack(interleaved + 1, &src);
    dots_args a = {
        .ldo = rows + 2, .w = interleaved + 1, .type = DT_BF16, .interleaved = true, .rows = rows};
    a.x = x + 1, a.ldx = cols + 5, a.n = n, a.cols = cols;
    at_every_level("dots of interleaved rows", run_dots, &a, NULL, cols, rows, n);
    memcpy(z, want, sizeof z);
    kern_table ref;
    kern_init_ref(&ref);
    narrow(narrow_bytes, y, DT_BF16, rows * cols);
    dots_args plain = a;
    plain.w = narrow_bytes, plain.ldw = cols, plain.interleaved = false;
    mark(got);
    run_dots(&ref, got, &plain);
    same(want, got, CAP, "interleaved rows, and row by row: %lld %lld", (long long)rows,
         (long long)cols);
    ref.rows.widen(wide, interleaved + 1, DT_BF16, (int64_t)bf16x8_size(rows, cols) / 2);
    a.w = wide, a.type = DT_F32;
    at_every_level("dots of widened interleaved rows", run_dots, &a, NULL, cols, rows, n);
    same(want, z, CAP, "interleaved rows, and widened: %lld %lld", (long long)rows,
         (long long)cols);
}

static void test_strips(void) {
    static const int64_t rows[] = {1, 4, 7, 8, 9, 12, 23}, cols[] = {1, 15, 16, 17, 64, 100, 500};
    static const int64_t ns[] = {1, 2, 3, 6, 7, 13};
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (size_t c = 0; c < ARRAY_LEN(cols); c++)
            for (size_t n = 0; n < ARRAY_LEN(ns); n++) strips_case(cols[c], rows[r], ns[n]);
    expect(bf16x8_size(17, 33) == 3 * 3 * 256, "the size of interleaved rows");
    expect(bf16x8_size(INT64_MAX, 2) == 0, "the size of interleaved rows that cannot be");
}

// ---- packed weights ----

static qblock xq[CAP / 32 + 64];
static uint8_t packed[2 * CAP + 64];

static void run_qdots(const kern_table *k, float *out, const void *arg) {
    qdots_args a = *(const qdots_args *)arg;
    a.out = out + 1;
    k->packed.dots(&a);
}

static void qdots_case(dtype type, int64_t rows, int64_t cols, int64_t n) {
    weight w = {.type = DT_F32, .rows = rows, .cols = cols, .data = y};
    quant_pack(packed + 1, type, &w);
    qdots_args a = {.w = packed + 1, .type = type, .panels = quant_panels(rows), .x = xq, .n = n};
    a.cols = cols, a.ldo = a.panels * QUANT_ROWS + 3;
    kern_table ref;
    kern_init_ref(&ref);
    const int64_t blocks = quant_blocks(cols);
    for (int64_t j = 0; j < n; j++) ref.rows.quantise(xq + j * blocks, x + 1 + j * cols, cols);
    at_every_level("qdots", run_qdots, &a, NULL, rows, cols, n);
}

static void test_qdots(void) {
    static const int64_t rows[] = {1, 16, 17, 40},
                         cols[] = {1, 32, 33, 64, 65, 193, 256, 257, 500, 513};
    static const int64_t ns[] = {1, 2, 3, 7, 8, 9, 17, 38};
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (size_t c = 0; c < ARRAY_LEN(cols); c++)
            for (size_t n = 0; n < ARRAY_LEN(ns); n++)
                for (int t = DT_Q8; t <= DT_Q4; t++) {
                    qdots_case((dtype)t, rows[r], cols[c], ns[n]);
                }
}

static void run_quantise(const kern_table *k, float *out, const void *arg) {
    int64_t cols = *(const int64_t *)arg;
    memset(xq, 7, sizeof xq);
    k->rows.quantise(xq, x + 1, cols);
    for (int64_t b = 0; b < quant_blocks(cols); b++) {
        *out++ = xq[b].scale, *out++ = (float)xq[b].less128;
        for (int i = 0; i < QUANT_BLOCK / QUANT_SUB; i++) *out++ = xq[b].less8[i % 4][i / 4];
        for (int i = 0; i < QUANT_BLOCK; i++) *out++ = (float)xq[b].q[i];
    }
}

#define PACK_COLS 600 // three blocks, the last one short

static void unpack(float *row, dtype type, const float *w, int64_t r) {
    const weight src = {.type = DT_F32, .rows = 3, .cols = PACK_COLS, .data = w};
    const weight q = {.type = type, .rows = 3, .cols = PACK_COLS, .data = packed};
    quant_pack(packed, type, &src);
    quant_row(row, &q, r);
}

// The largest magnitude, and the error that may be: of n values from v on.
static float largest_of(const float *v, int64_t n) {
    float most = 0;
    for (int64_t i = 0; i < n; i++) most = MAX(most, fabsf(v[i]));
    return most;
}

// Weights on the grid of their scale come back exactly; others are off by half a step at most.
static void test_packing8(void) {
    static float w[3 * PACK_COLS], row[PACK_COLS];
    for (int i = 0; i < 3 * PACK_COLS; i++) w[i] = (float)(i * 37 % 255 - 127) * 0.125f;
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < PACK_COLS; c += QUANT_BLOCK) w[i * PACK_COLS + c] = 15.875f;
    unpack(row, DT_Q8, w, 2);
    same(w + 2 * PACK_COLS, row, PACK_COLS, "Q8: the grid comes back");
    unpack(row, DT_Q8, x, 1);
    for (int i = 0; i < PACK_COLS; i++) {
        int from = i / QUANT_BLOCK * QUANT_BLOCK, n = MIN(QUANT_BLOCK, PACK_COLS - from);
        float step = largest_of(x + PACK_COLS + from, n) / 127, off = row[i] - x[PACK_COLS + i];
        expect(fabsf(off) <= step * 0.501f, "Q8: value %d is %g off", i, (double)off);
    }
    w[PACK_COLS + 5] = INFINITY, w[PACK_COLS + 6] = -INFINITY, w[PACK_COLS + 7] = NAN;
    unpack(row, DT_Q8, w, 1);
    expect(row[5] == 15.875f && row[6] == -15.875f && row[7] == 0,
           "Q8: values that are no numbers");
}

// The squared error of rounding a run by itself: the value of largest magnitude becomes -8, as
// GGUF's Q4_0 has it, with its scale exact.
static double plain_error(const float *v) {
    float most = 0;
    double error = 0;
    for (int i = 0; i < 32; i++) most = fabsf(v[i]) > fabsf(most) ? v[i] : most;
    for (int i = 0; i < 32; i++) {
        float n = MIN(7.0f, roundf(v[i] / (most / -8)));
        error += pow((double)v[i] - (double)(n * (most / -8)), 2);
    }
    return error;
}

static double squared_error(const float *a, const float *b, int64_t n) {
    double error = 0;
    for (int64_t i = 0; i < n; i++) error += pow((double)a[i] - (double)b[i], 2);
    return error;
}

// Weights on a grid of sub-scales come back, but for the rounding of the scale; others with a
// smaller error than without a search, though that has a scale of its own every 32 columns.
static void test_packing4(void) {
    static float w[3 * PACK_COLS], row[PACK_COLS];
    for (int i = 0; i < 3 * PACK_COLS; i++) {
        int c = i % PACK_COLS, s = c % QUANT_BLOCK / 32 == 0 ? 15 : 1 + c / 32 % 14;
        w[i] = (float)(s * (c % 32 < 16 ? c % 16 - 8 : 7 - c % 16)) * 0.125f;
    }
    unpack(row, DT_Q4, w, 2);
    for (int i = 0; i < PACK_COLS; i++)
        expect(fabsf(row[i] - w[2 * PACK_COLS + i]) < 1e-5f, "Q4: value %d of the grid is %g", i,
               (double)row[i]);
    double plain = 0, error = 0;
    for (int r = 0; r < 3; r++) {
        unpack(row, DT_Q4, y, r);
        for (int i = 0; i + 32 <= PACK_COLS; i += 32) plain += plain_error(y + r * PACK_COLS + i);
        error += squared_error(row, y + r * PACK_COLS, PACK_COLS / 32 * 32);
    }
    expect(error < plain, "Q4: the squared error is %g, without a search %g", error, plain);
    for (int i = 0; i < PACK_COLS; i++)
        w[PACK_COLS + i] = i < QUANT_BLOCK ? 0 : i % 3 ? 3e38f : NAN;
    w[PACK_COLS + 300] = -INFINITY;
    unpack(row, DT_Q4, w, 1);
    for (int i = 0; i < PACK_COLS; i++)
        expect(row[i] == row[i] && fabsf(row[i]) <= FLT_MAX, "Q4: value %d is no number", i);
    expect(largest_of(row, QUANT_BLOCK) == 0, "Q4: a block of zeros");
}

static void test_packing(void) {
    test_packing8();
    test_packing4();
    expect(quant_size(DT_Q8, 17, 257) == 2 * (2 * 64 + 5 * 1024), "the size of a Q8 matrix");
    expect(quant_size(DT_Q4, 17, 257) == 2 * (2 * 128 + 5 * 512), "the size of a Q4 matrix");
    expect(quant_size(DT_Q8, INT64_MAX, 2) == 0, "the size of what cannot be");
}

static uint16_t chain_w[CAP], chain_x[CAP];

static void run_chain(const kern_table *k, float *out, const void *arg) {
    chain_args a = *(const chain_args *)arg;
    a.y = out + 1;
    k->codec.chain(&a);
}

// The level "avx512" has the processor's bf16 product where there is one; this is the other.
static void chain_in_halves(const chain_args *a) {
    unsigned flags;
    if (!isa_level(isa_flags(), "avx512", &flags)) return;
    kern_table k;
    kern_init(&k, flags & ~(unsigned)ISA_BF16);
    memcpy(got, z, sizeof got);
    run_chain(&k, got, a);
    same(want, got, CAP, "avx512 without bf16: chain %lld %lld %lld", (long long)a->cols,
         (long long)a->rows, (long long)a->n);
}

// taps: of a convolution by Winograd tiles, of `cols` inputs.
static void chain_case(dtype type, int taps, int64_t cols, int64_t rows, int64_t n, int kind) {
    if (taps) cols *= CHAIN_TILE;
    chain_args a = {.type = type, .taps = taps, .rows = rows, .cols = cols, .n = n};
    a.ldy = rows + 2;
    a.w = type == DT_F32 ? (const void *)(y + 1) : (const void *)(chain_w + 1);
    a.x = type == DT_F32 ? (const void *)(x + 1) : (const void *)(chain_x + 1);
    a.ldx = kind % 2 ? cols / 2 + 1 : cols + 5;
    a.bias = kind & 2 ? x + 7 : NULL;
    a.y_type = kind % 3 ? DT_F32 : DT_BF16;
    a.add = kind & 4 && a.y_type == DT_F32;
    a.act = kind & 8 ? ACT_ELU : ACT_NONE;
    at_every_level("chain", run_chain, &a, z, cols, rows, n);
    chain_in_halves(&a);
}

static void test_chain(void) {
    static const int64_t cols[] = {1, 2, 3, 16, 31, 64}, ns[] = {0, 1, 2, 3, 4, 5, 6, 7, 13};
    static const int64_t rows[] = {1, 3, 15, 16, 17, 32, 48, 64, 100, 128};
    kern_table ref;
    kern_init_ref(&ref);
    ref.codec.pack(chain_x, x, CAP, false);
    ref.codec.pack(chain_w, y, CAP, false);
    int kind = 0;
    for (size_t c = 0; c < ARRAY_LEN(cols); c++)
        for (size_t r = 0; r < ARRAY_LEN(rows); r++)
            for (size_t n = 0; n < ARRAY_LEN(ns); n++, kind++) {
                int taps = cols[c] == 16 ? kind % 2 + 2 : 0;
                chain_case(DT_F32, 0, cols[c], rows[r], ns[n], kind);
                chain_case(DT_BF16, 0, cols[c], rows[r], ns[n], kind);
                if (taps) chain_case(DT_F32, taps, cols[c], rows[r], ns[n], kind / 2);
                if (taps) chain_case(DT_BF16, taps, cols[c], rows[r], ns[n], kind / 2);
            }
}

static void run_winograd(const kern_table *k, float *out, const void *arg) {
    static uint16_t halves[CAP];
    winograd_args a = *(const winograd_args *)arg;
    a.y = a.type == DT_F32 ? (void *)(out + 1) : (void *)(halves + 1);
    memset(halves, 0x55, sizeof halves);
    k->codec.winograd(&a);
    for (int i = 0; a.type == DT_BF16 && i < CAP; i++) out[i] = bf16_to_f32(halves[i]);
}

// Rows that lie anywhere: here overlapping each other, in no order.
static void test_winograd(void) {
    const float *rows[24];
    for (int i = 0; i < 24; i++) rows[i] = x + 1 + i * 7 % 24 * 5;
    for (int64_t cols = 16; cols <= 64; cols += 16)
        for (int64_t n = 0; n <= 4; n++)
            for (int kind = 0; kind < 8; kind++) {
                winograd_args a = {.rows = rows, .n = n, .cols = cols, .elu = kind & 1};
                a.step = kind & 2 ? 3 : 2;
                a.type = kind & 4 ? DT_BF16 : DT_F32;
                at_every_level("winograd", run_winograd, &a, NULL, cols, n, kind);
            }
}

// What Winograd tiles give is the convolution itself, but for rounding.
enum { CONV_IN = 32, CONV_OUT = 17, CONV_N = 7 };

static void check_conv_row(const float *out, const float *const *rows, int taps, int t, int o) {
    double sum = 0, size = 0;
    for (int k = 0; k < taps * CONV_IN; k++) {
        double p = (double)rows[t + k / CONV_IN][k % CONV_IN];
        p *= (double)y[o * taps * CONV_IN + k];
        sum += p;
        size += p < 0 ? -p : p;
    }
    double off = sum - (double)out[t * CONV_OUT + o];
    expect((off < 0 ? -off : off) <= 1e-6 * size, "%d taps, row %d, %d: %g off", taps, t, o, off);
}

static void test_conv_by_tiles(int taps) {
    static float data[2 * 4 * CONV_IN * 16], work[16 * CONV_IN], out[CONV_N * CONV_OUT];
    chain_weight w = chain_conv_weight(DT_F32, CONV_OUT, CONV_IN, taps, 1);
    w.data = data;
    for (int o = 0; o < CONV_OUT; o++) {
        const float *tap[3];
        for (int j = 0; j < taps; j++) tap[j] = y + (o * taps + j) * CONV_IN;
        chain_put_taps(&w, o, 0, tap, taps, CONV_IN);
    }
    const float *rows[2 * CONV_N];
    for (int i = 0; i < 2 * CONV_N; i++) rows[i] = x + i * CONV_IN;
    compute *c;
    expect(compute_open(&c, 1, "scalar", NULL) == OK && w.taps == taps,
           "a convolution by Winograd tiles");
    chain_conv_args a = {.to = {.y = out, .ldy = CONV_OUT, .n = CONV_N, .w = &w}};
    a.rows = rows, a.in = CONV_IN, a.step = 1, a.work = work;
    chain_conv(c, &a);
    compute_close(c);
    for (int i = 0; i < CONV_N * CONV_OUT; i++)
        check_conv_row(out, rows, taps, i / CONV_OUT, i % CONV_OUT);
}

typedef struct {
    int64_t n;
    bool elu;
} pack_case;

static void run_pack(const kern_table *k, float *out, const void *arg) {
    static uint16_t halves[CAP + 1];
    const pack_case *c = arg;
    memset(halves, 0x55, sizeof halves);
    k->codec.pack(halves + 1, x + 1, c->n, c->elu);
    for (int64_t i = 0; i < MIN(CAP, c->n + 20); i++) out[i] = bf16_to_f32(halves[i]);
}

static void test_pack(int64_t n) {
    for (int elu_first = 0; elu_first < 2; elu_first++) {
        pack_case c = {n, elu_first};
        at_every_level("pack", run_pack, &c, NULL, n, elu_first, 0);
    }
}

typedef struct {
    int64_t n;
    activation act;
    bool bias, add;
} finish_case;

static void run_finish(const kern_table *k, float *out, const void *arg) {
    const finish_case *c = arg;
    k->products.finish(out + 1, x + 1, c->bias ? y + 1 : NULL, c->n, c->act, c->add);
}

static void test_finish(void) {
    fill_odd(x, CAP, 5);
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
        for (int act = ACT_NONE; act <= ACT_ELU; act++)
            for (int flags = 0; flags < 4; flags++) {
                finish_case c = {sizes[s], (activation)act, flags & 1, flags & 2};
                at_every_level("finish", run_finish, &c, z, sizes[s], act, flags);
            }
    fill(x, CAP, 1);
}

// ---- norms ----

static void run_layer_norm(const kern_table *k, float *out, const void *n) {
    k->norms.layer_norm(out + 1, x + 1, y + 1, z + 1, *(const int64_t *)n, 1e-5f);
}
static void run_rms_norm(const kern_table *k, float *out, const void *n) {
    k->norms.rms_norm(out + 1, x + 1, y + 1, *(const int64_t *)n, 1e-6f);
}

// ---- attention ----

typedef struct {
    kv_rows kv;
    bool bias;
} kv_case;

static void run_scores(const kern_table *k, float *out, const void *arg) {
    const kv_case *c = arg;
    out[0] = k->attention.scores(out + 1, x + 1, &c->kv, 0.125f, c->bias ? z + 1 : NULL);
}
static void run_weigh(const kern_table *k, float *out, const void *arg) {
    const kv_case *c = arg;
    k->attention.weigh(out + 1, x + 1, &c->kv, 0.7f);
}
static void run_softmax(const kern_table *k, float *out, const void *n) {
    int64_t len = *(const int64_t *)n;
    for (int64_t j = len; j % 16; j++) out[1 + j] = -INFINITY; // as scores leaves it
    out[0] = k->attention.softmax(out + 1, len, 2.5f);
}

static void run_quantise_row(const kern_table *k, float *out, const void *arg) {
    int64_t n = *(const int64_t *)arg;
    int8_t *q = (int8_t *)narrow_bytes + 2;
    memset(q, 0x55, (size_t)n + 64);
    k->rows.quantise_row(q, out, x + 1, n);
    for (int64_t i = 0; i < n + 64; i++) out[1 + i] = (float)q[i];
}

static const int64_t head_sizes[] = {1, 15, 16, 24, 32, 64, 80, 128, 130};

static void test_attention(void) {
    static const dtype kept[] = {DT_F32, DT_BF16};
    static const int64_t lens[] = {1, 2, 15, 16, 17, 33, 100};
    for (size_t d = 0; d < ARRAY_LEN(head_sizes); d++)
        for (size_t l = 0; l < ARRAY_LEN(lens); l++)
            for (int t = 0; t < 4; t++) {
                const uint8_t *p = narrow_bytes + 1;
                kv_case c = {.kv = {p, p + 99, kept[t / 2], head_sizes[d], lens[l]}};
                c.bias = t % 2;
                narrow(narrow_bytes + 1, y, c.kv.type, c.kv.dh * c.kv.len);
                at_every_level("scores", run_scores, &c, NULL, c.kv.dh, c.kv.len, t);
                at_every_level("weigh", run_weigh, &c, NULL, c.kv.dh, c.kv.len, t);
            }
}

// ---- attention in 8 bits ----

static void run_qscores(const kern_table *k, float *out, const void *arg) {
    const kv_panels *p = arg;
    k->packed_attention.scores(out + KVPACK_HEADS + 1, out, x + 1, p, 0.125f);
}
static void run_qweigh(const kern_table *k, float *out, const void *arg) {
    const kv_panels *p = arg;
    static float s[CAP];
    float by[KVPACK_HEADS];
    memcpy(s, x, sizeof s);
    for (int64_t h = 0; h < p->heads; h++) {
        by[h] = 0.7f + (float)h;
        for (int64_t j = p->len; j % 16; j++) s[1 + h * p->lds + j] = 0; // as softmax leaves it
    }
    k->packed_attention.weigh(out + 1, s + 1, p, by);
}

// A cache of one head more than p has; where no row is lies what must not be seen.
static void fill_panels(uint8_t *to, const kv_panels *p, bool values) {
    kern_table ref;
    kern_init_ref(&ref);
    memset(to, 0xff, (size_t)((p->heads + 1) * kvpack_size(p->len, p->dh))); // units: NaN
    for (int64_t i = 0; i < p->heads * p->len; i++) {
        int8_t q[KVPACK_WIDTH];
        float unit;
        const kvpack_place at = {p->heads + 1, i % p->heads, p->dh, i / p->heads};
        ref.rows.quantise_row(q, &unit, y + (i * p->dh) % (CAP / 2), p->dh);
        (values ? kvpack_put_value : kvpack_put_key)(to, &at, q, unit);
    }
}

static void panels_at_every_level(int64_t heads, int64_t dh, int64_t len) {
    uint8_t *at = narrow_bytes + 1;
    kv_panels p = {.p = at, .next = at + 99, .heads = heads, .dh = dh, .len = len};
    p.stride = (heads + 1) * kvpack_panel_size(dh), p.lds = (len + 31) / 16 * 16;
    fill_panels(at, &p, true);
    at_every_level("qweigh", run_qweigh, &p, NULL, heads, dh, len);
    fill_panels(at, &p, false);
    at_every_level("qscores", run_qscores, &p, NULL, heads, dh, len);
}

static void test_packed_attention(void) {
    static const int64_t lens[] = {1, 15, 16, 17, 100, KVPACK_RUN, 2 * KVPACK_RUN + 9};
    for (int odd = 0; odd < 2; odd++) {
        if (odd) fill_odd(x, CAP, 9);
        for (size_t d = 0; d < ARRAY_LEN(head_sizes); d++)
            for (size_t l = 0; l < ARRAY_LEN(lens); l++) {
                int64_t dh = head_sizes[d];
                if (lens[l] * dh <= 20000) panels_at_every_level(1, dh, lens[l]);
                if (lens[l] <= 17) panels_at_every_level(kvpack_heads(dh), dh, lens[l]);
            }
        panels_at_every_level(3, 24, 100);
        panels_at_every_level(1, KVPACK_WIDTH, 20);
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            const int64_t n = sizes[s];
            at_every_level("quantise_row", run_quantise_row, &n, NULL, n, odd, 0);
        }
    }
    fill(x, CAP, 1);
}

// The largest sums there can be are exact: every integer at its end, all of one sign.
static void test_packed_attention_at_its_ends(void) {
    static int8_t q[KVPACK_WIDTH];
    kv_panels p = {.p = narrow_bytes, .next = narrow_bytes, .heads = 1};
    for (int i = 0; i < KVPACK_WIDTH; i++) q[i] = 127, x[i + 1] = 1.0f;
    p.dh = KVPACK_WIDTH, p.len = 1, p.lds = 16, p.stride = kvpack_panel_size(p.dh);
    kvpack_put_key(narrow_bytes, &(kvpack_place){1, 0, p.dh, 0}, q, 1.0f);
    at_every_level("qscores of ends", run_qscores, &p, NULL, p.heads, p.dh, p.len);
    float exact = 127.0f * KVPACK_WIDTH * 0.125f, is = want[KVPACK_HEADS + 1];
    expect(fabsf(is - exact) <= exact * 0x1p-22f, "the largest score is %g", (double)is);
    p.dh = 16, p.len = p.lds = KVPACK_RUN, p.stride = kvpack_panel_size(p.dh);
    for (int j = 0; j < KVPACK_RUN; j++)
        kvpack_put_value(narrow_bytes, &(kvpack_place){1, 0, p.dh, j}, q, 1.0f);
    at_every_level("qweigh of ends", run_qweigh, &p, NULL, p.heads, p.dh, p.len);
    exact = 127.0f * KVPACK_RUN * 0.7f, is = want[1];
    expect(fabsf(is - exact) <= exact * 0x1p-22f, "the largest value is %g", (double)is);
    fill(x, CAP, 1);
}

// ---- element by element ----

static void run_elu(const kern_table *k, float *out, const void *n) {
    k->codec.elu(out + 1, x + 1, *(const int64_t *)n);
}
static void run_add(const kern_table *k, float *out, const void *n) {
    k->rows.add(out + 1, x + 1, *(const int64_t *)n);
}
static void run_gate_snake(const kern_table *k, float *out, const void *n) {
    k->rows.gate(out + 1, y + 1, x + 3, *(const int64_t *)n);
    k->rows.snake(out + CAP / 2 + 1, x + 1, y + 1, z + 3, *(const int64_t *)n);
}
static void run_lstm(const kern_table *k, float *out, const void *n) {
    int64_t d = *(const int64_t *)n;
    memcpy(out + CAP / 2, z, (size_t)d * sizeof *out); // the cells
    k->codec.lstm(out + 1, out + CAP / 2, x + 1, d + 3, d);
}
static void run_widen(const kern_table *k, float *out, const void *arg) {
    const kv_rows *v = arg;
    k->rows.widen(out + 1, v->p, v->type, v->len);
}

static void test_widen(int64_t n) {
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        kv_rows v = {narrow_bytes + 1, narrow_bytes, types[t], 1, n};
        narrow(narrow_bytes + 1, x, types[t], n);
        at_every_level("widen", run_widen, &v, NULL, n, types[t], 0);
    }
}

void test_kernels(void) {
    fill(x, CAP, 1), fill(y, CAP, 2), fill(z, CAP, 3);
    test_dots();
    test_strips();
    test_chain();
    test_conv_by_tiles(2);
    test_conv_by_tiles(3);
    test_qdots();
    test_packing();
    test_finish();
    test_attention();
    test_packed_attention();
    test_packed_attention_at_its_ends();
    for (int odd = 0; odd < 2; odd++) {
        if (odd) fill_odd(x, CAP, 4), fill_odd(z, CAP, 6);
        test_winograd();
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            const int64_t n = sizes[s];
            at_every_level("layer_norm", run_layer_norm, &n, NULL, n, odd, 0);
            at_every_level("rms_norm", run_rms_norm, &n, NULL, n, odd, 0);
            at_every_level("quantise", run_quantise, &n, NULL, n, odd, 0);
            at_every_level("softmax", run_softmax, &n, x, n, odd, 0);
            at_every_level("elu", run_elu, &n, NULL, n, odd, 0);
            at_every_level("add", run_add, &n, z, n, odd, 0);
            at_every_level("gate, snake", run_gate_snake, &n, NULL, n, odd, 0);
            at_every_level("lstm", run_lstm, &n, NULL, n, odd, 0);
            test_widen(n);
            test_pack(n);
        }
    }
}
