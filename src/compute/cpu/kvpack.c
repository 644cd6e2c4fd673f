// kvpack.c - see kvpack.h.
#include "compute/cpu/kvpack.h"

// Writes the unit of a row and returns the integers of its panel.
static uint8_t *begin_row(uint8_t *to, const kvpack_place *at, float unit) {
    int64_t panel = at->pos / KVPACK_ROWS * at->heads + at->head;
    to += panel * kvpack_panel_size(at->dh);
    memcpy(to + at->pos % KVPACK_ROWS * 4, &unit, sizeof unit);
    return to + KVPACK_ROWS * 4;
}

void kvpack_put_key(uint8_t *keys, const kvpack_place *at, const int8_t *q, float unit) {
    uint8_t *to = begin_row(keys, at, unit) + at->pos % KVPACK_ROWS * 4;
    int64_t i = 0;
    for (; i + 4 <= at->dh; i += 4) {
        uint32_t four;
        memcpy(&four, q + i, sizeof four);
        four ^= 0x80808080u; // + 128 in each byte
        memcpy(to + 16 * i, &four, sizeof four);
    }
    for (; i < at->dh; i++) to[i / 4 * 64 + i % 4] = (uint8_t)(q[i] + 128);
}

void kvpack_put_value(uint8_t *values, const kvpack_place *at, const int8_t *q, float unit) {
    int64_t row = at->pos % KVPACK_ROWS;
    uint8_t *to = begin_row(values, at, unit) + row / 4 * 4 * kvpack_width(at->dh) + row % 4;
    for (int64_t i = 0; i < at->dh; i++) to[4 * i] = (uint8_t)(q[i] + 128);
}
