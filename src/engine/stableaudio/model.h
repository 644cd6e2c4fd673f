// model.h - an opened Stable Audio model: what its files in this folder share.
#pragma once
#include "engine/family.h"
#include "engine/stableaudio/condition.h"
#include "engine/stableaudio/files.h"
#include "engine/stableaudio/schedule.h"
#include "model/dit.h"
#include "model/oobleck.h"
#include "model/t5.h"

// The networks, bound. Immutable after open; may be shared between threads.
typedef struct {
    sa_files files;
    arena own;
    t5 *text;
    sa_condition condition;
    dit *net;
    oobleck *codec;
    sa_schedule schedule;
    bool loops;               // Foundation-1: its canvas and its text are those of a loop
    int64_t tokens;           // of a text at most: the context has a row for each
    oobleck_encoder *encoder; // NULL until somebody brings a sound
    arena encoder_own;
    weights_type once;           // of the networks that run once a stem
    const weights_kept *kept[4]; // tensors whose values nobody has read yet
    int64_t values;
    size_t size;
} sa_model;

// Binds the tensors of the folder of `files`. The transformer's blocks have the type asked for;
// beside narrow ones the text encoder and the codec are bf16, since they run once a stem. The
// caller closes *out after a failure too.
status sa_model_open(sa_model *out, const checkpoint *files, weights_type type, compute *c, err *e);
void sa_model_close(sa_model *m); // zeroed is fine

// Rows of a context.
int64_t sa_model_rows(const sa_model *m);
// Seconds of sound that the canvas holds.
double sa_model_seconds(const sa_model *m);

// The tokens of a text, at most m->tokens, the last the end of the text; *cut: how many are not
// read. The caller frees ids.
status sa_model_tokens(const sa_model *m, const char *text, tok_ids *ids, size_t *cut, err *e);

// The conditions of a text: a context, and the vector for the whole.
typedef struct {
    const int32_t *ids;
    int64_t n;
    double start, end; // seconds: where the canvas lies in the stem, and how long that is
} sa_text;
// rows [sa_model_rows, the conditions' width] and global, as condition.h has them.
status sa_model_rows_of(const sa_model *m, compute *c, const sa_text *t, float *rows, float *global,
                        err *e);
status sa_model_condition(const sa_model *m, compute *c, const sa_text *t, dit_context **context,
                          float *global, err *e);

// The text encoder, or the codec, leaves memory until it is needed again (checkpoint_rest).
void sa_model_rest_text(const sa_model *m);
void sa_model_rest_codec(const sa_model *m);

// Latents of a sound. The first call binds the encoder; on the batch's thread, like
// sa_model_condition.
status sa_model_encode(sa_model *m, compute *c, const oobleck_encode_args *a, err *e);
