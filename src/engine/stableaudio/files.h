// files.h - the folder of a diffusers pipeline: a folder for each network, with its own documents.
#pragma once
#include "engine/checkpoint.h"

// One of them: "transformer" with config.json and its tensors.
typedef struct {
    json *config;
    st_file *tensors;
} sa_part;

typedef struct {
    sa_part transformer, vae, text_encoder, projection;
    json *scheduler;
    json *tokenizer_config;
    tokenizer *tokenizer;
} sa_files;

// Whether model_index.json of the folder names a StableAudioPipeline.
bool sa_files_recognise(const checkpoint *m);
// Opens all parts of m. *out is the caller's (sa_files_close), after a failure too.
status sa_files_open(sa_files *out, const checkpoint *m, err *e);
// ERR_DEVICE when a file that holds tensors was changed since it was opened (base/kept.h).
status sa_files_check(const sa_files *f, err *e);
void sa_files_close(sa_files *f); // zeroed is fine
