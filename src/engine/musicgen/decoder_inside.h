// decoder_inside.h - what a device implements of decoder.h, shared by decoder.c and decoder_*.c.
#pragma once
#include "engine/musicgen/decoder.h"
#include "gpu/device.h"

// Each function is the one of decoder.h with that name.
typedef struct {
    void (*close)(decoder *d);
    status (*seq_create)(seq **out, decoder *d, const seq_params *p, err *e);
    void (*seq_free)(seq *s);
    status (*begin)(decoder *d, seq *s, const seq_window *w, err *e);
    status (*step)(decoder *d, seq *const *s, size_t n, err *e);
    status (*force)(decoder *d, seq *s, const seq_window *w, const seq_forced *f, err *e);
    status (*check)(const seq *s, err *e);
    void (*rest)(seq *s);
    status (*codes)(seq *s, const int32_t **out, err *e);
    const float *(*first)(const seq *s);
} decoder_ops;

// The structs of a device begin with these.
struct decoder {
    const decoder_ops *ops;
    const mg_config *cfg;
    int64_t sequences; // in one step at most
};
struct seq {
    decoder *d;
    seq_params p; // given is NULL after seq_create
};

status decoder_cpu_open(decoder **out, const musicgen *m, compute *c, const decoder_limits *l,
                        err *e);
// dev is borrowed, as m and c are.
status decoder_gpu_open(decoder **out, device *dev, const musicgen *m, compute *c,
                        const decoder_limits *l, err *e);

#define DECODER_PREFILL 256 // rows that a prefill feeds at a time, if the limits do not say

// Writes the rows before the columns of a melody model, [decoder_prefix_rows, d]: the window's
// chroma, then the text's rows, projected. In the null branch the chroma is the null chroma; there
// and in padding, text rows are zero.
void decoder_prefix(const musicgen *m, compute *c, const seq_params *p, const seq_window *w,
                    bool null, float *x);
status decoder_broken(int64_t frame, err *e); // the error of seq_check

// Rows before the first column: chroma and text of a melody model.
static inline int64_t decoder_prefix_rows(const mg_config *cfg, const seq_params *p) {
    return cfg->melody ? cfg->chroma_length + p->text_rows : 0;
}

// Positions in the caches of a sequence.
static inline int64_t decoder_cache_len(const mg_config *cfg, const seq_params *p) {
    return decoder_prefix_rows(cfg, p) + MIN(p->window, p->frames) + cfg->codebooks / cfg->channels;
}

static inline bool decoder_guided(const seq_params *p) {
    return p->sampling.guidance != 1 && !p->text_null;
}
