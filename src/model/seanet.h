// seanet.h - the layers of EnCodec's encoder and decoder: convolutions over sequences that arrive
// in pieces.
//
// Activations are [time, channels], so a window of k taps is k*channels consecutive floats, and a
// whole convolution is one product over overlapping windows: chain_conv. A transposed convolution
// with k = 2*stride is a convolution with two taps: an input row and the row before it give
// `stride` output rows.
//
// A push gives a layer n more input rows and returns every output row that no later input can
// change, in multiples of chain_tile_rows(). `last` marks the end of the sequence; padding stands
// at the true ends only. So the bits do not depend on how a sequence is cut, and nothing is
// computed twice. A layer is immutable after bind; a sea_tail holds what one sequence needs from
// push to push.
//
// Padding and trimming follow transformers' modeling_encodec.py (non-causal): P = span - stride,
// the larger half on the left; the right also gets what fills the last stride. Weight normalisation
// is folded at load: W[a] = g[a] v[a] / |v[a]| for each a of the first axis, which for a transposed
// convolution is the input channel.
//
// With weights of type WEIGHTS_BF16 the heavy products round weights and inputs to bf16 (chain.h);
// everything between the layers stays f32. Otherwise all is f32.
//
// A packed file holds a layer's matrix folded and laid out, as "weight" of a DT_CHAIN type, which
// is used where it is mapped.
#pragma once
#include "base/mem.h"
#include "compute/chain.h"
#include "compute/ops.h"
#include "model/weights.h"

typedef struct {
    chain_weight w;    // chain_conv_weight of k taps over `in` channels
    weight single;     // [1, k*in] f32 in place of w: see sea_conv_is_single
    const float *bias; // [out]
    int64_t in, out, k, stride, dilation;
    int64_t pad;  // rows of padding at both ends together, without the rest of the last stride
    bool reflect; // else zeros
    bool bare;    // the checkpoint has no bias for it
} sea_conv;

typedef struct {
    sea_conv conv; // [in -> stride*out, 2 taps]: x[t-1], x[t] give rows t*stride .. +stride-1
    int64_t in, out, stride;
} sea_up;

// y = x + conv1(ELU(conv3(ELU(x))))
typedef struct {
    sea_conv narrow, widen; // [ch -> hidden, k taps], [hidden -> ch, 1 tap]
} sea_res;

typedef struct {
    weight w_ih, w_hh; // [4*d, d], gates in order i f g o; Q8 beside bf16 products
    const float *bias; // [4*d] b_ih + b_hh
} sea_lstm;

// The state of one convolution in one sequence.
typedef struct {
    float *rows;       // [held_max, in] the end of the padded input
    float *other;      // as rows: the two change places in each push
    const float *zero; // [in]
    int64_t held;      // rows in use
    int64_t base;      // index of rows[0] in the padded sequence
    int64_t seen;      // input rows so far
    int64_t given;     // output rows so far
    bool started;      // the padding before the sequence has been listed
} sea_tail;

// Whether the layer has its weights in `single`: it has one output channel and several taps.
static inline bool sea_conv_is_single(const sea_conv *l) {
    return l->out == 1 && l->k > 1;
}

// The caller sets the shape fields (in, out, ...); bind finds the tensors below prefix and reports
// problems to w. It accepts weight_g and weight_v, their parametrizations spelling, and a fused
// weight.
void sea_conv_bind(sea_conv *l, weights *w, const char *prefix);
void sea_up_bind(sea_up *l, weights *w, const char *prefix);
void sea_lstm_bind(sea_lstm *l, weights *w, int64_t d, const char *prefix, int layer);

// False: the arena has no memory.
bool sea_conv_tail_init(const sea_conv *l, sea_tail *s, arena *a);
bool sea_up_tail_init(const sea_up *l, sea_tail *s, arena *a);
bool sea_res_tail_init(const sea_res *l, sea_tail *s, arena *a);
void sea_tail_reset(sea_tail *s); // a new sequence begins

// Floats of working memory that a push of up to n rows needs.
size_t sea_conv_work(const sea_conv *l, int64_t n);
size_t sea_up_work(const sea_up *l, int64_t n);

// The most output rows that a push of n rows gives; y needs room for them.
int64_t sea_conv_rows_max(const sea_conv *l, int64_t n);
int64_t sea_up_rows_max(const sea_up *l, int64_t n); // untrimmed rows included

typedef struct {
    const float *x; // [n, in], contiguous
    int64_t n;      // may be 0
    bool last;
    bool elu; // apply ELU to x first
    void *work;
} sea_input;

// Both return the number of output rows. y [rows, out] contiguous.
int64_t sea_conv_push(compute *c, const sea_conv *l, sea_tail *s, const sea_input *in, float *y);
// The first rows of a sequence are trimmed: *first is the first row of the result, at y or behind
// it.
int64_t sea_up_push(compute *c, const sea_up *l, sea_tail *s, const sea_input *in, float *y,
                    float **first);

// In place. in->x is x [n, ch]; there is room for sea_res_headroom rows before x, and *first points
// to the first finished row. hidden: memory for [sea_conv_rows_max(narrow, n), hidden
// channels] floats.
int64_t sea_res_push(compute *c, const sea_res *l, sea_tail *s, const sea_input *in, float *x,
                     void *hidden, float **first);
int64_t sea_res_headroom(const sea_res *l);

// Runs `layers` LSTM layers over x [n, streams, d] and adds the result to x. h and cell: [layers,
// streams, d], carried from push to push. z: [n, streams, 4*d], y: [n, streams, d].
typedef struct {
    const sea_lstm *layer;
    int layers;
    int64_t d, streams;
    float *h, *cell;
} sea_lstm_run;
void sea_lstm_push(compute *c, const sea_lstm_run *r, float *x, int64_t n, float *z, float *y);
