// oobleck.c - configuration and weights of the decoder; see oobleck.h.
#include "model/oobleck.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/finite.h"
#include "model/oobleck_inside.h"

#define HOP_MAX 65536
#define WIDTH_MAX 16384
#define FIRST_TAPS 7

// --- configuration

static status read_class(const json *j, err *e) {
    const char *name = "AutoencoderOobleck";
    status rc = json_opt_str(j, "_class_name", &name, e);
    if (rc || strcmp(name, "AutoencoderOobleck") == 0) return rc;
    return err_set(e, ERR_FORMAT, "_class_name: expected \"AutoencoderOobleck\", found \"%.60s\"",
                   name);
}

// The numbers of a list; absent: those of diffusers' class.
static status read_list(int64_t *out, size_t *count, const json *j, const char *key, int64_t hi,
                        err *e) {
    const json *list = json_find(j, key);
    if (!list || json_is_null(list)) return OK;
    *count = json_len(list);
    if (!json_is_array(list) || *count < 1 || *count > OOBLECK_STAGES_MAX)
        return err_set(e, ERR_FORMAT, "%s: expected a list of 1 to %d numbers, found %s of %zu",
                       key, OOBLECK_STAGES_MAX, json_kind(list), *count);
    for (size_t i = 0; i < *count; i++) {
        const json *v = json_at(list, i);
        out[i] = json_int_value(v);
        if (json_is_int(v) && out[i] >= 1 && out[i] <= hi) continue;
        return err_set(e, ERR_FORMAT, "%s[%zu]: expected an integer from 1 to %lld", key, i,
                       (long long)hi);
    }
    return OK;
}

// The encoder's lists, as the file has them, give the decoder's in the other order.
static status read_stages(oobleck_config *cfg, const json *j, err *e) {
    int64_t ratios[OOBLECK_STAGES_MAX] = {2, 4, 4, 8, 8};
    int64_t times[OOBLECK_STAGES_MAX] = {1, 2, 4, 8, 16};
    size_t n = 5, m = 5;
    status rc = read_list(ratios, &n, j, "downsampling_ratios", 64, e);
    if (!rc) rc = read_list(times, &m, j, "channel_multiples", 1024, e);
    if (rc) return rc;
    if (n != m)
        return err_set(e, ERR_FORMAT,
                       "channel_multiples: expected %zu numbers, one for each of "
                       "downsampling_ratios, found %zu",
                       n, m);
    cfg->stages = (int64_t)n;
    cfg->hop = 1;
    for (size_t i = 0; i < n; i++) {
        cfg->times[i] = times[i];
        cfg->strides[i] = ratios[n - 1 - i];
        cfg->widths[i] = cfg->width * times[n - 1 - i];
        cfg->hop *= cfg->strides[i];
        if (cfg->hop <= HOP_MAX && cfg->widths[i] <= WIDTH_MAX) continue;
        return err_set(e, ERR_FORMAT,
                       "downsampling_ratios, channel_multiples: expected at most %d samples a "
                       "frame and %d channels, found more",
                       HOP_MAX, WIDTH_MAX);
    }
    // The class puts a multiple of 1 in front of its list; the last stage ends with that width.
    cfg->widths[n] = cfg->width;
    return OK;
}

static status read_config(oobleck_config *cfg, const json *j, err *e) {
    *cfg = (oobleck_config){.sample_rate = 44100,
                            .latent = 64,
                            .channels = 2,
                            .width = 128,
                            .encoder_width = 128,
                            .scale = 1};
    status rc = read_class(j, e);
    if (!rc) rc = json_opt_int(j, "sampling_rate", 1000, 384000, &cfg->sample_rate, e);
    if (!rc) rc = json_opt_int(j, "decoder_input_channels", 1, 4096, &cfg->latent, e);
    if (!rc) rc = json_opt_int(j, "decoder_channels", 1, 4096, &cfg->width, e);
    if (!rc) rc = json_opt_int(j, "encoder_hidden_size", 1, 4096, &cfg->encoder_width, e);
    if (!rc) rc = json_opt_int(j, "audio_channels", 1, 64, &cfg->channels, e);
    if (!rc) rc = json_opt_num(j, "scale", 1e-6, 1e6, &cfg->scale, e);
    if (!rc) rc = json_opt_bool(j, "final_tanh", &cfg->tanh, e);
    if (!rc && cfg->channels != 2)
        rc = err_set(e, ERR_FORMAT, "audio_channels: expected 2, found %lld",
                     (long long)cfg->channels);
    return rc ? rc : read_stages(cfg, j, e);
}

// --- weights

// exp(x) of every value of a snake's vector [1, n, 1], in f32.
static float *bind_exp(weights *w, const char *prefix, const char *name, int64_t n) {
    tensor t = {0};
    const weight_spec spec = {name, BIND_TENSOR, &t, {1, n, 1}};
    weights_bind(w, &spec, 1, "%s.", prefix);
    if (!t.data) return NULL;
    float *v = arena_f32(w->own, 1, (size_t)n);
    if (!v) return NULL;
    tensor_read_f32(v, &t, 0, n);
    for (int64_t i = 0; i < n; i++)
        v[i] = fabsf(v[i]) < 80 ? (float)num_exp((double)v[i]) : INFINITY;
    if (!finite_f32(v, n)) weights_broken(w, "%s.%s", prefix, name);
    weights_count(w, n, (size_t)n * sizeof *v);
    return v;
}

void oobleck_bind_snake(weights *w, oobleck_snake *s, int64_t n, const char *prefix) {
    float *by = bind_exp(w, prefix, "beta", n);
    s->a = bind_exp(w, prefix, "alpha", n);
    for (int64_t i = 0; by && i < n; i++) by[i] = 1 / (by[i] + 1e-9f);
    s->by = by;
}

void oobleck_bind_conv(weights *w, sea_conv *l, const sea_conv *shape, const char *prefix) {
    *l = *shape;
    sea_conv_bind(l, w, prefix);
}

void oobleck_bind_unit(weights *w, oobleck_unit *u, int64_t n, int k, const char *prefix) {
    static const int64_t dilations[OOBLECK_UNITS] = {1, 3, 9};
    char full[160];
    const sea_conv wide = {
        .in = n, .out = n, .k = FIRST_TAPS, .stride = 1, .dilation = dilations[k]};
    const sea_conv mix = {.in = n, .out = n, .k = 1, .stride = 1, .dilation = 1};
    snprintf(full, sizeof full, "%s.res_unit%d.snake1", prefix, k + 1);
    oobleck_bind_snake(w, &u->snake1, n, full);
    snprintf(full, sizeof full, "%s.res_unit%d.conv1", prefix, k + 1);
    oobleck_bind_conv(w, &u->conv1, &wide, full);
    snprintf(full, sizeof full, "%s.res_unit%d.snake2", prefix, k + 1);
    oobleck_bind_snake(w, &u->snake2, n, full);
    snprintf(full, sizeof full, "%s.res_unit%d.conv2", prefix, k + 1);
    oobleck_bind_conv(w, &u->conv2, &mix, full);
}

static void bind_stage(weights *w, oobleck_stage *s, const oobleck_config *cfg, int64_t i) {
    char full[120];
    snprintf(full, sizeof full, "decoder.block.%d.snake1", (int)i);
    oobleck_bind_snake(w, &s->snake, cfg->widths[i], full);
    s->up = (sea_up){.in = cfg->widths[i], .out = cfg->widths[i + 1], .stride = cfg->strides[i]};
    snprintf(full, sizeof full, "decoder.block.%d.conv_t1", (int)i);
    sea_up_bind(&s->up, w, full);
    snprintf(full, sizeof full, "decoder.block.%d", (int)i);
    for (int k = 0; k < OOBLECK_UNITS; k++)
        oobleck_bind_unit(w, &s->unit[k], cfg->widths[i + 1], k, full);
}

status oobleck_open(oobleck **out, weights *w, const json *config, arena *own, err *e) {
    *out = NULL;
    oobleck *m = arena_alloc(own, sizeof *m);
    if (!m) return err_set(e, ERR_OOM, "no memory for the codec");
    oobleck_config *cfg = &m->cfg;
    status rc = read_config(cfg, config, e);
    if (rc) return rc;
    const sea_conv first = {
        .in = cfg->latent, .out = cfg->widths[0], .k = FIRST_TAPS, .stride = 1, .dilation = 1};
    const sea_conv last = {.in = cfg->width,
                           .out = cfg->channels,
                           .k = FIRST_TAPS,
                           .stride = 1,
                           .dilation = 1,
                           .bare = true};
    oobleck_bind_conv(w, &m->first, &first, "decoder.conv1");
    for (int64_t i = 0; i < cfg->stages; i++) bind_stage(w, &m->stage[i], cfg, i);
    oobleck_bind_snake(w, &m->snake, cfg->width, "decoder.snake1");
    oobleck_bind_conv(w, &m->last, &last, "decoder.conv2");
    *out = m;
    return OK;
}

const oobleck_config *oobleck_get_config(const oobleck *m) {
    return &m->cfg;
}

int64_t oobleck_samples(const oobleck *m, int64_t frames) {
    for (int64_t i = 0; i < m->cfg.stages; i++) {
        int64_t s = m->cfg.strides[i];
        frames = (frames + 1) * s - 2 * oobleck_trim(s);
    }
    return frames;
}

double oobleck_products(const oobleck *m) {
    const oobleck_config *cfg = &m->cfg;
    double rows = 1, sum = (double)(FIRST_TAPS * cfg->latent * cfg->widths[0]);
    for (int64_t i = 0; i < cfg->stages; i++) {
        double in = (double)cfg->widths[i], out = (double)cfg->widths[i + 1];
        rows *= (double)cfg->strides[i];
        sum += rows * (2 * in * out + OOBLECK_UNITS * (FIRST_TAPS + 1) * out * out);
    }
    return sum + rows * (double)(FIRST_TAPS * cfg->width * cfg->channels);
}

dtype oobleck_type(const oobleck *m) {
    return m->first.w.type;
}
