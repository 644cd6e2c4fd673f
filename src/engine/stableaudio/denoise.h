// denoise.h - one stem's latent from noise to sound, step by step.
#pragma once
#include "engine/stableaudio/model.h"

// Gives a draw of normal deviates [n]: draw 0 is what the denoising starts from, draw i + 1 that of
// step i.
typedef void (*sa_draw)(void *arg, int64_t draw, float *out, int64_t n);

typedef struct {
    sa_course course;
    int64_t frames; // of the canvas, at most the model's
    float guidance; // over 1: v = v_null + guidance (v - v_null)
    sa_draw draw;
    void *arg;
    const float *given; // latent [frames, channels] that it starts from, in noise; or NULL
    span fresh;         // frames that are made; the others become those of given
} denoise_params;

typedef struct denoise denoise;

// Memory of a step, shared by all stems.
typedef struct denoise_room denoise_room;
status denoise_room_create(denoise_room **out, const sa_model *m, compute *c, err *e);
void denoise_room_free(denoise_room *r); // NULL is fine

// Takes context and negative, also on failure. negative NULL: guided away from a context of zeros.
// global, as sa_model_condition gives it, is read here.
typedef struct {
    dit_context *context, *negative;
    const float *global;
} denoise_conditions;
status denoise_create(denoise **out, const sa_model *m, compute *c, denoise_room *r,
                      const denoise_params *p, const denoise_conditions *k, err *e);
void denoise_free(denoise *d); // NULL is fine
size_t denoise_bytes(const sa_model *m, int64_t frames, bool negative);

void denoise_step(denoise *d, compute *c, denoise_room *r);
int64_t denoise_frames(const denoise *d);
int64_t denoise_done(const denoise *d);
const float *denoise_latents(const denoise *d); // [frames, channels]
