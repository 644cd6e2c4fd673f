// finite.c - see finite.h.
#include "model/finite.h"

#include <stdatomic.h>
#include <string.h>

#include "compute/quant.h"

// A value is finite unless all bits of its exponent are set. Adding a one to the exponent's lowest
// bit then carries into the sign's place, which the mask has cleared. Eight bytes go at once.
typedef struct {
    uint64_t mask, one, sign;
} exponent_test;

static const exponent_test test_f32 = {0x7f8000007f800000, 0x0080000000800000, 0x8000000080000000};
static const exponent_test test_bf16 = {0x7f807f807f807f80, 0x0080008000800080, 0x8000800080008000};
static const exponent_test test_f16 = {0x7c007c007c007c00, 0x0400040004000400, 0x8000800080008000};

static uint64_t found_in(uint64_t word, const exponent_test *t) {
    return ((word & t->mask) + t->one) & t->sign;
}

static bool all_finite(const uint8_t *p, size_t n, const exponent_test *t) {
    uint64_t found = 0, word[4];
    for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(word, p, sizeof word);
        for (int i = 0; i < 4; i++) found |= found_in(word[i], t);
    }
    memset(word, 0, sizeof word);
    if (n) memcpy(word, p, n);
    for (int i = 0; i < 4; i++) found |= found_in(word[i], t);
    return !found;
}

bool finite_f32(const float *x, int64_t n) {
    return all_finite((const uint8_t *)x, (size_t)n * sizeof *x, &test_f32);
}

// The scales of whole panels: sixteen f32 at the beginning of each block of a panel.
static bool scales_finite(const uint8_t *p, size_t n, size_t panel, dtype type) {
    size_t block = quant_panel_size(type, QUANT_BLOCK);
    bool ok = true;
    for (; n >= panel; p += panel, n -= panel)
        for (size_t b = 0; b < panel; b += block)
            ok &= all_finite(p + b, 4 * QUANT_ROWS, &test_f32);
    return ok;
}

typedef struct {
    const uint8_t *data;
    size_t size, unit; // unit: bytes that are looked at together
    dtype type;
    atomic_bool found;
} weight_job;

static bool part_finite(const weight_job *j, const uint8_t *p, size_t n) {
    switch (j->type) {
    case DT_Q8:
    case DT_Q4: return scales_finite(p, n, j->unit, j->type);
    case DT_F16: return all_finite(p, n, &test_f16);
    case DT_BF16:
    case DT_BF16X8:
    case DT_CHAIN_BF16: return all_finite(p, n, &test_bf16);
    default: return all_finite(p, n, &test_f32);
    }
}

static void weight_part(void *arg, int part, int parts) {
    weight_job *j = arg;
    size_t units = (j->size + j->unit - 1) / j->unit;
    size_t from = units * (size_t)part / (size_t)parts * j->unit;
    size_t to = MIN(units * (size_t)(part + 1) / (size_t)parts * j->unit, j->size);
    if (from < to && !part_finite(j, j->data + from, to - from)) j->found = true;
}

#define PART_BYTES ((size_t)1 << 18)

bool finite_weight(const weight *m, size_t size, compute *c) {
    weight_job j = {.data = m->data, .size = size, .unit = 64, .type = m->type};
    if (quant_is(m->type)) j.unit = quant_panel_size(m->type, m->cols);
    int parts = c ? (int)MIN(j.size / PART_BYTES + 1, (size_t)(4 * compute_threads(c))) : 1;
    if (parts > 1)
        op_parallel(c, parts, weight_part, &j);
    else
        weight_part(&j, 0, 1);
    return !j.found;
}
