// codec.c - see codec.h: sequences through the decoder and through the encoder.
#include "gpu/codec.h"

#include <assert.h>

#include "base/mem.h"
#include "gpu/codec_inside.h"

#define STREAMS 32 // sequences that go through the LSTM side by side

// ---- codes to sound

// The most values that a stage of the decoder hands on for n frames, untrimmed rows included.
static int64_t widest_rows(const gpu_codec *c, int64_t n) {
    const encodec_config *cfg = &c->k->cfg;
    int64_t most = 0, rows = n;
    for (int64_t i = 0; i < cfg->ratio_count; i++) {
        const codec_stage *s = &c->decoder.stage[i];
        most = MAX(most, (rows + 1) * s->change.out);
        rows *= s->stride;
    }
    return MAX(most, rows);
}

// Sums the codebooks' vectors of one sequence and sends them through the first convolution: rows
// `streams` rows apart at y.
static status run_first(gpu_codec *c, const int32_t *const *rows, int64_t n, int64_t streams,
                        float *y, err *e) {
    const encodec_config *cfg = &c->k->cfg;
    size_t size = (size_t)(n * cfg->dim) * sizeof(float);
    status rc = OK;
    float *host = mem_alloc(size), *latent = codec_room(c, CODEC_A, size, &rc, e);
    if (!rc && !host) rc = err_set(e, ERR_OOM, "no memory for the codec's latents");
    for (int64_t q = 0; q < cfg->quantizers && !rc; q++)
        op_embed(host, &c->k->book[q], rows[q], n, q > 0);
    if (!rc) rc = device_upload(c->dev, latent, host, size, e);
    const conv_io io = {.x = latent,
                        .ldx = cfg->dim,
                        .n = n,
                        .y = y,
                        .ldy = streams * encodec_width(cfg),
                        .y_type = DT_F32};
    if (!rc) rc = codec_conv_run(c, &c->decoder.first, &io, e);
    mem_free(host);
    return rc;
}

// Sends rows x [n], ldx floats apart, through stage i. *out: its rows, in one of the two buffers.
static status run_up(gpu_codec *c, int64_t i, const float *x, int64_t ldx, int64_t n, size_t size,
                     float **out, err *e) {
    const codec_stage *s = &c->decoder.stage[i];
    int64_t ch = s->change.out / s->stride, rows = n * s->stride;
    status rc = OK;
    // The stage before handed its rows on in A or B; this one begins in the other.
    int to = i && x >= (float *)c->buffer[CODEC_A].p &&
                     (const uint8_t *)x < (uint8_t *)c->buffer[CODEC_A].p + c->buffer[CODEC_A].size
                 ? CODEC_B
                 : CODEC_A;
    float *y = codec_room(c, to, size, &rc, e), *z = codec_room(c, CODEC_C, size, &rc, e);
    const conv_io io = {.x = x, .ldx = ldx, .n = n, .elu = true, .y = y, .y_type = DT_F32};
    if (!rc) rc = codec_conv_run(c, &s->change, &io, e);
    float *at = rc ? NULL : y + (s->stride - s->stride / 2) * ch; // the first rows are trimmed
    for (int64_t r = 0; r < c->k->cfg.res_layers && !rc; r++) {
        rc = codec_res_run(c, &s->res[r], at, rows, r % 2 ? y : z, e);
        at = r % 2 ? y : z;
    }
    *out = at;
    return rc;
}

// Sends the rows of one sequence behind the LSTM through all stages, and reads the samples.
static status run_stages(gpu_codec *c, const float *x, int64_t ldx, int64_t n, float *out, err *e) {
    const encodec_config *cfg = &c->k->cfg;
    size_t size = (size_t)widest_rows(c, n) * sizeof(float);
    status rc = OK;
    int64_t rows = n;
    float *y = NULL;
    for (int64_t i = 0; i < cfg->ratio_count && !rc; i++) {
        rc = run_up(c, i, x, ldx, rows, size, &y, e);
        rows *= c->decoder.stage[i].stride;
        x = y, ldx = c->decoder.stage[i].change.out / c->decoder.stage[i].stride;
    }
    float *samples = codec_room(c, CODEC_NORM, (size_t)rows * sizeof(float), &rc, e);
    const conv_io io = {.x = x, .ldx = ldx, .n = rows, .elu = true, .y = samples, .y_type = DT_F32};
    if (!rc) rc = codec_conv_run(c, &c->decoder.last, &io, e);
    if (!rc) rc = device_download(c->dev, out, samples, (size_t)rows * sizeof *out, e);
    return rc ? rc : encodec_check_sound(out, rows, 0, e);
}

// Decodes `streams` sequences of n frames; rows[s * quantizers + q] are their codes.
static status run_decoder(gpu_codec *c, const int32_t *const *rows, int64_t streams, int64_t n,
                          float *const *out, err *e) {
    const encodec_config *cfg = &c->k->cfg;
    int64_t width = encodec_width(cfg), quantizers = cfg->quantizers;
    size_t size = (size_t)(n * streams * width) * sizeof(float);
    void *x = NULL, *y = NULL;
    status rc = encodec_check_rows(cfg, rows, streams * quantizers, (span){0, n}, e);
    if (!rc) rc = device_alloc(c->dev, &x, size, e);
    if (!rc) rc = device_alloc(c->dev, &y, size, e);
    for (int64_t s = 0; s < streams && !rc; s++)
        rc = run_first(c, rows + s * quantizers, n, streams, (float *)x + s * width, e);
    if (!rc) rc = codec_lstm_run(c, c->decoder.lstm, x, n, streams, y, e);
    device_free(c->dev, y);
    for (int64_t s = 0; s < streams && !rc; s++)
        rc = run_stages(c, (float *)x + s * width, streams * width, n, out[s], e);
    device_free(c->dev, x);
    return rc;
}

status gpu_codec_decode(gpu_codec *c, const encodec_codes *in, size_t n, float *const *out,
                        err *e) {
    int64_t most = ENCODEC_SAMPLES_MAX / c->k->cfg.hop, quantizers = c->k->cfg.quantizers;
    const int32_t *rows[STREAMS * ENCODEC_QUANTIZERS_MAX];
    assert(c->k->parts & ENCODEC_DECODER && (in->channels == 1 || in->channels == 2));
    if (in->frames < 1 || in->frames > most) {
        return err_set(e, ERR_ARG, "codes: expected 1 to %lld frames, found %lld", (long long)most,
                       (long long)in->frames);
    }
    size_t together = STREAMS / (size_t)in->channels;
    status rc = OK;
    for (size_t i = 0; i < n && !rc; i += together) {
        int64_t streams = 0;
        for (size_t j = i; j < MIN(n, i + together); j++) {
            for (int64_t ch = 0; ch < in->channels; ch++, streams++) {
                for (int64_t q = 0; q < quantizers; q++)
                    rows[streams * quantizers + q] =
                        in[j].codes + (q * in->channels + ch) * in[j].ld;
            }
        }
        rc = run_decoder(c, rows, streams, in->frames, out + i * (size_t)in->channels, e);
    }
    return rc;
}

// ---- sound to codes

// Sends n samples through all stages before the LSTM. *out: the rows, *rows of them.
static status run_down(gpu_codec *c, const float *samples, int64_t n, float **out, int64_t *rows,
                       err *e) {
    const encodec_config *cfg = &c->k->cfg;
    const codec_net *net = &c->encoder;
    status rc = OK;
    int which = 0;
    size_t most = (size_t)(n * net->first.out);
    for (int64_t i = 0, m = n; i < cfg->ratio_count; i++) {
        m = codec_conv_rows(&net->stage[i].change, m);
        most = MAX(most, (size_t)(m * net->stage[i].change.out));
    }
    float *x = codec_room(c, CODEC_NORM, (size_t)n * sizeof *x, &rc, e), *buffer[3];
    for (int i = 0; i < 3; i++) buffer[i] = codec_room(c, CODEC_A + i, most * sizeof *x, &rc, e);
    if (!rc) rc = device_upload(c->dev, x, samples, (size_t)n * sizeof *x, e);
    conv_io io = {.x = x, .ldx = 1, .n = n, .y = buffer[0], .y_type = DT_F32};
    if (!rc) rc = codec_conv_run(c, &net->first, &io, e);
    for (int64_t i = 0; i < cfg->ratio_count && !rc; i++) {
        const codec_stage *s = &net->stage[i];
        for (int64_t r = 0; r < cfg->res_layers && !rc; r++, which = (which + 1) % 3)
            rc = codec_res_run(c, &s->res[r], buffer[which], n, buffer[(which + 1) % 3], e);
        io = (conv_io){.x = buffer[which], .ldx = s->change.in, .n = n, .elu = true};
        which = (which + 1) % 3;
        io.y = buffer[which], io.y_type = DT_F32;
        if (!rc) rc = codec_conv_run(c, &s->change, &io, e);
        n = codec_conv_rows(&s->change, n);
    }
    *out = rc ? NULL : buffer[which];
    *rows = n;
    return rc;
}

// Chooses the codes of n latents, residual after residual.
static status choose_codes(gpu_codec *c, float *latent, int64_t n, int32_t *codes, err *e) {
    const encodec_config *cfg = &c->k->cfg;
    status rc = OK;
    float *score = codec_room(c, CODEC_Z, (size_t)(n * cfg->codes) * sizeof *score, &rc, e);
    int32_t *ids = codec_room(c, CODEC_IDS, (size_t)n * sizeof *ids, &rc, e);
    for (int64_t q = 0; q < cfg->quantizers && !rc; q++) {
        const gpu_input in = {.x = latent, .ldx = cfg->dim};
        product_args a = product_of(&c->book[q], in, score, NULL);
        a.fixed = (int32_t)n;
        rc = product_run(c->dev, &a, n, &(product_scratch){0}, e);
        const nearest_args near = {.latent = latent,
                                   .score = score,
                                   .half_norm = c->half_norm[q],
                                   .book = c->vectors[q],
                                   .ids = ids,
                                   .codes = cfg->codes,
                                   .dim = cfg->dim};
        if (!rc) rc = device_launch(c->dev, &(device_run){GPU_nearest, n, 1, 256, &near}, e);
        if (!rc) rc = device_download(c->dev, codes + q * n, ids, (size_t)n * sizeof *ids, e);
    }
    return rc;
}

status gpu_codec_encode(gpu_codec *c, const float *samples, int64_t n, const encodec_encoded *out,
                        err *e) {
    const encodec_config *cfg = &c->k->cfg;
    assert(c->k->parts & ENCODEC_ENCODER);
    if (n < 1 || n > ENCODEC_SAMPLES_MAX) {
        return err_set(e, ERR_ARG, "audio to encode: expected 1 to %lld samples, found %lld",
                       (long long)ENCODEC_SAMPLES_MAX, (long long)n);
    }
    float *x;
    int64_t rows, width = encodec_width(cfg), frames = encodec_frame_count(c->k, n);
    status rc = run_down(c, samples, n, &x, &rows, e);
    float *y = codec_room(c, CODEC_HIDDEN, (size_t)(rows * width) * sizeof *y, &rc, e);
    if (!rc) rc = codec_lstm_run(c, c->encoder.lstm, x, rows, 1, y, e);
    size_t size = (size_t)(frames * cfg->dim) * sizeof *y;
    float *latent = codec_room(c, CODEC_HIDDEN, size, &rc, e);
    const conv_io io = {
        .x = x, .ldx = width, .n = rows, .elu = true, .y = latent, .y_type = DT_F32};
    assert(rc || codec_conv_rows(&c->encoder.last, rows) == frames);
    if (!rc) rc = codec_conv_run(c, &c->encoder.last, &io, e);
    if (!rc && out->latents) rc = device_download(c->dev, out->latents, latent, size, e);
    return rc ? rc : choose_codes(c, latent, frames, out->codes, e);
}
