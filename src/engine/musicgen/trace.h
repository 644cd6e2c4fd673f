// trace.h - MusicGen's stages as named tensors (engine/trace.h).
#pragma once
#include "engine/trace.h"

// As engine/family.h has it.
status musicgen_trace(trace_result *out, family *f, const trace_input *in, err *e);
