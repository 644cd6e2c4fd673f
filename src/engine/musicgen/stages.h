// stages.h - MusicGen's stages one at a time, and what each costs at least: for `stemforge bench`.
#pragma once
#include "engine/family.h"

#define STAGES_STEMS_MAX 256

typedef struct stages stages;

// What a stage reads and multiplies at least.
typedef struct {
    double bytes, products;
} stages_cost;

typedef struct {
    double frame_rate;
    int64_t window;               // frames
    int64_t channels;             // each is decoded by itself
    dtype codec_type;             // of the codec's heavy products
    const weight *text, *decoder; // a matrix of each, to time products with
} stages_info;

// For up to `stems` stems of `frames` frames. f and gpu are borrowed; gpu NULL: the CPU computes.
// ERR_ARG when f is no MusicGen.
status stages_open(stages **out, const family *f, device *gpu, int64_t stems, int64_t frames,
                   err *e);
void stages_close(stages *s); // NULL is fine
stages_info stages_get_info(const stages *s);

// Encodes a description, which the stems below then have.
status stages_text(stages *s, const char *text, err *e);
stages_cost stages_text_cost(const stages *s);

// Stems under way: `made` of their frames are there already (of code 0). window 0: the model's.
typedef struct {
    int64_t stems, frames, made, window;
} stages_stems;
status stages_start(stages *s, const stages_stems *k, err *e);
status stages_prefill(stages *s, err *e); // of the stems that begin a window
status stages_step(stages *s, err *e);    // one column of each
status stages_wait(stages *s, err *e);    // until the GPU, which runs behind, is done
bool stages_done(const stages *s);        // of the first stem
int64_t stages_steps_total(const stages *s);
void stages_stop(stages *s);
// Of the prefill of k; of one step when `position` frames are made.
stages_cost stages_prefill_cost(const stages *s, const stages_stems *k);
stages_cost stages_step_cost(const stages *s, int64_t stems, int64_t position);

// Decodes frames of noise; *spent: seconds of computing.
status stages_sound(stages *s, int64_t frames, double *spent, err *e);
double stages_sound_products(const stages *s, int64_t frames);
