// click.h - a metronome: a short tone at each beat, a higher one at bar lines.
#pragma once
#include <stdint.h>

// Fills x [frames, 2]. The first frame of a tone is its loudest, and lies at the beat's exact time
// rounded to a frame.
void click_fill(float *x, int64_t frames, int rate, double bpm, int beats_per_bar);
