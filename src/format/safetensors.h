// safetensors.h - read-only view of .safetensors files: one file, or a model's shards as one set.
//
// The files are mapped and their headers checked once, at open: every offset, shape and dtype is
// known good afterwards, so callers index tensor data without further checks. The files are
// untrusted input. A handle is immutable after open and may be shared between threads.
//
// What is refused (ERR_FORMAT): a header longer than the file or than ST_HEADER_MAX, JSON that is
// malformed or names a tensor twice, an unknown dtype, a shape whose product overflows or does not
// match its data_offsets, more than TENSOR_DIMS_MAX dimensions, data that overlaps, and - the
// format asks for it, and a hole is where a damaged download shows - bytes that belong to no
// tensor. Tensors without values (a zero in the shape) are fine. dtypes that we never compute with
// (F64, U16, ...) are checked all the same and come out as DT_OTHER.
//
// Format: https://github.com/huggingface/safetensors#format
#pragma once
#include "base/err.h"
#include "base/json.h"
#include "compute/tensor.h"

#define ST_HEADER_MAX ((size_t)16 << 20) // bytes of JSON: some 100,000 tensors
#define ST_SHARDS_MAX 1000

typedef struct st_file st_file;

// Opens one file. On success *out owns the mapping; release it with st_close. *out is NULL on
// failure. ERR_NOT_FOUND when path does not exist.
status st_open(st_file **out, const char *path, err *e);

// Opens a model folder: model.safetensors, else every shard that model.safetensors.index.json
// names. Index and shards must agree both ways: each tensor is in the shard the index says, and the
// index knows each tensor of each shard.
status st_open_model(st_file **out, const char *dir, err *e);

// The same for files that are called otherwise: "diffusion_pytorch_model" in place of "model". A
// file of half precision, NAME.fp16.safetensors, will do.
status st_open_folder(st_file **out, const char *dir, const char *name, err *e);

status st_open_bytes(st_file **out, bytes image, err *e); // image must outlive the handle
void st_close(st_file *f);                                // NULL is fine

// Finds a tensor by name. The result is borrowed: valid until st_close. NULL if absent.
const tensor *st_find(const st_file *f, const char *name);

// All tensors, ordered by name (bytewise). i < st_count.
size_t st_count(const st_file *f);
const char *st_name_at(const st_file *f, size_t i);
const tensor *st_at(const st_file *f, size_t i);

// A string of __metadata__ (of the first shard that has the key). NULL if absent. Borrowed.
const char *st_metadata(const st_file *f, const char *key);

void st_forget(const st_file *f, const tensor *t); // one of f's: os_map_forget
status st_check(const st_file *f, err *e);         // kept_check of each file

// Writing, for tools and tests. Tensors are stored in the order given, each padded to nothing: the
// header is padded so that data begins at a multiple of 8.
typedef struct {
    const char *name;
    tensor t; // any type but DT_OTHER
} st_entry;

// Writes path atomically. metadata: an object of strings, or NULL. ERR_ARG on a name given twice.
status st_write(const char *path, const st_entry *list, size_t n, const json *metadata, err *e);
