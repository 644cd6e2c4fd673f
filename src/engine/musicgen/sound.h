// sound.h - sound to MusicGen's codes and back, and the files of codes.
//
// Codes are [K][frames]: a row a codebook; the rows of a stereo model interleave left and right.
// Sound is planes [channels, n] at the codec's rate. A code file is a .safetensors file with one
// tensor "codes" [K, frames] I32.
#pragma once
#include "engine/musicgen/pipeline.h"
#include "gpu/codec.h"

int64_t sound_codebooks(const pipeline *p);               // K
int64_t sound_frames(const pipeline *p, int64_t samples); // rounded up
int64_t sound_samples(const pipeline *p, int64_t frames);

// What computes: the codec on a GPU, or on the CPU where gpu is NULL; cpu is for decoding alone.
typedef struct {
    compute *c;
    encodec_decoder *cpu;
    gpu_codec *gpu;
} sound_codec;

// codes [K][sound_frames(n)].
status sound_encode(const pipeline *p, const sound_codec *d, const float *planes, int64_t n,
                    int32_t *codes, err *e);
// planes [channels, sound_samples(frames)].
status sound_decode(const pipeline *p, compute *c, const int32_t *codes, int64_t frames,
                    float *planes, err *e);

// Stems of equal length, decoded side by side on one decoder of the codec.
#define SOUND_TOGETHER 8
typedef struct {
    const int32_t *codes;
    int64_t frames;
    float *planes;
} sound_stem;
status sound_decode_stems(const pipeline *p, const sound_codec *d, const sound_stem *list, size_t n,
                          err *e);

// Every code is checked; *codes is the caller's (mem_free).
status sound_read_codes(const pipeline *p, const char *path, int32_t **codes, int64_t *frames,
                        err *e);
status sound_write_codes(const pipeline *p, const char *path, const int32_t *codes, int64_t frames,
                         err *e);
