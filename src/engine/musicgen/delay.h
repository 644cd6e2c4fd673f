// delay.h - the delay pattern: which frame of which codebook stands in which column.
//
// Codebook k lags delay(k) columns: k for mono, k / 2 for stereo (rows interleave left, right).
// Frame t stands in column t + 1 + delay(k); column 0 and everything outside the frames is the
// special code. Copet et al. 2023, section 2.2; docs/MODELS.md.
#pragma once
#include "base/base.h"

typedef struct {
    int64_t codebooks; // K
    int64_t channels;  // 1 or 2
    int64_t frames;    // T
    int32_t special;   // BOS, PAD
    bool parallel;     // no lag at all: what the reference falls back to for a handful of columns
} delay_pattern;

// Columns in all, column 0 included: T + codebooks per channel (T + 1 when parallel).
int64_t delay_columns(const delay_pattern *d);
// The frame of codebook k in column p, or -1 where the special code is forced.
int64_t delay_frame(const delay_pattern *d, int64_t k, int64_t p);
// Column p of frames [K][stride] (only frames below known are valid) into out [K]; the special code
// where the pattern says so or the frame is not known yet.
void delay_column(const delay_pattern *d, int32_t *out, const int32_t *frames, int64_t stride,
                  int64_t known, int64_t p);
