// family.h - MusicGen as a family of models (engine/family.h).
#pragma once
#include "engine/family.h"
#include "engine/musicgen/pipeline.h"

extern const family_ops musicgen_family_ops;

// The parts of f, for tools that know MusicGen. ERR_ARG when f is of another family.
status musicgen_pipeline(const pipeline **out, const family *f, err *e);
