// codec_open.c - see codec.h: the weights of the codec to the device.
#include <string.h>

#include "base/mem.h"
#include "gpu/codec_inside.h"

static status upload_conv(device *dev, codec_conv *to, const sea_conv *l, err *e) {
    size_t size = 0;
    const weight *single = &l->single;
    *to = (codec_conv){.w = l->w, .in = l->in, .out = l->out, .k = l->k, .stride = l->stride};
    to->dilation = l->dilation, to->pad = l->pad, to->reflect = l->reflect;
    to->w.data = NULL;
    status rc = l->bias ? upload_floats(dev, &to->bias, l->bias, l->out, e) : OK;
    if (rc) return rc;
    if (sea_conv_is_single(l) && l->single.data)
        return upload_matrices(dev, &to->single, &single, 1, e);
    if (!chain_size(&size, l->w.type, l->w.rows, l->w.cols))
        return err_set(e, ERR_FORMAT, "GPU: a layer of the codec is too large");
    rc = device_alloc(dev, &to->w.data, size, e);
    return rc ? rc : device_upload(dev, to->w.data, l->w.data, size, e);
}

static status upload_res(device *dev, codec_stage *to, const encodec_stage *s, int64_t n, err *e) {
    status rc = OK;
    to->res = mem_calloc((size_t)MAX(n, 1), sizeof *to->res);
    if (!to->res) return err_set(e, ERR_OOM, "no memory for the codec on the GPU");
    for (int64_t i = 0; i < n && !rc; i++) {
        rc = upload_conv(dev, &to->res[i].narrow, &s->res[i].narrow, e);
        if (!rc) rc = upload_conv(dev, &to->res[i].widen, &s->res[i].widen, e);
    }
    return rc;
}

static status upload_lstm(device *dev, codec_net *to, const encodec_net *net,
                          const encodec_config *cfg, err *e) {
    status rc = OK;
    to->lstm = mem_calloc((size_t)MAX(cfg->lstm_layers, 1), sizeof *to->lstm);
    if (!to->lstm) return err_set(e, ERR_OOM, "no memory for the codec on the GPU");
    for (int64_t i = 0; i < cfg->lstm_layers && !rc; i++) {
        const weight *ih = &net->lstm[i].w_ih, *hh = &net->lstm[i].w_hh;
        rc = upload_matrices(dev, &to->lstm[i].w_ih, &ih, 1, e);
        if (!rc) rc = upload_matrices(dev, &to->lstm[i].w_hh, &hh, 1, e);
        if (!rc) rc = upload_floats(dev, &to->lstm[i].bias, net->lstm[i].bias, ih->rows, e);
    }
    return rc;
}

static status upload_net(device *dev, codec_net *to, const encodec_net *net, bool decoder,
                         const encodec_config *cfg, err *e) {
    status rc = upload_conv(dev, &to->first, &net->first, e);
    if (!rc) rc = upload_conv(dev, &to->last, &net->last, e);
    for (int64_t i = 0; i < cfg->ratio_count && !rc; i++) {
        const encodec_stage *s = &net->stage[i];
        rc = upload_conv(dev, &to->stage[i].change, decoder ? &s->up.conv : &s->down, e);
        to->stage[i].stride = decoder ? s->up.stride : s->down.stride;
        if (!rc) rc = upload_res(dev, &to->stage[i], s, cfg->res_layers, e);
    }
    return rc ? rc : upload_lstm(dev, to, net, cfg, e);
}

static status upload_books(gpu_codec *c, err *e) {
    const encodec_config *cfg = &c->k->cfg;
    status rc = OK;
    for (int64_t q = 0; q < cfg->quantizers && !rc; q++) {
        const weight *book = &c->k->book[q];
        tensor t = {.type = book->type, .dims = 2, .shape = {cfg->codes, cfg->dim}};
        t.data = book->data;
        float *wide = mem_calloc((size_t)(cfg->codes * cfg->dim), sizeof *wide);
        if (!wide) return err_set(e, ERR_OOM, "no memory for the codec on the GPU");
        tensor_read_f32(wide, &t, 0, cfg->codes * cfg->dim);
        rc = upload_matrices(c->dev, &c->book[q], &book, 1, e);
        if (!rc) rc = upload_floats(c->dev, &c->vectors[q], wide, cfg->codes * cfg->dim, e);
        if (!rc) rc = upload_floats(c->dev, &c->half_norm[q], c->k->half_norm[q], cfg->codes, e);
        mem_free(wide);
    }
    return rc;
}

status gpu_codec_open(gpu_codec **out, device *dev, const encodec *k, err *e) {
    *out = NULL;
    gpu_codec *c = mem_calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_OOM, "no memory for the codec on the GPU");
    c->dev = dev;
    c->k = k;
    status rc = OK;
    if (k->parts & ENCODEC_DECODER)
        rc = upload_net(dev, &c->decoder, &k->decoder, true, &k->cfg, e);
    if (!rc && k->parts & ENCODEC_ENCODER) {
        rc = upload_net(dev, &c->encoder, &k->encoder, false, &k->cfg, e);
        if (!rc) rc = upload_books(c, e);
    }
    if (rc)
        gpu_codec_close(c);
    else
        *out = c;
    return rc;
}

static void free_conv(device *dev, const codec_conv *l) {
    device_free(dev, l->w.data);
    device_free(dev, l->single.data);
    device_free(dev, l->bias);
}

static void free_net(device *dev, codec_net *net, const encodec_config *cfg) {
    free_conv(dev, &net->first);
    free_conv(dev, &net->last);
    for (int64_t i = 0; i < cfg->ratio_count; i++) {
        codec_stage *s = &net->stage[i];
        free_conv(dev, &s->change);
        for (int64_t j = 0; s->res && j < cfg->res_layers; j++) {
            free_conv(dev, &s->res[j].narrow);
            free_conv(dev, &s->res[j].widen);
        }
        mem_free(s->res);
    }
    for (int64_t i = 0; net->lstm && i < cfg->lstm_layers; i++) {
        device_free(dev, net->lstm[i].w_ih.data);
        device_free(dev, net->lstm[i].w_hh.data);
        device_free(dev, net->lstm[i].bias);
    }
    mem_free(net->lstm);
}

void gpu_codec_close(gpu_codec *c) {
    if (!c) return;
    free_net(c->dev, &c->decoder, &c->k->cfg);
    free_net(c->dev, &c->encoder, &c->k->cfg);
    for (int q = 0; q < ENCODEC_QUANTIZERS_MAX; q++) {
        device_free(c->dev, c->book[q].data);
        device_free(c->dev, c->vectors[q]);
        device_free(c->dev, c->half_norm[q]);
    }
    for (int i = 0; i < CODEC_BUFFERS; i++) device_free(c->dev, c->buffer[i].p);
    mem_free(c);
}

void *codec_room(gpu_codec *c, int which, size_t n, status *rc, err *e) {
    codec_buffer *b = &c->buffer[which];
    if (*rc) return NULL;
    if (b->size >= n && b->p) return b->p;
    device_free(c->dev, b->p);
    *b = (codec_buffer){0};
    *rc = device_alloc(c->dev, &b->p, MAX(n, 256), e);
    if (!*rc) b->size = n;
    return b->p;
}
