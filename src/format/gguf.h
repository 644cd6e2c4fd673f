// gguf.h - GGUF files, the packed single-file models of ggml's tools, in and out.
//
// Reading: open maps the file and checks every string, count, shape and offset, so callers need
// not. It refuses (ERR_FORMAT) claims of more than the file holds, sizes that overflow, unknown
// types, keys or names given twice, tensors that overlap, leave holes wider than the alignment, or
// are not aligned. A handle is immutable and may be shared by threads.
//
// Writing: version 3, little-endian. Shapes are row-major as everywhere here; the file has them the
// other way round, which readers undo.
//
// Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once
#include "base/err.h"
#include "compute/tensor.h"

#define GGUF_ALIGN 32     // of tensor data, unless the file says otherwise
#define GGUF_ALIGN_OUT 64 // of files written here, which say so: a cache line
#define GGUF_DIMS_MAX 4   // as ggml
#define GGUF_NAME_MAX 63  // bytes of a tensor's name that ggml's tools take
#define GGUF_KEY_MAX 65535

// Numbers as in the file.
typedef enum {
    GGUF_F32 = 0,
    GGUF_F16 = 1,
    GGUF_Q4_0 = 2, // blocks of 32 values: f16 scale d, 16 bytes; byte i has value i low, i+16 high:
                   // (nibble - 8) d
    GGUF_Q8_0 = 8, // blocks of 32 values: f16 scale d, 32 signed bytes: byte d
    GGUF_I8 = 24,
    GGUF_I16 = 25,
    GGUF_I32 = 26,
    GGUF_I64 = 27,
    GGUF_F64 = 28,
    GGUF_BF16 = 30,
} gguf_type;

typedef struct {
    const char *name;
    gguf_type type;
    int dims;                     // 1 to GGUF_DIMS_MAX
    int64_t shape[GGUF_DIMS_MAX]; // [rows, ..., values in a row]; a row is whole blocks
    const void *data;             // size bytes
    size_t size;
} gguf_tensor;

const char *gguf_type_name(gguf_type t); // "Q8_0"; NULL: not known here
// Bytes of a tensor. False on overflow, an unknown type, or rows that are not whole blocks.
bool gguf_size(size_t *out, gguf_type type, const int64_t *shape, int dims);
// The same as a dense view. False for types that compute/tensor.h does not have.
bool gguf_as_tensor(tensor *out, const gguf_tensor *t);
bool gguf_type_of(gguf_type *out, dtype t);

// ---- reading

typedef struct gguf_file gguf_file;

status gguf_open(gguf_file **out, const char *path, err *e);
status gguf_open_bytes(gguf_file **out, bytes image, err *e); // image must outlive the handle
void gguf_close(gguf_file *f);                                // NULL is fine
bool gguf_is(const char *path);                               // begins like one?

size_t gguf_count(const gguf_file *f);
const gguf_tensor *gguf_at(const gguf_file *f, size_t i); // ordered by name
const gguf_tensor *gguf_find(const gguf_file *f, const char *name);
// The tensors whose names begin with prefix may leave memory: os_map_forget.
void gguf_forget(const gguf_file *f, const char *prefix);
void gguf_forget_data(const gguf_file *f, bytes data);           // a part of the file, likewise
status gguf_check(const gguf_file *f, const char *path, err *e); // kept_check

// Metadata, by key. Strings are borrowed and not NUL-terminated. ERR_NOT_FOUND when absent,
// ERR_FORMAT when of another type or out of range; the text says the key.
status gguf_get_str(const gguf_file *f, const char *key, bytes *out, err *e);
status gguf_get_int(const gguf_file *f, const char *key, int64_t lo, int64_t hi, int64_t *out,
                    err *e);                                                   // any integer type
status gguf_get_num(const gguf_file *f, const char *key, double *out, err *e); // F32, F64, integers
status gguf_get_bool(const gguf_file *f, const char *key, bool *out, err *e);
status gguf_get_blob(const gguf_file *f, const char *key, bytes *out, err *e); // array of U8 or I8
// Calls use for each string of an array, in order, until it returns a status that is not OK.
typedef status (*gguf_use_str)(void *arg, size_t i, bytes s, err *e);
status gguf_each_str(const gguf_file *f, const char *key, gguf_use_str use, void *arg, err *e);

// Keys in file order, for `info`. i < gguf_key_count.
size_t gguf_key_count(const gguf_file *f);
bytes gguf_key_at(const gguf_file *f, size_t i);

// ---- writing

typedef struct gguf_writer gguf_writer;

status gguf_writer_open(gguf_writer **out, err *e);
void gguf_writer_close(gguf_writer *w); // NULL is fine

// Keys are lower-case "a.b_c"; ERR_ARG: another spelling, or given twice. Lack of memory sticks and
// is reported by gguf_write too.
status gguf_put_str(gguf_writer *w, const char *key, bytes value, err *e);
status gguf_put_u32(gguf_writer *w, const char *key, uint32_t value, err *e);
status gguf_put_i64(gguf_writer *w, const char *key, int64_t value, err *e);
status gguf_put_f32(gguf_writer *w, const char *key, float value, err *e);
status gguf_put_bool(gguf_writer *w, const char *key, bool value, err *e);
status gguf_put_blob(gguf_writer *w, const char *key, bytes value, err *e);
status gguf_put_strs(gguf_writer *w, const char *key, const bytes *list, size_t n, err *e);

// Adds a tensor; name and shape are copied, size is worked out. data is borrowed until gguf_write;
// NULL: gguf_write asks its source for it then. ERR_ARG: name too long or given twice, bad shape.
status gguf_add(gguf_writer *w, const gguf_tensor *t, err *e);

// Gives the data of the i-th tensor added, t->size bytes, valid until the next call.
typedef status (*gguf_source)(void *arg, size_t i, const gguf_tensor *t, const void **data, err *e);

// Writes path atomically. source may be NULL when every tensor came with its data.
status gguf_write(gguf_writer *w, const char *path, gguf_source source, void *arg, err *e);
