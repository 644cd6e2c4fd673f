// decoder_inside.h - the inside of a gpu_decoder, shared by decoder.c and decoder_open.c.
#pragma once
#include "gpu/decoder.h"
#include "gpu/product.h"
#include "model/musicgen_weights.h"

#define GPU_BUCKETS 12 // graphs of steps: 1, 2, 4, ... rows

typedef struct {
    float *w, *b;
} gpu_norm;

typedef struct {
    gpu_matrix qkv, o, cq, ckv, co, fc1, fc2;
    gpu_norm attn, cross, ffn;
} gpu_layer;

struct gpu_decoder {
    device *dev;
    mg_config cfg;
    int64_t sequences, feed; // in one step; rows that are fed at a time
    int64_t rows;            // that the scratch has room for
    gpu_row *list;           // [feed]
    gpu_layer *layer;
    gpu_matrix embed, head;
    gpu_norm norm;
    float *position; // [positions, d]
    // Scratch of a pass.
    float *x, *qkv, *ctx, *hidden; // [rows, d], [rows, 3 * d], [rows, d], [rows, ffn]
    float *logits;                 // [rows, K, vocab]
    float *scores;                 // [rows, heads, lds]
    int64_t lds;
    product_scratch wide; // for inputs as wide as d or ffn
    float *guided;        // [sequences, K, vocab]
    uint32_t *weights;    // [sequences, K, vocab]
    struct {
        gpu_row *rows;
        gpu_seq_entry *seqs;
        gpu_counts *counts;
    } table[GPU_TABLES];
    device_graph *graph[GPU_BUCKETS]; // of caches of type graph_cache; NULL: not recorded yet
    int32_t graph_cache;
};

void gpu_decoder_forget(gpu_decoder *d); // frees the graphs
