// codec_inside.h - the inside of a gpu_codec, shared by codec.c, codec_open.c and codec_layers.c.
#pragma once
#include "gpu/codec.h"
#include "gpu/product.h"
#include "model/encodec_weights.h"

typedef struct {
    chain_weight w;    // data on the device
    gpu_matrix single; // in place of w, for one output channel
    float *bias;       // or NULL
    int64_t in, out, k, stride, dilation, pad;
    bool reflect;
} codec_conv;

typedef struct {
    codec_conv narrow, widen;
} codec_res;

typedef struct {
    codec_conv change; // up in the decoder, down in the encoder
    int64_t stride;    // of up
    codec_res *res;    // [res_layers]
} codec_stage;

typedef struct {
    gpu_matrix w_ih, w_hh;
    float *bias;
} codec_lstm;

typedef struct {
    codec_conv first, last;
    codec_stage stage[ENCODEC_RATIOS_MAX];
    codec_lstm *lstm; // [lstm_layers]
} codec_net;

// Memory that grows.
typedef struct {
    void *p;
    size_t size;
} codec_buffer;

enum {
    CODEC_A,
    CODEC_B,
    CODEC_C,
    CODEC_HIDDEN,
    CODEC_LAID,
    CODEC_SUMS,
    CODEC_Z,
    CODEC_STATE,
    CODEC_NORM,
    CODEC_Q,
    CODEC_IDS,
    CODEC_BUFFERS
};

struct gpu_codec {
    device *dev;
    const encodec *k;
    codec_net decoder, encoder;
    gpu_matrix book[ENCODEC_QUANTIZERS_MAX]; // for products; encoder only, as the next two
    float *vectors[ENCODEC_QUANTIZERS_MAX], *half_norm[ENCODEC_QUANTIZERS_MAX];
    codec_buffer buffer[CODEC_BUFFERS];
};

// A buffer of at least n bytes; its content is lost when it grows. NULL with *rc set: no memory.
void *codec_room(gpu_codec *c, int which, size_t n, status *rc, err *e);

// y = the convolution of n rows x, `ldx` floats apart (of their ELU, if elu), plus add (rows as y)
// where it is not NULL. *rows: how many y got.
typedef struct {
    const float *x;
    int64_t ldx, n;
    bool elu;
    void *y;
    int64_t ldy; // 0: the width of y
    dtype y_type;
    activation act;
} conv_io;
int64_t codec_conv_rows(const codec_conv *l, int64_t n); // of y
status codec_conv_run(gpu_codec *c, const codec_conv *l, const conv_io *io, err *e);
// y [n, ch] = x + its residual block; y is not x.
status codec_res_run(gpu_codec *c, const codec_res *l, const float *x, int64_t n, float *y, err *e);
// x [n, streams, d] += the LSTM layers of x; y is scratch of the same size.
status codec_lstm_run(gpu_codec *c, const codec_lstm *l, float *x, int64_t n, int64_t streams,
                      float *y, err *e);
