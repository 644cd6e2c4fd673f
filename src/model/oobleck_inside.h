// oobleck_inside.h - what the files of oobleck.h share.
#pragma once
#include "model/oobleck.h"
#include "model/seanet.h"

#define OOBLECK_UNITS 3 // residual units of a stage

typedef struct {
    const float *a, *by; // snake: x + sin(a x)^2 by
} oobleck_snake;

typedef struct {
    oobleck_snake snake1, snake2;
    sea_conv conv1, conv2; // 7 taps, dilated; 1 tap
} oobleck_unit;

typedef struct {
    oobleck_snake snake;
    sea_up up;
    oobleck_unit unit[OOBLECK_UNITS];
} oobleck_stage;

struct oobleck {
    oobleck_config cfg;
    sea_conv first, last;
    oobleck_snake snake;
    oobleck_stage stage[OOBLECK_STAGES_MAX];
};

// A transposed convolution drops so many samples in front of its output, and the encoder's other
// one sees so many zeros in front of its input.
static inline int64_t oobleck_trim(int64_t stride) {
    return (stride + 1) / 2;
}

// --- pieces of a sequence, through the layers

// Rows of the result of a layer: of a stage its range is `need`, of all there are `total`.
typedef struct {
    span need;
    int64_t total;
} oobleck_extent;

oobleck_extent oobleck_widen(oobleck_extent x, int64_t by);
int64_t oobleck_length(oobleck_extent x);
int64_t oobleck_reach(const sea_conv *l); // the width of padding on one side

// The memory of a piece, and how much of it the layers need.
typedef struct {
    float *x;   // the rows of the layer under way
    float *act; // their snake
    float *y;   // the next rows
    void *work; // of chain_conv
    const float **rows;
    float *zero;
    arena own;
} oobleck_room;
typedef struct {
    size_t values, work, rows, zero;
} oobleck_size;

void oobleck_size_conv(oobleck_size *z, const sea_conv *l, int64_t n); // n rows of its result
void oobleck_size_values(oobleck_size *z, int64_t rows, int64_t width);
bool oobleck_room_init(oobleck_room *r, const oobleck_size *z);

// A convolution of the rows of x, of which extent `in` is in memory, to the rows `out` of y.
typedef struct {
    const sea_conv *l;
    const float *x;
    oobleck_extent in, out;
    float *y;
    bool add;
} oobleck_conv_args;

// Row t of x; zeros outside the sequence.
const float *oobleck_row_at(const oobleck_conv_args *a, const oobleck_room *r, int64_t t);
void oobleck_conv(compute *c, const oobleck_conv_args *a, oobleck_room *r);
void oobleck_snake_rows(compute *c, const oobleck_snake *s, float *y, const float *x, int64_t n,
                        int64_t d);
void oobleck_bind_conv(weights *w, sea_conv *l, const sea_conv *shape, const char *prefix);
void oobleck_bind_snake(weights *w, oobleck_snake *s, int64_t n, const char *prefix);
// Unit k of those at prefix: "decoder.block.0".
void oobleck_bind_unit(weights *w, oobleck_unit *u, int64_t n, int k, const char *prefix);
void oobleck_turn(oobleck_room *r); // the next rows are those under way
// x [in] becomes x + conv1(snake(conv7(snake(x)))) of the rows `out`.
void oobleck_unit_run(compute *c, const oobleck_unit *u, oobleck_room *r, oobleck_extent in,
                      oobleck_extent out);
