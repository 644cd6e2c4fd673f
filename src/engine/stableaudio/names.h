// names.h - the tensors of an original Stable Audio file, as diffusers calls and shapes them.
//
// The original program (stable-audio-tools) writes one file, in which q, k and v of a block are one
// matrix and vectors have other shapes. This module is a view of such a file: the networks know the
// names of diffusers alone. docs/MODELS.md has the table.
#pragma once
#include "model/weights.h"

typedef struct sa_names sa_names;

// f must outlive *out. ERR_FORMAT names a tensor that no network here has.
status sa_names_open(sa_names **out, const st_file *f, err *e);
void sa_names_close(sa_names *n); // NULL is fine
weights_source sa_names_source(const sa_names *n);
