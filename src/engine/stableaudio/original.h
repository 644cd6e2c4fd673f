// original.h - model_config.json of an original Stable Audio file, as the documents of a folder of
// diffusers.
//
// The networks read those documents alone; keys that diffusers has no word for are ours and are
// named below. What a key means when it is absent is what the original program takes it for. Every
// key of the networks is known: one with a value that is not done here, and one that nobody knows,
// is refused by its path.
#pragma once
#include "base/json.h"
#include "engine/stableaudio/schedule.h"

typedef struct {
    json *transformer; // beside diffusers' keys: "rotary_dim", "qk_norm"
    json *vae;         // "final_tanh", "scale": factor of the latent before decoding
    json *projection;  // "seconds_start": false when there is a row for the end alone
    sa_schedule schedule;
    int64_t tokens;      // of a text at most
    char text_model[96]; // "t5-base"
} sa_original;

// config: model_config.json. The caller closes *out after a failure too. text_encoder_dim is left
// to whoever opens the text encoder.
status sa_original_read(sa_original *out, const json *config, err *e);
void sa_original_close(sa_original *o); // zeroed is fine
