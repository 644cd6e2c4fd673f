// text.h - the T5 text encoder as a program of kernels: model/t5.h on the device.
#pragma once
#include "gpu/device.h"
#include "model/t5.h"

typedef struct gpu_text gpu_text;

// Uploads the weights but the table of tokens. dev and m are borrowed until gpu_text_close.
status gpu_text_open(gpu_text **out, device *dev, const t5 *m, err *e);
void gpu_text_close(gpu_text *t); // NULL is fine

// t5_encode; its bits.
status gpu_text_encode(gpu_text *t, float *out, const int32_t *ids, int64_t n, err *e);
