// ops.c - every op with 1, 2, 3 and 8 threads at every level: the bits of one scalar thread.
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "check.h"

#define CAP (1 << 20)
static float x[CAP], y[CAP], want[CAP], got[CAP];
static uint8_t narrow_bytes[CAP * 4 + 1];

typedef void (*op_fn)(compute *c, float *out, const void *arg);

typedef struct {
    char name[24];
    compute *c;
} machine;
static machine machines[16];
static int machine_count;

static void open_machines(void) {
    static const int threads[] = {1, 2, 3, 8};
    machines[machine_count++] = (machine){"scalar 1", open_or_die(1, "scalar")};
    machines[machine_count++] = (machine){"scalar 3", open_or_die(3, "scalar")};
    for (const char *const *l = levels(); *l; l++) {
        if (strchr(*l, ' ')) continue; // no level that can be asked for
        for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
            machine *m = &machines[machine_count++];
            snprintf(m->name, sizeof m->name, "%s %d", *l, threads[t]);
            m->c = open_or_die(threads[t], *l);
        }
    }
}

static void on_every_machine(const char *what, op_fn f, const void *arg, int64_t n) {
    for (int i = 0; i < machine_count; i++) {
        float *out = i ? got : want;
        fill(out, n, 77);
        f(machines[i].c, out, arg);
        if (i)
            same(want, got, n, "op %s, %s", what, machines[i].name);
        else
            digest_add(want, n);
    }
}

// ---- products ----

typedef struct {
    linear_args a;
    weight w;
} linear_case;

static void run_linear(compute *c, float *out, const void *arg) {
    linear_args a = ((const linear_case *)arg)->a;
    a.y = out;
    op_linear(c, &a);
}

// y [n, rows + 1], its last column untouched.
static void linear_shape(dtype type, int64_t rows, int64_t cols, int64_t n, int64_t ldx) {
    narrow(narrow_bytes + 1, y, type, rows * cols);
    linear_case k = {.w = {.type = type, .rows = rows, .cols = cols, .data = narrow_bytes + 1}};
    k.a = (linear_args){.ldy = rows + 1, .x = x + 1, .ldx = ldx, .n = n, .w = &k.w, .next = &k.w};
    k.a.bias = n % 2 ? y : NULL, k.a.act = (activation)(n % 4), k.a.add = n % 3 == 0;
    char name[64];
    snprintf(name, sizeof name, "linear %s [%lld, %lld] n %lld", dtype_name(type), (long long)rows,
             (long long)cols, (long long)n);
    on_every_machine(name, run_linear, &k, n * (rows + 1));
}

static void run_many(compute *c, float *out, const void *arg) {
    linear_args a[3];
    for (int i = 0; i < 3; i++) {
        a[i] = ((const linear_case *)arg)->a;
        a[i].y = out + i * a[i].ldy;
        a[i].ldy *= 3;
        a[i].x += i;
    }
    op_linear_many(c, a, 3);
}

// Row i of a batch of n has the bits it has alone.
static void test_batch(dtype type, int64_t rows, int64_t cols, int64_t n) {
    compute *c = machines[machine_count - 1].c;
    narrow(narrow_bytes, y, type, rows * cols);
    weight w = {.type = type, .rows = rows, .cols = cols, .data = narrow_bytes};
    linear_args a = {.y = want, .ldy = rows, .x = x, .ldx = cols, .n = n, .w = &w};
    op_linear(c, &a);
    for (int64_t i = 0; i < n; i++) {
        linear_args one = a;
        one.y = got + i * rows, one.x = x + i * cols, one.n = 1;
        op_linear(c, &one);
    }
    same(want, got, n * rows, "op linear, alone or in a batch of %lld", (long long)n);
}

// Strips, and: the bits of the same weights row by row.
static void strips_shape(int64_t rows, int64_t cols, int64_t n) {
    weight src = {.type = DT_F32, .rows = rows, .cols = cols, .data = y};
    bf16x8_pack(narrow_bytes + 1, &src);
    linear_case k = {.w = src};
    k.w.type = DT_BF16X8, k.w.data = narrow_bytes + 1;
    k.a = (linear_args){.ldy = rows, .x = x + 1, .ldx = cols + 1, .n = n, .w = &k.w, .bias = y};
    on_every_machine("linear of interleaved rows", run_linear, &k, n * rows);
    narrow(narrow_bytes, y, DT_BF16, rows * cols);
    k.w.type = DT_BF16, k.w.data = narrow_bytes;
    run_linear(machines[machine_count - 1].c, got, &k);
    same(want, got, n * rows, "linear of interleaved rows, and of rows: n %lld", (long long)n);
}

static void test_linear(void) {
    static const dtype types[] = {DT_F32, DT_BF16, DT_F16};
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        linear_shape(types[t], 130, 96, 1, 96);
        linear_shape(types[t], 67, 129, 2, 140);
        linear_shape(types[t], 200, 64, 7, 64);
        linear_shape(types[t], 33, 80, 65, 16);
        linear_shape(types[t], 5, 448, 200, 64);
        linear_shape(types[t], 520, 30, 50, 30);
        linear_shape(types[t], 24, 5000, 70, 8);
        test_batch(types[t], 100, 200, 150);
        test_batch(types[t], 70, 96, 9);
    }
    strips_shape(130, 96, 2);
    strips_shape(67, 129, 1);
    strips_shape(200, 64, 8);
    strips_shape(33, 80, 65);
    strips_shape(5, 448, 200);
    narrow(narrow_bytes, y, DT_BF16, 128 * 256);
    linear_case k = {.w = {.type = DT_BF16, .rows = 128, .cols = 256, .data = narrow_bytes}};
    k.a = (linear_args){.ldy = 128, .x = x, .ldx = 256, .n = 2, .w = &k.w};
    on_every_machine("linear_many", run_many, &k, 3 * 2 * 128);
}

// ---- packed weights ----

static float dense[1 << 16];

static void packed_shape(dtype type, int64_t rows, int64_t cols, int64_t n, int64_t ldx) {
    weight src = {.type = DT_F32, .rows = rows, .cols = cols, .data = y};
    quant_pack(narrow_bytes + 1, type, &src);
    linear_case k = {.w = {.type = type, .rows = rows, .cols = cols, .data = narrow_bytes + 1}};
    k.a = (linear_args){.ldy = rows + 1, .x = x + 1, .ldx = ldx, .n = n, .w = &k.w, .next = &k.w};
    k.a.bias = n % 2 ? y : NULL, k.a.act = (activation)(n % 4), k.a.add = n % 3 == 0;
    char name[64];
    snprintf(name, sizeof name, "linear %s [%lld, %lld] n %lld", dtype_name(type), (long long)rows,
             (long long)cols, (long long)n);
    on_every_machine(name, run_linear, &k, n * (rows + 1));
}

// Against the weights as quant_row gives them, in double: what is left is x's own rounding, under a
// hundredth of the result's size.
static void test_packed_is_a_product(dtype type) {
    const int64_t rows = 100, cols = 300;
    weight src = {.type = DT_F32, .rows = rows, .cols = cols, .data = y};
    weight w = {.type = type, .rows = rows, .cols = cols, .data = narrow_bytes};
    quant_pack(narrow_bytes, type, &src);
    for (int64_t r = 0; r < rows; r++) quant_row(dense + r * cols, &w, r);
    linear_args a = {.y = got, .ldy = rows, .x = x, .ldx = cols, .n = 2, .w = &w};
    op_linear(machines[machine_count - 1].c, &a);
    double off = 0, size = 0;
    for (int64_t i = 0; i < 2; i++) {
        for (int64_t r = 0; r < rows; r++) {
            double sum = 0;
            for (int64_t c = 0; c < cols; c++) {
                sum += (double)dense[r * cols + c] * (double)x[i * cols + c];
            }
            off += pow(sum - (double)got[i * rows + r], 2), size += sum * sum;
        }
    }
    expect(sqrt(off / size) < 0.01, "%s product is off by %g", dtype_name(type), sqrt(off / size));
}

static void test_packed(void) {
    for (int t = DT_Q8; t <= DT_Q4; t++) {
        packed_shape((dtype)t, 200, 96, 1, 96);
        packed_shape((dtype)t, 67, 129, 2, 140);
        packed_shape((dtype)t, 300, 64, 9, 64);
        packed_shape((dtype)t, 16, 80, 200, 16);
        packed_shape((dtype)t, 130, 1100, 70, 33);
        packed_shape((dtype)t, 31, 33000, 40, 3); // more blocks than one round takes
        test_packed_is_a_product((dtype)t);
    }
    weight src = {.type = DT_F32, .rows = 128, .cols = 256, .data = y};
    quant_pack(narrow_bytes, DT_Q8, &src);
    linear_case k = {.w = {.type = DT_Q8, .rows = 128, .cols = 256, .data = narrow_bytes}};
    k.a = (linear_args){.ldy = 128, .x = x, .ldx = 256, .n = 2, .w = &k.w};
    on_every_machine("linear_many packed", run_many, &k, 3 * 2 * 128);
}

// ---- attention ----

#define HEADS 10
#define DH 32
#define ROWS 7
#define LEN 300
typedef struct {
    dtype type;
    bool bias;
} attend_case;

static void run_attend(compute *c, float *out, const void *arg) {
    const attend_case *k = arg;
    attend_shape s = {.heads = HEADS, .dh = DH, .kv_type = k->type, .scale = 0.17f};
    s.bias_stride = LEN + 3;
    attend_item items[ROWS];
    int64_t stride = attend_stride(&s, LEN);
    for (int i = 0; i < ROWS; i++) {
        items[i] = (attend_item){.q = x + i * HEADS * DH, .out = out + i * HEADS * DH};
        items[i].k = narrow_bytes, items[i].v = narrow_bytes + 4 * HEADS * LEN * DH;
        items[i].len = LEN * i / (ROWS - 1), items[i].kv_stride = stride;
        items[i].bias = k->bias ? y + i : NULL;
    }
    op_attend(c, &s, items, ROWS);
}

// Keys and values from y, as type.
static void fill_caches(compute *c, dtype type) {
    attend_shape s = {.heads = HEADS, .dh = DH, .kv_type = type};
    static kv_row rows[LEN];
    for (int64_t j = 0; j < LEN; j++) {
        rows[j].to = (kv_cache){narrow_bytes, narrow_bytes + 4 * HEADS * LEN * DH, LEN};
        rows[j].k = y + j * HEADS * DH, rows[j].v = y + (LEN + j) * HEADS * DH, rows[j].pos = j;
    }
    op_cache_put(c, &s, rows, LEN);
}

static void test_attend(void) {
    static const dtype kept[] = {DT_F32, DT_BF16, DT_I8};
    static float exact[ROWS * HEADS * DH];
    for (int t = 0; t < 6; t++) {
        attend_case k = {kept[t / 2], t % 2 && kept[t / 2] != DT_I8};
        fill_caches(machines[t % machine_count].c, k.type);
        on_every_machine("attend", run_attend, &k, ROWS * HEADS * DH);
        if (t == 0) memcpy(exact, want, sizeof exact);
        if (t % 2) continue;
        double off = 0, size = 0;
        for (int i = 0; i < ROWS * HEADS * DH; i++) {
            off += pow((double)want[i] - (double)exact[i], 2), size += pow((double)exact[i], 2);
        }
        expect(sqrt(off / size) < 0.02, "attention over %s is off by %g", dtype_name(k.type),
               sqrt(off / size));
    }
}

// Against the definition of softmax attention, in double.
static void test_attend_is_attention(void) {
    attend_shape s = {.heads = 2, .dh = 24, .kv_type = DT_F32, .scale = 0.2f};
    const float *k = x + 100, *v = x + 5000;
    attend_item it = {.q = y, .out = got, .k = k, .v = v, .len = 50, .kv_stride = 60 * 24};
    op_attend(machines[machine_count - 1].c, &s, &it, 1);
    double worst = 0;
    for (int h = 0; h < 2; h++) {
        double e[50], sum = 0;
        for (int j = 0; j < 50; j++) {
            double d = 0;
            for (int i = 0; i < 24; i++) d += (double)y[h * 24 + i] * k[h * 1440 + j * 24 + i];
            sum += e[j] = exp(d * 0.2);
        }
        for (int i = 0; i < 24; i++) {
            double o = 0;
            for (int j = 0; j < 50; j++) o += e[j] / sum * v[h * 1440 + j * 24 + i];
            worst = fmax(worst, fabs(o - got[h * 24 + i]));
        }
    }
    expect(worst < 2e-6, "attention is off its definition by %g", worst);
}

// Row 2 of a cache for four, two heads of three columns.
static void put_third(void *k, void *v, dtype type, const float row[6]) {
    const attend_shape s = {.heads = 2, .dh = 3, .kv_type = type};
    float half[6];
    for (int i = 0; i < 6; i++) half[i] = row[i] / 2;
    op_cache_put(machines[0].c, &s, &(kv_row){{k, v, 4}, row, half, 2}, 1);
}

static void test_cache_put(void) {
    uint16_t k[2 * 4 * 3] = {0}, v[2 * 4 * 3] = {0};
    const float row[6] = {1, 2, 3, -4, 5, 6.5f};
    put_third(k, v, DT_BF16, row);
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 3; i++) {
            int at = h * 12 + 2 * 3 + i;
            expect(bf16_to_f32(k[at]) == row[h * 3 + i], "cache_put: key %d %d", h, i);
            expect(bf16_to_f32(v[at]) == row[h * 3 + i] / 2, "cache_put: value %d %d", h, i);
        }
}

// As kvpack.h says: a panel is sixteen units and 256 integers, for three columns too.
static void test_cache_put_packs(void) {
    enum { PANEL = 16 * 4 + 16 * 16 };
    static uint8_t k[2 * PANEL], v[2 * PANEL];
    put_third(k, v, DT_I8, (const float[6]){127, 2, -3, -508, 4, 6});
    for (int h = 0; h < 2; h++) {
        const uint8_t *kp = k + h * PANEL, *vp = v + h * PANEL;
        const int want_q[2][3] = {{127, 2, -3}, {-127, 1, 2}}; // 1.5 to even
        float units[2];
        memcpy(&units[0], kp + 2 * 4, 4), memcpy(&units[1], vp + 2 * 4, 4);
        float unit = h ? 4.0f : 1.0f;
        expect(fabsf(units[0] - unit) < 4e-6f, "the key's unit is %g", (double)units[0]);
        expect(fabsf(units[1] - unit / 2) < 4e-6f, "the value's unit is %g", (double)units[1]);
        for (int i = 0; i < 3; i++) {
            expect(kp[64 + 2 * 4 + i] == want_q[h][i] + 128, "key %d %d", h, i);
            expect(vp[64 + 4 * i + 2] == want_q[h][i] + 128, "value %d %d", h, i);
        }
    }
}

// From room for 5 rows to room for 3: two rows of either head, and nothing else.
static void test_cache_copy(void) {
    attend_shape s = {.heads = 2, .dh = 3, .kv_type = DT_F32};
    float from[2][2 * 5 * 3], to[2][2 * 3 * 3];
    for (int i = 0; i < 60; i++) from[i / 30][i % 30] = (float)i;
    for (int i = 0; i < 36; i++) to[i / 18][i % 18] = -1;
    op_cache_copy((kv_cache){to[0], to[1], 3}, (kv_cache){from[0], from[1], 5}, &s, 2);
    for (int which = 0; which < 2; which++)
        for (int h = 0; h < 2; h++)
            for (int i = 0; i < 9; i++)
                expect(to[which][h * 9 + i] == (i < 6 ? from[which][h * 15 + i] : -1),
                       "cache_copy %d %d %d", which, h, i);
}

// Attention over 20 rows copied from room for 50 to room for 33 is attention over those.
static void test_cache_copy_of_panels(void) {
    attend_shape s = {.heads = 2, .dh = 24, .kv_type = DT_I8, .scale = 0.2f};
    static uint8_t kept[4][5000];
    const kv_cache from = {kept[0], kept[1], 50}, to = {kept[2], kept[3], 33};
    kv_row rows[40];
    for (int j = 0; j < 40; j++) rows[j] = (kv_row){from, x + 48 * j, y + 48 * j, j};
    op_cache_put(machines[0].c, &s, rows, 40);
    op_cache_copy(to, from, &s, 20);
    attend_item it[2] = {{.q = x, .out = want, .k = from.k, .v = from.v, .len = 20},
                         {.q = x, .out = got, .k = to.k, .v = to.v, .len = 20}};
    it[0].kv_stride = attend_stride(&s, 50), it[1].kv_stride = attend_stride(&s, 33);
    op_attend(machines[0].c, &s, it, 2);
    same(want, got, 48, "attention over copied panels");
}

// ---- rows in 8 bits ----

// A norm, two products, and attention before a third: every op makes its rows in 8 bits for the
// next one (early), or leaves them to it.
#define EARLY_N 9
#define EARLY_D 320   // HEADS * DH: a block and a part of one
#define EARLY_UP 1024 // several parts, which cut blocks if they may
typedef struct {
    weight up, down;
    dtype kv_type;
    bool early;
} early_case;

static qblock early_q[3][EARLY_N * EARLY_UP / QUANT_BLOCK];

static void early_attend(compute *c, float *ctx, const float *q, const early_case *k) {
    attend_shape s = {.heads = HEADS, .dh = DH, .kv_type = k->kv_type, .scale = 0.17f};
    attend_item items[EARLY_N];
    for (int i = 0; i < EARLY_N; i++) {
        items[i] =
            (attend_item){.q = q + i * EARLY_D, .out = ctx + i * EARLY_D, .len = LEN / 9 * i};
        items[i].k = narrow_bytes, items[i].v = narrow_bytes + 4 * HEADS * LEN * DH;
        items[i].kv_stride = attend_stride(&s, LEN);
        if (k->early) items[i].outq = early_q[2] + i * quant_blocks(EARLY_D);
    }
    op_attend(c, &s, items, EARLY_N);
}

static void run_early(compute *c, float *out, const void *arg) {
    static float norm[EARLY_N * EARLY_D], hidden[EARLY_N * EARLY_UP], ctx[EARLY_N * EARLY_D];
    const early_case *k = arg;
    op_layer_norm(c, &(norm_args){.y = norm,
                                  .yq = k->early ? early_q[0] : NULL,
                                  .x = x,
                                  .w = y,
                                  .b = y + 2000,
                                  .n = EARLY_N,
                                  .d = EARLY_D,
                                  .eps = 1e-5f});
    linear_args up = {.y = hidden, .ldy = EARLY_UP, .x = norm, .ldx = EARLY_D, .n = EARLY_N};
    up.w = &k->up, up.act = ACT_GELU;
    linear_args down = {.y = out, .ldy = EARLY_D, .x = hidden, .ldx = EARLY_UP, .n = EARLY_N};
    down.w = &k->down;
    linear_args after = {.y = hidden, .ldy = EARLY_UP, .x = ctx, .ldx = EARLY_D, .n = EARLY_N};
    after.w = &k->up;
    if (k->early) {
        up.x = down.x = after.x = NULL;
        up.xq = early_q[0], up.yq = early_q[1], down.xq = early_q[1], after.xq = early_q[2];
    }
    op_linear(c, &up);
    op_linear(c, &down);
    early_attend(c, ctx, out, k);
    op_linear(c, &after);
    memcpy(out + EARLY_N * EARLY_D, hidden, sizeof hidden);
}

static void test_early(void) {
    static uint8_t up[EARLY_UP * EARLY_D * 2], down[EARLY_UP * EARLY_D * 2];
    static float late[EARLY_N * (EARLY_D + EARLY_UP)];
    for (int t = DT_Q8; t <= DT_Q4; t++) {
        weight src = {.type = DT_F32, .rows = EARLY_UP, .cols = EARLY_D, .data = y};
        early_case k = {.kv_type = t == DT_Q8 ? DT_I8 : DT_F32};
        quant_pack(up, (dtype)t, &src);
        k.up = (weight){(dtype)t, EARLY_UP, EARLY_D, up};
        src.rows = EARLY_D, src.cols = EARLY_UP;
        quant_pack(down, (dtype)t, &src);
        k.down = (weight){(dtype)t, EARLY_D, EARLY_UP, down};
        fill_caches(machines[0].c, k.kv_type);
        run_early(machines[0].c, late, &k);
        k.early = true;
        on_every_machine("rows in 8 bits", run_early, &k, ARRAY_LEN(late));
        same(late, want, ARRAY_LEN(late), "rows in 8 bits, early or late: %s",
             dtype_name((dtype)t));
    }
}

// ---- rows and elements ----

static void run_layer_norm(compute *c, float *out, const void *arg) {
    (void)arg;
    op_layer_norm(
        c, &(norm_args){.y = out, .x = x, .w = y, .b = y + 2000, .n = 37, .d = 600, .eps = 1e-5f});
}
static void run_rms_norm(compute *c, float *out, const void *arg) {
    (void)arg;
    op_rms_norm(c, &(norm_args){.y = out, .x = out, .w = y, .n = 37, .d = 600, .eps = 1e-6f});
}
static void run_elu(compute *c, float *out, const void *arg) {
    (void)arg;
    chain_lay(c, &(chain_lay_args){.y = out,
                                   .type = DT_F32,
                                   .rows = (const float *[]){x},
                                   .n = 1,
                                   .cols = 50001,
                                   .elu = true});
}
static void run_elements(compute *c, float *out, const void *arg) {
    (void)arg;
    op_gate(c, out, x, 37, 300);
    op_snake(c, &(snake_args){out + 37 * 300, x, y, y + 700, 37, 600});
    op_add(c, out, x, 50001);
}

// ---- recurrence ----

// Behind out: y, then z, h and cell.
static void run_lstm(compute *c, float *out, const void *arg) {
    lstm_args a = *(const lstm_args *)arg;
    int64_t state = a.rows * a.d;
    a.y = out, a.z = a.y + a.n * state, a.h = a.z + 4 * a.n * state, a.cell = a.h + state;
    op_lstm(c, &a);
    memset(a.z, 0, (size_t)(4 * a.n * state) * sizeof *a.z); // used up
}

static void lstm_shape(dtype type, int64_t d, int64_t rows, int64_t n) {
    weight w = {.type = type, .rows = 4 * d, .cols = d, .data = narrow_bytes};
    const weight src = {.type = DT_F32, .rows = 4 * d, .cols = d, .data = y};
    if (quant_is(type))
        quant_pack(narrow_bytes, type, &src);
    else if (type == DT_BF16X8)
        bf16x8_pack(narrow_bytes, &src);
    else
        narrow(narrow_bytes, y, type, 4 * d * d);
    const lstm_args a = {.w = &w, .n = n, .rows = rows, .d = d};
    char name[64];
    snprintf(name, sizeof name, "lstm %s d %lld rows %lld", dtype_name(type), (long long)d,
             (long long)rows);
    on_every_machine(name, run_lstm, &a, (5 * n + 2) * rows * d);
}

static double logistic(double v) {
    return 1 / (1 + exp(-v));
}

// Two steps against the definition, in double.
static void test_lstm_is_lstm(void) {
    enum { D = 40 };
    float out[2 * D], z[8 * D], h[D], cell[D];
    const weight w = {.type = DT_F32, .rows = 4 * D, .cols = D, .data = y};
    double was[D], c[D], worst = 0;
    fill(z, 8 * D, 5), fill(h, D, 6), fill(cell, D, 7);
    for (int i = 0; i < D; i++) was[i] = (double)h[i], c[i] = (double)cell[i];
    float gates[8 * D];
    memcpy(gates, z, sizeof z);
    op_lstm(machines[machine_count - 1].c, &(lstm_args){out, z, h, cell, &w, 2, 1, D});
    for (int t = 0; t < 2; t++) {
        double now[D];
        for (int i = 0; i < D; i++) {
            double g[4];
            for (int k = 0; k < 4; k++) {
                g[k] = (double)gates[t * 4 * D + k * D + i];
                for (int j = 0; j < D; j++) g[k] += was[j] * (double)y[(k * D + i) * D + j];
            }
            c[i] = logistic(g[1]) * c[i] + logistic(g[0]) * tanh(g[2]);
            now[i] = logistic(g[3]) * tanh(c[i]);
            worst = fmax(worst, fabs(now[i] - (double)out[t * D + i]));
        }
        memcpy(was, now, sizeof was);
    }
    for (int i = 0; i < D; i++) {
        worst = fmax(worst, fabs(c[i] - (double)cell[i]));
        expect(h[i] == out[D + i], "the state after the last step, cell %d", i);
    }
    expect(worst < 2e-5, "an LSTM is off its definition by %g", worst);
}

static void test_lstm(void) {
    static const dtype types[] = {DT_F32, DT_BF16, DT_BF16X8, DT_Q8, DT_Q4};
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        lstm_shape(types[t], 256, 1, 4);
        lstm_shape(types[t], 192, LSTM_ROWS_MAX, 3);
        lstm_shape(types[t], 40, 3, 5);
    }
    test_lstm_is_lstm();
}

// ---- threads ----

static void bump(void *arg, int part, int parts) {
    (void)parts;
    ((float *)arg)[part] += 1.0f;
}

static void test_parallel(void) {
    for (int i = 0; i < machine_count; i++) {
        for (int round = 0; round < 500; round++) {
            float seen[20] = {0};
            op_parallel(machines[i].c, 20, bump, seen);
            for (int p = 0; p < 20; p++)
                expect(seen[p] == 1.0f, "part %d ran %g times", p, (double)seen[p]);
        }
    }
}

static void test_embed(void) {
    const float table[3 * 300] = {[300] = 1.5f, [599] = -2.0f, [600] = 4.0f};
    weight w = {.type = DT_F32, .rows = 3, .cols = 300, .data = table};
    const int32_t ids[] = {1, 2};
    op_embed(got, &w, ids, 2, false);
    op_embed(got, &w, ids, 2, true);
    expect(got[0] == 3 && got[299] == -4 && got[300] == 8 && got[1] == 0, "embed");
}

static void test_open_refuses(void) {
    compute *c = (compute *)x;
    err e;
    expect(compute_open(&c, 1, "mmx", &e) == ERR_ARG && !c, "an unknown instruction set opens");
    expect(strstr(e.text, "scalar") && strstr(e.text, "mmx"), "the text lists what there is");
    expect(compute_open(&c, 100000, NULL, &e) == ERR_LIMIT && !c, "100000 threads open");
    expect(compute_open(&c, -1, NULL, &e) == ERR_ARG && !c, "-1 threads open");
}

static void test_open_survives_each_failed_allocation(void) {
    for (int n = 0;; n++) {
        compute *c = (compute *)x;
        mem_fail_after(n);
        status rc = compute_open(&c, 3, NULL, NULL);
        mem_fail_after(-1);
        if (rc == OK) {
            expect(compute_threads(c) == 3, "opened with %d threads", compute_threads(c));
            compute_close(c);
            return;
        }
        expect(rc == ERR_OOM && !c, "allocation %d fails: status %d", n, rc);
    }
}

void test_ops(void) {
    fill(x, CAP, 11), fill(y, CAP, 12);
    open_machines();
    test_linear();
    test_packed();
    test_attend();
    test_attend_is_attention();
    test_cache_put();
    test_cache_put_packs();
    test_cache_copy();
    test_cache_copy_of_panels();
    test_early();
    on_every_machine("layer_norm", run_layer_norm, NULL, 37 * 600);
    on_every_machine("rms_norm", run_rms_norm, NULL, 37 * 600);
    on_every_machine("elu", run_elu, NULL, 50001);
    on_every_machine("gate, snake, add", run_elements, NULL, 50001);
    test_lstm();
    test_parallel();
    test_embed();
    test_open_refuses();
    test_open_survives_each_failed_allocation();
    for (int i = 0; i < machine_count; i++) compute_close(machines[i].c);
}
