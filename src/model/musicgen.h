// musicgen.h - the MusicGen decoder: codes of one column in, scores of the next column out.
//
// A pre-norm transformer over columns of K codes with sinusoidal positions (Copet et al. 2023;
// docs/MODELS.md). Two kinds: with cross-attention to the text (musicgen), or with a prefix of
// chroma and text rows in front of the columns (musicgen_melody). This file knows no sampling,
// delay or guidance: those are delay.h, sampler.h and the engine's.
//
// A model is immutable after mg_open and borrows the weight files and its arena. Each sequence has
// an mg_cache. One mg_forward steps any mixture of sequences; the result of a row depends on that
// row's cache alone.
#pragma once
#include "base/json.h"
#include "base/mem.h"
#include "compute/ops.h"
#include "model/weights.h"

#define MG_CODEBOOKS_MAX 16
#define MG_POSITIONS_MAX 65536
#define MG_CHROMA_MAX 256

typedef struct {
    int64_t d, layers, heads, dh, ffn;
    int64_t vocab;       // codes a codebook; the special code (BOS, PAD) is vocab itself
    int64_t codebooks;   // K, all channels together
    int64_t channels;    // 1 or 2
    int64_t positions;   // longest sequence the model was made for
    int64_t text_dim;    // width of the text encoder's states
    bool text_projected; // false: the states are as wide as the decoder and go in as they are
    activation act;      // of the feed-forward block: ACT_GELU or ACT_RELU
    bool melody;         // prefix instead of cross-attention
    int64_t chroma_bins, chroma_length; // melody only
    int64_t control_layers; // the first layers, which read the chroma rows; text models: all
} mg_config;

// The chroma rows that layers from control_layers on neither keep nor read: whole panels of them
// (compute/cpu/kvpack.h), so that the others lie as they would. The rows left over are read.
#define MG_UNREAD_BLOCK 16
static inline int64_t mg_unread_rows(const mg_config *c) {
    return c->control_layers >= c->layers ? 0
                                          : c->chroma_length / MG_UNREAD_BLOCK * MG_UNREAD_BLOCK;
}

typedef struct musicgen musicgen;

// root: the whole config.json. Missing tensors are w's to report: nothing may run before
// weights_finish.
status mg_open(musicgen **out, weights *w, const json *root, arena *own, err *e);
const mg_config *mg_get_config(const musicgen *m);
// Refuses a document (config or generation config; NULL is fine) that names another special code
// than vocab.
status mg_check_special(const json *j, int64_t vocab, err *e);

// out [n, d] = the text encoder's states [n, text_dim], projected; the states themselves when the
// model has no projection.
void mg_project_text(const musicgen *m, compute *c, float *out, const float *states, int64_t n);
// Melody: out [chroma_length, d] = projection of chroma [rows, bins], tiled or cut to
// chroma_length. chroma NULL: the null condition, bin 0 alone in every row.
void mg_project_chroma(const musicgen *m, compute *c, float *out, const float *chroma,
                       int64_t rows);

// Keys and values of one branch of one sequence.
typedef struct mg_cache mg_cache;

// Has room for len_max positions (prefix included), and in a text model for text_max text rows (0:
// the null branch, to which cross-attention adds exactly nothing). type: DT_F32, DT_BF16 or
// DT_I8 (where dh is at most ATTEND_I8_DH).
status mg_cache_create(mg_cache **out, const musicgen *m, int64_t len_max, int64_t text_max,
                       dtype type, err *e);
void mg_cache_free(mg_cache *k);
// An empty cache will have no chroma rows in front: every layer keeps every row.
void mg_cache_set_bare(mg_cache *k);
size_t mg_cache_bytes(const mg_config *c, int64_t len_max, int64_t text_max, dtype type);
void mg_cache_reset(mg_cache *k); // a new window: the positions are forgotten, the text is kept
int64_t mg_cache_len(const mg_cache *k);
// Begins an empty cache with the first n positions of another of the same model.
void mg_cache_copy(mg_cache *to, const mg_cache *from, int64_t n);
bool mg_cache_has_text(const mg_cache *k);
// Cross-attention keys and values from projected text rows text [n, d]; n <= text_max.
status mg_cache_set_text(mg_cache *k, const musicgen *m, compute *c, const float *text, int64_t n,
                         arena *work, err *e);

// One row of a step: appended to its cache at the cache's length. Rows of one cache must stand in
// order. Rows that the upper layers do not read (mg_unread_rows) go in steps of their own, without
// scores.
typedef struct {
    mg_cache *cache;
    const int32_t *codes; // [K] the column's codes, each <= vocab; or NULL and
    const float *embed;   // [d] a prefix row
} mg_row;

// Scratch for steps of up to rows_max rows, each at a position below positions_max.
typedef struct mg_scratch mg_scratch;
status mg_scratch_create(mg_scratch **out, const musicgen *m, compute *c, int64_t rows_max,
                         int64_t positions_max, err *e);
void mg_scratch_free(mg_scratch *s);
int64_t mg_scratch_rows(const mg_scratch *s);

// Steps n <= rows_max rows. Scores of the last n_logits rows into logits [n_logits, K, vocab]; 0:
// none (a prefill). No allocation. Rows with text must stand before rows without.
void mg_forward(const musicgen *m, compute *c, mg_scratch *s, const mg_row *rows, int64_t n,
                float *logits, int64_t n_logits);

// For measuring: bytes of weights that one step reads; bytes of cache that a row at position p
// reads.
size_t mg_step_bytes(const musicgen *m, bool with_text);
int64_t mg_step_values(const musicgen *m);  // products of one row of a step with a text
const weight *mg_widest(const musicgen *m); // a matrix as they are kept, to time products with
size_t mg_row_bytes(const mg_config *c, int64_t p, dtype cache_type);

// The position row p [d] as the model adds it: cosines, then sines, angles in f32.
void mg_position_row(float *out, int64_t d, int64_t p);
