// delay.h - the delay pattern: which frame of which codebook stands in which column.
//
// Codebook k is delay(k) columns late: k for mono, k / 2 for stereo (rows interleave left, right).
// Frame t stands in column t + 1 + delay(k); column 0 and everything outside the frames is the
// special code. Copet et al. 2023, section 2.2; docs/MODELS.md.
#pragma once
#include "base/base.h"

typedef struct {
    int64_t codebooks; // K
    int64_t channels;  // 1 or 2
    int64_t frames;    // T
    int32_t special;   // BOS, PAD
    bool parallel;     // no delay: the reference does so for very few columns
} delay_pattern;

// Columns in all, column 0 included: T + codebooks per channel (T + 1 when parallel).
int64_t delay_columns(const delay_pattern *d);
// The frame of codebook k in column p, or -1 where the special code is forced.
int64_t delay_frame(const delay_pattern *d, int64_t k, int64_t p);
// Writes column p of frames [K][stride] into out [K]. Frames from `known` on are not there yet:
// they and the places outside the frames become the special code.
void delay_column(const delay_pattern *d, int32_t *out, const int32_t *frames, int64_t stride,
                  int64_t known, int64_t p);
