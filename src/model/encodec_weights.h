// encodec_weights.h - the weights of an encodec: for model/encodec*.c, and for devices that run it
// themselves.
#pragma once
#include "model/encodec.h"
#include "model/seanet.h"

// One resolution: the change of rate, and the residual blocks on its wide-band side. Decoder stage
// i has ratio i and blocks after `up`; encoder stage i has blocks before `down`.
typedef struct {
    sea_up up;
    sea_conv down;
    sea_res *res; // [res_layers]
} encodec_stage;

typedef struct {
    sea_conv first, last;
    encodec_stage stage[ENCODEC_RATIOS_MAX];
    sea_lstm *lstm; // [lstm_layers]
} encodec_net;

struct encodec {
    encodec_config cfg;
    unsigned parts;
    encodec_net decoder, encoder;
    weight book[ENCODEC_QUANTIZERS_MAX];      // [codes, dim]
    float *half_norm[ENCODEC_QUANTIZERS_MAX]; // [codes] |e|^2 / 2; only with the encoder
};

// Channels at the narrow-band end, where the LSTM runs.
static inline int64_t encodec_width(const encodec_config *cfg) {
    return cfg->filters << cfg->ratio_count;
}

// Codes frames.to - frames.from of each of `count` rows: ERR_ARG if one is out of range.
status encodec_check_rows(const encodec_config *cfg, const int32_t *const *rows, int64_t count,
                          span frames, err *e);
// ERR_FORMAT if one of n samples behind a frame is not finite.
status encodec_check_sound(const float *x, int64_t n, int64_t frame, err *e);
