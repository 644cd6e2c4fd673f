// picture.h - sound as a picture: waveform above a spectrogram, as a PNG image.
//
// Time runs from left to right over the whole width. The waveform shows the range of the mono mix
// in each column, with its rms inside, full scale 1 at the edges. The spectrogram's frequency axis
// is logarithmic from 40 Hz to 16 kHz (or Nyquist), its brightness decibels from -90 to 0 of a
// full-scale sine. Ticks mark seconds on the waveform and octaves of 110 Hz beside the spectrogram.
// No text.
#pragma once
#include "base/buf.h"

#define PICTURE_WIDTH 1200
#define PICTURE_WAVE 200     // rows of the waveform
#define PICTURE_SPECTRUM 480 // rows of the spectrogram
#define PICTURE_GAP 6
#define PICTURE_HEIGHT (PICTURE_WAVE + PICTURE_GAP + PICTURE_SPECTRUM)

// Appends the PNG of x [frames, channels] at rate Hz (8000 to 192000) to png, made by the caller.
status picture_draw(buf *png, const float *x, int64_t frames, int channels, int rate, err *e);
