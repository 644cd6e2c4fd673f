// trace.h - every stage of a model as named tensors, for a comparison with the reference.
//
// tests/parity/README.md describes a run, which is a JSON object, and names the tensors.
// `stemforge trace` (make parity) and the tests of the recorded fixtures use it. Each family has
// stages of its own (family_ops.trace).
#pragma once
#include "engine/family.h"
#include "format/safetensors.h"

#define TRACE_TENSORS_MAX 32

struct trace_result {
    st_entry list[TRACE_TENSORS_MAX]; // data lives in own
    size_t n;
    arena own;
};

struct trace_input {
    const json *run;
    const char *dir; // that paths of the run are relative to
    device *gpu;     // NULL: the CPU computes
};

// Zeroes *out first; free it in any case.
status trace_run(trace_result *out, family *f, const trace_input *in, err *e);
void trace_free(trace_result *r);

// For the families.

// A new tensor in the result; NULL when there is no memory.
void *trace_add(trace_result *r, const char *name, dtype type, int dims, const int64_t *shape);
status trace_no_memory(err *e);

// The path of a file that a member of the run names; "": it names none.
status trace_find_file(const trace_input *in, const char *member, char path[OS_PATH_MAX], err *e);
