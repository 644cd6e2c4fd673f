// steps.h - Stable Audio's stages one at a time, and what each multiplies: for `stemforge bench`.
#pragma once
#include "engine/family.h"

typedef struct sa_steps sa_steps;

// f is borrowed. ERR_ARG when it is no Stable Audio.
status sa_steps_open(sa_steps **out, const family *f, err *e);
void sa_steps_close(sa_steps *s);                 // NULL is fine
const weight *sa_steps_widest(const sa_steps *s); // a matrix of the transformer
dtype sa_steps_codec_type(const sa_steps *s);
double sa_steps_frame_rate(const sa_steps *s);
int64_t sa_steps_frames(const sa_steps *s); // of the model's canvas

// A stem over a canvas of so many frames, guided away from nothing: its text and its noise.
status sa_steps_begin(sa_steps *s, const char *text, int64_t frames, err *e);
void sa_steps_step(sa_steps *s); // both passes; of the stem that was begun
double sa_steps_products(const sa_steps *s);
void sa_steps_end(sa_steps *s);

// Decodes frames of noise; *spent: seconds of computing.
status sa_steps_sound(sa_steps *s, int64_t frames, double *spent, err *e);
double sa_steps_sound_products(const sa_steps *s, int64_t frames);
