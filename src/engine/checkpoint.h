// checkpoint.h - a model folder, opened: configuration, tokenizer, text encoder, decoder, codec.
//
// Everything comes from the files: shapes, windows, defaults. Every missing or mis-shaped tensor of
// all networks is reported in one error. Immutable after open; may be shared between threads.
#pragma once
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "engine/musicgen/chroma.h"
#include "engine/musicgen/control.h"
#include "engine/pack.h"
#include "format/safetensors.h"
#include "format/tokenizer.h"
#include "model/encodec.h"
#include "model/musicgen.h"
#include "model/t5.h"

// What binding a model touched, in order: names live in own. For `stemforge convert`.
typedef struct {
    pack_entry *list;
    size_t count, cap;
    arena own;
    bool failed; // no memory
} checkpoint_record;

typedef struct {
    char path[OS_PATH_MAX]; // the folder, or the packed file
    char name[128];         // how users call it
    st_file *files;         // of a folder
    pack *packed;           // or one file
    checkpoint_record *record;
    json *config;
    arena own;
    tokenizer *words;
    t5 *text;
    musicgen *lm;
    encodec *codec;
    chroma *chroma; // melody models without a grid, else NULL
    bool has_grid;  // trained with the grid control track instead of chroma
    control_grid grid;
    bool own_captions;      // trained on our own captions
    dtype cache_type;       // of keys and values: as narrow as the weights, here or at conversion
    double frame_rate;      // frames a second
    int64_t window, stride; // frames; see run.h
    int top_k;              // the model's own defaults
    double guidance;
    int64_t values; // parameters
    size_t size;    // bytes of them as kept
} checkpoint;

typedef struct {
    const char *model; // folder, packed .gguf file, or ORG/NAME
    weights_type lm_type;
    compute *c;                // whose threads convert weights; NULL: the caller's alone
    bool need_encoder;         // of the codec: to continue from audio
    checkpoint_record *record; // NULL: nobody wants to know
} checkpoint_options;

// Zeroes *out first; on failure nothing is held.
status checkpoint_open(checkpoint *out, const checkpoint_options *o, err *e);
void checkpoint_close(checkpoint *m); // zeroed is fine
void checkpoint_record_deinit(checkpoint_record *r);

// The text encoder, run now and then, leaves memory until it runs again (some milliseconds more
// then). Packed files only.
void checkpoint_rest_text(const checkpoint *m);

// Codes [K][frames] of sound at the codec's rate, planes [channels, n]; frames =
// encodec_frame_count(n). Needs need_encoder.
status checkpoint_encode(const checkpoint *m, compute *c, const float *planes, int64_t n,
                         int32_t *codes, err *e);

// The tensor "codes" [K, frames] I32 of a code file, every code checked; *codes is the caller's
// (mem_free).
status checkpoint_read_codes(const checkpoint *m, const char *path, int32_t **codes,
                             int64_t *frames, err *e);
