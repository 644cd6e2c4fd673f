// trace.h - every stage of a model as named tensors, to hold against the reference implementation.
//
// A run is a JSON object as tests/parity/README.md describes; the tensors have its names. Used by
// `stemforge trace` (make parity) and by the tests of the recorded fixtures.
#pragma once
#include "engine/family.h"
#include "format/safetensors.h"

#define TRACE_TENSORS_MAX 32

typedef struct {
    st_entry list[TRACE_TENSORS_MAX]; // data lives in own
    size_t n;
    arena own;
} trace_result;

// dir: the folder that WAV paths of the run are relative to. ERR_ARG when f is no MusicGen. Zeroes
// *out first; free it in any case.
status trace_run(trace_result *out, const family *f, const json *run, const char *dir, err *e);
void trace_free(trace_result *r);
