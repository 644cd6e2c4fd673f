// on_gpu.h - a MusicGen model on a GPU: its networks brought there, checked, and the memory left.
#pragma once
#include "engine/musicgen/model.h"

// Brings the networks of f to the GPU and looks whether it computes the CPU's bits: the scores of
// two columns, to the last bit. ERR_CONFLICT: it does not. ERR_OOM, ERR_LIMIT: they do not fit, or
// no stem fits beside them. After a failure f is as before.
status on_gpu_open(musicgen_family *f, device *gpu, const decoder_limits *l, err *e);
void on_gpu_close(musicgen_family *f); // gives all of it back; not on a GPU is fine
