// oobleck.h - Oobleck, the codec of Stable Audio: latents to samples and back.
//
// Convolutions, transposed ones and residual units with the activation snake between them
// (diffusers' AutoencoderOobleck; docs/MODELS.md). Frame f decides samples around f * hop only, so
// a long sound is made piece by piece, and a piece costs only what it needs. The encoder is another
// network of the same layers, opened by itself. Both are immutable after opening and borrow the
// weight file and the arena.
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
    int64_t encoder_width;                  // encoder_hidden_size
    int64_t stages;                         // that raise the rate
    int64_t strides[OOBLECK_STAGES_MAX];    // in the order of the decoder: the deepest first
    int64_t widths[OOBLECK_STAGES_MAX + 1]; // channels before each stage, and after the last
    int64_t times[OOBLECK_STAGES_MAX];      // channel_multiples, the encoder's in its order
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

// Multiplications of decoding a frame, without what pieces compute twice at their ends; the type of
// the products.
double oobleck_products(const oobleck *m);
dtype oobleck_type(const oobleck *m);

// latents [frames, latent]; planes [channels, samples] get the first samples of the sound, at most
// oobleck_samples. ERR_FORMAT: they are not finite numbers.
typedef struct {
    const float *latents;
    int64_t frames;
    float *planes;
    int64_t samples;
} oobleck_args;
status oobleck_decode(const oobleck *m, compute *c, const oobleck_args *a, err *e);

typedef struct oobleck_encoder oobleck_encoder;
// cfg is that of the decoder, out of the same configuration.
status oobleck_encoder_open(oobleck_encoder **out, weights *w, const oobleck_config *cfg,
                            arena *own, err *e);
// latents [frames, latent] of planes [channels, samples], samples = frames * hop with even strides:
// the means of the distributions that the encoder gives, nothing is drawn. ERR_FORMAT: they are not
// finite numbers.
typedef struct {
    const float *planes;
    int64_t samples;
    float *latents;
    int64_t frames;
} oobleck_encode_args;
status oobleck_encode(const oobleck_encoder *m, compute *c, const oobleck_encode_args *a, err *e);
