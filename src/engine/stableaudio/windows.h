// windows.h - where the canvases of a stem lie: one, or several, each going on from the one before.
//
// A window is a canvas. The first begins with the stem; each other one begins a quarter of a canvas
// in front of the first frame that is not there yet, hears that quarter, and makes the rest. The
// last one ends with the stem, and so hears more. Frames that are there, because they were given or
// made, are kept.
#pragma once
#include "compute/types.h"

typedef struct {
    int64_t frames; // of the stem; at least those of the canvas
    int64_t canvas;
    span fresh; // frames of the stem that are made; the others are given
} sa_windows;

typedef struct {
    int64_t start; // its first frame in the stem
    span fresh;    // its own frames that are made; the others are there
} sa_window;

int64_t sa_windows_count(const sa_windows *w); // at least 1
sa_window sa_windows_at(const sa_windows *w, int64_t number);
