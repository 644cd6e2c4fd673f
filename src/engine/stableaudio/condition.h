// condition.h - what a text and a length are to the transformer: a context and a vector.
//
// The context is the text's rows, filled up with zeros to a fixed number, then a row for the second
// at which the sound begins, which Open Small does not have, and one for the second at which it
// ends (diffusers' StableAudioProjectionModel). The vector is the rows of seconds.
#pragma once
#include "base/json.h"
#include "model/weights.h"

// A number of seconds to a row.
typedef struct {
    const float *waves; // [count] frequencies
    weight w;           // [dim, 2 * count + 1]
    const float *bias;
    int64_t count;
} sa_seconds;

typedef struct {
    int64_t text_dim, dim;
    double lo, hi; // of seconds
    bool with_start;
    sa_seconds start, end;
    weight text; // [dim, text_dim]; data NULL: the text's rows are used as they are
    const float *text_b;
} sa_condition;

// config: projection_model/config.json. Missing tensors are w's to report.
status sa_condition_open(sa_condition *out, weights *w, const json *config, err *e);

// Rows of seconds: 2, or 1.
int64_t sa_condition_rows(const sa_condition *k);

// rows [tokens + those, dim] from text [n, text_dim] with n <= tokens; global [those * dim].
typedef struct {
    const float *text;
    int64_t n, tokens;
    double start, end; // seconds; what is out of range counts as its end
    float *rows, *global;
} sa_condition_args;
status sa_condition_run(const sa_condition *k, compute *c, const sa_condition_args *a, err *e);
