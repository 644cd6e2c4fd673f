// model.h - an opened MusicGen model: what its files in this folder share.
#pragma once
#include "engine/family.h"
#include "engine/musicgen/decoder.h"
#include "engine/musicgen/pipeline.h"
#include "engine/musicgen/run.h"
#include "engine/musicgen/texts.h"
#include "gpu/codec.h"

typedef struct {
    family base;
    pipeline p;
    // The batch's thread's.
    decoder *decoder; // NULL when no stems will be made
    texts texts;
    encodec_decoder *codec; // NULL before the first stem ends on the CPU
    gpu_codec *gpu_codec;   // NULL: not on a GPU
    run **running;          // [places]
    seq **stepped;          // [places]
    arena work;             // of one call
    int places;             // stems in a step at most
    bool values_read;       // the weights' values have been looked at
    err values;             // and what was found
} musicgen_family;
