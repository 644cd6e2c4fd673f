// files.h - the files of a Stable Audio model, in either layout.
//
// The folder of a diffusers pipeline has a folder for each network, with its own documents. The
// original has model_config.json beside one safetensors file (or its shards), and its text encoder
// is a T5 model of its own: in text_encoder/ of the folder, where STEMFORGE_TEXT_ENCODER says, or
// in the cache of the hub. A packed file has the documents of a pipeline, whichever layout it was
// made from (files_packed.c). Always the networks read documents and tensors as diffusers has them.
#pragma once
#include "engine/checkpoint.h"
#include "engine/packing.h"
#include "engine/stableaudio/names.h"
#include "engine/stableaudio/schedule.h"

// One network.
typedef struct {
    json *config;
    checkpoint_part tensors;
} sa_part;

#define SA_KEY "stable_audio" // of the family
#define SA_FILES_MAX 4
#define SA_TOKENS_MAX 2048 // of a text

typedef struct {
    sa_part transformer, vae, text_encoder, projection;
    sa_schedule schedule;
    int64_t tokens; // of a text at most
    tokenizer *tokenizer;
    char words[OS_PATH_MAX];     // tokenizer.json of a folder
    bool original;               // made from the original layout
    const checkpoint *of;        // borrowed
    st_file *file[SA_FILES_MAX]; // of the tensors; NULL: no further ones
    sa_names *names;             // of the original's
} sa_files;

// Whether the folder is one of these: model_index.json names a StableAudioPipeline, or
// model_config.json a model_type with a diffusion transformer.
bool sa_files_recognise(const checkpoint *m);
// Opens all parts of m, which outlives *out. *out is the caller's (sa_files_close), after a failure
// too, and stays where it is.
status sa_files_open(sa_files *out, const checkpoint *m, err *e);
// ERR_DEVICE when a file that holds tensors was changed since it was opened (base/kept.h).
status sa_files_check(const sa_files *f, err *e);
// Adds the documents from which a packed file is opened.
status sa_files_pack(const sa_files *f, packing *out, err *e);
void sa_files_close(sa_files *f); // zeroed is fine
