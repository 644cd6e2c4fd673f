// given.h - a sound that a request brings along: to vary, to mend, or to go on from.
#pragma once
#include "engine/front.h"
#include "engine/stableaudio/model.h"
#include "engine/stableaudio/windows.h"

typedef struct {
    float *planes; // [channels, samples] at the model's rate; NULL: none
    int64_t samples, frames;
    float *latents; // [frames, channels of the latent], once encoded
    double kept;    // of the noise levels, what is left out: 1 - strength
} sa_given;

// Whether the fields that are about a sound go together.
status sa_given_check(const stemforge_request *r, err *e);
// Reads what r names, for windows w, and says in them what is made; f: the sound to go on from, if
// there is one. On a caller's thread.
status sa_given_read(sa_given *out, const sa_model *m, const stemforge_request *r, const front *f,
                     sa_windows *w, err *e);
// Makes the latents unless they are there. On the batch's thread.
status sa_given_encode(sa_given *g, sa_model *m, compute *c, err *e);
void sa_given_deinit(sa_given *g); // zeroed is fine
