// front.h - the audio file that a request goes on from: at the front of its stems as it is, and as
// the model hears it.
#pragma once
#include "base/err.h"
#include "request/warnings.h"
#include "stemforge.h"

// A fade at its end is left out. Zeroed: there is none.
typedef struct {
    float *x; // [frames, POST_CHANNELS] at POST_RATE
    int64_t frames;
    float *planes; // [channels, samples] at the model's rate
    int64_t samples;
} front;

// Reads r->continue_from. rate and channels are the model's.
status front_open(front *out, const stemforge_request *r, int rate, int channels, warnings *said,
                  err *e);
// The length of a stem that goes on from so many seconds: settles r's more_seconds. ERR_ARG when
// there is nothing left to make.
status front_settle(stemforge_request *r, double given, err *e);
void front_close(front *f); // zeroed is fine
