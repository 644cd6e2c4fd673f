// attend_rows.c - attention of many rows at once: at every level, with one and three threads, the
// bits of op_attend for each row alone; scores of odd values are those of plain C.
#include <stdio.h>

#include "check.h"

#define HEADS 6
#define SHARED 2 // heads that have the same keys
#define DH_MAX 64
#define LEN_MAX 130
#define ROWS_MAX 29
#define WIDTH (HEADS / SHARED * DH_MAX)
static float q[ROWS_MAX * HEADS * DH_MAX], k[LEN_MAX * WIDTH], v[LEN_MAX * WIDTH];
static float cache[2][LEN_MAX * WIDTH], laid[2][(LEN_MAX + 15) / 16 * 16 * WIDTH];
static float want[ROWS_MAX * HEADS * DH_MAX], got[ROWS_MAX * HEADS * DH_MAX];

// Into want.
static void attend_alone(compute *c, int64_t n, int64_t len, int64_t dh) {
    const attend_shape kv = {.heads = HEADS / SHARED, .dh = dh, .kv_type = DT_F32};
    const attend_shape one = {.heads = 1, .dh = dh, .kv_type = DT_F32, .scale = 0.17f};
    const kv_cache to = {cache[0], cache[1], len};
    int64_t wide = HEADS / SHARED * dh, stride = attend_stride(&kv, len);
    for (int64_t j = 0; j < len; j++)
        op_cache_put(c, &kv, &(kv_row){to, k + j * wide, v + j * wide, j}, 1);
    for (int64_t i = 0; i < n * HEADS; i++) {
        int64_t head = i % HEADS / SHARED * stride;
        const attend_item item = {.q = q + i * dh,
                                  .out = want + i * dh,
                                  .k = cache[0] + head,
                                  .v = cache[1] + head,
                                  .len = len,
                                  .kv_stride = stride};
        op_attend(c, &one, &item, 1);
    }
}

static void attend_together(compute *c, int64_t n, int64_t len, int64_t dh) {
    const attend_rows_shape s = {HEADS, HEADS / SHARED, dh, 0.17f};
    op_attend_lay(c, &s, laid[0], laid[1], k, v, len);
    const attend_rows_args a = {.out = got, .q = q, .n = n, .k = laid[0], .v = laid[1], .len = len};
    op_attend_rows(c, &s, &a);
}

static void check_shapes(compute *c, compute *plain, const char *name) {
    static const int64_t widths[] = {64, 32, 24, 10}, lens[] = {1, 16, 33, 130};
    static const int64_t rows[] = {1, 5, 12, 29};
    for (size_t d = 0; d < ARRAY_LEN(widths); d++)
        for (size_t l = 0; l < ARRAY_LEN(lens); l++)
            for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
                int64_t values = rows[r] * HEADS * widths[d];
                attend_alone(plain, rows[r], lens[l], widths[d]);
                attend_together(c, rows[r], lens[l], widths[d]);
                same(want, got, values, "%s: %d rows over %d keys, heads of %d", name, (int)rows[r],
                     (int)lens[l], (int)widths[d]);
                if (c == plain) digest_add(want, values);
            }
}

// Scores of odd values, and the largest of each query, into `to`.
static void score(const kern_table *t, float *to, query_rows a) {
    a.max = to, a.s = to + SCORE_QUERIES;
    t->attention.score_rows(&a);
}

static void check_scores(const char *level) {
    kern_table ref, t = table_of(level);
    kern_init_ref(&ref);
    for (int64_t dh = 1; dh <= DH_MAX; dh += 1 + dh / 2)
        for (int64_t len = 1; len <= LEN_MAX; len += 1 + len / 2)
            for (int64_t n = 1; n <= SCORE_QUERIES; n += 3) {
                query_rows a = {.lds = (len + 15) / 16 * 16, .q = q + 1, .ldq = dh + 3, .k = k + 1};
                a.n = n, a.dh = dh, a.len = len, a.scale = 0.17f;
                score(&ref, want, a);
                score(&t, got, a);
                same(want, got, SCORE_QUERIES + n * a.lds, "%s: %d scores with %d keys of %d",
                     level, (int)n, (int)len, (int)dh);
            }
}

void test_attend_rows(void) {
    fill(q, ARRAY_LEN(q), 3);
    fill(k, ARRAY_LEN(k), 4);
    fill(v, ARRAY_LEN(v), 5);
    compute *plain = open_or_die(1, "scalar");
    check_shapes(plain, plain, "scalar");
    for (const char *const *l = levels(); *l; l++) {
        for (int threads = 1; threads <= 3 && !strchr(*l, ' '); threads += 2) {
            compute *c = open_or_die(threads, *l);
            check_shapes(c, plain, *l);
            compute_close(c);
        }
    }
    compute_close(plain);
    fill_odd(q, ARRAY_LEN(q), 6);
    fill_odd(k, ARRAY_LEN(k), 7);
    for (const char *const *l = levels(); *l; l++) check_scores(*l);
}
