// picture.h - sound as a picture: waveform above a spectrogram, with axes, as a PNG image.
//
// Time runs from left to right, in seconds below and, with a tempo, in bars above. The waveform
// shows the range of the mono mix in each column, with its rms inside, full scale 1 at the edges.
// The spectrogram's frequency axis is logarithmic from 40 Hz to 16 kHz (or Nyquist), its colours
// decibels from -90 to 0 of a full-scale sine, as the legend beside it says.
#pragma once
#include "base/buf.h"

// The plots; labels stand around them.
#define PICTURE_PLOT_WIDTH 1200
#define PICTURE_WAVE 200     // rows of the waveform
#define PICTURE_SPECTRUM 480 // rows of the spectrogram
#define PICTURE_GAP 6
#define PICTURE_PLOT_HEIGHT (PICTURE_WAVE + PICTURE_GAP + PICTURE_SPECTRUM)
#define PICTURE_LEFT 56
#define PICTURE_TOP 36
#define PICTURE_WIDTH (PICTURE_LEFT + PICTURE_PLOT_WIDTH + 76)
#define PICTURE_HEIGHT (PICTURE_TOP + PICTURE_PLOT_HEIGHT + 26)

typedef struct {
    const float *x; // [frames, channels]
    int64_t frames;
    int channels, rate; // rate 8000 to 192000 Hz
    const char *name;   // the title; NULL: none. Letters and digits are drawn, as capitals
    double bpm;         // draws bars of four beats; 0: none
} picture;

// Appends the PNG of p to png, made by the caller.
status picture_draw(buf *png, const picture *p, err *e);
