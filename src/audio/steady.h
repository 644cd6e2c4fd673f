// steady.h - holds the timbre and the level of a long sound: slow gains of bands a third of an
// octave apart, of 3 dB at most.
//
// The power of each band, taken over a span that moves along, is brought towards its mean over the
// whole sound. A span should hold whole cycles of what repeats (of chords, of bars): then what
// changes from span to span is not the music. Within half a span of either end the gains stand
// still, so a beginning keeps its attack.
//
//   gain(band, t)^2 = whole(band) / around(band, t)      both mean powers, their ratio 1/2 to 2
//
// Frames of 4096 samples under a sine window, half overlapping; a filter's gain between the bands'
// centres is a straight line over frequency. What is added to the sound is (gain - 1) times its
// spectrum, so gains of 1 change no sample.
#pragma once
#include "base/err.h"

// planes: channel c at planes + c * n, [channels, n], 1 or 2 channels that share their gains.
// A sound of less than two spans, or of less than two frames, stays as it is. span: seconds, above
// 0. Errors: ERR_OOM, then the sound is untouched.
status steady_hold(float *planes, int channels, int64_t n, int rate, double span, err *e);
