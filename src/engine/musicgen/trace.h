// trace.h - every stage of a model as named tensors, for a comparison with the reference.
//
// tests/parity/README.md describes a run, which is a JSON object, and names the tensors.
// `stemforge trace` (make parity) and the tests of the recorded fixtures use it.
#pragma once
#include "engine/family.h"
#include "format/safetensors.h"

#define TRACE_TENSORS_MAX 32

typedef struct {
    st_entry list[TRACE_TENSORS_MAX]; // data lives in own
    size_t n;
    arena own;
} trace_result;

typedef struct {
    const json *run;
    const char *dir; // that WAV paths of the run are relative to
    device *gpu;     // NULL: the CPU computes
} trace_input;

// ERR_ARG when f is no MusicGen. Zeroes *out first; free it in any case.
status trace_run(trace_result *out, const family *f, const trace_input *in, err *e);
void trace_free(trace_result *r);
