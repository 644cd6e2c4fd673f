// peaks.h - a WAV file in few numbers: the lowest and the highest sample of each span, for drawing.
//
// The file is read piece by piece through a function of the caller's, so it is never in memory as a
// whole. It may come from outside: its header is checked, and what it holds less than it says is an
// error.
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define PEAKS_MAX 8192 // spans

typedef struct {
    int rate;
    int64_t frames;
    int64_t span; // frames of one span; the last may be shorter
    size_t count; // spans
    struct {
        int8_t low, high; // over all channels, -128 to 127 as full scale
    } pair[PEAKS_MAX];
} peaks;

// Appends n bytes from offset to out, fewer at the end of the file.
typedef status (*peaks_read)(void *arg, int64_t offset, int64_t n, buf *out, err *e);

// Reads a WAV of 16 or 24 bits and at most 8 channels into at most `most` spans (1 to PEAKS_MAX).
// ERR_FORMAT: it is something else, or damaged. Else what read says.
status peaks_of_wav(peaks *out, peaks_read read, void *arg, size_t most, err *e);
