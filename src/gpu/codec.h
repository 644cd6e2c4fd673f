// codec.h - the audio codec as a program of kernels: model/encodec.h on the device.
//
// Whole sequences go through layer by layer, so there are no tails; the long layers go in pieces
// that bound the scratch memory.
#pragma once
#include "gpu/device.h"
#include "model/encodec.h"

typedef struct gpu_codec gpu_codec;

// Uploads the weights of the parts that k was opened with. dev and k are borrowed until
// gpu_codec_close.
status gpu_codec_open(gpu_codec **out, device *dev, const encodec *k, err *e);
void gpu_codec_close(gpu_codec *c); // NULL is fine

// encodec_decoder_run and encodec_encode; their bits.
status gpu_codec_decode(gpu_codec *c, const encodec_codes *in, size_t n, float *const *out, err *e);
status gpu_codec_encode(gpu_codec *c, const float *samples, int64_t n, const encodec_encoded *out,
                        err *e);
