// oobleck_inside.h - what oobleck.c and oobleck_decode.c share.
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

// A transposed convolution drops so many samples in front of its output.
static inline int64_t oobleck_trim(int64_t stride) {
    return (stride + 1) / 2;
}
