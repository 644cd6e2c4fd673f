// join.h - sound that goes on from other sound: the front stays as it is, what follows fits to it.
//
// The front is kept to the bit. What follows it was made with the front in view, through a codec,
// so it stands at nearly the right level and phase: its level is set by the stretch that both have,
// and what they differ by at the join is faded out within JOIN_SECONDS.
#pragma once
#include "audio/post.h"

#define JOIN_SECONDS 0.02
#define JOIN_PEAK 0.98f // of what follows a front that is quieter itself

// Frames at the end of x [frames, channels] that fade out; 0: none do. Towards the end of a fade
// the level falls with each halving of the distance from it; a note that dies away falls in time,
// and is none. The answer is a power of two of milliseconds, rounded up, or the fade of our own
// stems where that may be.
int64_t join_find_fade(const float *x, int64_t frames, int channels, int rate);

typedef struct {
    const float *x; // [frames, POST_CHANNELS] at POST_RATE
    int64_t frames; // under the shape's
} join_front;

// A finished stem of shape->frames frames whose first are the front's. The planes hold all of it,
// the front as the model heard it included; see post_finish. The shape has no fold, and its fade in
// is not used.
status join_finish(float *out, const join_front *front, const post_shape *shape,
                   const float *planes, int channels, int64_t n, const resampler *to_rate, err *e);
