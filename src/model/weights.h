// weights.h - binds tensor names to fields with their expected shapes; reports every miss at once.
//
// A network states its weights as tables of weight_spec and binds them, layer by layer, through one
// `weights`. Nothing fails on the way: weights_finish gives OK, or one error that counts the wrong
// tensors and names as many as fit, while the log has them all.
//
//     weights w;
//     weights_init(&w, source, own, WEIGHTS_AS_STORED);
//     const weight_spec spec[] = {
//         {"layer_norm.weight", BIND_VECTOR, &l->norm, {c->d_model}},
//         {"DenseReluDense.wi.weight", BIND_MATRIX, &l->wi, {c->d_ff, c->d_model}},
//     };
//     weights_bind(&w, spec, ARRAY_LEN(spec), "encoder.block.%d.layer.1.", i);
//     return weights_finish(&w, e);
//
// Matrices stay where the file is mapped, unless another type is asked for; vectors are widened to
// f32 in the arena. So the file must outlive what was bound, and so must the arena.
#pragma once
#include "base/mem.h"
#include "compute/ops.h"
#include "compute/tensor.h"
#include "format/safetensors.h"

// A source of tensors: a file of some format. find returns a borrowed tensor, NULL if absent.
// forget, which may be NULL, is called for tensors that were converted and will not be read again.
typedef struct {
    const tensor *(*find)(const void *file, const char *name);
    const void *file;
    void (*forget)(const void *file, const tensor *t);
} weights_source;

weights_source weights_from_st(const st_file *f); // f must outlive what is bound

// BF16: matrices are laid out as compute/bf16x8.h says. Q8, Q4: they are packed as compute/quant.h
// says, and multiply rows rounded to 8 bits.
typedef enum { WEIGHTS_AS_STORED, WEIGHTS_F32, WEIGHTS_BF16, WEIGHTS_Q8, WEIGHTS_Q4 } weights_type;

const char *weights_type_name(weights_type t); // "stored", "f32", ... as --weights takes it

typedef enum {
    BIND_MATRIX, // to: weight *. Two axes; kept in the type asked for in weights_init
    BIND_TABLE,  // to: weight *. As a matrix, but never converted: for rows that are looked up
    BIND_VECTOR, // to: const float **. One axis, f32 in the arena
    BIND_TENSOR, // to: tensor *. The file's own, any number of axes
    BIND_OPTIONAL = 16, // or-ed to one of these: absent is fine, *to stays. A wrong shape is not
} weight_kind;

#define WEIGHT_DIMS_MAX 4
#define DIM_ANY (-1) // accepts any length of at least 1; the caller reads what it is

typedef struct {
    const char *name;               // behind the prefix; "a|b": a, or else b (spellings, ties)
    unsigned kind;                  // a weight_kind
    void *to;                       // filled when found and right, else untouched
    int64_t shape[WEIGHT_DIMS_MAX]; // trailing zeros end it
} weight_spec;

// A tensor that is used where the file is mapped, so that nobody has read its values yet; or one
// that was read and held a value that is not finite.
typedef struct weights_kept weights_kept;
struct weights_kept {
    weights_kept *next;
    const char *name;
    weight m;    // data NULL: see below
    bool broken; // a value is not finite
};

typedef struct {
    weights_source from;
    arena *own;
    weights_type type;
    compute *c; // its threads convert; NULL: the calling thread does
    bool blank; // the file has zeros in place of values, which nobody will read
    bool copy;  // large matrices that stay as they are stored leave the file for huge pages
    // For a converter, else NULL: called with the matrix m that takes the place of the tensor
    // `name`; m is NULL when another tensor takes its place.
    void (*bound)(void *arg, const char *name, const weight *m);
    void *bound_arg;
    weights_kept *kept; // for weights_check_values, in the arena
    int64_t values;     // bound so far, for `info`
    size_t bytes;       // size of what was bound, in memory or mapped
    int problems;       // tensors missing or wrong
    char text[400];     // the first of the problems
    bool text_full;
} weights;

// own must outlive what is bound.
void weights_init(weights *w, weights_source from, arena *own, weights_type type);

// Binds n specs; the name of each is the printf prefix and then spec.name.
void weights_bind(weights *w, const weight_spec *spec, size_t n, const char *prefix_fmt, ...)
    PRINTF_LIKE(4, 5);

// The tensor of that whole name, NULL if absent. For weights that a table cannot describe.
const tensor *weights_find(const weights *w, const char *name_fmt, ...) PRINTF_LIKE(2, 3);

// Counts a problem that the caller found itself: one short clause, "x.weight: not finite".
void weights_problem(weights *w, const char *fmt, ...) PRINTF_LIKE(2, 3);

// Calls `bound` for a caller of weights_find.
void weights_bound(const weights *w, const weight *m, const char *name_fmt, ...) PRINTF_LIKE(3, 4);

// Adds to values and bytes, for a caller of weights_find.
void weights_count(weights *w, int64_t values, size_t bytes);

// For callers of weights_find: m is used where the file is mapped; a value of the tensor is not
// finite.
void weights_keep(weights *w, const weight *m, const char *name_fmt, ...) PRINTF_LIKE(3, 4);
void weights_broken(weights *w, const char *name_fmt, ...) PRINTF_LIKE(2, 3);

// Reads every value that nobody has read yet; ERR_FORMAT with the first tensor that holds one that
// is not a finite number. Binding does not do it: it would read the whole file.
status weights_check_values(const weights_kept *kept, compute *c, err *e);

// ERR_FORMAT with all problems, ERR_OOM when the arena failed, else OK.
status weights_finish(const weights *w, err *e);

size_t weight_size(const weight *m); // bytes; 0 on overflow
// A converted copy of m in the arena: F32, BF16X8, Q8 or Q4; c may be NULL. False when there is no
// memory.
bool weight_convert(weight *out, const weight *m, dtype to, arena *own, compute *c);
