// dit.h - the diffusion transformer of Stable Audio: a noisy latent to the direction of its noise.
//
// Blocks of self-attention with rotary positions, cross-attention to a context whose keys and
// values several heads share, and a gated feed-forward (diffusers' StableAudioDiTModel;
// docs/MODELS.md). A latent is [frames, channels]. One token in front of the frames holds the time
// and what the context says as a whole. A dit is immutable after dit_open and borrows the weight
// file and the arena.
#pragma once
#include "base/json.h"
#include "base/mem.h"
#include "compute/ops.h"
#include "model/weights.h"

#define DIT_FRAMES_MAX 16384
#define DIT_ROWS_MAX 4096 // of a context

typedef struct {
    int64_t frames;   // of the canvas: sample_size
    int64_t channels; // of the latent
    int64_t layers, heads, kv_heads, dh;
    int64_t d, ff;           // heads * dh, 4 * d
    int64_t context, global; // width of a row of the context; of the vector for the whole
    int64_t cross;           // width of a row after its projection: kv_heads * dh
    int64_t waves;           // features of the time
    int64_t rotary;          // values of a head that turn with the position
    bool norms;              // each head of q and k is normalised
} dit_config;

typedef struct dit dit;

// config: transformer/config.json; beside diffusers' keys "rotary_dim", which is half a head there,
// and "qk_norm", which is false. Missing tensors are w's to report: nothing may run before
// weights_finish.
status dit_open(dit **out, weights *w, const json *config, arena *own, err *e);
const dit_config *dit_get_config(const dit *m);

// What a context is to every block: its keys and values.
typedef struct dit_context dit_context;
size_t dit_context_bytes(const dit *m, int64_t rows);
// rows [n, context], 1 <= n <= DIT_ROWS_MAX. *out is the caller's (dit_context_free).
status dit_context_create(dit_context **out, const dit *m, compute *c, const float *rows, int64_t n,
                          err *e);
void dit_context_free(dit_context *x); // NULL is fine

// The memory of a run over a canvas of at most so many frames.
typedef struct dit_room dit_room;
status dit_room_create(dit_room **out, const dit *m, compute *c, int64_t frames, err *e);
void dit_room_free(dit_room *s); // NULL is fine

// The vector for the whole [global] as the network takes it: out [d].
void dit_global(const dit *m, compute *c, dit_room *s, float *out, const float *global);

// y [frames, channels] is the direction v for the latent x at time t in (0, 1).
typedef struct {
    float *y;
    const float *x;
    int64_t frames;             // at most those of the room
    const float *global;        // of dit_global
    const dit_context *context; // NULL: all rows are zero, and give nothing
    float t;
} dit_args;
void dit_run(const dit *m, compute *c, dit_room *s, const dit_args *a);

// Multiplications of one pass over so many frames, with a context of so many rows; 0: without.
double dit_products(const dit *m, int64_t frames, int64_t rows);
const weight *dit_widest(const dit *m); // a matrix to time products with
