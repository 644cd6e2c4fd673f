// encodec.c - configuration and weights of the codec; see encodec.h.
#include "model/encodec.h"

#include <stdio.h>
#include <string.h>

#include "model/encodec_weights.h"

#define HOP_MAX 65536
#define WIDTH_MAX 65536

// Refuses by name each kind of codec that we do not run.
static status refuse_other_kinds(const json *j, err *e) {
    // These are transformers' defaults, which an absent key means. MusicGen's codec has others.
    bool causal = true, normalize = false, shortcut = true;
    int64_t channels = 1;
    const char *norm = "weight_norm", *type = "encodec";
    status rc = json_opt_str(j, "model_type", &type, e);
    if (!rc) rc = json_opt_bool(j, "use_causal_conv", &causal, e);
    if (!rc) rc = json_opt_bool(j, "normalize", &normalize, e);
    if (!rc) rc = json_opt_bool(j, "use_conv_shortcut", &shortcut, e);
    if (!rc) rc = json_opt_int(j, "audio_channels", 1, 64, &channels, e);
    if (!rc) rc = json_opt_str(j, "norm_type", &norm, e);
    if (rc) return rc;
    if (strcmp(type, "encodec") != 0)
        return err_set(e, ERR_FORMAT, "model_type: expected \"encodec\", found \"%.40s\"", type);
    if (causal) return err_set(e, ERR_FORMAT, "use_causal_conv: expected false, found true");
    if (normalize) return err_set(e, ERR_FORMAT, "normalize: expected false, found true");
    if (shortcut) return err_set(e, ERR_FORMAT, "use_conv_shortcut: expected false, found true");
    if (channels != 1) {
        return err_set(e, ERR_FORMAT, "audio_channels: expected 1, found %lld",
                       (long long)channels);
    }
    if (strcmp(norm, "weight_norm") != 0) {
        return err_set(e, ERR_FORMAT, "norm_type: expected \"weight_norm\", found \"%.40s\"", norm);
    }
    const json *chunk = json_find(j, "chunk_length_s");
    if (chunk && !json_is_null(chunk)) {
        return err_set(e, ERR_FORMAT, "chunk_length_s: expected null, found %s", json_kind(chunk));
    }
    return OK;
}

static status read_ratios(encodec_config *cfg, const json *j, err *e) {
    const json *list;
    status rc = json_get_array(j, "upsampling_ratios", &list, e);
    if (rc) return rc;
    size_t n = json_len(list);
    if (n < 1 || n > ENCODEC_RATIOS_MAX) {
        return err_set(e, ERR_FORMAT, "upsampling_ratios: expected 1 to %d numbers, found %zu",
                       ENCODEC_RATIOS_MAX, n);
    }
    cfg->hop = 1;
    cfg->ratio_count = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        const json *r = json_at(list, i);
        if (!json_is_int(r) || json_int_value(r) < 1 || json_int_value(r) > HOP_MAX / cfg->hop) {
            return err_set(e, ERR_FORMAT,
                           "upsampling_ratios: expected numbers of at least 1 with a product of at "
                           "most %d",
                           HOP_MAX);
        }
        cfg->ratios[i] = json_int_value(r);
        cfg->hop *= cfg->ratios[i];
    }
    return OK;
}

static status read_padding(encodec_config *cfg, const json *j, err *e) {
    const char *mode = "reflect";
    status rc = json_opt_str(j, "pad_mode", &mode, e);
    if (rc) return rc;
    cfg->reflect = strcmp(mode, "reflect") == 0;
    if (cfg->reflect || strcmp(mode, "constant") == 0) return OK;
    return err_set(e, ERR_FORMAT, "pad_mode: expected \"reflect\" or \"constant\", found \"%.40s\"",
                   mode);
}

static status read_numbers(encodec_config *cfg, const json *j, err *e) {
    // The defaults of transformers' EncodecConfig, whose files may leave them out.
    *cfg = (encodec_config){.sample_rate = 24000,
                            .dim = 128,
                            .codes = 1024,
                            .filters = 32,
                            .kernel = 7,
                            .last_kernel = 7,
                            .res_kernel = 3,
                            .res_layers = 1,
                            .dilation_growth = 2,
                            .compress = 2,
                            .lstm_layers = 2};
    const struct {
        const char *key;
        int64_t lo, hi, *to;
    } field[] = {
        {"sampling_rate", 1000, 384000, &cfg->sample_rate},
        {"hidden_size", 1, 4096, &cfg->dim},
        {"codebook_size", 2, 1 << 20, &cfg->codes},
        {"num_filters", 1, 4096, &cfg->filters},
        {"kernel_size", 1, 63, &cfg->kernel},
        {"last_kernel_size", 1, 63, &cfg->last_kernel},
        {"residual_kernel_size", 1, 63, &cfg->res_kernel},
        {"num_residual_layers", 1, 8, &cfg->res_layers},
        {"dilation_growth_rate", 1, 8, &cfg->dilation_growth},
        {"compress", 1, 64, &cfg->compress},
        {"num_lstm_layers", 1, 8, &cfg->lstm_layers},
    };
    for (size_t i = 0; i < ARRAY_LEN(field); i++) {
        status rc = json_opt_int(j, field[i].key, field[i].lo, field[i].hi, field[i].to, e);
        if (rc) return rc;
    }
    return OK;
}

static status check_widths(const encodec_config *cfg, const json *j, err *e) {
    int64_t book_dim = cfg->dim;
    status rc = json_opt_int(j, "codebook_dim", 1, 4096, &book_dim, e);
    if (rc) return rc;
    if (book_dim != cfg->dim) {
        return err_set(e, ERR_FORMAT, "codebook_dim: expected hidden_size %lld, found %lld",
                       (long long)cfg->dim, (long long)book_dim);
    }
    if (encodec_width(cfg) > WIDTH_MAX) {
        return err_set(e, ERR_FORMAT,
                       "num_filters: expected at most %lld with %lld ratios, found %lld",
                       (long long)(WIDTH_MAX >> cfg->ratio_count), (long long)cfg->ratio_count,
                       (long long)cfg->filters);
    }
    if (cfg->compress > cfg->filters) {
        return err_set(e, ERR_FORMAT, "compress: expected at most num_filters %lld, found %lld",
                       (long long)cfg->filters, (long long)cfg->compress);
    }
    int64_t dilation = 1;
    for (int64_t i = 1; i < cfg->res_layers; i++) dilation *= cfg->dilation_growth;
    if (dilation * cfg->res_kernel > 4096) {
        return err_set(e, ERR_FORMAT,
                       "dilation_growth_rate: residual blocks span %lld rows, "
                       "expected at most 4096",
                       (long long)(dilation * cfg->res_kernel));
    }
    return OK;
}

static status config_read(encodec_config *cfg, const json *j, err *e) {
    status rc = read_numbers(cfg, j, e);
    if (!rc) rc = refuse_other_kinds(j, e);
    if (!rc) rc = read_ratios(cfg, j, e);
    if (!rc) rc = read_padding(cfg, j, e);
    if (!rc) rc = check_widths(cfg, j, e);
    return rc;
}

status encodec_config_read(encodec_config *out, const json *config, int64_t quantizers, err *e) {
    const json *j;
    encodec_config cfg;
    status rc = json_get_object(config, "audio_encoder", &j, e);
    if (rc) return rc;
    rc = config_read(&cfg, j, e);
    if (rc) return err_within(e, rc, "audio_encoder");
    if (quantizers < 1 || quantizers > ENCODEC_QUANTIZERS_MAX) {
        return err_set(e, ERR_FORMAT, "codebooks a channel: expected 1 to %d, found %lld",
                       ENCODEC_QUANTIZERS_MAX, (long long)quantizers);
    }
    cfg.quantizers = quantizers;
    *out = cfg;
    return OK;
}

static void bind_conv(weights *w, sea_conv *l, const sea_conv *shape, const char *prefix, int n,
                      const char *name) {
    char full[160];
    snprintf(full, sizeof full, "%slayers.%d.%s", prefix, n, name);
    *l = *shape;
    sea_conv_bind(l, w, full);
}

// Binds the residual blocks of a stage with ch channels; their layers are numbered from n on.
// Returns the next number.
static int bind_res(weights *w, sea_res *res, const encodec_config *cfg, int64_t ch,
                    const char *prefix, int n) {
    int64_t hidden = ch / cfg->compress, dilation = 1;
    for (int64_t i = 0; i < cfg->res_layers; i++, n++, dilation *= cfg->dilation_growth) {
        sea_conv narrow = {.in = ch,
                           .out = hidden,
                           .k = cfg->res_kernel,
                           .stride = 1,
                           .dilation = dilation,
                           .reflect = cfg->reflect};
        sea_conv widen = {.in = hidden, .out = ch, .k = 1, .stride = 1, .dilation = 1};
        bind_conv(w, &res[i].narrow, &narrow, prefix, n, "block.1.conv");
        bind_conv(w, &res[i].widen, &widen, prefix, n, "block.3.conv");
    }
    return n;
}

static int bind_lstm(weights *w, encodec_net *net, const encodec_config *cfg, const char *prefix,
                     int n) {
    char full[160];
    snprintf(full, sizeof full, "%slayers.%d.lstm", prefix, n);
    for (int i = 0; i < (int)cfg->lstm_layers; i++) {
        sea_lstm_bind(&net->lstm[i], w, encodec_width(cfg), full, i);
    }
    return n + 1;
}

static void bind_decoder(weights *w, encodec_net *net, const encodec_config *cfg,
                         const char *prefix) {
    int64_t ch = encodec_width(cfg);
    sea_conv first = {.in = cfg->dim,
                      .out = ch,
                      .k = cfg->kernel,
                      .stride = 1,
                      .dilation = 1,
                      .reflect = cfg->reflect};
    bind_conv(w, &net->first, &first, prefix, 0, "conv");
    int n = bind_lstm(w, net, cfg, prefix, 1);
    for (int64_t i = 0; i < cfg->ratio_count; i++, ch /= 2) {
        char full[160];
        snprintf(full, sizeof full, "%slayers.%d.conv", prefix, n + 1); // n is an ELU
        encodec_stage *s = &net->stage[i];
        s->up = (sea_up){.in = ch, .out = ch / 2, .stride = cfg->ratios[i]};
        sea_up_bind(&s->up, w, full);
        n = bind_res(w, s->res, cfg, ch / 2, prefix, n + 2);
    }
    sea_conv last = {.in = ch,
                     .out = 1,
                     .k = cfg->last_kernel,
                     .stride = 1,
                     .dilation = 1,
                     .reflect = cfg->reflect};
    bind_conv(w, &net->last, &last, prefix, n + 1, "conv");
}

static void bind_encoder(weights *w, encodec_net *net, const encodec_config *cfg,
                         const char *prefix) {
    int64_t ch = cfg->filters;
    sea_conv first = {
        .in = 1, .out = ch, .k = cfg->kernel, .stride = 1, .dilation = 1, .reflect = cfg->reflect};
    bind_conv(w, &net->first, &first, prefix, 0, "conv");
    int n = 1;
    for (int64_t i = 0; i < cfg->ratio_count; i++, ch *= 2) {
        encodec_stage *s = &net->stage[i];
        int64_t ratio = cfg->ratios[cfg->ratio_count - 1 - i];
        sea_conv down = {.in = ch,
                         .out = 2 * ch,
                         .k = 2 * ratio,
                         .stride = ratio,
                         .dilation = 1,
                         .reflect = cfg->reflect};
        n = bind_res(w, s->res, cfg, ch, prefix, n);
        bind_conv(w, &s->down, &down, prefix, n + 1, "conv"); // n is an ELU
        n += 2;
    }
    n = bind_lstm(w, net, cfg, prefix, n);
    sea_conv last = {.in = ch,
                     .out = cfg->dim,
                     .k = cfg->last_kernel,
                     .stride = 1,
                     .dilation = 1,
                     .reflect = cfg->reflect};
    bind_conv(w, &net->last, &last, prefix, n + 1, "conv");
}

static bool alloc_net(encodec_net *net, const encodec_config *cfg, arena *own) {
    net->lstm = arena_alloc(own, (size_t)cfg->lstm_layers * sizeof *net->lstm);
    for (int64_t i = 0; i < cfg->ratio_count; i++) {
        net->stage[i].res = arena_alloc(own, (size_t)cfg->res_layers * sizeof(sea_res));
    }
    return !own->failed;
}

static void bind_books(weights *w, encodec *k, const char *prefix) {
    const encodec_config *cfg = &k->cfg;
    for (int q = 0; q < (int)cfg->quantizers; q++) {
        weight *book = &k->book[q];
        const weight_spec spec = {"codebook.embed", BIND_TABLE, book, {cfg->codes, cfg->dim}};
        weights_bind(w, &spec, 1, "%squantizer.layers.%d.", prefix, q);
        if (!(k->parts & ENCODEC_ENCODER) || !book->data) continue;
        float *half = k->half_norm[q] = arena_f32(w->own, 1, (size_t)cfg->codes);
        float *row = arena_f32(w->own, 1, (size_t)cfg->dim);
        tensor t = {
            .type = book->type, .dims = 2, .shape = {cfg->codes, cfg->dim}, .data = book->data};
        for (int64_t i = 0; half && row && i < cfg->codes; i++) {
            double sum = 0;
            tensor_read_f32(row, &t, i * cfg->dim, cfg->dim);
            for (int64_t d = 0; d < cfg->dim; d++) sum += (double)row[d] * (double)row[d];
            half[i] = (float)(sum / 2);
        }
    }
}

status encodec_open(encodec **out, weights *w, const json *config, const char *prefix,
                    int64_t quantizers, unsigned parts, arena *own, err *e) {
    *out = NULL;
    encodec_config cfg;
    status rc = encodec_config_read(&cfg, config, quantizers, e);
    if (rc) return rc;
    encodec *k = arena_alloc(own, sizeof *k);
    if (!k) return err_set(e, ERR_OOM, "no memory for the codec");
    k->cfg = cfg;
    k->parts = parts;
    if (!alloc_net(&k->decoder, &cfg, own) || !alloc_net(&k->encoder, &cfg, own)) {
        return err_set(e, ERR_OOM, "no memory for the codec");
    }
    char full[64];
    bind_books(w, k, prefix);
    snprintf(full, sizeof full, "%sdecoder.", prefix);
    if (parts & ENCODEC_DECODER) bind_decoder(w, &k->decoder, &cfg, full);
    weights_type type = w->type;
    w->type = WEIGHTS_AS_STORED; // the encoder chooses codes, and rounding would change some
    snprintf(full, sizeof full, "%sencoder.", prefix);
    if (parts & ENCODEC_ENCODER) bind_encoder(w, &k->encoder, &cfg, full);
    w->type = type;
    *out = k;
    return OK;
}

const encodec_config *encodec_get_config(const encodec *k) {
    return &k->cfg;
}

int64_t encodec_frame_count(const encodec *k, int64_t samples) {
    return (samples + k->cfg.hop - 1) / k->cfg.hop;
}

// Multiplications for one output row.
static int64_t conv_products(const sea_conv *l) {
    return l->w.rows * l->w.cols / chain_tile_rows(&l->w);
}

int64_t encodec_products(const encodec *k) {
    const encodec_config *cfg = &k->cfg;
    const encodec_net *net = &k->decoder;
    int64_t width = encodec_width(cfg), rows = 1; // rows: input rows of a stage
    int64_t n = conv_products(&net->first) + cfg->lstm_layers * 8 * width * width;
    for (int64_t i = 0; i < cfg->ratio_count; i++) {
        const encodec_stage *s = &net->stage[i];
        n += rows * conv_products(&s->up.conv);
        rows *= s->up.stride;
        for (int64_t j = 0; j < cfg->res_layers; j++)
            n += rows * (conv_products(&s->res[j].narrow) + conv_products(&s->res[j].widen));
    }
    return n + rows * conv_products(&net->last);
}
