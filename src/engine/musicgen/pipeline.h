// pipeline.h - the parts of a MusicGen checkpoint, bound: tokenizer, text encoder, decoder, codec.
//
// Everything comes from the files: shapes, windows, defaults. One error names every missing or
// mis-shaped tensor of all networks. Immutable after open; may be shared between threads.
#pragma once
#include "engine/checkpoint.h"
#include "engine/musicgen/chroma.h"
#include "engine/musicgen/control.h"
#include "model/encodec.h"
#include "model/musicgen.h"
#include "model/t5.h"
#include "request/stems.h"

typedef struct {
    const checkpoint *files; // borrowed
    arena own;
    tokenizer *tokenizer;
    t5 *text;
    musicgen *lm;
    encodec *codec;
    chroma *chroma; // melody models without a grid, else NULL
    bool has_grid;  // the model was trained with the grid control track instead of chroma
    control_grid grid;
    unsigned grid_meters;   // a bit for each of meters[] that the model was trained on
    int64_t chords_per_bar; // at most so many in its training
    bool own_captions;      // the model was trained on our own captions
    dtype cache_type;       // of keys and values: as narrow as the weights
    double frame_rate;      // frames a second
    int64_t window, stride; // frames; see run.h
    int top_k;              // the model's own defaults
    double guidance;
    double temperature[STEMFORGE_STEMS_MAX]; // by type of stem; the request's multiplies it
    double fine_less[STEMFORGE_STEMS_MAX];   // by type of stem: as in sampler_params
    const weights_kept *kept;                // tensors whose values nobody has read yet
    int64_t values;                          // parameters
    size_t size;                             // bytes of them as kept
} pipeline;

// Binds the tensors of files, which must outlive the pipeline, and keeps the decoder's weights as
// lm_type. The threads of c convert weights. The caller closes *out after a failure too.
status pipeline_open(pipeline *out, checkpoint *files, weights_type lm_type, compute *c, err *e);
void pipeline_close(pipeline *p); // zeroed is fine

// The text encoder, which runs now and then, leaves memory until it runs again (packed files only).
void pipeline_rest_text(const pipeline *p);
