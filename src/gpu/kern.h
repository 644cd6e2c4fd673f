// kern.h - the arguments of every kernel: one struct each, read by the host's C and by device code.
//
// kern.cu has the kernels. A kernel's block and grid stand in front of its struct; the number of
// threads of a block is the host's choice where it says so. Each kernel gives the bits of the op or
// of the kernel of compute/cpu/kern.h that it names.
#pragma once
#ifdef __cplusplus
#include <stdint.h>
#else
#include "base/base.h"
#endif

// Layouts of matrices on the device; upload.h makes them.
//   GPU_F32, GPU_BF16  strips of eight rows; for every sixteen columns those of row 0, of row 1...
//                      (compute/bf16x8.h, and the same with f32)
//   GPU_Q8, GPU_Q4     compute/quant.h
//   GPU_I8             keys and values: compute/cpu/kvpack.h
enum { GPU_F32, GPU_BF16, GPU_Q8, GPU_Q4, GPU_I8 };
enum { GPU_ACT_NONE, GPU_ACT_RELU, GPU_ACT_GELU, GPU_ACT_ELU };

#define GPU_STRIP_ROWS 8
#define GPU_PANEL_ROWS 16
#define GPU_QBLOCK 256

// A block of activations in 8 bits: q[i] * scale.
typedef struct {
    float scale;
    int32_t unused[3]; // so that q begins at 16 bytes
    int8_t q[GPU_QBLOCK];
} gpu_qblock;

// ---- the table of a step

// Rows of the table that count, and those of them with a text, which come first; sequences.
typedef struct {
    int32_t rows, texts, seqs, unused;
} gpu_counts;

// One row of a step or of a prefill.
typedef struct {
    uint8_t *self, *text;  // caches: [layers][keys, values], each as op_cache_put lays them out
    int32_t cap, text_cap; // rows that they have room for
    int32_t pos, text_n;   // the row's position in self; rows of the text
    int32_t seq;           // the sequence whose codes it feeds
    int32_t column, known; // feeds that column; frames from `known` on are special. -1: x is there
    int32_t unread;        // rows in front that have no place in layers from attend_args.whole on
} gpu_row;

// One sequence of a step.
typedef struct {
    int32_t *codes;  // [K][frames]
    int32_t *broken; // becomes the number of the frame, from 1 on, whose scores are not finite
    float *first;    // gets the guided scores [K, vocab] of the step; or NULL
    uint64_t seed, stream;
    int32_t index;         // of the window
    int32_t frames, start; // of the piece; the window's first
    int32_t window, known; // frames of the window, and how many are made
    int32_t column;        // the next one to make
    int32_t cond, null;    // the rows of its scores; null -1: unguided
    int32_t parallel;      // no delay
    int32_t top_k;
    float temperature, top_p;
    float guidance, fine_guidance; // of the first codebook of each channel, and of the others
} gpu_seq_entry;

#define GPU_PUT_ROWS 48
#define GPU_PUT_SEQS 28

// Writes rows, sequences and counts of a table; what changes between steps travels as arguments,
// so it keeps its place in the stream and the host waits for nothing. One block.
typedef struct {
    gpu_row *to;
    int32_t first, n;
    gpu_counts *counts; // or NULL
    gpu_counts value;
    gpu_row row[GPU_PUT_ROWS];
} table_rows_args;
typedef struct {
    gpu_seq_entry *to;
    int32_t first, n;
    gpu_seq_entry seq[GPU_PUT_SEQS];
} table_seqs_args;

// After a step: the next column of each sequence, the next position of each row. One block.
typedef struct {
    gpu_row *rows;
    gpu_seq_entry *seqs;
    const gpu_counts *counts;
} table_advance_args;

// ---- rows

// What a product reads: rows of x; or their norm, as op_layer_norm, or as op_rms_norm where b is
// NULL.
typedef struct {
    const float *x;
    int64_t ldx;
    const float *w, *b; // of the norm; w NULL: none
    float eps;
    int32_t unused;
} gpu_input;

// x = the sum of a column's embeddings (op_embed), or what x holds; plus the position's row. Block
// 256; grid: rows.
typedef struct {
    float *x; // [rows, d]
    const gpu_row *rows;
    const gpu_seq_entry *seqs;
    const int32_t *n;
    const void *table;     // [K][vocab + 1, d], row by row
    const float *position; // [positions, d]
    int32_t type, d, vocab, codebooks, channels, unused;
} embed_rows_args;

// y = the norm of x, as f32 and in 8 bits where asked for; without a norm it is x that is rounded.
// Block 128; grid: rows.
typedef struct {
    gpu_input in;
    float *y;         // [rows, d], or NULL
    gpu_qblock *yq;   // [rows, blocks], or NULL
    const int32_t *n; // or NULL: as many rows as the grid has
    int64_t d;
} norm_rows_args;

// ---- products

// op_linear with `count` matrices of the same shape, one after another: y of matrix m lies at y +
// m*step. n: the number of rows, in device memory, or
// NULL.
typedef struct {
    const uint8_t *w;
    int32_t type, count, rows, act;
    int64_t cols;
    gpu_input in;
    const gpu_qblock *xq; // qdots_many: the rows in 8 bits
    const int32_t *n;
    float *y;
    int64_t ldy, step;
    const float *bias;  // [rows], or NULL; with count 1
    int32_t add, fixed; // fixed: the number of rows where n is NULL
} product_args;
// Eight rows of x a block at most: blocks of the grid's second axis go on with the next eight.
//   qdots_few   packed weights. Block: 32 threads for each block of columns, 8 warps at most; grid:
//               panels, rows/8
//   dots_few    GPU_F32, GPU_BF16. Block 128; grid: pairs of strips, rows/8
typedef product_args qdots_few_args, dots_few_args;
// For many rows. The input has no norm; for packed weights it is in xq.
//   qdots_many  block 128; grid: fours of panels, rows/64
//   dots_many   block 256; grid: fours of strips, rows/32
typedef product_args qdots_many_args, dots_many_args;
#define GPU_FEW_ROWS 8
#define GPU_FEW_WARPS 8

// ---- attention

enum { ATTEND_SELF, ATTEND_TEXT, ATTEND_ALL }; // the first pos + 1 rows; the text's; text_n of self

// op_cache_put and op_attend for the rows of a table.
typedef struct {
    const gpu_row *rows;
    const int32_t *n;       // or NULL: as many rows as the grid has
    const float *q, *k, *v; // [rows], each `ld` floats from the next
    float *out;             // [rows, heads * dh]
    float *scores;          // [rows, heads, lds]
    const float *bias;      // of head h and key j: bias[h * bias_step + j - pos]; or NULL
    int64_t ld, lds, bias_step;
    int32_t type, heads, dh, layer;
    int32_t which; // ATTEND_...
    int32_t put;   // attend: the row's own key and value go to the cache first
    float scale;
    int32_t whole; // layers of self that have all rows, the first ones
} attend_args;
//   put_rows   block 128; grid: heads, rows
//   attend     GPU_F32, GPU_BF16. Block 256; grid: heads, rows
//   attend8    GPU_I8. As attend
typedef attend_args put_rows_args, attend8_args;
#define GPU_DH_MAX 1024
#define GPU_RUN 256 // rows whose weighted values are summed exactly: KVPACK_RUN

// op_cache_copy for all layers: rows 0 to n-1 of one self cache to another; of layers from `whole`
// on rows `unread` to n-1. Block 128; grid: heads, 2 * layers.
typedef struct {
    uint8_t *to;
    const uint8_t *from;
    int32_t to_cap, from_cap;
    int32_t n, type, heads, dh;
    int32_t whole, unread;
} copy_rows_args;

// ---- drawing

// Guidance and the draw of one codebook of one sequence: sampler.h. Block 256; grid: codebooks,
// sequences.
typedef struct {
    const gpu_seq_entry *seqs;
    const int32_t *n;
    const float *logits; // [rows, K, vocab]
    float *scores;       // [sequences, K, vocab] scratch
    uint32_t *weights;   // likewise
    int32_t vocab, codebooks, channels, unused;
} draw_args;

// ---- the codec: model/seanet.h for whole sequences

// Which row of x [n, in], whose rows are ldx floats apart, each row of a padded sequence is: `left`
// rows of padding, then x, then `right` rows, of which the first `zeros` are 0. Reflection as in
// seanet.c.
typedef struct {
    const float *x;
    int64_t ldx, n, left, right, zeros;
    int32_t in, reflect, elu;
    int32_t type; // of what is made: GPU_F32, or GPU_BF16 with small values as 0
} gpu_padded;

// Rows `first` to first + n - 1 of the list of rows that a convolution reads, copied side by side:
// chain_lay. With a dilation the rows of a window lie together. Block 256; grid: a value a thread.
typedef struct {
    gpu_padded from;
    void *y; // [n, in]
    int64_t first, n;
    int32_t taps, stride, dilation, unused;
} lay_rows_args;

// Winograd tiles `first` to first + n - 1 of `step` rows of y each: y [n, 4, in]. As lay_rows.
typedef struct {
    gpu_padded from;
    void *y;
    int64_t first, n;
    int32_t step, unused;
} lay_tiles_args;

// Products in the order of chain.h, one chain a sum. With taps, x has tiles, and the four parts of
// a sum lie apart in p [4][tiles][rows] for chain_join; else y gets the result. Block 256; grid:
// 32 weight rows each (and for each part), 128 rows of x each.
typedef struct {
    const void *x;
    int64_t ldx, n; // values from one row to the next; rows or tiles
    const void *w;
    int32_t type, rows, parts, act; // type: of x and w; parts: 1 or 4
    int64_t cols;                   // of a part
    float *p;                       // parts 4: sums
    void *y;                        // [n, rows], else: rows ldy values apart
    int64_t ldy;                    //
    const float *bias, *add;        // or NULL; add: as y, added to the result
    int32_t y_type, unused;
} chain_dots_args;

// The end of a product by tiles: rows 0 to n-1 of y from the sums of tiles of `step` rows. Block
// 256; grid: a value a thread.
typedef struct {
    const float *p; // [4][tiles][rows]
    void *y;        // [n, rows]
    const float *bias, *add;
    int64_t n, tiles;
    int32_t rows, step, act, y_type;
} chain_join_args;

// The cells of one step of an LSTM: `lstm` of kern.h for n rows of d. Block 256; grid: a value a
// thread.
typedef struct {
    float *h, *cell;
    const float *z; // [n, 4 * d]
    int64_t n, d;
} lstm_cells_args;

// n steps of an LSTM layer in one launch: those of qdots_few or dots_few and lstm_cells in turn,
// for `streams` rows of d each. d: a multiple of GPU_LSTM_CELLS, GPU_LSTM_MAX at most. The blocks
// meet after each step: device_launch_together. Grid: `blocks`, one for GPU_LSTM_CELLS cells at
// most.
typedef struct {
    const uint8_t *w;   // [4 * d, d]
    const float *z;     // [n, streams, 4 * d]: the input's half
    const float *h;     // [streams, d]: before the first step
    float *cell;        // [streams, d], likewise; then after the last
    float *y;           // [n, streams, d]
    uint32_t *meetings; // 0
    int64_t n, streams, d;
    int32_t type, blocks;
} lstm_steps_args;
//   qlstm_steps  packed weights. Block: four warps for each block of columns
//   lstm_steps   GPU_F32, GPU_BF16. Block 512
typedef lstm_steps_args qlstm_steps_args;
#define GPU_LSTM_CELLS 16
#define GPU_LSTM_MAX 1024

// y += x. Block 256; grid: a value a thread.
typedef struct {
    float *y;
    const float *x;
    int64_t n;
} add_values_args;

// The nearest vector of a codebook for each latent, from scores [n, codes], and what is left.
// Block 256; grid: latents.
typedef struct {
    float *latent;                 // [n, dim]
    const float *score;            // [n, codes]
    const float *half_norm, *book; // [codes], [codes, dim]
    int32_t *ids;                  // [n]
    int64_t codes, dim;
} nearest_args;

// X(kernel): its arguments are kernel_args.
#define GPU_KERNEL_LIST(X)                                                                         \
    X(table_rows)                                                                                  \
    X(table_seqs)                                                                                  \
    X(table_advance)                                                                               \
    X(embed_rows)                                                                                  \
    X(norm_rows)                                                                                   \
    X(qdots_few)                                                                                   \
    X(dots_few)                                                                                    \
    X(qdots_many)                                                                                  \
    X(dots_many)                                                                                   \
    X(put_rows)                                                                                    \
    X(copy_rows)                                                                                   \
    X(attend)                                                                                      \
    X(attend8)                                                                                     \
    X(draw)                                                                                        \
    X(lay_rows)                                                                                    \
    X(lay_tiles)                                                                                   \
    X(chain_dots)                                                                                  \
    X(chain_join)                                                                                  \
    X(lstm_cells)                                                                                  \
    X(lstm_steps)                                                                                  \
    X(qlstm_steps)                                                                                 \
    X(add_values)                                                                                  \
    X(nearest)

#define GPU_KERNEL_ID(name) GPU_##name,
typedef enum { GPU_KERNEL_LIST(GPU_KERNEL_ID) GPU_KERNELS } gpu_kernel;
