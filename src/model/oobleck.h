// oobleck.h - the decoder of Oobleck, the codec of Stable Audio: latents to samples.
//
// Convolutions, transposed ones and residual units with the activation snake between them
// (diffusers' AutoencoderOobleck; docs/MODELS.md). Frame f decides samples around f * hop only, so
// a long sound is made piece by piece, and a piece costs only what it needs. The encoder's tensors
// are not read. An oobleck is immutable after oobleck_open and borrows the weight file and the
// arena.
#pragma once
#include "base/json.h"
#include "base/mem.h"
#include "compute/ops.h"
#include "model/weights.h"

#define OOBLECK_STAGES_MAX 8

typedef struct {
    int64_t sample_rate;
    int64_t latent;                         // values of a frame
    int64_t channels;                       // of the sound
    int64_t width;                          // decoder_channels
    int64_t stages;                         // that raise the rate
    int64_t strides[OOBLECK_STAGES_MAX];    // in the order of the decoder: the deepest first
    int64_t widths[OOBLECK_STAGES_MAX + 1]; // channels before each stage, and after the last
    int64_t hop;                            // samples of a frame
    double scale;                           // of a latent before it is decoded
    bool tanh;                              // of the samples
} oobleck_config;

typedef struct oobleck oobleck;

// config: vae/config.json; beside diffusers' keys "scale", which is 1 there, and "final_tanh",
// which is false. Missing tensors are w's to report: nothing may run before
// weights_finish.
status oobleck_open(oobleck **out, weights *w, const json *config, arena *own, err *e);
const oobleck_config *oobleck_get_config(const oobleck *m);

// Samples that so many frames give: frames * hop where every stride is even.
int64_t oobleck_samples(const oobleck *m, int64_t frames);
// Bytes that a decoding takes.
size_t oobleck_room_bytes(const oobleck *m);

// latents [frames, latent]; planes [channels, samples] get the first samples of the sound, at most
// oobleck_samples. ERR_FORMAT: they are not finite numbers.
typedef struct {
    const float *latents;
    int64_t frames;
    float *planes;
    int64_t samples;
} oobleck_args;
status oobleck_decode(const oobleck *m, compute *c, const oobleck_args *a, err *e);
