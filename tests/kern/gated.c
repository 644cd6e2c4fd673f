// gated.c - a gated product that gives rows in 8 bits: at every level, with one and three threads,
// the bits of op_linear and op_gate.
#include <stdio.h>

#include "check.h"

#define N 70   // more than a block of rows
#define D 320  // a block and a part of one
#define UP 512 // gated values: two blocks
static float x[N * D], w[2 * UP * D], bias[2 * UP];
static float hidden[N * 2 * UP], gated[N * UP], want[N * D], got[N * D];
static qblock gated_q[N * UP / QUANT_BLOCK];
static uint8_t up_bytes[2 * UP * D * 2], down_bytes[UP * D * 2];

static weight packed(uint8_t *to, dtype type, int64_t rows, int64_t cols) {
    const weight src = {.type = DT_F32, .rows = rows, .cols = cols, .data = w};
    quant_pack(to, type, &src);
    return (weight){.type = type, .rows = rows, .cols = cols, .data = to};
}

static void run(compute *c, float *y, const weight *up, const weight *down, bool early) {
    linear_args a = {.ldy = 2 * UP, .x = x, .ldx = D, .n = N, .w = up, .bias = bias};
    linear_args b = {.y = y, .ldy = D, .ldx = UP, .n = N, .w = down};
    if (early) {
        a.yq = gated_q, a.gate = true, b.xq = gated_q;
        op_linear(c, &a);
    } else {
        a.y = hidden, b.x = gated;
        op_linear(c, &a);
        op_gate(c, gated, hidden, N, UP);
    }
    op_linear(c, &b);
}

void test_gated(void) {
    fill(x, ARRAY_LEN(x), 1);
    fill(w, ARRAY_LEN(w), 2);
    fill(bias, ARRAY_LEN(bias), 3);
    compute *plain = open_or_die(1, "scalar");
    for (int t = DT_Q8; t <= DT_Q4; t++) {
        const weight up = packed(up_bytes, (dtype)t, 2 * UP, D);
        const weight down = packed(down_bytes, (dtype)t, D, UP);
        run(plain, want, &up, &down, false);
        digest_add(want, ARRAY_LEN(want));
        run(plain, got, &up, &down, true);
        same(want, got, ARRAY_LEN(want), "scalar: a gated product, %s", dtype_name((dtype)t));
        for (const char *const *l = levels(); *l; l++) {
            for (int threads = 1; threads <= 3 && !strchr(*l, ' '); threads += 2) {
                compute *c = open_or_die(threads, *l);
                memset(got, 0, sizeof got);
                run(c, got, &up, &down, true);
                same(want, got, ARRAY_LEN(want), "%s: a gated product, %s, %d threads", *l,
                     dtype_name((dtype)t), threads);
                compute_close(c);
            }
        }
    }
    compute_close(plain);
}
