// decoder.c - see decoder.h: sizes, and the calls that a device's table answers.
#include <assert.h>
#include <string.h>

#include "engine/musicgen/decoder_inside.h"

size_t seq_cache_bytes(const musicgen *m, const seq_params *p) {
    const mg_config *cfg = mg_get_config(m);
    int64_t len = decoder_cache_len(cfg, p);
    size_t one = mg_cache_bytes(cfg, len, p->text_n, p->cache_type);
    return decoder_guided(p) ? one + mg_cache_bytes(cfg, len, 0, p->cache_type) : one;
}

int64_t decoder_columns(const musicgen *m, const seq_params *p, int64_t frames, int64_t known) {
    const mg_config *cfg = mg_get_config(m);
    return frames - known + (p->parallel ? 0 : cfg->codebooks / cfg->channels - 1);
}

void decoder_prefix(const musicgen *m, compute *c, const seq_params *p, const seq_window *w,
                    bool null, float *x) {
    const mg_config *cfg = mg_get_config(m);
    const float *chroma = null ? NULL : w->chroma;
    float *text = x + cfg->chroma_length * cfg->d;
    mg_project_chroma(m, c, x, chroma, chroma ? w->chroma_rows : 0);
    memset(text, 0, (size_t)(p->text_rows * cfg->d) * sizeof *text);
    if (!null && p->text_n && !p->text_null) mg_project_text(m, c, text, p->text, p->text_n);
}

status decoder_broken(int64_t frame, err *e) {
    return err_set(e, ERR_FORMAT,
                   "decoder: the scores of frame %lld are not finite numbers: its weights are too "
                   "large or damaged",
                   (long long)frame);
}

bool seq_guided(const seq *s) {
    return decoder_guided(&s->p);
}

status decoder_open(decoder **out, device *gpu, const musicgen *m, compute *c,
                    const decoder_limits *l, err *e) {
    return gpu ? decoder_gpu_open(out, gpu, m, c, l, e) : decoder_cpu_open(out, m, c, l, e);
}

void decoder_close(decoder *d) {
    if (d) d->ops->close(d);
}

status seq_create(seq **out, decoder *d, const seq_params *p, err *e) {
    assert(p->frames > 0 && p->given_n < p->frames && (p->given_n == 0 || p->given));
    return d->ops->seq_create(out, d, p, e);
}

void seq_free(seq *s) {
    if (s) s->d->ops->seq_free(s);
}

void seq_set_text(seq *s, const float *text, int64_t n, int64_t rows) {
    if (s->p.text == text) return;
    seq_rest(s);
    s->p.text = text;
    s->p.text_n = n;
    s->p.text_rows = rows;
}

status decoder_begin(decoder *d, seq *s, const seq_window *w, err *e) {
    return d->ops->begin(d, s, w, e);
}

status decoder_step(decoder *d, seq *const *s, size_t n, err *e) {
    assert(n <= (size_t)d->sequences);
    return d->ops->step(d, s, n, e);
}

status decoder_force(decoder *d, seq *s, const seq_window *w, const seq_forced *f, err *e) {
    return d->ops->force(d, s, w, f, e);
}

status seq_check(const seq *s, err *e) {
    return s->d->ops->check(s, e);
}

void seq_rest(seq *s) {
    s->d->ops->rest(s);
}

status seq_codes(seq *s, const int32_t **out, err *e) {
    return s->d->ops->codes(s, out, e);
}

const float *seq_first(const seq *s) {
    return s->d->ops->first(s);
}
