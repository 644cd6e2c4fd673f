// condition.c - see condition.h.
#include "engine/stableaudio/condition.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/finite.h"

#define WAVES_MAX 8192

// --- weights

static void bind_seconds(weights *w, sa_seconds *s, int64_t dim, const char *name) {
    const tensor *t = weights_find(w, "%s.time_positional_embedding.0.weights", name);
    s->count = t && t->dims == 1 ? MAX(1, MIN(t->shape[0], WAVES_MAX)) : 1;
    const weight_spec spec[] = {
        {"0.weights", BIND_VECTOR, &s->waves, {s->count}},
        {"1.weight", BIND_MATRIX, &s->w, {dim, 2 * s->count + 1}},
        {"1.bias", BIND_VECTOR, &s->bias, {dim}},
    };
    weights_bind(w, spec, ARRAY_LEN(spec), "%s.time_positional_embedding.", name);
}

static void bind_text(weights *w, sa_condition *k) {
    const weight_spec spec[] = {
        {"text_projection.weight", BIND_MATRIX, &k->text, {k->dim, k->text_dim}},
        {"text_projection.bias", BIND_VECTOR, &k->text_b, {k->dim}},
    };
    if (k->dim != k->text_dim || weights_find(w, "text_projection.weight"))
        weights_bind(w, spec, ARRAY_LEN(spec), "%s", "");
}

status sa_condition_open(sa_condition *out, weights *w, const json *config, err *e) {
    *out = (sa_condition){.lo = 0, .hi = 512, .with_start = true};
    status rc = json_get_int(config, "text_encoder_dim", 1, 16384, &out->text_dim, e);
    if (!rc) rc = json_get_int(config, "conditioning_dim", 1, 16384, &out->dim, e);
    if (!rc) rc = json_get_num(config, "min_value", -1e6, 1e6, &out->lo, e);
    if (!rc) rc = json_get_num(config, "max_value", -1e6, 1e6, &out->hi, e);
    if (!rc) rc = json_opt_bool(config, "seconds_start", &out->with_start, e);
    if (!rc && !(out->lo < out->hi))
        rc = err_set(e, ERR_FORMAT, "max_value: expected more than min_value %g, found %g", out->lo,
                     out->hi);
    if (rc) return rc;
    if (out->with_start) bind_seconds(w, &out->start, out->dim, "start_number_conditioner");
    bind_seconds(w, &out->end, out->dim, "end_number_conditioner");
    bind_text(w, out);
    return OK;
}

// --- rows

// The features of x in [0, 1]: x, sines, cosines. The angle is rounded as the reference rounds it.
static void fill_features(float *f, const sa_seconds *s, float x) {
    f[0] = x;
    for (int64_t i = 0; i < s->count; i++) {
        float angle = x * s->waves[i] * 2.0f * (float)NUM_PI;
        double turns = (double)angle / (2 * NUM_PI);
        f[1 + i] = (float)num_sin_turns(turns);
        f[1 + s->count + i] = (float)num_cos_turns(turns);
    }
}

static void seconds_row(const sa_condition *k, compute *c, const sa_seconds *s, double seconds,
                        float *features, float *out) {
    float at = (float)MIN(k->hi, MAX(k->lo, seconds));
    fill_features(features, s, (at - (float)k->lo) / (float)(k->hi - k->lo));
    op_linear(c, &(linear_args){.y = out,
                                .ldy = k->dim,
                                .x = features,
                                .ldx = s->w.cols,
                                .n = 1,
                                .w = &s->w,
                                .bias = s->bias});
}

static void text_rows(const sa_condition *k, compute *c, const sa_condition_args *a) {
    memset(a->rows, 0, (size_t)(a->tokens * k->dim) * sizeof *a->rows);
    if (!k->text.data)
        memcpy(a->rows, a->text, (size_t)(a->n * k->dim) * sizeof *a->rows);
    else
        op_linear(c, &(linear_args){.y = a->rows,
                                    .ldy = k->dim,
                                    .x = a->text,
                                    .ldx = k->text_dim,
                                    .n = a->n,
                                    .w = &k->text,
                                    .bias = k->text_b});
}

int64_t sa_condition_rows(const sa_condition *k) {
    return k->with_start ? 2 : 1;
}

status sa_condition_run(const sa_condition *k, compute *c, const sa_condition_args *a, err *e) {
    size_t width = (size_t)MAX(k->start.w.cols, k->end.w.cols);
    float *features = mem_alloc(width * sizeof *features);
    if (!features) return err_set(e, ERR_OOM, "no memory for the conditions of a stem");
    text_rows(k, c, a);
    float *at = a->rows + a->tokens * k->dim;
    size_t row = (size_t)k->dim, n = (size_t)sa_condition_rows(k);
    if (k->with_start) seconds_row(k, c, &k->start, a->start, features, at);
    seconds_row(k, c, &k->end, a->end, features, at + (n - 1) * row);
    memcpy(a->global, at, n * row * sizeof *at);
    mem_free(features);
    if (finite_f32(a->rows, (a->tokens + sa_condition_rows(k)) * k->dim)) return OK;
    return err_set(e, ERR_FORMAT,
                   "projection_model: its rows are not finite numbers: its weights are too large "
                   "or damaged");
}
