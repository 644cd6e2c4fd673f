// oobleck_layers.c - the layers that Oobleck's decoder and encoder share, over pieces of a
// sequence; see oobleck_inside.h.
#include <assert.h>
#include <string.h>

#include "model/oobleck_inside.h"

oobleck_extent oobleck_widen(oobleck_extent x, int64_t by) {
    return (oobleck_extent){{MAX(0, x.need.from - by), MIN(x.total, x.need.to + by)}, x.total};
}

int64_t oobleck_length(oobleck_extent x) {
    return x.need.to - x.need.from;
}

int64_t oobleck_reach(const sea_conv *l) {
    return (l->k - 1) / 2 * l->dilation;
}

// --- memory

void oobleck_size_conv(oobleck_size *z, const sea_conv *l, int64_t n) {
    int64_t step = l->dilation > 1 ? 1 : l->stride;
    z->work = MAX(z->work, chain_conv_work(&l->w, l->in, n, step));
    z->rows = MAX(z->rows, (size_t)chain_conv_rows(&l->w, l->in, n, step));
    z->zero = MAX(z->zero, (size_t)l->in);
}

void oobleck_size_values(oobleck_size *z, int64_t rows, int64_t width) {
    z->values = MAX(z->values, (size_t)(rows * width));
}

bool oobleck_room_init(oobleck_room *r, const oobleck_size *z) {
    r->x = arena_f32(&r->own, 1, z->values);
    r->act = arena_f32(&r->own, 1, z->values);
    r->y = arena_f32(&r->own, 1, z->values);
    r->work = arena_alloc(&r->own, z->work);
    r->rows = arena_alloc(&r->own, z->rows * sizeof *r->rows);
    r->zero = arena_f32(&r->own, 1, z->zero);
    return !r->own.failed;
}

// --- layers

const float *oobleck_row_at(const oobleck_conv_args *a, const oobleck_room *r, int64_t t) {
    bool inside = t >= 0 && t < a->in.total;
    assert(!inside || (t >= a->in.need.from && t < a->in.need.to));
    return inside ? a->x + (t - a->in.need.from) * a->l->in : r->zero;
}

// Rows t, t + dilation, t + 2 * dilation ... of the result are a convolution without dilation.
static void conv_phase(compute *c, const oobleck_conv_args *a, oobleck_room *r, int64_t phase) {
    const sea_conv *l = a->l;
    int64_t d = l->dilation, n = (oobleck_length(a->out) - phase + d - 1) / d;
    if (n < 1) return;
    int64_t count = chain_conv_rows(&l->w, l->in, n, 1), first = a->out.need.from + phase;
    for (int64_t j = 0; j < count; j++) {
        bool read = j < n + l->k - 1; // else the row only fills a tile
        r->rows[j] = read ? oobleck_row_at(a, r, first - oobleck_reach(l) + j * d) : r->zero;
    }
    chain_conv(c, &(chain_conv_args){.to = {.y = a->y + phase * l->out,
                                            .y_type = DT_F32,
                                            .ldy = d * l->out,
                                            .n = n,
                                            .w = &l->w,
                                            .bias = l->bias,
                                            .add = a->add},
                                     .rows = r->rows,
                                     .in = l->in,
                                     .step = 1,
                                     .work = r->work});
}

// Row t of the result is of the rows from t * stride - trim on.
static void conv_strided(compute *c, const oobleck_conv_args *a, oobleck_room *r) {
    const sea_conv *l = a->l;
    int64_t n = oobleck_length(a->out), count = chain_conv_rows(&l->w, l->in, n, l->stride);
    int64_t first = a->out.need.from * l->stride - oobleck_trim(l->stride);
    for (int64_t j = 0; j < count; j++) r->rows[j] = oobleck_row_at(a, r, first + j);
    chain_conv(
        c,
        &(chain_conv_args){
            .to = {.y = a->y, .y_type = DT_F32, .ldy = l->out, .n = n, .w = &l->w, .bias = l->bias},
            .rows = r->rows,
            .in = l->in,
            .step = l->stride,
            .work = r->work});
}

void oobleck_conv(compute *c, const oobleck_conv_args *a, oobleck_room *r) {
    if (a->l->stride > 1) {
        conv_strided(c, a, r);
        return;
    }
    for (int64_t p = 0; p < a->l->dilation; p++) conv_phase(c, a, r, p);
}

void oobleck_snake_rows(compute *c, const oobleck_snake *s, float *y, const float *x, int64_t n,
                        int64_t d) {
    op_snake(c, &(snake_args){.y = y, .x = x, .a = s->a, .by = s->by, .n = n, .d = d});
}

void oobleck_turn(oobleck_room *r) {
    float *x = r->x;
    r->x = r->y;
    r->y = x;
}

// x [in] becomes x + conv1(oobleck_snake_rows(conv7(oobleck_snake_rows(x)))) of the rows `out`.
void oobleck_unit_run(compute *c, const oobleck_unit *u, oobleck_room *r, oobleck_extent in,
                      oobleck_extent out) {
    int64_t d = u->conv1.in, n = oobleck_length(out);
    oobleck_snake_rows(c, &u->snake1, r->act, r->x, oobleck_length(in), d);
    oobleck_conv(
        c, &(oobleck_conv_args){.l = &u->conv1, .x = r->act, .in = in, .out = out, .y = r->y}, r);
    oobleck_snake_rows(c, &u->snake2, r->act, r->y, n, d);
    memmove(r->x, r->x + (out.need.from - in.need.from) * d, (size_t)(n * d) * sizeof *r->x);
    oobleck_conv(c,
                 &(oobleck_conv_args){
                     .l = &u->conv2, .x = r->act, .in = out, .out = out, .y = r->x, .add = true},
                 r);
}
