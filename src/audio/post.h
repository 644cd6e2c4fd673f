// post.h - from a model's samples to a finished stem: rate, stereo, exact length, loop or fades,
// peak.
//
// The order is fixed: resample, two channels, trim or pad to length, fold, rests, fade, normalise.
// Rests and fades come before the peak is measured, so the peak of a finished stem is exactly
// POST_PEAK; nothing is clamped. Samples are f32, interleaved [frames, channels] unless planes are
// named.
#pragma once
#include "audio/resample.h"

#define POST_RATE 44100
#define POST_CHANNELS 2
#define POST_PEAK 0.8f
#define POST_FADE_SECONDS 0.1
#define POST_SECONDS_MAX 3600

// Frames of a clip of that length: seconds * rate rounded to nearest. seconds 0 to
// POST_SECONDS_MAX.
int64_t post_frames(double seconds, int rate);

// Silence in a stem, in frames. What sounds before it fades out, what sounds behind it fades in.
typedef struct {
    int64_t from, to; // zeros; to the end of the stem: nothing fades in
    int64_t fade_out, fade_in;
} post_rest;

// How a stem is finished, in frames.
typedef struct {
    int64_t frames;            // its length
    int64_t fold;              // of a loop: a beat that is made past its end; else 0
    int64_t fade_in, fade_out; // 0: none
    const post_rest *rest;     // [rests] in order and apart
    size_t rests;
} post_shape;

// frames, with the fades of the service.
post_shape post_plain(int64_t frames);

// Makes a finished stem in out [shape.frames + shape.fold, POST_CHANNELS]; the fold is scratch
// space afterwards.
// planes: channel c of the input at planes + c * n, [channels, n], 1 or 2 channels; mono goes to
// both sides. to_rate converts its rate to POST_RATE. ERR_FORMAT when a sample is infinite or no
// number: that is a broken model, never something to hide.
status post_finish(float *out, const post_shape *shape, const float *planes, int channels,
                   int64_t n, const resampler *to_rate, err *e);

// The parts.

// Brings planes to POST_RATE, two channels and exactly so many frames: cut, or silence behind them.
status post_fit(float *out, int64_t frames, const float *planes, int channels, int64_t n,
                const resampler *to_rate, err *e);

// Raised-cosine fades, gain 0.5 - 0.5 cos(pi (i + 0.5) / fade) for frame i from either end. A fade
// takes half of the clip at most.
void post_fade(float *x, int64_t frames, int channels, int64_t fade_in, int64_t fade_out);

// Makes the rests of x [frames, channels] silent.
void post_silence(float *x, int64_t frames, int channels, const post_rest *rest, size_t rests);

// Makes the frames of x [frames + beat, channels] a loop. It begins with the beat past its end,
// which goes on from its last frame, and passes to its own first beat by a cross-fade within the
// last quarter of that beat, so the seam is as the piece was played.
void post_fold(float *x, int64_t frames, int channels, int64_t beat);

// Scales so that the largest magnitude is exactly peak (the scaling is done in double and rounded
// once). Silence stays silence. n values.
void post_normalise(float *x, int64_t n, float peak);

// ERR_FORMAT names the first sample that is not finite.
status post_check(const float *x, int64_t n, err *e);

typedef struct {
    float peak;      // largest magnitude
    double rms;      // root mean square
    double mean;     // direct current
    int64_t clipped; // samples of magnitude 1 or more
    int64_t stuck;   // longest run of equal non-zero magnitudes at the peak: flat tops
} post_levels;
// n values, all channels together. Zeros for n 0.
post_levels post_measure(const float *x, int64_t n);
