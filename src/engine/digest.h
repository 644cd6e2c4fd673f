// digest.h - which model it is: a number for its tensors, in a few milliseconds.
//
// SHA-256 over name, type, shape and some values of each tensor, the first 16 bytes of it in hex. A
// tensor of up to 12 KB is read whole, of a larger one its first, middle and last 4 KB. Two models
// that were trained apart differ in each tensor, so reading all of 13 GB would say no more. What it
// cannot see: a file that was changed by hand somewhere between. Documents do not count: the
// numbers of theirs that make samples are in a recipe beside it.
#pragma once
#include "format/safetensors.h"

#define DIGEST_TEXT 33 // with the NUL

// Of n sets of tensors, in this order.
status digest_tensors(char out[DIGEST_TEXT], const st_file *const *sets, size_t n, err *e);
